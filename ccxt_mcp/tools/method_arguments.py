"""What ``call_read_method`` passes on to CCXT: a method's arguments.

Owns: reading them from any JSON, all violations named. Refuses: knowing methods
(``exchanges/methods.py``) and symbols, and CCXT's ``params``: they replace whatever CCXT has put
into a request itself, the market, the order's id, a part of the path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from ccxt_mcp.exchanges.methods import Argument, Method
from ccxt_mcp.tools.arguments import (
    UNSAFE_WORDS,
    did_you_mean,
    is_identifier,
    milliseconds,
    names_in,
    shown_name,
)

__all__ = ["arguments_of", "ordered"]

_MAX_LIMIT = 1_000
_MAX_LIST = 100


def arguments_of(method: Method, given: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The values by name, times in ms; what is wrong is added to ``problems``."""
    wanted = {each.name: each for each in method.arguments}
    for name in given:
        if name not in wanted:
            guess = did_you_mean(name, tuple(wanted))
            problems.append(
                f"`arguments.{shown_name(name)}` is not an argument of {method.name}{guess}"
            )
    out: dict[str, Any] = {}
    for name, each in wanted.items():
        value = given.get(name)
        if value is None:
            if each.required:
                problems.append(f"`arguments.{name}` is required")
            continue
        read, problem = _read(each, value)
        if not problem and name not in _SYMBOLS and not _addresses_nothing(read):
            problem = f"free of {UNSAFE_WORDS}"
        if problem:
            problems.append(f"`arguments.{name}` must be {problem}")
        else:
            out[name] = read
    return out


def _read(argument: Argument, value: Any) -> tuple[Any, str]:
    """(the value, what it must be if it is not that)"""
    kind = argument.kind
    if isinstance(value, str) and kind == "strings":
        value = names_in(value)
    elif isinstance(value, str) and kind in ("integer", "number") and len(value) < 20_000:
        with suppress(ValueError):
            value = orjson.loads(value)
    if kind == "time":
        at = milliseconds(value)
        return at, "" if at is not None else "a time as ISO 8601 or in milliseconds since 1970"
    if kind == "strings":
        names = isinstance(value, list) and all(_is_text(each) for each in value)
        good = names and 1 <= len(value) <= _MAX_LIST
        return value, "" if good else f"an array of 1 to {_MAX_LIST} short texts"
    if kind == "integer":
        whole = isinstance(value, int | float) and not isinstance(value, bool)
        if whole and math.isfinite(value) and value == int(value) and 1 <= value <= _MAX_LIMIT:
            return int(value), ""
        return None, f"a whole number from 1 to {_MAX_LIMIT}"
    if kind == "number":
        good = isinstance(value, int | float) and not isinstance(value, bool)
        return value, "" if good and math.isfinite(value) else "a number"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
        value = str(value)
    return value, "" if _is_text(value) else "a text of 1 to 128 characters"


_SYMBOLS = frozenset({"symbol", "symbols"})
"""Resolved to markets that the exchange lists, so that no text of the caller's is sent."""


def _addresses_nothing(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return all(not isinstance(each, str) or is_identifier(each) for each in texts)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 128 and value.isprintable()


def ordered(method: Method, given: Mapping[str, Any]) -> list[Any]:
    """The arguments in CCXT's order; those after the last one given keep CCXT's defaults."""
    values = [given.get(each.name, each.default) for each in method.arguments]
    used = [place for place, each in enumerate(method.arguments) if each.name in given]
    return values[: max(used, default=-1) + 1]
