"""Values that are good for a moment, kept within bounds.

Owns: how old a value is, whatever the clocks do, which values are kept, and which make room.
Refuses: fetching (``single_flight`` does it once for many), and knowing what a value is.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Entry", "FreshCache", "Reading", "reading"]

_T = TypeVar("_T")


class Reading(NamedTuple):
    """One moment on two clocks, in seconds: one that never jumps, and POSIX time."""

    steady: float
    wall: float

    def age(self, now: Reading) -> float:
        """Seconds from this moment to ``now``, rather too many than too few.

        The steady clock stands still while a machine sleeps, the wall clock may be set: what either
        of them says is old counts as old.
        """
        return max(now.steady - self.steady, now.wall - self.wall)


def reading() -> Reading:
    """This moment."""
    return Reading(time.monotonic(), time.time())


@dataclass(frozen=True, slots=True)
class Entry(Generic[_T]):
    """A value and when it was asked for; shared by everybody who gets it: read only."""

    value: _T
    asked: Reading
    size: int


class FreshCache(Generic[_T]):
    """The values used most lately.

    Args:
        entries: most values.
        size: most of their sizes together, in the caller's unit. A value that is larger than a
            quarter of it is not kept.

    Mutable: ``_entries`` (least lately used first), ``_size`` (the sum of theirs).
    """

    def __init__(self, *, entries: int, size: int) -> None:
        self._most = entries
        self._largest = size
        self._entries: OrderedDict[Hashable, Entry[_T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """The sizes of all values together."""
        return self._size

    def get(self, key: Hashable, max_age: float, now: Reading) -> Entry[_T] | None:
        """The value, if it is at most ``max_age`` seconds old."""
        entry = self._entries.get(key)
        if entry is None or entry.asked.age(now) > max_age:
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: Hashable, entry: Entry[_T]) -> None:
        """Keep a value, unless a younger one is there already."""
        old = self._entries.get(key)
        if old is not None and old.asked.steady > entry.asked.steady:
            return
        self._drop(key)
        if entry.size > self._largest // 4:
            return
        self._entries[key] = entry
        self._size += entry.size
        while len(self._entries) > self._most or self._size > self._largest:
            self._drop(next(iter(self._entries)))

    def discard(self, key: Hashable) -> None:
        """Forget a value, if it is there."""
        self._drop(key)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size

    def __repr__(self) -> str:
        return f"<FreshCache {len(self._entries)} entries, {self._size} of {self._largest}>"
