"""CCXT's pure functions, remembered.

Owns: a bounded memory in front of CCXT's decimal arithmetic (``Precise.string_*``) and of its time
format (``iso8601``). Refuses: anything whose result depends on more than its arguments.

Workflows poll: the same resting orders come again and again, and CCXT does the same arithmetic on
the same amounts each time. It is a third of what parsing an order costs. The functions take texts
and numbers and give a text or a boolean, so that remembering them cannot be told from computing
them; a test does both on random arguments. CCXT's own classes are changed, as in ``hardening``.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

__all__ = ["REMEMBERED", "quicken"]

REMEMBERED = 4096
"""Results kept per function, at about 400 bytes each: the orders of some twenty busy accounts."""

_done = False


def quicken() -> None:
    """Put the memory in front of the functions, once. Call under the lock of ``wiring``."""
    global _done
    if _done:
        return
    _done = True
    precise: Any = import_module("ccxt.base.precise").Precise
    for name, value in list(vars(precise).items()):
        if name.startswith("string_") and isinstance(value, staticmethod):
            _remember(precise, name, value)
    base: Any = import_module("ccxt.base.exchange").BaseExchange
    _remember(base, "iso8601", vars(base)["iso8601"])


def _remember(owner: Any, name: str, function: staticmethod[..., Any]) -> None:
    # Typed: 1, 1.0 and True are equal and hash alike, but are not the same argument.
    cached = functools.lru_cache(REMEMBERED, typed=True)(function.__func__)
    setattr(owner, name, staticmethod(cached))
