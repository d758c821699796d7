"""The command line: ``ccxt-mcp serve | demo | simulate``.

Owns: arguments, exit codes and what is printed at start. Refuses: bad configuration, in one line
per violation and with exit code 2, never with a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal

from ccxt_mcp import __version__
from ccxt_mcp.errors import ConfigurationError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit code (0 fine, 2 configuration or usage)."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], Coroutine[Any, Any, None]] = arguments.command
    # Before anything imports CCXT: single exchanges instead of all of them.
    from ccxt_mcp.exchanges.loading import install_lazy_ccxt

    install_lazy_ccxt()
    try:
        _run(command(arguments))
    except ConfigurationError as error:
        print(f"ccxt-mcp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ccxt-mcp", description="One shared, safe door to crypto exchanges: MCP over CCXT."
    )
    parser.add_argument("--version", action="version", version=f"ccxt-mcp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve", help="serve the exchanges and accounts that are configured"
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help="TOML file (ccxt-mcp.toml)")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=_port, help="port to listen on (3000)")
    serve.add_argument(
        "--insecure-no-auth",
        action="store_true",
        default=None,
        help="listen beyond loopback without tokens: everybody who reaches the port may trade",
    )
    serve.set_defaults(command=_serve)

    demo = commands.add_parser("demo", help="serve a simulated exchange with two funded accounts")
    demo.add_argument("--port", type=_port, default=3000, help="port to listen on (3000)")
    demo.add_argument(
        "--once", action="store_true", help="run two workflows, print what they read, and exit"
    )
    demo.set_defaults(command=_demo)

    simulate = commands.add_parser(
        "simulate", help="run the simulated exchange alone; prints a configuration for `serve`"
    )
    simulate.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    simulate.add_argument("--port", type=_port, default=8900, help="port to listen on (8900)")
    simulate.add_argument("--seed", type=int, default=7, help="seed of prices and accounts (7)")
    simulate.add_argument(
        "--latency", type=_milliseconds, default=0.0, metavar="MS", help="milliseconds (0)"
    )
    simulate.add_argument(
        "--jitter", type=_milliseconds, default=0.0, metavar="MS", help="milliseconds (0)"
    )
    simulate.add_argument(
        "--rate-limit", type=_weight, default=6000, metavar="WEIGHT", help="weight a minute (6000)"
    )
    simulate.add_argument(
        "--no-rate-limit", action="store_true", help="never answer 429, whatever the load"
    )
    simulate.set_defaults(command=_simulate)
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: an integer from 0 to 65535")


def _milliseconds(text: str) -> float:
    value = float(text)
    if math.isfinite(value) and value >= 0:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds from 0 up")


def _weight(text: str) -> int:
    value = int(text)
    if value > 0:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a weight: an integer from 1 up")


async def _serve(arguments: argparse.Namespace) -> None:
    from ccxt_mcp.app import MCP_PATH, create_app
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
    product = assemble(settings, on_progress=_say)
    configure_logging(settings.log_level, settings.log_format, product.redactor)
    app = create_app(product=product)
    listener = bind(settings.host, settings.port)
    for warning in (*product.accounts.warnings, *product.tokens.warnings):
        _say(f"warning: {warning}")
    for line in product.accounts.describe():
        _say(f"account {line}")
    if not product.accounts.all():
        _say("no accounts: market data only (see `[accounts.NAME]` in docs/CONFIGURATION.md)")
    stop_traces = export_traces(
        version=__version__,
        redact=product.redactor.text,
        warn=lambda words: _say(f"warning: {words}"),
    )
    try:
        await run_until_stopped(
            app,
            listener,
            connections=app.state.connections,
            drain=app.state.drain,
            started=lambda url: _say(f"serving MCP at {url}{MCP_PATH}"),
        )
    finally:
        stop_traces()


async def _demo(arguments: argparse.Namespace) -> None:
    from ccxt_mcp.demo import run_demo, run_once

    if arguments.once:
        await run_once()
    else:
        await run_demo("127.0.0.1", arguments.port)


async def _simulate(arguments: argparse.Namespace) -> None:
    from ccxt_mcp.simulation import run_simulation

    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    try:
        await run_simulation(
            host=arguments.host,
            port=arguments.port,
            seed=arguments.seed,
            latency_ms=arguments.latency,
            jitter_ms=arguments.jitter,
            rate_limit=None if arguments.no_rate_limit else arguments.rate_limit,
            ready=lambda exchange: _announce(exchange.base_url, arguments.seed),
        )
    except asyncio.CancelledError:
        return
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise ConfigurationError(
            f"cannot listen on {arguments.host}:{arguments.port}: {reason};"
            " choose another `--port` or `--host`, or stop what listens there"
        ) from None


def _announce(url: str, seed: int) -> None:
    """What `ccxt-mcp serve` needs to use the venue goes to stdout, what people read to stderr."""
    from ccxt_mcp.simulation import demo_accounts

    dialects: tuple[Literal["binance", "kraken"], ...] = ("binance", "kraken")
    print('default_exchange = "paper"')
    for dialect in dialects:
        profile, prefix = ("paper", "") if dialect == "binance" else (f"paper-{dialect}", "kraken-")
        accounts = demo_accounts(seed, dialect=dialect)
        print(f'\n[exchanges.{profile}]\nexchange = "{dialect}"\nbase_url = "{url}"')
        print(f'default_account = "{prefix}{accounts[0].name}"')
        for account in accounts:
            print(f'\n[accounts.{prefix}{account.name}]\nexchange = "{profile}"')
            print(f'api_key = "{account.api_key}"\nsecret = "{account.secret}"')
    sys.stdout.flush()
    _say(f"simulated exchange at {url}; its accounts and profiles are the TOML on standard output")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
