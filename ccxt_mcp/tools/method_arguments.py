"""What ``call_read_method`` passes on to CCXT: a method's arguments and an exchange's own extras.

Owns: reading both from any JSON, all violations named, and what no extra may be: a credential,
what CCXT signs or addresses a request with, and what would ask for more than is bounded here.
Refuses: knowing methods (``exchanges/methods.py``) and symbols.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from ccxt_mcp.exchanges.methods import Argument, Method
from ccxt_mcp.tools.arguments import (
    did_you_mean,
    is_credential_name,
    looks_secret,
    milliseconds,
    shown_name,
)

__all__ = ["arguments_of", "extras_of", "ordered"]

_MAX_LIMIT = 1_000
_MAX_LIST = 100
_MAX_EXTRAS = 20
_EXTRA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII).fullmatch
# What CCXT's `sign` puts into a request itself (found in the source of all exchanges: indodax and
# zaif name the operation in `method`), what CCXT's base class reads, and what would ask for more.
_NOT_EXTRAS = re.compile(
    r"method$|^(url|api|path|endpoint|request|host(name)?|headers?|body|action|command|operation"
    r"|instruction|op|version|nonce|.*nonce|timestamp|recvwindow|sign.*|user|address|client_?id"
    r"|access_?token|grant_?type|echostr|key|kc-api.*|.*proxy.*|paginat.*|maxentriesperrequest"
    r"|maxretries.*|callback|broker.*|builder.*|loadaccount|librarypath|params|symbols?|since)$",
    re.IGNORECASE,
)
_COUNTS = re.compile(r"limit|size|count|rows", re.IGNORECASE)


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
        if problem:
            problems.append(f"`arguments.{name}` must be {problem}")
        else:
            out[name] = read
    return out


def _read(argument: Argument, value: Any) -> tuple[Any, str]:
    """(the value, what it must be if it is not that)"""
    kind = argument.kind
    if isinstance(value, str) and kind in ("strings", "integer", "number") and len(value) < 20_000:
        try:
            value = orjson.loads(value)
        except ValueError:
            # One name where several may stand is what is meant.
            value = [value] if kind == "strings" else value
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


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 128 and value.isprintable()


def extras_of(given: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The exchange-specific parameters; what may not be one is added to ``problems``."""
    if len(given) > _MAX_EXTRAS:
        problems.append(f"`params` must have at most {_MAX_EXTRAS} entries")
        return {}
    out: dict[str, Any] = {}
    for name, value in given.items():
        shown = f"`params.{shown_name(name)}`"
        if not _EXTRA_NAME(name) or looks_secret(name):
            problems.append(f"{shown} is not a parameter's name")
        elif is_credential_name(name):
            problems.append(f"{shown} is a credential: those are configured on the server")
        elif _NOT_EXTRAS.search(name):
            problems.append(f"{shown} is not for a caller to set")
        elif isinstance(value, list):
            if len(value) > 50 or not all(_is_scalar(each) for each in value):
                problems.append(f"{shown} must be a short list of scalars")
            else:
                out[name] = tuple(value)
        elif not _is_scalar(value):
            problems.append(f"{shown} must be a short text, a number, true or false")
        elif _COUNTS.search(name) and _amount(value) > _MAX_LIMIT:
            problems.append(f"{shown} must be at most {_MAX_LIMIT}")
        else:
            out[name] = value
    return out


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 256 and value.isprintable()
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63)


def _amount(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def ordered(method: Method, given: Mapping[str, Any]) -> list[Any]:
    """The arguments in CCXT's order; those after the last one given keep CCXT's defaults."""
    values = [given.get(each.name, each.default) for each in method.arguments]
    used = [place for place, each in enumerate(method.arguments) if each.name in given]
    return values[: max(used, default=-1) + 1]
