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

__all__ = ["Commands", "described", "port", "run", "say", "single_exchanges"]


def run(main: Coroutine[Any, Any, int | None]) -> int | None:
    """Run a command on the fastest event loop that there is."""
    _fill_standard_files()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _fill_standard_files() -> None:
    """Where one of the three is closed, the event loop or a connection would get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


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
