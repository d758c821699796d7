"""Output: tables and colours for people, JSON for programs.

Refuses: colours and other escape codes where nobody sees them, and where ``NO_COLOR`` is set; and
to lose without a word what could not be written.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["NOT_WRITTEN", "console", "json_text", "written"]

_WIDE = 160
"""Columns, where nobody says how many there are."""

NOT_WRITTEN = 3
"""The exit code of a command that did what it was asked and could not write it down."""


def console(*, stderr: bool = False) -> Console:
    """A console on standard output, or standard error.

    Rich leaves bold and italics on with ``NO_COLOR``; here it means plain text.
    """
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    out = Console(stderr=stderr, color_system=None if plain else "auto", highlight=False)
    if not out.is_terminal and not os.environ.get("COLUMNS"):
        # For a file or a pipe, where Rich would cut at 80.
        out.width = _WIDE
    return out


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that no terminal obeys: what is not printable is escaped, also beyond ASCII."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent)
    except RecursionError:
        # Indenting goes deeper than the reading did.
        text = json.dumps(value, ensure_ascii=False)
    return "".join(
        letter if letter.isprintable() or letter == "\n" else _escaped(letter) for letter in text
    )


def _escaped(letter: str) -> str:
    # DEL is the one character that JSON leaves as it is within ASCII.
    return "\\u007f" if letter == "\x7f" else json.dumps(letter)[1:-1]


def written(text: str) -> OSError | None:
    """Write a line to standard output; what prevented it, or None.

    Characters that it has not are escaped as JSON does.
    """
    out = sys.stdout
    if out is None:
        return OSError("standard output is closed")
    encoding = out.encoding or "utf-8"
    line = "".join(
        letter if letter.isascii() or _fits(letter, encoding) else _escaped(letter)
        for letter in text
    )
    try:
        out.write(line + "\n")
        out.flush()
    except OSError as error:
        # What is still in the buffer would fail once more at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)
        return error
    return None


def _fits(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeError:
        return False
    return True
