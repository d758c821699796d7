"""Market tables as a stream of small frames.

Owns: the format, and writing it (the helper process does). Refuses: reading it (``ingestion``),
pipes, files, and any type that is not plain data.

A frame is a length (4 bytes, big-endian), a kind (1 byte) and JSON. A table is spread over frames
that take about a millisecond to read, so that the reader's event loop never waits for longer.
JSON, because reading it can do nothing but make plain values. What JSON cannot say is patched in:
references (``markets_by_id`` holds the very objects of ``markets``, which halves the memory), and
the odd values: integers beyond 64 bits, keys that are not text, tuples, infinities.

CCXT keeps two versions of a market, one merged with the exchange's defaults (``markets``) and the
raw one (``markets_by_id``), which lacks what the defaults fill in. Where that is their only
difference, one object serves both, as CCXT's other languages do.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import orjson

from ccxt_mcp.exchanges.tables import Tables

__all__ = ["END", "FORMAT", "HEAD", "MAX_FRAME", "TABLE", "Unsendable", "fills", "frame", "write"]

FORMAT = 1
"""To be raised whenever a reader of the old form would misread the new one."""

SLICE_BYTES = 64 * 1024
_PER_ENTRY = 40
MAX_FRAME = 64 * 1024 * 1024
"""Longer than any table entry; a greater length means that what is read is no such stream."""

HEAD, TABLE, END = b"H", b"T", b"E"

_REFERENCED = ("markets", "currencies")
"""Tables whose entries other tables refer to; written first."""


class Unsendable(Exception):
    """A table holds what is no plain data. The text says where."""


def frame(kind: bytes, body: Any) -> bytes:
    """One frame; ``body`` as JSON values, or as JSON already."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return b"%b%b%b" % ((len(data) + 1).to_bytes(4, "big"), kind, data)


def write(tables: Tables, fingerprint: str) -> Iterator[bytes]:
    """The frames of tables. Raises ``Unsendable``."""
    head = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "fetchedAt": tables.fetched_at,
        "markets": tables.markets,
        "requests": tables.requests,
        "gone": list(tables.gone),
    }
    yield frame(HEAD, head)
    known = _Known(tables.attributes)
    check = count = 0
    attributes = tables.attributes
    order = [name for name in _REFERENCED if name in attributes]
    order += [name for name in attributes if name not in _REFERENCED]
    places = [("attributes", name, attributes[name]) for name in order]
    places += [("options", name, value) for name, value in tables.options.items()]
    for place, name, value in places:
        for body in _slices(place, name, value, known):
            data = TABLE + body
            check = zlib.crc32(data, check)
            count += 1
            yield frame(TABLE, body)
    yield frame(END, {"frames": count, "check": check})


