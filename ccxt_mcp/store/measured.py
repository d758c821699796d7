"""A store whose round trips are counted and timed.

Owns: the numbers, and whether the store is there as the last answer tells. Refuses: to change what
is asked or answered.

The parts are wrapped by name: whatever coroutine a part offers is a round trip, and a part that is
extended is measured without a word here.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.store.protocol import (
    Budgets,
    Leases,
    Logs,
    Mail,
    Nodes,
    Records,
    Roster,
    Store,
    Values,
)

__all__ = ["BUCKETS", "Measured", "Trips"]

BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Upper bounds in seconds."""

_NO_TRIPS = frozenset(("listen", "unlisten"))


class Trips:
    """Round trips of one process.

    Mutable, only growing: ``counts`` (by operation, such as ``leases.claim``: one number for each
    of ``BUCKETS`` and one for what took longer), ``seconds`` (by operation), ``failed`` (by
    operation). ``reached``: an answer has come at some time; ``_away_since``: steady seconds of the
    first failure since the last answer.
    """

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        self.seconds: dict[str, float] = {}
        self.failed: dict[str, int] = {}
        self.reached = False
        self._away_since: float | None = None

    def __repr__(self) -> str:
        return f"<Trips {sum(map(sum, self.counts.values()))} {'up' if self.up else 'away'}>"

    @property
    def up(self) -> bool:
        """Whether the store answered when it was asked last."""
        return self.reached and self._away_since is None

    @property
    def away(self) -> float:
        """Seconds for which it has not answered."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    @property
    def total(self) -> int:
        """All that were answered."""
        return sum(map(sum, self.counts.values()))

    def answered(self, operation: str, seconds: float) -> None:
        """One has been answered."""
        self.reached, self._away_since = True, None
        counts = self.counts.get(operation)
        if counts is None:
            counts = self.counts[operation] = [0] * (len(BUCKETS) + 1)
            self.seconds[operation] = 0.0
        place = 0
        for bound in BUCKETS:
            if seconds <= bound:
                break
            place += 1
        counts[place] += 1
        self.seconds[operation] += seconds

    def not_answered(self, operation: str) -> None:
        """The store was away, or too slow."""
        if self._away_since is None:
            self._away_since = time.monotonic()
        self.failed[operation] = self.failed.get(operation, 0) + 1

    def snapshot(self) -> Mapping[str, Any]:
        """Numbers for ``/metrics``."""
        return {
            "up": self.up,
            "buckets": BUCKETS,
            "counts": {name: tuple(counts) for name, counts in self.counts.items()},
            "seconds": dict(self.seconds),
            "failed": dict(self.failed),
        }


class _Part:
    """A part of the store. Mutable: its own attributes, each method as it is first asked for."""

    def __init__(self, part: Any, name: str, trips: Trips) -> None:
        self._part = part
        self._name = name
        self._trips = trips

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if inspect.iscoroutinefunction(method) and name not in _NO_TRIPS:
            method = _timed(method, f"{self._name}.{name}", self._trips)
        setattr(self, name, method)
        return method


def _timed(method: Callable[..., Any], operation: str, trips: Trips) -> Callable[..., Any]:
    async def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            answer = await method(*args, **kwargs)
        except Failure as failure:
            if failure.code is Code.STORE_UNAVAILABLE:
                trips.not_answered(operation)
            raise
        trips.answered(operation, time.perf_counter() - began)
        return answer

    return timed


class Measured:
    """A ``Store``, the same as ``store``.

    Args:
        store: what is measured.
        trips: told of every round trip.
    """

    def __init__(self, store: Store, trips: Trips) -> None:
        self.store = store
        self.leases = cast(Leases, _Part(store.leases, "leases", trips))
        self.records = cast(Records, _Part(store.records, "records", trips))
        self.roster = cast(Roster, _Part(store.roster, "roster", trips))
        self.values = cast(Values, _Part(store.values, "values", trips))
        self.budgets = cast(Budgets, _Part(store.budgets, "budgets", trips))
        self.logs = cast(Logs, _Part(store.logs, "logs", trips))
        self.mail = cast(Mail, _Part(store.mail, "mail", trips))
        self.nodes = cast(Nodes, _Part(store.nodes, "nodes", trips))
        self.ping = cast(Callable[[], Any], _timed(store.ping, "ping", trips))
        self.evicts = cast(Callable[[], Any], _timed(store.evicts, "evicts", trips))

    def __repr__(self) -> str:
        return f"<Measured {self.store!r}>"

    async def open(self) -> None:
        """As the store's."""
        await self.store.open()

    async def close(self) -> None:
        """As the store's."""
        await self.store.close()
