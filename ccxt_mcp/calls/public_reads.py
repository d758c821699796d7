"""Public reads, once for everybody who asks the same within a moment.

Owns: which answer a caller gets (a kept one, one under way, a new one) and that none is older than
its bound. Refuses: what belongs to an account, failures (each asks anew), and fetching itself.

The age of an answer counts from when the exchange was asked, not from when it answered: what a
slow exchange sends was true at some moment in between. So an answer under way can be joined only
while it is within the bound, and one that took longer than its bound is kept for nobody.

Where replicas share their answers (``common``), what is kept here comes first; only what would be
asked anew is looked for there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from ccxt_mcp.calls.common_reads import CommonReads
from ccxt_mcp.mechanisms.admission import Slot
from ccxt_mcp.mechanisms.freshness import Entry, FreshCache, Reading, reading
from ccxt_mcp.mechanisms.single_flight import Flight, SingleFlight
from ccxt_mcp.telemetry import RECORDER

__all__ = ["Found", "PublicReads", "Read"]

_ENTRIES = 4096
_BYTES = 8_000_000
"""Of all kept answers as JSON; as Python objects they are about five times as large."""


class Found(StrEnum):
    """Where an answer was."""

    KEPT = "hit"
    UNDER_WAY = "join"
    NEW = "miss"
    COMMON = "shared"
    """Another replica had asked."""


@dataclass(frozen=True, slots=True)
class Read:
    """An answer. ``value`` is shared with other callers: read only.

    ``fetched_at`` is when the exchange was asked, in milliseconds since 1970.
    """

    value: Any
    fetched_at: int
    found: Found

    @property
    def freshness(self) -> dict[str, Any]:
        """What every answer about a market says of its age."""
        return {"fetchedAt": self.fetched_at, "cached": self.found is not Found.NEW}


class PublicReads:
    """Answers by question.

    Args:
        common: the answers of all replicas; None where this process is on its own.
        clock: this moment; for tests.
    """

    def __init__(
        self, common: CommonReads | None = None, *, clock: Callable[[], Reading] = reading
    ) -> None:
        self._common = common
        self._clock = clock
        self._kept: FreshCache[Any] = FreshCache(entries=_ENTRIES, size=_BYTES)
        self._flights: SingleFlight[tuple[Entry[Any], Found]] = SingleFlight()

    async def get(
        self,
        question: tuple[str, str, Hashable],
        max_age: float,
        ask: Callable[[], Coroutine[Any, Any, Any]],
        slot: Slot,
        *,
        keep: float | None = None,
    ) -> Read:
        """An answer that is at most ``max_age`` seconds old.

        Args:
            question: exchange, unified method and everything else that the answer depends on.
            max_age: seconds; 0 asks the exchange, whatever others ask.
            ask: asks it, for all who join.
            slot: this caller's, entered only if it has to ask. While slots are short everybody
                waits in their own line: joined to a question that still waits in another's, a
                caller would stand behind all that the other has asked before.
            keep: seconds for which it is good for anybody; ``max_age`` when omitted.

        Raises:
            Failure: what the asking came to; ``overloaded`` for want of a slot.
        """
        while True:
            now = self._clock()
            there = self._there(question, max_age, now)
            if there is None:
                await slot.__aenter__()
                # Others may have asked while this one waited. From here to the start nothing waits,
                # so the slot has an owner whatever happens.
                now = self._clock()
                there = self._there(question, max_age, now)
                if there is None:
                    return await self._asked(question, max_age, keep, ask, slot)
                slot.release()
            if isinstance(there, Entry):
                RECORDER.get().cache(question[1], Found.KEPT.value)
                return _read(there, Found.KEPT)
            RECORDER.get().cache(question[1], Found.UNDER_WAY.value)
            entry, _ = await self._flights.outcome(question, there)
            # Another replica's answer may be older than the flight that found it.
            if entry.asked.age(now) <= max_age or self._common is None:
                return _read(entry, Found.UNDER_WAY)

    def _there(
        self, question: Hashable, max_age: float, now: Reading
    ) -> Entry[Any] | Flight[tuple[Entry[Any], Found]] | None:
        """The answer to a question that is kept, or else under way, if it is young enough."""
        if max_age <= 0:
            return None
        kept = self._kept.get(question, max_age, now)
        return self._flights.under_way(question, max_age, now) if kept is None else kept

    async def _asked(
        self,
        question: tuple[str, str, Hashable],
        max_age: float,
        keep: float | None,
        ask: Callable[[], Coroutine[Any, Any, Any]],
        slot: Slot,
    ) -> Read:
        now = self._clock()
        if self._common is None:
            RECORDER.get().cache(question[1], Found.NEW.value)
            work = self._fetch(question, now, ask)
        else:
            lasting = max_age if keep is None else keep
            work = self._fetch_for_all(self._common, question, max_age, lasting, ask)
        flight = self._flights.start(question, lambda: work, now)
        # Not by the work itself: a task that is cancelled before its first step never runs.
        flight.task.add_done_callback(lambda _: slot.release())
        return _read(*await self._flights.outcome(question, flight))

    async def _fetch(
        self, question: Hashable, asked: Reading, ask: Callable[[], Coroutine[Any, Any, Any]]
    ) -> tuple[Entry[Any], Found]:
        value = await ask()
        entry = Entry(value, asked, len(orjson.dumps(value)))
        self._kept.put(question, entry)
        return entry, Found.NEW

    async def _fetch_for_all(
        self,
        common: CommonReads,
        question: tuple[str, str, Hashable],
        max_age: float,
        keep: float,
        ask: Callable[[], Coroutine[Any, Any, Any]],
    ) -> tuple[Entry[Any], Found]:
        async def counted() -> Any:
            RECORDER.get().cache(question[1], Found.NEW.value)
            return await ask()

        entry, others = await common.get(question, max_age, keep, counted, self._clock)
        if others:
            RECORDER.get().cache(question[1], Found.COMMON.value)
        self._kept.put(question, entry)
        return entry, Found.COMMON if others else Found.NEW

    def discard(self, question: tuple[str, str, Hashable]) -> None:
        """Forget an answer, for all replicas. What another keeps of its own lives out its moment,
        which is seconds."""
        self._kept.discard(question)
        if self._common is not None:
            self._common.discard(question)

    def snapshot(self) -> dict[str, int]:
        """Numbers for a health page."""
        return {
            "entries": len(self._kept),
            "bytes": self._kept.size,
            "underWay": len(self._flights),
        }

    def __repr__(self) -> str:
        return f"<PublicReads {self._kept!r} {self._flights!r}>"


def _read(entry: Entry[Any], found: Found) -> Read:
    return Read(entry.value, round(entry.asked.wall * 1000), found)