class _Known:
    """The objects that are written once and referred to afterwards."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._by_identity: dict[int, tuple[str, str]] = {}
        for table in _REFERENCED:
            entries = attributes.get(table)
            for key, value in entries.items() if isinstance(entries, dict) else ():
                if type(key) is str and type(value) is dict:
                    self._by_identity[id(value)] = (table, key)
        self._entries = attributes
        for index, table, key in (
            ("markets_by_id", "markets", "symbol"),
            ("currencies_by_id", "currencies", "code"),
            ("baseCurrencies", "currencies", "code"),
            ("quoteCurrencies", "currencies", "code"),
        ):
            self._adopt(attributes.get(index), table, key)

    def _adopt(self, index: Any, table: str, key: str) -> None:
        """Take an index's objects for the table's where they say the same."""
        entries = self._entries.get(table)
        if not isinstance(index, dict) or not isinstance(entries, dict):
            return
        for value in index.values():
            for each in value if type(value) is list else (value,):
                if type(each) is not dict or id(each) in self._by_identity:
                    continue
                name = each.get(key)
                full = entries.get(name) if type(name) is str else None
                if type(full) is dict and type(name) is str and fills(each, full):
                    self._by_identity[id(each)] = (table, name)

    def find(self, value: Any) -> tuple[str, str] | None:
        return self._by_identity.get(id(value))

    def keys_of(self, value: list[Any]) -> str | None:
        """The table whose keys, sorted, a list consists of."""
        for table in ("markets", "markets_by_id", "currencies"):
            entries = self._entries.get(table)
            if isinstance(entries, dict) and len(entries) == len(value) > 0:
                try:
                    if sorted(entries) == value:
                        return table
                except TypeError:
                    continue
        return None


def fills(raw: Any, full: Any) -> bool:
    """Whether ``full`` is ``raw`` with nothing changed but absences filled in."""
    if type(raw) is dict and type(full) is dict:
        return all(value is None or fills(value, full.get(key)) for key, value in raw.items())
    return type(raw) is type(full) and bool(raw == full)


def _slices(place: str, name: str, value: Any, known: _Known) -> Iterator[bytes]:
    where = f"{place}.{name}"
    if type(value) is list and (table := known.keys_of(value)) is not None:
        yield orjson.dumps({"at": [place, name], "kind": "keys", "of": table})
        return
    kind = "dict" if type(value) is dict else "list" if type(value) is list else "value"
    if kind == "dict" and any(type(key) is not str for key in value):
        kind = "value"
    entries: Iterator[tuple[Any, Any]] = iter(
        value.items() if kind == "dict" else enumerate(value) if kind == "list" else [(0, value)]
    )
    in_itself = name in _REFERENCED and place == "attributes"
    keys: list[str] = []
    values: list[bytes] = []
    patches: list[list[Any]] = []
    size = 0
    empty = True
    for key, entry in entries:
        found: list[list[Any]] = []
        reference = None if in_itself else known.find(entry)
        if reference is not None:
            found.append([[], "ref", list(reference)])
            plain: Any = None
        else:
            plain = _plain(entry, f"{where}.{key}", found, [], None if in_itself else known)
        patches += [[[len(values), *path], what, argument] for path, what, argument in found]
        data = orjson.dumps(plain)
        if kind == "dict":
            keys.append(key)
        values.append(data)
        size += len(data) + _PER_ENTRY * (1 + len(found))
        if size >= SLICE_BYTES:
            yield _slice(place, name, kind, keys, values, patches)
            keys, values, patches, size, empty = [], [], [], 0, False
    if values or empty:
        yield _slice(place, name, kind, keys, values, patches)


def _slice(
    place: str, name: str, kind: str, keys: list[str], values: list[bytes], patches: list[list[Any]]
) -> bytes:
    head = orjson.dumps({"at": [place, name], "kind": kind, "keys": keys, "patches": patches})
    return b'%b,"values":[%b]}' % (head[:-1], b",".join(values))


def _plain(
    value: Any, where: str, patches: list[list[Any]], path: list[Any], known: _Known | None
) -> Any:
    """``value`` as JSON can say it; what it cannot is noted in ``patches``."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        if -(2**63) <= value < 2**64:
            return value
        patches.append([path, "int", str(value)])
        return None
    if kind is float:
        if isfinite(value):
            return value
        patches.append([path, "float", repr(value)])
        return None
    if len(path) > 64:
        raise Unsendable(f"{where} is nested too deeply")
    if path and known is not None and (reference := known.find(value)) is not None:
        patches.append([path, "ref", list(reference)])
        return None
    if kind is dict:
        if all(type(key) is str for key in value):
            return {k: _plain(v, where, patches, [*path, k], known) for k, v in value.items()}
        pairs = [[key, entry] for key, entry in value.items()]
        made = _plain(pairs, where, patches, path, known)
        patches.append([path, "pairs", None])
        return made
    if kind is list or kind is tuple:
        made = [_plain(v, where, patches, [*path, i], known) for i, v in enumerate(value)]
        if kind is tuple:
            patches.append([path, "tuple", None])
        return made
    raise Unsendable(f"{where} holds a value of the type {kind.__name__}")
