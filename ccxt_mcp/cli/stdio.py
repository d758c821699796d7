"""``ccxt-mcp stdio``: the configured exchanges and accounts for one host that starts this program.

Owns: the process's standard streams. Standard output is the protocol's alone: whatever any library
or any child process prints goes to standard error. Refuses: to wait for a host that does not read
standard error, and to start where one of the two pipes is closed.
"""

from __future__ import annotations

import argparse
import atexit
import os
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from ccxt_mcp import __version__
from ccxt_mcp.cli.running import Commands, say, single_exchanges
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.ops.outlet import Outlet

__all__ = ["add_to"]

_EPILOG = """\
A host's configuration, for instance Claude Desktop's:

  {"mcpServers": {"ccxt": {"command": "/path/to/ccxt-mcp",
                           "args": ["stdio", "--config", "/path/to/ccxt-mcp.toml"]}}}

Others, and when to prefer `serve`: docs/HOSTS.md.
"""


_LAST_WORDS = 1.0
"""Seconds in which standard error is still passed on once everything else has ended."""
_CHUNK = 65_536


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


def _stdio(arguments: argparse.Namespace) -> Coroutine[Any, Any, None]:
    # Before anything is imported that might print, and before there is an event loop, whose own
    # descriptors would take the place of those that are closed.
    return _serve(arguments, *_claimed())


async def _serve(arguments: argparse.Namespace, source: int, sink: int) -> None:
    single_exchanges()
    import asyncio
    import math
    import signal

    from ccxt_mcp.ops.logs import configure_logging
    from ccxt_mcp.ops.traces import export_traces
    from ccxt_mcp.product import assemble
    from ccxt_mcp.settings import load_settings
    from ccxt_mcp.tools.boundary import failure_result
    from ccxt_mcp.tools.resources import refused
    from ccxt_mcp.transport.lanes import queue_tool_calls
    from ccxt_mcp.transport.pipes import serve_pipes
    from ccxt_mcp.transport.registry import Registry
    from ccxt_mcp.transport.spans import open_spans_where_seen
    from ccxt_mcp.transport.subscribing import subscribe_resources
    from ccxt_mcp.transport.subscriptions import Quota

    settings = load_settings(arguments.config)
    product = assemble(settings, on_progress=say)
    configure_logging(settings.log_level, settings.log_format, product.redactor)
    queue_tool_calls(product.server, refuse=failure_result)
    subscribe_resources(product.server, product.watching, refuse=refused)
    open_spans_where_seen(product.server)
    registry = Registry(
        max_sessions=1,
        max_per_client=1,
        idle_timeout=math.inf,
        adopt_named=True,
        lane_limit=settings.lane_queue_max,
        lane_wait_max=settings.lane_wait_max,
        quota=Quota(settings.max_subscriptions_per_session, settings.max_subscriptions),
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
        await serve_pipes(
            product.server, registry, source, sink, stop=stop, longest=settings.max_body_bytes
        )
    finally:
        stop_traces()


def _claimed() -> tuple[int, int]:
    """Descriptors of the host's two pipes; nobody else has them from here on.

    Standard input is empty then, and standard output is standard error: for this process, for
    libraries in C and for children.

    Raises:
        ConfigurationError: there is no such pipe.
    """
    # Python's word for a descriptor that was closed when it started.
    for stream, name in ((sys.__stdin__, "input"), (sys.__stdout__, "output")):
        if stream is None:
            raise ConfigurationError(
                f"standard {name} is closed: a host starts `ccxt-mcp stdio` and talks to it over"
                " standard input and output; without a host use `ccxt-mcp serve`"
            )
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _read_ourselves()
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, sink


def _read_ourselves() -> None:
    """Put a pipe of our own in the place of standard error, which is always read.

    Some hosts never read theirs: once it is full, whoever prints would wait for ever, and that is
    the event loop.
    """
    outlet = Outlet(os.dup(2))
    printed, ours = os.pipe()
    os.dup2(ours, 2)
    os.close(ours)
    passing = threading.Thread(
        target=_pass_on, args=(printed, outlet), name="ccxt-mcp stderr", daemon=True
    )
    passing.start()

    def finish() -> None:
        sys.stderr.flush()
        nothing = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nothing, descriptor)
        # Longer than that only a child could hold the pipe, or a host that does not read.
        passing.join(_LAST_WORDS)
        outlet.drain(_LAST_WORDS)

    # The last that the interpreter prints is the traceback of what ended it.
    atexit.register(finish)


def _pass_on(printed: int, outlet: Outlet) -> None:
    rest = b""
    while chunk := os.read(printed, _CHUNK):
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        if not newline and len(rest) > _CHUNK:
            lines, rest = rest, b""
        if lines or newline:
            outlet.write(lines + newline)
    if rest:
        outlet.write(rest)
