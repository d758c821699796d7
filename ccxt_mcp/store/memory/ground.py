"""What the parts of a store in memory stand on.

Owns: the clock, faults on order, numbers that only rise, and names that expire. Refuses: to know
what is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Expiring", "Ground"]

V = TypeVar("V")

_SWEEP_EVERY = 1024


class Ground:
    """Shared by the parts of one store.

    Attributes:
        clock: steady seconds.
        trouble: awaited before anything is done; tests let the store fail, hang or be slow by it.
        born: when the store was found empty.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.trouble: Callable[[], Awaitable[None]] | None = None
        # A process that has just begun has given nothing to anybody.
        self.born = -math.inf
        self._numbers = itertools.count(1)

    def number(self) -> int:
        """Above all that were given before."""
        return next(self._numbers)

    async def ready(self) -> None:
        """Before anything is done. Raises what ``trouble`` raises."""
        if self.trouble is not None:
            await self.trouble()


class Expiring(Generic[V]):
    """Values by name, each with an end."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._kept: dict[str, tuple[V, float]] = {}
        self._until_sweep = _SWEEP_EVERY

    def get(self, name: str) -> V | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        if kept[1] <= self._ground.clock():
            del self._kept[name]
            return None
        return kept[0]

    def put(self, name: str, value: V, ttl: float) -> None:
        """Keep it for so long from now, in the place of what was there."""
        self._kept[name] = (value, self._ground.clock() + ttl)
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._until_sweep = max(_SWEEP_EVERY, len(self._kept))
            self.live()

    def pop(self, name: str) -> V | None:
        value = self.get(name)
        self._kept.pop(name, None)
        return value

    def live(self) -> dict[str, V]:
        """All that has not ended; the rest is dropped."""
        now = self._ground.clock()
        for name in [name for name, (_, end) in self._kept.items() if end <= now]:
            del self._kept[name]
        return {name: value for name, (value, _) in self._kept.items()}

    def clear(self) -> None:
        self._kept.clear()
