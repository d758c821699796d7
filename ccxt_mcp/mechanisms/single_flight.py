"""One piece of work for everybody who wants its outcome at the same time.

Owns: the task that does the work, and its end when nobody wants it any more. Refuses: keeping
outcomes (``freshness`` does), and passing one waiter's cancellation to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import anyio

from ccxt_mcp.errors import Failure
from ccxt_mcp.mechanisms.freshness import Reading

__all__ = ["Flight", "SingleFlight"]

_T = TypeVar("_T")

_TO_END = 1.0
"""Seconds that cancelled work gets to give back what it holds."""


class Flight(Generic[_T]):
    """Work under way since ``began``. ``waiters`` is how many want its outcome, never negative."""

    __slots__ = ("began", "task", "waiters")

    def __init__(self, work: Coroutine[Any, Any, _T], began: Reading) -> None:
        self.began = began
        self.waiters = 0
        self.task: asyncio.Task[_T | Failure] = asyncio.create_task(_outcome(work))


async def _outcome(work: Coroutine[Any, Any, _T]) -> _T | Failure:
    # A Failure is returned, not raised: it has many readers, and an exception that is raised in
    # several places at once collects the frames of all of them.
    try:
        return await work
    except Failure as failure:
        return failure.with_traceback(None)


class SingleFlight(Generic[_T]):
    """Flights by key.

    Mutable: ``_flights``, of each key the one that others may join. Each is there from its start
    to its end, unless a younger one has taken its place or its last waiter has left.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[_T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def under_way(self, key: Hashable, max_age: float, now: Reading) -> Flight[_T] | None:
        """The flight that can be joined, if it began at most ``max_age`` seconds ago."""
        flight = self._flights.get(key)
        return None if flight is None or flight.began.age(now) > max_age else flight

    def start(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, _T]], now: Reading
    ) -> Flight[_T]:
        """Begin the work; from now on it can be joined."""
        flight = self._flights[key] = Flight(work(), now)
        flight.task.add_done_callback(lambda _: self._forget(key, flight))
        return flight

    async def outcome(self, key: Hashable, flight: Flight[_T]) -> _T:
        """Wait for a flight. The last waiter that leaves ends it; any other ends its own wait.

        Raises:
            Failure: the work's, one of the waiter's own.
            CancelledError: the waiter was cancelled, or the flight was, by nobody who waits.
        """
        flight.waiters += 1
        try:
            await asyncio.wait([flight.task])
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                flight.task.cancel()
                self._forget(key, flight)
                # What the work held is given back before its last caller hears of the end.
                with anyio.CancelScope(shield=True):
                    await asyncio.wait([flight.task], timeout=_TO_END)
        outcome = flight.task.result()
        if isinstance(outcome, Failure):
            raise outcome.again()
        return outcome

    def _forget(self, key: Hashable, flight: Flight[_T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            # Whoever still waits reads it too; with nobody left, asyncio would log it.
            flight.task.exception()

    def __repr__(self) -> str:
        waiting = sum(flight.waiters for flight in self._flights.values())
        return f"<SingleFlight {len(self._flights)} under way, {waiting} waiting>"
