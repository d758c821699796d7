# syntax=docker/dockerfile:1

# Stage 1: the locked dependencies (the client of a common store among them) and the package, in a
# virtual environment of their own.
FROM python:3.13.9-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/ccxt-mcp
COPY requirements.lock ./
RUN /opt/ccxt-mcp/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY ccxt_mcp ./ccxt_mcp
RUN /opt/ccxt-mcp/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation --no-index . \
 && /opt/ccxt-mcp/bin/python -m compileall -q /opt/ccxt-mcp/lib

# Stage 2: that environment alone, for a user without privileges.
FROM python:3.13.9-slim-bookworm
# The second directory is for `data_dir`: a volume that is mounted there belongs to the user, too.
RUN useradd --system --uid 10001 --create-home ccxt \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/ccxt-mcp
COPY --from=build /opt/ccxt-mcp /opt/ccxt-mcp
USER 10001
# Beyond loopback the server starts only when a token is configured: give CCXT_MCP_TOKEN.
ENV PATH=/opt/ccxt-mcp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CCXT_MCP_HOST=0.0.0.0 \
    CCXT_MCP_PORT=3000 \
    CCXT_MCP_LOG_FORMAT=json
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/live', timeout=2)"]
CMD ["ccxt-mcp", "serve"]
