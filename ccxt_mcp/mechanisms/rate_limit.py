"""One budget, shared by all who spend it: at once if it fits, else in a fair queue.

Owns: who is granted what and when (on top of ``ledger.py``'s arithmetic and ``fair_queue.py``'s
order), the one timer for the head of the queue, and the refusals: ``rate_limited`` for what cannot
be granted before its deadline, ``overloaded`` for a full queue. Refuses: to know what is asked for,
exchanges, MCP.

A charge has a life: granted (``acquire``, ``take``, ``force``), then either ``refund`` (its request
was never sent) or ``sent`` and, once it is answered, ``settle``. Whoever takes one ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.fair_queue import FairQueue
from ccxt_mcp.mechanisms.ledger import Charge, Ledger, Rules, Window

__all__ = ["Charge", "Limiter", "Rules", "Window"]

_PATIENCE = 3.0
"""Seconds that a flow is put back at most for what it asked for before."""
_STEP = 0.001
"""Seconds between looks at least: what a loop's timers can tell apart (uvloop counts in ms)."""
_SOON = 1e-6
"""Seconds that a loop's clock and a sum of floats may be apart."""


_MOMENT = 0.1
"""Seconds that a request is told to wait at least whose call ended while it waited."""


@dataclass(slots=True, eq=False)
class _Waiter:
    flow: Hashable
    turn: asyncio.Future[Charge]
    deadline: float | None
    expiry: asyncio.TimerHandle | None = None


