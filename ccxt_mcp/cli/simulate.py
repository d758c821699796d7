"""``ccxt-mcp simulate``: the simulated exchange alone."""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from typing import Literal

from ccxt_mcp.cli.running import Commands, described, port, say
from ccxt_mcp.errors import ConfigurationError

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  ccxt-mcp simulate > simulated.toml &       then: ccxt-mcp serve --config simulated.toml
  ccxt-mcp simulate --latency 80 --jitter 40
  curl -s http://127.0.0.1:8900/_sim/faults -d '{"kind": "hang", "times": 1}'

What it can be made to do wrong: docs/SIMULATION.md.
"""


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    simulate = described(
        commands,
        "simulate",
        "run the simulated exchange alone; prints a configuration for `serve`",
        _EXAMPLES,
    )
    simulate.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    simulate.add_argument("--port", type=port, default=8900, help="port to listen on (8900)")
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
    say(f"simulated exchange at {url}; its accounts and profiles are the TOML on standard output")
