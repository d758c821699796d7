"""What the simulated exchange has seen: requests, answers, connections.

Owns the numbers; each is changed by the server alone, on its event loop. Refuses timing statistics:
a load test measures at the client.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["CounterSnapshot", "Counters"]

UNKNOWN_KEY = "(unknown)"


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """One moment of the counters.

    `by_route` is keyed by `GET /api/v3/depth`, paths the venue does not have by `(unknown)`;
    `by_key` by API key (`(unknown)` for keys without an account), then route. `answers` is keyed by
    HTTP status, or by `none` for a request that got no complete answer. `errors` is keyed by the
    venue's own word for a refusal (`-1021`, `EAPI:Invalid nonce`). `faults` is keyed by kind.
    A connection is one accepted by the listening socket.
    """

    total: int
    by_route: dict[str, int]
    by_key: dict[str, dict[str, int]]
    in_flight: int
    max_in_flight: int
    connections_opened: int
    connections_open: int
    max_connections_open: int
    answers: dict[str, int]
    errors: dict[str, int]
    faults: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return asdict(self)


@dataclass(slots=True)
class Counters:
    """Invariant: `in_flight` and `connections_open` are never negative and survive `reset()`."""

    total: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    connections_opened: int = 0
    connections_open: int = 0
    max_connections_open: int = 0
    by_route: Counter[str] = field(default_factory=Counter)
    by_key: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def begin(self, route: str, key: str | None) -> None:
        self.total += 1
        self.by_route[route] += 1
        if key is not None:
            self.by_key[(key, route)] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def end(self, status: int | None) -> None:
        self.in_flight -= 1
        self.answers["none" if status is None else str(status)] += 1

    def connected(self) -> None:
        self.connections_opened += 1
        self.connections_open += 1
        self.max_connections_open = max(self.max_connections_open, self.connections_open)

    def disconnected(self) -> None:
        self.connections_open -= 1

    def snapshot(self) -> CounterSnapshot:
        """A copy that does not change any more."""
        by_key: dict[str, dict[str, int]] = {}
        for (key, route), count in self.by_key.items():
            by_key.setdefault(key, {})[route] = count
        return CounterSnapshot(
            total=self.total,
            by_route=dict(self.by_route),
            by_key=by_key,
            in_flight=self.in_flight,
            max_in_flight=self.max_in_flight,
            connections_opened=self.connections_opened,
            connections_open=self.connections_open,
            max_connections_open=self.max_connections_open,
            answers=dict(self.answers),
            errors=dict(self.errors),
            faults=dict(self.faults),
        )

    def reset(self) -> None:
        """Start counting afresh; what is in flight or open stays counted as such."""
        self.total = self.connections_opened = 0
        self.max_in_flight = self.in_flight
        self.max_connections_open = self.connections_open
        for counter in (self.by_route, self.by_key, self.answers, self.errors, self.faults):
            counter.clear()