class Limiter:
    """A rate limit.

    Args:
        rules: what may be spent.
        name: what is limited, for refusals (``binance request weight``).
        queue_max: how many may wait.

    Bound to the event loop that it is made in; times are that loop's. Invariants, between awaits: a
    waiter's turn is undecided exactly while it is in ``_queue``; while anybody waits a timer is set
    that is not later than the head's grant; nothing is granted while ``_blocked`` lies ahead.
    """

    def __init__(self, rules: Rules, *, name: str, queue_max: int = 1000) -> None:
        self.name = name
        self.queue_max = queue_max
        self._loop = asyncio.get_running_loop()
        self._ledger = Ledger(rules, self._loop.time())
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._blocked = 0.0
        self._strikes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._granted = 0
        self._refused = 0

    def __repr__(self) -> str:
        return f"<Limiter {self.name!r} waiting={self.waiting} {self._ledger!r}>"

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def blocked(self) -> float:
        """Seconds for which nothing is granted."""
        return max(0.0, self._blocked - self._loop.time())

    @property
    def idle(self) -> bool:
        """Nobody waits, nothing is blocked, nothing is remembered."""
        now = self._loop.time()
        self._ledger.advance(now)
        return not self._queue and self._blocked <= now and self._ledger.idle

    def take(self, cost: float) -> Charge | None:
        """A charge if it is to be had this moment, past nobody."""
        if self._queue:
            return None
        now = self._loop.time()
        if now < self._blocked:
            return None
        ledger = self._ledger
        ledger.advance(now)
        if not ledger.fits(cost):
            return None
        self._granted += 1
        return ledger.take(cost)

    def force(self, cost: float) -> Charge:
        """A charge whether it fits or not, for requests that do not wait."""
        self._ledger.advance(self._loop.time())
        self._granted += 1
        return self._ledger.take(cost)

    async def acquire(
        self, cost: float, flow: Hashable = None, deadline: float | None = None
    ) -> Charge:
        """A charge, as soon as it is this one's turn.

        Args:
            cost: units. More than the burst or a window is granted when all of it is free.
            flow: on whose behalf. Flows are served in turns by cost, each in order of arrival.
            deadline: when it has to be granted (event-loop time); ``None`` waits.

        Raises:
            Failure: ``rate_limited``, with the wait, as soon as it is clear that the deadline
                cannot be met; ``overloaded`` when too many wait. Nothing is charged then, nor when
                the caller is cancelled.
        """
        charge = self.take(cost)
        if charge is not None:
            return charge
        waiter = self._enqueue(cost, flow, deadline)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            turn = waiter.turn
            if turn.cancelled() or not turn.done():
                if self._queue.remove(flow, waiter):
                    self._pump()
            elif turn.exception() is None:
                # Granted in the same step of the loop as the cancellation.
                self.refund(turn.result())
            raise
        finally:
            if waiter.expiry is not None:
                waiter.expiry.cancel()

    def sent(self, charge: Charge) -> None:
        """The request of this charge goes out now."""
        self._ledger.sent(charge, self._loop.time())

    def settle(self, charge: Charge) -> None:
        """The request of this charge has been answered."""
        now = self._loop.time()
        self._ledger.advance(now)
        self._ledger.settle(charge, now)
        if self._queue:
            # What flew did not drain; now it does, so the head's time is known.
            self._pump()

    def refund(self, charge: Charge) -> None:
        """The request of this charge was never sent."""
        self._ledger.refund(charge)
        self._granted -= 1
        if self._queue:
            self._pump()

    def block_until(self, when: float) -> None:
        """Grant nothing before ``when``. Who cannot wait so long is refused at once."""
        if when <= self._blocked:
            return
        self._blocked = when
        for waiter in [each for each in self._queue if _too_late(each, when)]:
            self._queue.remove(waiter.flow, waiter)
            self._refuse(waiter, when - self._loop.time())
        if self._queue:
            self._pump()

    def back_off(self, first: float, longest: float) -> float:
        """Block after a refusal that did not say for how long: ``first`` seconds, then twice that.

        Assumes that the bucket is used up, and returns the seconds. ``forgive`` starts over.
        """
        wait = min(first * 2.0**self._strikes, longest)
        self._strikes = min(self._strikes + 1, 16)
        now = self._loop.time()
        self._ledger.advance(now)
        self._ledger.exhaust()
        self.block_until(now + wait)
        return wait

    def forgive(self) -> None:
        """The venue answers again."""
        self._strikes = 0

    def observe_used(self, used: float) -> None:
        """What the venue says is used of the longest window. Only ever lowers what is left."""
        now = self._loop.time()
        self._ledger.advance(now)
        self._ledger.observe(used, now)

    def snapshot(self) -> dict[str, Any]:
        """The limiter's state as JSON values."""
        self._ledger.advance(self._loop.time())
        rules = self._ledger.rules
        limits = [window.limit for window in rules.windows]
        return {
            "used": round(self._ledger.counted, 3),
            "limit": max(limits, default=rules.burst),
            "waiting": self.waiting,
            "blockedMs": round(self.blocked * 1000),
            "granted": self._granted,
            "refused": self._refused,
        }

    def _enqueue(self, cost: float, flow: Hashable, deadline: float | None) -> _Waiter:
        loop, now = self._loop, self._loop.time()
        self._ledger.advance(now)
        if len(self._queue) >= self.queue_max:
            self._refused += 1
            raise Failure(
                Code.OVERLOADED,
                f"{self.queue_max} requests already wait for the {self.name}",
                retry_after=max(self.blocked, self._ledger.delay(self._queue.cost, cost, now)),
            )
        if deadline is not None:
            block = max(0.0, self._blocked - now)
            # Behind everybody is the latest that it can be; only if that is too late does it
            # matter who is ahead.
            wait = max(block, self._ledger.delay(self._queue.cost, cost, now))
            if now + wait > deadline and self._queue:
                wait = max(block, self._ledger.delay(self._queue.ahead(flow), cost, now))
            if now + wait > deadline:
                self._refused += 1
                raise self._too_slow(wait)
        waiter = _Waiter(flow, loop.create_future(), deadline)
        if deadline is not None:
            waiter.expiry = loop.call_at(deadline, self._expire, waiter)
        self._queue.push(flow, cost, waiter)
        self._queue.bound(_PATIENCE * self._ledger.rules.rate / self._queue.active)
        self._pump()
        return waiter

    def _pump(self) -> None:
        """Grant what can be granted now, and set the timer for the next."""
        ledger, queue, now = self._ledger, self._queue, self._loop.time()
        ledger.advance(now)
        while (head := queue.head()) is not None:
            cost, waiter = head
            if waiter.turn.done():
                # Cancelled in this step of the loop; its task has yet to hear of it.
                queue.pop(served=False)
                continue
            wait = self._blocked - now
            if wait <= _SOON:
                if ledger.fits(cost):
                    queue.pop()
                    self._granted += 1
                    waiter.turn.set_result(ledger.take(cost))
                    continue
                wait = max(ledger.next_look(cost, now), _STEP)
            self._set_timer(now + wait)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            if self._due <= when:
                # Waking too early costs one look; replacing it each time would cost more.
                return
            self._timer.cancel()
        # Not asked of the handle: uvloop's has no `when` for what is due within half a millisecond.
        self._due = when
        self._timer = self._loop.call_at(when, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._pump()

    def _expire(self, waiter: _Waiter) -> None:
        if waiter.turn.done():
            return
        now = self._loop.time()
        self._ledger.advance(now)
        wait = max(self._blocked - now, self._ledger.delay(self._queue.ahead(None), 0.0, now))
        self._queue.remove(waiter.flow, waiter)
        # Its turn may have been the next one: to try again at once would be to come too early.
        wait = max(wait, _MOMENT)
        self._refuse(waiter, wait)
        self._pump()

    def _refuse(self, waiter: _Waiter, wait: float) -> None:
        self._refused += 1
        if not waiter.turn.done():
            waiter.turn.set_exception(self._too_slow(wait))

    def _too_slow(self, wait: float) -> Failure:
        state = "blocked by the exchange" if self.blocked > 0 else "used up"
        return Failure(
            Code.RATE_LIMITED,
            f"the {self.name} is {state}: the request would have to wait {wait:.1f}s, longer than"
            " the call may take",
            retry_after=wait,
        )


def _too_late(waiter: _Waiter, when: float) -> bool:
    return waiter.deadline is not None and waiter.deadline < when
