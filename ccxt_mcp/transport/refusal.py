"""Refusals that are answered by HTTP itself, before the MCP kernel sees a request.

Owns: their two forms (a JSON-RPC error object without an id, so that every MCP client can read it,
and the failure alone for plain HTTP) and the plain JSON response. Refuses: failures of tools, which
are results (``tools/boundary.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import orjson
from starlette.types import Send

from ccxt_mcp.errors import Code, Failure

__all__ = ["INVALID_REQUEST", "PARSE_ERROR", "Refusal", "encode", "send_json"]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600

_CONTENT_TYPE = (b"content-type", b"application/json")


class Refusal(Exception):
    """An HTTP answer with a status of 400 or more.

    Args:
        status: the HTTP status.
        message: what was wrong and what to send instead.
        rpc_code: JSON-RPC error code.
        headers: further response headers.
        failure: the failure behind it, put into the error's ``data`` for machines.
        request_id: the JSON-RPC id to answer, where one could be read.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        rpc_code: int = INVALID_REQUEST,
        headers: Iterable[tuple[bytes, bytes]] = (),
        failure: Failure | None = None,
        request_id: str | int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.rpc_code = rpc_code
        self.headers = tuple(headers)
        self.failure = failure
        self.request_id = request_id

    def body(self) -> dict[str, Any]:
        """The JSON-RPC error object."""
        error: dict[str, Any] = {"code": self.rpc_code, "message": self.message}
        if self.failure is not None:
            error["data"] = self.failure.as_dict()
        return {"jsonrpc": "2.0", "id": self.request_id, "error": error}

    def as_failure(self) -> Failure:
        """The same refusal where a failure is the answer."""
        if self.failure is not None:
            return self.failure
        code = Code.PERMISSION_DENIED if self.status == 403 else Code.INVALID_ARGUMENT
        return Failure(code, self.message, hint="Correct the request as the message says.")

    async def send(self, send: Send, *, plain: bool = False) -> None:
        """Answer the request with this refusal: as JSON-RPC, or ``{"error": {"code": …}}``."""
        body = {"error": self.as_failure().as_dict()} if plain else self.body()
        await send_json(send, self.status, encode(body), self.headers)


def encode(body: Any) -> bytes:
    """JSON of a value that a tool may have made.

    Raises:
        TypeError, ValueError, RecursionError: it cannot be JSON.
    """
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        # orjson stops at 64 bits and at 254 levels, where JSON does not, and at lone surrogates,
        # which become question marks.
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(errors="replace")


async def send_json(
    send: Send,
    status: int,
    payload: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send one complete JSON response."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                _CONTENT_TYPE,
                (b"content-length", str(len(payload)).encode()),
                (b"cache-control", b"no-store"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": payload})
