"""``ccxt-mcp stdio``: the configured exchanges and accounts for one host that starts this program.

Owns: the process's standard streams. Standard output is the protocol's alone: whatever any library
or any child process prints goes to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ccxt_mcp import __version__
from ccxt_mcp.cli.running import Commands, say, single_exchanges

__all__ = ["add_to"]

_EPILOG = """\
A host's configuration, for instance Claude Desktop's:

  {"mcpServers": {"ccxt": {"command": "/path/to/ccxt-mcp",
                           "args": ["stdio", "--config", "/path/to/ccxt-mcp.toml"]}}}

Others, and when to prefer `serve`: docs/HOSTS.md.
"""


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    stdio = commands.add_parser(
        "stdio",
        help="serve one desktop host over standard input and output",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stdio.add_argument("--config", type=Path, metavar="FILE", help="TOML file (ccxt-mcp.toml)")
    stdio.set_defaults(command=_stdio)


async def _stdio(arguments: argparse.Namespace) -> None:
    # Before anything is imported that might print.
    source, sink = _claimed()
    single_exchanges()
    import asyncio
    import math
    import signal

    from ccxt_mcp.ops.logs import configure_logging
    from ccxt_mcp.ops.traces import export_traces
    from ccxt_mcp.product import assemble
    from ccxt_mcp.settings import load_settings
    from ccxt_mcp.tools.boundary import failure_result
    from ccxt_mcp.transport.lanes import queue_tool_calls
    from ccxt_mcp.transport.pipes import serve_pipes
    from ccxt_mcp.transport.registry import Registry
    from ccxt_mcp.transport.spans import open_spans_where_seen

    settings = load_settings(arguments.config)
    product = assemble(settings, on_progress=say)
    configure_logging(settings.log_level, settings.log_format, product.redactor)
    queue_tool_calls(product.server, refuse=failure_result)
    open_spans_where_seen(product.server)
    registry = Registry(
        max_sessions=1,
        max_per_client=1,
        idle_timeout=math.inf,
        adopt_named=True,
        lane_limit=settings.lane_queue_max,
        lane_wait_max=settings.lane_wait_max,
    )
    for warning in product.accounts.warnings:
        say(f"warning: {warning}")
    for line in product.accounts.describe():
        say(f"account {line}")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stop_traces = export_traces(
        version=__version__,
        redact=product.redactor.text,
        warn=lambda words: say(f"warning: {words}"),
    )
    say("serving MCP over standard input and output")
    try:
        await serve_pipes(product.server, registry, source, sink, stop=stop)
    finally:
        stop_traces()


def _claimed() -> tuple[int, int]:
    """Descriptors of the host's two pipes; nobody else has them from here on.

    Standard input is empty then, and standard output is standard error: for this process, for
    libraries in C and for children.
    """
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, sink
