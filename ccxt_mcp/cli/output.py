"""The one place that makes a console: tables and colours for people.

Refuses: colours and other escape codes where nobody sees them, and where ``NO_COLOR`` is set.
"""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["console"]


def console(*, stderr: bool = False) -> Console:
    """A console on standard output, or standard error.

    Rich leaves bold and italics on with ``NO_COLOR``; here it means plain text.
    """
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, color_system=None if plain else "auto", highlight=False)
