"""Whatever CCXT answered, as bounded JSON: for methods without a structure of their own.

Owns: JSON-safe values (no NaN, no number that JSON's readers would round), CCXT's ``info`` left
out unless asked for, the rows of a result, their order, and the size of one value. Refuses: the
size of a whole result (``bounds.py``), and knowing what a field means.

Numbers as everywhere: the market's are JSON numbers, an account's are exact decimal strings. A
field that the exchange did not tell (null) is left out of an object and stays null in a row of
positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ccxt_mcp.calls import values

__all__ = [
    "MAX_ROW",
    "bounded",
    "market_value",
    "market_value_with_info",
    "places",
    "plain",
    "redacted",
    "rows_of",
]

MAX_ROW = 20_000
"""Bytes of JSON of one row, so that some rows always fit into a result."""
MAX_DEPTH = 12
_MAX_TEXT = 2_000
_MAX_KEY = 128
_WIDTHS = (300, 100, 30, 10, 3, 1)
_CUT = "…(left out: too large)"


def market_value(raw: Any, *_: Any) -> Any:
    """The kept and shared value of a public answer, without ``info``."""
    return plain(raw, exact=False, info=False)


def market_value_with_info(raw: Any, *_: Any) -> Any:
    """The same with what the exchange sent."""
    return plain(raw, exact=False, info=True)


def plain(value: Any, *, exact: bool, info: bool, depth: int = MAX_DEPTH) -> Any:
    """A JSON value with everything in it that JSON can say.

    Args:
        value: CCXT's.
        exact: whether numbers with a fraction become decimal strings.
        info: whether CCXT's ``info`` stays.
        depth: levels below this one; what is deeper becomes a note.
    """
    kind = type(value)
    if kind is str:
        return value if len(value) <= _MAX_TEXT and value.isascii() else _text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -(2**53) < value < 2**53 else values.decimal(value)
    if kind is float:
        return values.decimal(value) if exact else values.number(value)
    if isinstance(value, Mapping):
        return _object(value, exact, info, depth)
    if isinstance(value, list | tuple):
        if depth <= 0:
            return _CUT
        return [plain(each, exact=exact, info=info, depth=depth - 1) for each in value]
    if isinstance(value, str):
        return _text(str(value))
    # Decimals and what subclasses numbers; anything else has no form in JSON.
    return values.decimal(value)


def _object(value: Mapping[Any, Any], exact: bool, info: bool, depth: int) -> Any:
    if depth <= 0:
        return _CUT
    out = {}
    for key, each in value.items():
        if each is None or (key == "info" and not info):
            continue
        made = plain(each, exact=exact, info=info, depth=depth - 1)
        if made is not None:
            out[
                key if type(key) is str and key.isascii() and len(key) < _MAX_KEY else _key(key)
            ] = made
    return out


def _text(value: str) -> str:
    # A lone surrogate, which JSON can spell, cannot leave as UTF-8.
    clean = value.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _MAX_TEXT else clean[: _MAX_TEXT - 1] + "…"


def _key(value: Any) -> str:
    return _text(str(value))[:_MAX_KEY]


def rows_of(value: Any) -> list[Any] | None:
    """The rows of a result: a list's entries; ``{"key", "value"}`` of an object that has nothing
    but objects and lists (CCXT's way to say "by symbol" or "by currency"). ``None`` for one
    structure, which has no rows."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and value:
        nested = all(isinstance(each, Mapping | list) for each in value.values())
        if nested and not _SINGLE & value.keys():
            return [{"key": key, "value": each} for key, each in value.items()]
    return None


_SINGLE = {"bids", "asks", "free", "used", "total"}
"""Objects of objects and lists that are one structure all the same: a book, a balance."""


def places(rows: list[Any]) -> list[tuple[str | int | float, ...]]:
    """Where each row stands: ascending, no two the same, and the same for the same row in every
    answer. By key; by name, where no two rows have the same (a position's time and amounts are
    those of its last change); by time and id; what has neither is told apart by what it says."""
    names = [_name(row) for row in rows]
    by_name = len(rows) > 1 and all(names) and len(set(names)) == len(names)
    out: list[tuple[str | int | float, ...]] = []
    again: dict[tuple[str | int | float, ...], int] = {}
    for row, name in zip(rows, names, strict=True):
        place = (0, name, "") if by_name else _place(row)
        count = again[place] = again.get(place, -1) + 1
        out.append((*place, count))
    return out


def _name(row: Any) -> str:
    """What a row is about, if it has no id of its own."""
    if not isinstance(row, Mapping) or row.get("id"):
        return ""
    parts = [str(row.get(each) or "") for each in ("symbol", "code", "currency", "side")]
    return "|".join(parts)[:_MAX_KEY] if any(parts) else ""


def _place(row: Any) -> tuple[str | int | float, ...]:
    if isinstance(row, Mapping):
        if "key" in row and "value" in row and len(row) == 2:
            return (0, str(row["key"])[:_MAX_KEY], "")
        at, name = row.get("timestamp"), row.get("id")
    else:
        at, name = (row[0] if isinstance(row, list) and row else None), None
    at = at if isinstance(at, int) and not isinstance(at, bool) else 0
    if name:
        return (at, str(name)[:_MAX_KEY], "")
    digest = hashlib.sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return (at, "", digest)


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """The value with every text in it redacted, and every text that is named like a secret."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(key): _entry(key, each, redact) for key, each in value.items()}
    if isinstance(value, list):
        return [redacted(each, redact) for each in value]
    return value


def _entry(key: str, value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str) and value:
        named = f"{key}: x"
        if redact(named) != named:
            return "***"
    return redacted(value, redact)


def bounded(value: Any, most: int = MAX_ROW) -> tuple[Any, bool]:
    """The value in at most ``most`` bytes of JSON, and whether something was left out.

    Lists and objects are cut to fewer and fewer entries, then texts are; the shape stays.
    """
    if len(orjson.dumps(value)) <= most:
        return value, False
    for width in _WIDTHS:
        made = _narrow(value, width)
        if len(orjson.dumps(made)) <= most:
            return made, True
    return _CUT, True


def _narrow(value: Any, width: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _narrow(value[key], width) for key in list(value)[: width * 3]}
    if isinstance(value, list):
        return [_narrow(each, width) for each in value[:width]]
    if isinstance(value, str) and len(value) > width * 20:
        return value[: width * 20] + "…"
    return value
