"""Who waits for a rate limit: in which order, until when, and what they are refused with.

Owns: the fair queue of the waiters, their deadlines, the time before which nobody is granted
anything, and the refusals: ``rate_limited`` for what cannot be granted before its deadline,
``overloaded`` for a full queue. Refuses: to know what is left, and so whom to grant and when; that
is the limiter's, which has a ledger (``rate_limit``) or asks a store (``cluster.limiter``).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.fair_queue import FairQueue
from ccxt_mcp.mechanisms.ledger import Rules

__all__ = ["Waiter", "WaitingLine", "penalty"]

C = TypeVar("C")

_PATIENCE = 3.0
"""Seconds that a flow is put back at most for what it asked for before."""
_MOMENT = 0.1
"""Seconds that a request is told to wait at least whose call ended while it waited."""
_MOST_STRIKES = 16


@dataclass(slots=True, eq=False)
class Waiter(Generic[C]):
    """Who waits for a charge. ``turn`` is decided by whoever takes it out of the queue."""

    flow: Hashable
    cost: float
    turn: asyncio.Future[C]
    deadline: float | None
    expiry: asyncio.TimerHandle | None = None


class WaitingLine(ABC, Generic[C]):
    """What limiters have in common: their line of waiters. They add whom to grant, and when.

    Args:
        rules: what may be spent.
        name: what is limited, for refusals (``binance request weight``).
        queue_max: how many may wait.

    Bound to the event loop that it is made in; times are that loop's. Invariants, between awaits: a
    waiter's turn is undecided exactly while it is in ``_queue``; nothing is granted while
    ``_blocked`` lies ahead, and nobody waits whose deadline is before that.
    """

    def __init__(self, rules: Rules, *, name: str, queue_max: int) -> None:
        self.name = name
        self.queue_max = queue_max
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._queue: FairQueue[Waiter[C]] = FairQueue()
        self._blocked = 0.0
        self._granted = 0
        self._refused = 0

    # What a limiter says of itself

    @abstractmethod
    def take(self, cost: float) -> C | None:
        """A charge if it is to be had this moment, past nobody."""

    @abstractmethod
    def refund(self, charge: C) -> None:
        """The request of this charge was never sent."""

    @abstractmethod
    def _counted(self) -> float:
        """Units that count now, of the longest window."""

    @abstractmethod
    def _wait(self, ahead: float, cost: float, now: float) -> float:
        """Seconds until ``cost`` may be granted behind so much; never below ``blocked``."""

    @abstractmethod
    def _proceed(self) -> None:
        """The line has changed: see to whoever is first now, or that nobody is."""

    # What all of them share

    @property
    def waiting(self) -> int:
        """How many wait here."""
        return len(self._queue)

    @property
    def blocked(self) -> float:
        """Seconds for which nothing is granted, as far as is known here."""
        return max(0.0, self._blocked - self._loop.time())

    async def acquire(self, cost: float, flow: Hashable = None, deadline: float | None = None) -> C:
        """A charge, as soon as it is this one's turn.

        Args:
            cost: units. More than the burst or a window is granted when all of it is free.
            flow: on whose behalf. Flows are served in turns by cost, each in order of arrival.
            deadline: when it has to be granted (event-loop time); ``None`` waits.

        Raises:
            Failure: ``rate_limited``, with the wait, as soon as it is clear that the deadline
                cannot be met; ``overloaded`` when too many wait; ``store_unavailable`` where a
                store that keeps the count cannot be asked. Nothing is charged then, nor when the
                caller is cancelled.
        """
        charge = self.take(cost)
        return await self.queue(cost, flow, deadline) if charge is None else charge

    async def queue(self, cost: float, flow: Hashable = None, deadline: float | None = None) -> C:
        """As ``acquire``, for whom ``take`` had nothing just now: the turn comes by the line."""
        waiter = self._enqueue(cost, flow, deadline)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            turn = waiter.turn
            if turn.cancelled() or not turn.done():
                if self._queue.remove(flow, waiter):
                    self._proceed()
            elif turn.exception() is None:
                # Granted in the same step of the loop as the cancellation.
                self.refund(turn.result())
            raise
        finally:
            if waiter.expiry is not None:
                waiter.expiry.cancel()

    def keep_back(self, when: float) -> None:
        """Grant nothing here before ``when``. Who cannot wait so long is refused at once."""
        if when > self._blocked:
            self._blocked = when
            self._refuse_before(when)
            self._proceed()

    def snapshot(self) -> dict[str, Any]:
        """The limiter's state as JSON values: who waits here, and what is used in all."""
        rules = self._rules
        return {
            "used": round(self._counted(), 3),
            "limit": max((window.limit for window in rules.windows), default=rules.burst),
            "waiting": self.waiting,
            "blockedMs": round(self.blocked * 1000),
            "granted": self._granted,
            "refused": self._refused,
        }

    def _enqueue(self, cost: float, flow: Hashable, deadline: float | None) -> Waiter[C]:
        loop, queue, now = self._loop, self._queue, self._loop.time()
        if len(queue) >= self.queue_max:
            self._refused += 1
            raise Failure(
                Code.OVERLOADED,
                f"{self.queue_max} requests already wait for the {self.name}",
                retry_after=self._wait(queue.cost, cost, now),
            )
        if deadline is not None:
            # Behind everybody is the latest that it can be; only if that is too late does it
            # matter who is ahead.
            wait = self._wait(queue.cost, cost, now)
            if now + wait > deadline and queue:
                wait = self._wait(queue.ahead(flow), cost, now)
            if now + wait > deadline:
                self._refused += 1
                raise self._too_slow(wait)
        waiter: Waiter[C] = Waiter(flow, cost, loop.create_future(), deadline)
        if deadline is not None:
            waiter.expiry = loop.call_at(deadline, self._expire, waiter)
        queue.push(flow, cost, waiter)
        queue.bound(_PATIENCE * self._rules.rate / queue.active)
        self._proceed()
        return waiter

    def _expire(self, waiter: Waiter[C]) -> None:
        if not waiter.turn.done():
            wait = self._wait(self._queue.ahead(None), 0.0, self._loop.time())
            # Its turn may have been the next one: to try again at once would be to come too early.
            self._refuse(waiter, self._too_slow(max(wait, _MOMENT)))
            self._proceed()

    def _refuse_before(self, when: float) -> None:
        """Refuse those for whom nothing before ``when`` is too late. ``_proceed`` is due then."""
        for waiter in list(self._queue):
            if waiter.deadline is not None and waiter.deadline < when:
                self._refuse(waiter, self._too_slow(when - self._loop.time()))

    def _refuse_all(self, failure: Failure) -> None:
        """Refuse everybody, each with a failure of their own. ``_proceed`` is due then."""
        for waiter in list(self._queue):
            self._refuse(waiter, failure.again())

    def _refuse(self, waiter: Waiter[C], failure: Failure) -> None:
        self._queue.remove(waiter.flow, waiter)
        if not waiter.turn.done():
            self._refused += 1
            waiter.turn.set_exception(failure)

    def _too_slow(self, wait: float) -> Failure:
        state = "blocked by the exchange" if self.blocked > 0 else "used up"
        return Failure(
            Code.RATE_LIMITED,
            f"the {self.name} is {state}: the request would have to wait {wait:.1f}s, longer than"
            " the call may take",
            retry_after=wait,
        )


def penalty(strikes: int, first: float, longest: float) -> tuple[float, int]:
    """For how long to keep back after one refusal more that did not say, and how many there have
    been then: ``first`` seconds, twice that each time, and ``longest`` at most."""
    return min(first * 2.0**strikes, longest), min(strikes + 1, _MOST_STRIKES)
