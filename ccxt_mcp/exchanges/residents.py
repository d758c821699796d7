"""Which exchanges stay in memory.

Owns: the order of use, and whom to send away when there are too many. Refuses: taking anything
apart (an exchange room does that itself), and whoever is in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Protocol

__all__ = ["Resident", "Residents"]


class Resident(Protocol):
    """What can be sent away."""

    @property
    def idle(self) -> bool:
        """Whether nobody uses it or waits for it."""
        ...

    def shed(self) -> Coroutine[Any, Any, None]:
        """Let go of everything that takes memory or a connection: of what is reachable at once, so
        that a new use cannot meet it, of the rest in the coroutine. Coming back is possible."""
        ...


class Residents:
    """At most ``most`` exchanges in memory, unless more are in use at once.

    Mutable: ``_order`` (least recently used first), ``_tasks`` (departures under way).
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._order: dict[Resident, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._order)

    def used(self, resident: Resident) -> None:
        """Somebody wants it; it is, or is about to be, in memory."""
        self._order.pop(resident, None)
        self._order[resident] = None
        if len(self._order) > self._most:
            self.trim(sparing=resident)

    def trim(self, *, sparing: Resident | None = None) -> None:
        """Send away the least recently used that are idle, as long as there are too many."""
        if len(self._order) <= self._most:
            return
        for resident in list(self._order):
            if resident is sparing or not resident.idle:
                continue
            del self._order[resident]
            task = asyncio.get_running_loop().create_task(resident.shed(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if len(self._order) <= self._most:
                return

    async def close(self) -> None:
        """Wait for departures under way."""
        self._order.clear()
        await asyncio.gather(*self._tasks)
