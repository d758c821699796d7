"""``ccxt-mcp serve``: the exchanges and accounts that are configured, over streamable HTTP."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccxt_mcp import __version__
from ccxt_mcp.cli.running import Commands, described, port, say, single_exchanges

if TYPE_CHECKING:
    from ccxt_mcp.product import Product

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  ccxt-mcp serve                             with ./ccxt-mcp.toml, if there is one
  ccxt-mcp serve --config paper.toml --port 3100
  BINANCE_API_KEY=… BINANCE_SECRET=… ccxt-mcp serve
  CCXT_MCP_TOKEN=… ccxt-mcp serve --host 0.0.0.0
  CCXT_MCP_STORE_URL=redis://127.0.0.1:6379 ccxt-mcp serve --workers 4

Every setting: docs/CONFIGURATION.md. A file to begin with: ccxt-mcp init. What is wrong with it:
ccxt-mcp doctor.
"""


_MOST_WORKERS = 256


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
    serve.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="processes on this machine, each with a core of its own; needs `store_url`",
    )
    # For workers, from their supervisor.
    serve.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    serve.add_argument("--quiet", action="store_true", help=argparse.SUPPRESS)
    serve.set_defaults(command=_run)


def _workers(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_WORKERS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST_WORKERS}")


async def _run(arguments: argparse.Namespace) -> int | None:
    if arguments.workers is not None:
        return await _supervise(arguments)
    await _serve(arguments)
    return None


async def _supervise(arguments: argparse.Namespace) -> int:
    from ccxt_mcp.errors import ConfigurationError
    from ccxt_mcp.ops.logs import configure_logging
    from ccxt_mcp.redaction import Redactor
    from ccxt_mcp.serving import address_of, bind
    from ccxt_mcp.settings import check_exposure, load_settings
    from ccxt_mcp.supervising import Supervisor

    settings = load_settings(arguments.config, **_given(arguments))
    check_exposure(settings)
    if os.name == "nt":
        raise ConfigurationError("--workers is not for Windows: start several servers instead.")
    if settings.store_url is None:
        raise ConfigurationError(
            "--workers needs a store that the workers share: set `store_url` (Redis or Valkey)."
            " Without one, calls of one session would run at once, and each worker would use up"
            " the exchanges' rate limits alone."
        )
    configure_logging(settings.log_level, settings.log_format, Redactor())
    listener = bind(settings.host, settings.port)
    command = [sys.executable, "-P", "-m", "ccxt_mcp", "serve"]
    if arguments.config is not None:
        command += ["--config", str(arguments.config)]
    command += ["--host", settings.host, "--port", str(listener.getsockname()[1])]
    if settings.insecure_no_auth:
        command.append("--insecure-no-auth")
    number = arguments.workers
    url = address_of(listener)
    with listener:
        return await Supervisor(
            [*command, "--listener", str(listener.fileno())],
            number,
            listener,
            quiet=["--quiet"],
            started=lambda: say(f"serving MCP at {url}/mcp, {number} workers"),
        ).run()


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings among the arguments."""
    return {
        name: value
        for name in ("host", "port", "insecure_no_auth")
        if (value := getattr(arguments, name)) is not None
    }


async def _serve(arguments: argparse.Namespace) -> None:
    single_exchanges()
    from ccxt_mcp.app import MCP_PATH, create_app
    from ccxt_mcp.cluster.cluster import Cluster
    from ccxt_mcp.ops.logs import configure_logging
    from ccxt_mcp.ops.traces import export_traces
    from ccxt_mcp.product import assemble
    from ccxt_mcp.replica import name_node
    from ccxt_mcp.serving import bind, run_until_stopped
    from ccxt_mcp.settings import check_exposure, load_settings
    from ccxt_mcp.supervising import UP, inherited, told_to_end

    settings = load_settings(arguments.config, **_given(arguments))
    check_exposure(settings)
    product = assemble(settings, on_progress=say, cluster=Cluster.from_settings(settings))
    configure_logging(settings.log_level, settings.log_format, product.redactor)
    app = create_app(product=product)
    worker = arguments.listener is not None
    listener = inherited(arguments.listener) if worker else bind(settings.host, settings.port)
    name_node(app.state.cluster, settings, listener)
    if not arguments.quiet:
        _describe(product)
    stop_traces = export_traces(
        version=__version__,
        redact=product.redactor.text,
        warn=lambda words: say(f"warning: {words}"),
    )

    def started(url: str) -> None:
        if worker:
            os.write(1, UP)
        else:
            say(f"serving MCP at {url}{MCP_PATH}")

    try:
        await run_until_stopped(
            app,
            listener,
            connections=app.state.connections,
            drain=app.state.drain,
            started=started,
            leaving=told_to_end() if worker else None,
        )
    finally:
        stop_traces()


def _describe(product: Product) -> None:
    """Say what people should know before the first call."""
    for warning in (*product.accounts.warnings, *product.tokens.warnings):
        say(f"warning: {warning}")
    for line in product.accounts.describe():
        say(f"account {line}")
    if not product.accounts.all():
        say("no accounts: market data only (see `[accounts.NAME]` in docs/CONFIGURATION.md)")
