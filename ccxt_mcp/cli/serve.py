"""``ccxt-mcp serve``: the exchanges and accounts that are configured, over streamable HTTP."""

from __future__ import annotations

import argparse
from pathlib import Path

from ccxt_mcp import __version__
from ccxt_mcp.cli.running import Commands, described, port, say, single_exchanges

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  ccxt-mcp serve                             with ./ccxt-mcp.toml, if there is one
  ccxt-mcp serve --config paper.toml --port 3100
  BINANCE_API_KEY=… BINANCE_SECRET=… ccxt-mcp serve
  CCXT_MCP_TOKEN=… ccxt-mcp serve --host 0.0.0.0

Every setting: docs/CONFIGURATION.md. A file to begin with: ccxt-mcp init. What is wrong with it:
ccxt-mcp doctor.
"""


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    serve = described(
        commands, "serve", "serve the exchanges and accounts that are configured", _EXAMPLES
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help="TOML file (ccxt-mcp.toml)")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=port, help="port to listen on (3000)")
    serve.add_argument(
        "--insecure-no-auth",
        action="store_true",
        default=None,
        help="listen beyond loopback without tokens: everybody who reaches the port may trade",
    )
    serve.set_defaults(command=_serve)


async def _serve(arguments: argparse.Namespace) -> None:
    single_exchanges()
    from ccxt_mcp.app import MCP_PATH, create_app
    from ccxt_mcp.cluster.cluster import Cluster
    from ccxt_mcp.ops.logs import configure_logging
    from ccxt_mcp.ops.traces import export_traces
    from ccxt_mcp.product import assemble
    from ccxt_mcp.serving import bind, run_until_stopped
    from ccxt_mcp.settings import check_exposure, load_settings

    given = {
        name: value
        for name in ("host", "port", "insecure_no_auth")
        if (value := getattr(arguments, name)) is not None
    }
    settings = load_settings(arguments.config, **given)
    check_exposure(settings)
    product = assemble(settings, on_progress=say, cluster=Cluster.from_settings(settings))
    configure_logging(settings.log_level, settings.log_format, product.redactor)
    app = create_app(product=product)
    listener = bind(settings.host, settings.port)
    for warning in (*product.accounts.warnings, *product.tokens.warnings):
        say(f"warning: {warning}")
    for line in product.accounts.describe():
        say(f"account {line}")
    if not product.accounts.all():
        say("no accounts: market data only (see `[accounts.NAME]` in docs/CONFIGURATION.md)")
    stop_traces = export_traces(
        version=__version__,
        redact=product.redactor.text,
        warn=lambda words: say(f"warning: {words}"),
    )
    try:
        await run_until_stopped(
            app,
            listener,
            connections=app.state.connections,
            drain=app.state.drain,
            started=lambda url: say(f"serving MCP at {url}{MCP_PATH}"),
        )
    finally:
        stop_traces()
