"""How much all sessions of a process keep of what they said, for clients that read on.

Owns: the sum, and who loses when it is too much: the caller whose sessions keep most, and of those
the one that keeps most; the older half of what it keeps goes, then the next one's. A caller that
floods so loses its own, long before others do. Refuses: what one session keeps (``events.py``),
and to tell of the loss: whoever comes for what is gone is told (``Events.find``), and whoever was
reading it is cut off, which makes it come (``reading.py``, ``resuming.py``).
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Caller", "Keeper", "Room"]

Caller = tuple[str, str | None]
"""(principal's name, client address): what one of them keeps counts together."""


class Keeper(Protocol):
    """What of a session's events the room sees."""

    @property
    def size(self) -> int:
        """Bytes that it keeps."""

    def give_up(self, *, spare_newest: bool) -> None:
        """Let the older half go, at least one event; the newest one not where it is spared."""


class Room:
    """Mutable: ``size`` (what all keepers keep, above ``limit`` only where one newest event is),
    ``_keepers`` (those that keep anything, by their callers).

    Args:
        limit: bytes of all keepers.
    """

    __slots__ = ("_keepers", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._keepers: dict[Caller, dict[Keeper, None]] = {}

    def changed(self, caller: Caller, keeper: Keeper, change: int) -> None:
        """A keeper keeps so many bytes more, or less; its own size says so already."""
        self.size += change
        if keeper.size == change:
            self._keepers.setdefault(caller, {})[keeper] = None
        elif not keeper.size:
            of_caller = self._keepers[caller]
            del of_caller[keeper]
            if not of_caller:
                del self._keepers[caller]

    def make_room(self, newest: Keeper) -> None:
        """Bring the sum below the limit, some way below, so that it is not done for every event.

        Args:
            newest: keeps the newest event of all, which stays: it may be a reply that nobody has
                yet.
        """
        enough = self.limit - self.limit // 64
        before = None
        while self.size > self.limit and self.size != before:
            before = self.size
            for keepers in sorted(self._keepers.values(), key=_sum, reverse=True):
                for keeper in sorted(keepers, key=_size, reverse=True):
                    keeper.give_up(spare_newest=keeper is newest)
                    if self.size <= enough:
                        return

    def __repr__(self) -> str:
        return f"<Room {self.size} of {self.limit} bytes, {len(self._keepers)} callers>"


def _size(keeper: Keeper) -> int:
    return keeper.size


def _sum(keepers: dict[Keeper, None]) -> int:
    return sum(map(_size, keepers))
