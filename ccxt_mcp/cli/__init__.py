"""The command line ``ccxt-mcp``: one file a command.

Owns: the list of commands, and how every one of them ends. Refuses: bad configuration, in one line
per violation and with exit code 2, never with a traceback. A command imports what it needs when it
runs: most of them never need CCXT.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ccxt_mcp import __version__
from ccxt_mcp.cli import (
    call,
    completion,
    demo,
    doctor,
    init,
    serve,
    simulate,
    status,
    stdio,
)
from ccxt_mcp.cli.running import open_standard_streams, run
from ccxt_mcp.errors import ConfigurationError

__all__ = ["main", "parser"]

_COMMANDS = (serve, stdio, demo, simulate, init, doctor, status, call, completion)
"""In the order in which the help lists them; each adds itself by ``add_to``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns the process's exit code: 0 fine, 1 what the command found is not, 2 configuration or
    usage, 3 the output could not be written. An interrupted command has ended well, unless it sets
    ``interrupted``.
    """
    open_standard_streams()
    top = parser()
    arguments, left = top.parse_known_args(argv)
    # argparse takes a command's words only as long as no option comes between them.
    if left and (not hasattr(arguments, "words") or any(word.startswith("-") for word in left)):
        top.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        arguments.words += left
    command: Callable[[argparse.Namespace], Coroutine[Any, Any, int | None]] = arguments.command
    try:
        return run(command(arguments)) or 0
    except ConfigurationError as error:
        print(f"ccxt-mcp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return int(getattr(arguments, "interrupted", 0))


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="ccxt-mcp", description="One shared, safe door to crypto exchanges: MCP over CCXT."
    )
    top.add_argument("--version", action="version", version=f"ccxt-mcp {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    return top
