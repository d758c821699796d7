"""``ccxt-mcp demo``: the server in front of the simulated exchange."""

from __future__ import annotations

import argparse

from ccxt_mcp.cli.running import Commands, described, port, single_exchanges

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  ccxt-mcp demo             serves MCP at http://127.0.0.1:3000/mcp until Ctrl-C
  ccxt-mcp demo --once      two workflows side by side, what they read, and the end

No real money, no real keys; neither a configuration file nor the environment has a say.
"""


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    demo = described(
        commands, "demo", "serve a simulated exchange with two funded accounts", _EXAMPLES
    )
    demo.add_argument("--port", type=port, default=3000, help="port to listen on (3000)")
    demo.add_argument(
        "--once", action="store_true", help="run two workflows, print what they read, and exit"
    )
    demo.set_defaults(command=_demo)


async def _demo(arguments: argparse.Namespace) -> None:
    single_exchanges()
    from ccxt_mcp.demo import run_demo, run_once

    if arguments.once:
        await run_once()
    else:
        await run_demo("127.0.0.1", arguments.port)
