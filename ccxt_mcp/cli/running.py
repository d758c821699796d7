"""What the commands have in common: the event loop, the lazy CCXT, texts for people."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
else:
    Commands = Any

__all__ = [
    "Commands",
    "described",
    "open_standard_streams",
    "port",
    "run",
    "say",
    "single_exchanges",
]


def open_standard_streams() -> None:
    """Put nothing at all where a standard descriptor is closed.

    Else the event loop's own descriptors would stand there: whatever prints writes into them, and
    uvloop aborts.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives


def run(main: Coroutine[Any, Any, int | None]) -> int | None:
    """Run a command on the fastest event loop that there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def single_exchanges() -> None:
    """Import single exchanges instead of all of CCXT; before anything imports it."""
    from ccxt_mcp.exchanges.loading import install_lazy_ccxt

    install_lazy_ccxt()


def described(
    commands: Commands, name: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    """A command's parser, with examples below its help as they are written."""
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return added


def port(text: str) -> int:
    """The type of an argument that is a port."""
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: an integer from 0 to 65535")


def say(text: str) -> None:
    """Tell people; programs read standard output."""
    print(text, file=sys.stderr, flush=True)
