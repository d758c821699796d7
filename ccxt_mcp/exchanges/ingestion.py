"""Reading market tables from a stream of frames, a millisecond at a time.

Owns: putting together what ``snapshots`` took apart, and finding out that a stream is not whole.
Refuses: pipes and files; whoever reads them feeds the frames and gives way in between.

What is read is never garbage-collected: tables are trees with cross references and no cycles, freed
by reference counts alone. Left to the collector, each large exchange adds 20 ms and more to
every full collection, on the event loop. ``gc.freeze`` would take everything else that happens to
be alive with it, sessions included, and keep the cycles among them for good.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ccxt_mcp.exchanges.snapshots import END, FORMAT, HEAD, TABLE
from ccxt_mcp.exchanges.tables import PASSING_OPTIONS, Tables

__all__ = ["Ingestion", "Unreadable"]


class Unreadable(Exception):
    """Not a complete stream of this format, for the exchange that is expected."""


_MADE: Mapping[str, Callable[[Any, Any], Any]] = {
    "int": lambda _, text: int(text),
    "float": lambda _, text: float(text),
    "pairs": lambda made, _: dict(made),
    "tuple": lambda made, _: tuple(made),
}


class Ingestion:
    """Reads frames one at a time into tables. Each ``feed`` takes about a millisecond.

    Raises ``Unreadable`` for whatever is not in order; what was read so far is then worthless.
    """

    def __init__(self, fingerprint: str, origin: str) -> None:
        self._fingerprint = fingerprint
        self._origin = origin
        self._head: dict[str, Any] | None = None
        self._made: dict[str, dict[str, Any]] = {"attributes": {}, "options": {}}
        self._check = self._count = 0
        self._settle = _settler()
        self.tables: Tables | None = None

    def feed(self, kind: bytes, body: bytes) -> None:
        """Take in one frame; ``tables`` is set by the last one."""
        if self.tables is not None or (self._head is None) is not (kind == HEAD):
            raise Unreadable("a frame stands where it cannot")
        try:
            if kind == TABLE:
                self._check = zlib.crc32(TABLE + body, self._check)
                self._count += 1
                self._take(orjson.loads(body))
            elif kind == HEAD:
                self._begin(orjson.loads(body))
            elif kind == END:
                self._end(orjson.loads(body))
            else:
                raise Unreadable("a frame is of no known kind")
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise Unreadable(f"a frame cannot be read ({type(error).__name__})") from None

    def _begin(self, head: dict[str, Any]) -> None:
        if head["format"] != FORMAT or head["fingerprint"] != self._fingerprint:
            raise Unreadable("it was written for something else")
        float(head["fetchedAt"])
        self._head = head

    def _take(self, body: dict[str, Any]) -> None:
        place, name = body["at"]
        made, kind = self._made[place], body["kind"]
        if kind == "keys":
            made[name] = sorted(self._made["attributes"][body["of"]])
            self._settle(made[name])
            return
        values: list[Any] = body["values"]
        self._settle(body["keys"])
        # Before the patches: what they refer to has been walked already.
        for value in values:
            if type(value) is dict or type(value) is list:
                self._settle(value)
        for path, what, argument in body["patches"]:
            self._patch(values, path, what, argument)
        if kind == "dict":
            made.setdefault(name, {}).update(zip(body["keys"], values, strict=True))
        elif kind == "list":
            made.setdefault(name, []).extend(values)
        else:
            (made[name],) = values

    def _patch(self, values: Any, path: list[Any], what: str, argument: Any) -> None:
        for step in path[:-1]:
            values = values[step]
        last = path[-1]
        if what == "ref":
            table, key = argument
            values[last] = self._made["attributes"][table][key]
        else:
            values[last] = _MADE[what](values[last], argument)

    def _end(self, end: dict[str, Any]) -> None:
        head, attributes = self._head, self._made["attributes"]
        assert head is not None
        if end["frames"] != self._count or end["check"] != self._check:
            raise Unreadable("it is damaged")
        options = self._made["options"]
        for name in PASSING_OPTIONS:
            options.pop(name, None)
        self.tables = Tables(
            attributes,
            options,
            tuple(head["gone"]),
            float(head["fetchedAt"]),
            self._origin,
            int(head["markets"]),
            int(head["requests"]),
        )


def _settler() -> Callable[[Any], None]:
    """A function that settles a tree of new containers in memory: out of the garbage collector's
    sight, and with one object for each text, however often it occurs (a quarter of the memory).

    ``PyObject_GC_UnTrack`` is part of CPython's stable interface; an interpreter without it loses
    nothing but the saving.
    """
    release: Any = None
    if sys.implementation.name == "cpython":
        import ctypes

        release = ctypes.pythonapi.PyObject_GC_UnTrack
        release.argtypes, release.restype = [ctypes.py_object], None
    texts: dict[str, str] = {}
    same = texts.setdefault

    def settle(value: Any) -> None:
        stack = [value]
        while stack:
            each = stack.pop()
            if release is not None:
                release(each)
            for key, inner in each.items() if type(each) is dict else enumerate(each):
                kind = type(inner)
                if kind is str:
                    each[key] = same(inner, inner)
                elif kind is dict or kind is list:
                    stack.append(inner)

    return settle
