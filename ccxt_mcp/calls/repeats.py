"""Answers that are given again as they were written.

Owns: which calls ask the same (one tool, the same arguments to the byte), and what is remembered of
their answers, within bounds. Refuses: judging how old an answer may be: whoever has it given again
asks ``public_reads`` first whether the read that it was made of would be given again; and answers
that are made of more than the arguments, what an exchange lists and one public read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ccxt_mcp.calls.policy import operation
from ccxt_mcp.calls.public_reads import Read
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.mechanisms.freshness import Entry, FreshCache

if TYPE_CHECKING:
    from ccxt_mcp.calls.pipeline import Call, Calls

__all__ = ["Origin", "Repeats", "Written", "spelled"]

_ENTRIES = 1024
_BYTES = 2_000_000
"""Of all answers as JSON. What they are made of is mostly in ``public_reads`` anyway."""

Written = tuple[dict[str, Any], str]
"""A result and the same as JSON. Shared by everybody who gets it: read only."""


@dataclass(frozen=True, slots=True)
class Origin:
    """All that an answer was made of besides the arguments of its call.

    Attributes:
        listing: where symbols and timeframes were looked up.
        method: what was read.
        read: what came.
        max_age: the oldest read that the arguments allow now, in seconds; None for the table's.
    """

    listing: Listing
    method: str
    read: Read
    max_age: Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class _Told:
    origin: Origin
    written: Written


def spelled(tool: str, arguments: Any) -> bytes | None:
    """A call as the key of its answer; None for arguments that are none of a tool's."""
    try:
        return orjson.dumps((tool, arguments))
    except TypeError:
        return None


class Repeats:
    """Answers by call."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._told: FreshCache[_Told] = FreshCache(entries=_ENTRIES, size=_BYTES)

    @property
    def size(self) -> int:
        """Bytes of all that is remembered, as JSON."""
        return self._told.size

    def again(self, call: Call, key: bytes | None) -> Written | None:
        """The answer to a call, if it would be the same if it were made anew."""
        if key is None:
            return None
        kept = self._told.find(key)
        if kept is None:
            return None
        origin = kept.value.origin
        exchange = origin.listing.exchange
        step = operation(origin.method)
        if self._calls.gateway.listing(exchange) is not origin.listing:
            return None
        if not self._calls.reads.stands(origin.read, step.within(origin.max_age())):
            return None
        call.exchange, call.operation = exchange, step.name
        return kept.value.written

    def keep(self, key: bytes | None, origin: Origin, written: Written) -> None:
        """Remember an answer, if it says that its read was a kept one: so would its repetition."""
        entry = origin.read.entry
        if key is not None and entry is not None:
            told = _Told(origin, written)
            self._told.put(key, Entry(told, entry.asked, len(key) + len(written[1])))
