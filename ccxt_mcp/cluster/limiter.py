"""One budget, shared by all replicas: ``mechanisms.rate_limit`` with the count in the store.

Owns: the fair queue of this replica's waiters, asking the store for those at its head, and the
refusals: ``rate_limited`` for what cannot be granted before its deadline, ``overloaded`` for a full
queue, ``store_unavailable`` while nobody can say what is left. Refuses: a guess of its own, and to
know what is asked for.

One conversation with the store at a time. Each round trip tells it what happened since the last and
asks for as many waiters as were granted together before, so one that costs half a millisecond
serves a replica of any size; where the budget is the bottleneck, they are asked for one by one, and
the queue is as fair as without a store. Between replicas the store keeps the order.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from ccxt_mcp.cluster.budget import CommonBudget, CommonCharge
from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.fair_queue import FairQueue
from ccxt_mcp.mechanisms.rate_limit import Rules
from ccxt_mcp.store.protocol import Act, Do, Spent

__all__ = ["SharedLimiter"]

_PATIENCE = 3.0
"""Seconds that a flow is put back at most for what it asked for before."""
_TOGETHER = 64
"""Waiters that are asked for in one round trip at most."""
_STEP = 0.001
"""Seconds between two times of asking for the same waiter, at least."""
_LOOK = 0.1
"""Seconds between them at most: other replicas' answers make room too, and nobody tells."""
_GATHER = 0.01
"""Seconds for which answers are gathered before the store is told."""
_AGAIN = 1.0
"""Seconds after which a store that was away is told what it has missed."""
_MOMENT = 0.1
"""Seconds that a request is told to wait at least whose call ended while it waited."""


@dataclass(slots=True, eq=False)
class _Waiter:
    flow: Hashable
    cost: float
    turn: asyncio.Future[CommonCharge]
    deadline: float | None
    expiry: asyncio.TimerHandle | None = None


class SharedLimiter:
    """A rate limit of several replicas.

    Args:
        node: this replica.
        place: what the venue bans as a whole; a name without secrets.
        part: which of its limits.
        rules: what may be spent.
        name: what is limited, for refusals (``binance request weight``).
        queue_max: how many may wait here.

    Bound to the event loop that it is made in; times are that loop's. Invariants, between awaits: a
    waiter's turn is undecided exactly while it is in ``_queue``; ``_places`` are the names of the
    next charges, whoever gets them, and the first may stand in line in the store (``_in_line``);
    while anybody waits or anything is unsaid, a conversation is under way (``_talking``) or a timer
    is set that starts one.
    """

    def __init__(
        self,
        node: Node,
        place: str,
        part: str,
        rules: Rules,
        *,
        name: str,
        queue_max: int = 1000,
    ) -> None:
        self.name = name
        self.queue_max = queue_max
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._node = node
        self._budget = CommonBudget(node, place, part, rules, self._plan)
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._places: deque[str] = deque()
        self._in_line = False
        self._together = _TOGETHER
        self._blocked = 0.0
        self._due = 0.0
        self._outlook = 0.0
        self._pace = 0.0
        self._talking = False
        self._away_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = 0.0
        self._granted = 0
        self._refused = 0

    def __repr__(self) -> str:
        return f"<SharedLimiter {self.name!r} waiting={self.waiting} {self._budget!r}>"

    @property
    def waiting(self) -> int:
        """How many wait here."""
        return len(self._queue)

    @property
    def blocked(self) -> float:
        """Seconds for which nothing is granted, as far as is known here."""
        return max(0.0, self._blocked - self._loop.time())

    @property
    def idle(self) -> bool:
        """Nobody waits, nothing is blocked, nothing is remembered."""
        return not (self.waiting or self.blocked or self._talking) and self._budget.idle

    def take(self, cost: float) -> None:
        """Nothing is to be had without asking."""

    async def acquire(
        self, cost: float, flow: Hashable = None, deadline: float | None = None
    ) -> CommonCharge:
        """A charge, as soon as it is this one's turn.

        Args:
            cost: units. More than the burst or a window is granted when all of it is free.
            flow: on whose behalf. Flows are served in turns by cost, each in order of arrival.
            deadline: when it has to be granted (event-loop time); ``None`` waits.

        Raises:
            Failure: ``rate_limited``, with the wait, as soon as it is clear that the deadline
                cannot be met; ``overloaded`` when too many wait; ``store_unavailable``. Nothing is
                charged then, nor when the caller is cancelled.
        """
        waiter = self._enqueue(cost, flow, deadline)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            turn = waiter.turn
            if turn.cancelled() or not turn.done():
                self._leave(waiter)
            elif turn.exception() is None:
                # Granted in the same step of the loop as the cancellation.
                self.refund(turn.result())
            raise
        finally:
            if waiter.expiry is not None:
                waiter.expiry.cancel()

    def sent(self, charge: CommonCharge) -> None:
        """The request of this charge goes out now."""
        self._budget.sent(charge)

    def settle(self, charge: CommonCharge) -> None:
        """The request of this charge has been answered."""
        if self._queue:
            # What flew did not drain; now it does, so when the head may go is to be asked again.
            self._due = 0.0
        self._budget.settle(charge)
        if self._queue:
            self._plan()

    def refund(self, charge: CommonCharge) -> None:
        """The request of this charge was never sent."""
        if charge.open:
            self._granted -= 1
        self._budget.refund(charge)

    def block_until(self, when: float) -> None:
        """Grant nothing before ``when``, in no replica."""
        if when > self._loop.time():
            self._budget.block(when)
        self.keep_back(when)

    def ban(self, when: float) -> None:
        """The same, for all limits of the place, in every replica."""
        self._budget.ban(when)
        self.keep_back(when)

    def keep_back(self, when: float) -> None:
        """Ask for nothing before ``when``. Who cannot wait so long is refused at once."""
        if when > self._blocked:
            self._blocked = when
            self._refuse_late(when)
            self._plan()

    def back_off(self, first: float, longest: float) -> float:
        """Block after a refusal that did not say for how long: ``first`` seconds, then twice that,
        whichever replica heard the last one.

        Assumes that the bucket is used up, and returns the seconds. ``forgive`` starts over.
        """
        budget = self._budget
        wait: float = min(first * 2.0**budget.strikes, longest)
        budget.strikes = min(budget.strikes + 1, 16)
        budget.exhaust()
        self.block_until(self._loop.time() + wait)
        return wait

    def forgive(self) -> None:
        """The venue answers again."""
        self._budget.forgive()

    def observe_used(self, used: float) -> None:
        """What the venue says is used of the longest window. Only ever lowers what is left."""
        if used > self._budget.counted:
            self._budget.observe(used)

    def flush(self) -> None:
        """Tell the store what is unsaid now: nobody will be there later."""
        if self._budget.unsaid:
            self._start()

    def snapshot(self) -> dict[str, Any]:
        """The limiter's state as JSON values: who waits here, what is used by all."""
        limits = [window.limit for window in self._rules.windows]
        return {
            "used": round(self._budget.counted, 3),
            "limit": max(limits, default=self._rules.burst),
            "waiting": self.waiting,
            "blockedMs": round(self.blocked * 1000),
            "granted": self._granted,
            "refused": self._refused,
        }

    def _enqueue(self, cost: float, flow: Hashable, deadline: float | None) -> _Waiter:
        loop, now = self._loop, self._loop.time()
        if self.waiting >= self.queue_max:
            self._refused += 1
            raise Failure(
                Code.OVERLOADED,
                f"{self.queue_max} requests already wait for the {self.name}",
                retry_after=self._wait(self._queue.cost, now),
            )
        if deadline is not None:
            wait = self._wait(self._queue.cost, now)
            if now + wait > deadline and self._queue:
                wait = self._wait(self._queue.ahead(flow), now)
            if now + wait > deadline:
                self._refused += 1
                raise self._too_slow(wait)
        waiter = _Waiter(flow, cost, loop.create_future(), deadline)
        if deadline is not None:
            waiter.expiry = loop.call_at(deadline, self._expire, waiter)
        self._queue.push(flow, cost, waiter)
        self._queue.bound(_PATIENCE * self._rules.rate / self._queue.active)
        self._plan()
        return waiter

    def _wait(self, ahead: float, now: float) -> float:
        """Seconds until who comes behind so much may be granted, by what the store said last."""
        wait = max(0.0, self._blocked - now)
        if self._outlook > now:
            wait = max(wait, self._outlook - now + ahead * self._pace)
        return wait

    def _plan(self) -> None:
        """See to it that the store is asked and told when it is time to."""
        if self._talking:
            return
        now, when = self._loop.time(), math.inf
        if self._budget.unsaid:
            when = max(now + _GATHER, self._away_until)
        if self._queue:
            when = min(when, max(self._due, self._blocked))
        if when <= now:
            self._start()
        elif when < math.inf and (self._timer is None or when < self._alarm):
            if self._timer is not None:
                self._timer.cancel()
            # Not asked of the handle: uvloop's has no `when` for what is due soon.
            self._alarm = when
            self._timer = self._loop.call_at(when, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._budget.unsaid and self._away_until <= self._loop.time():
            self._start()
        else:
            self._plan()

    def _start(self) -> None:
        if not self._talking:
            self._talking = True
            self._node.later(self._talk())

    async def _talk(self) -> None:
        try:
            # Who comes in this step of the loop is asked for together.
            await asyncio.sleep(0)
            while True:
                now = self._loop.time()
                waiters = self._head(now)
                if not waiters and not self._budget.unsaid:
                    return
                asks = [
                    Act(Do.TAKE, name, each.cost)
                    for name, each in zip(self._places, waiters, strict=False)
                ]
                try:
                    spent = await self._budget.speak(asks)
                except BaseException:
                    # Taken or not: nobody will have them.
                    self._forget(len(asks))
                    raise
                self._away_until = 0.0
                self._heed(spent, waiters, now)
                if not self._queue:
                    return
        except Failure as failure:
            self._away_until = self._loop.time() + _AGAIN
            self._give_up(failure)
        except BaseException:
            self._give_up(
                Failure(Code.STORE_UNAVAILABLE, f"the {self.name} could not be asked for")
            )
            raise
        finally:
            self._talking = False
            self._leave_line()
            self._plan()

    def _head(self, now: float) -> list[_Waiter]:
        """Whom to ask for now, each with a place of its own."""
        if max(self._due, self._blocked) > now:
            return []
        waiters = [waiter for _, waiter in self._queue.first(self._together)]
        while len(self._places) < len(waiters):
            self._places.append(self._budget.name())
        return waiters

    def _heed(self, spent: Spent, waiters: list[_Waiter], asked: float) -> None:
        now, late = self._loop.time(), 0.0
        for waiter in waiters[: spent.granted]:
            name = self._places.popleft()
            if waiter.turn.done():
                # Gone meanwhile. Left in the queue until it finds out, it would be asked for again.
                self._queue.remove(waiter.flow, waiter)
                self._budget.forget(name)
                continue
            self._queue.serve(waiter.flow, waiter)
            self._granted += 1
            waiter.turn.set_result(self._budget.given(name, waiter.cost, asked))
        if spent.granted < len(waiters):
            self._in_line = True
            self._together = max(1, spent.granted)
            self._due = now + max(_STEP, min(spent.wait, _LOOK))
            self._outlook, self._pace = now + spent.outlook, spent.pace
            late = self._outlook
        elif waiters:
            self._in_line = False
            self._together = min(2 * self._together, _TOGETHER)
            self._outlook = 0.0
        if spent.blocked > 0.0:
            self.keep_back(now + spent.blocked)
        self._refuse_late(late)

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._budget.forget(self._places.popleft())
        self._in_line = False

    def _leave_line(self) -> None:
        """Nobody stands in line for nobody."""
        if self._in_line and not self._queue and not self._talking:
            self._forget(1)

    def _give_up(self, failure: Failure) -> None:
        """Nobody can say what is left: all who wait are told so."""
        for waiter in list(self._queue):
            self._queue.remove(waiter.flow, waiter)
            if not waiter.turn.done():
                self._refused += 1
                waiter.turn.set_exception(failure.again())

    def _leave(self, waiter: _Waiter) -> None:
        self._queue.remove(waiter.flow, waiter)
        self._leave_line()

    def _expire(self, waiter: _Waiter) -> None:
        if not waiter.turn.done():
            now = self._loop.time()
            # Its turn may have been the next one: to try again at once would be to come too early.
            self._refuse(waiter, max(self._wait(self._queue.ahead(None), now), _MOMENT))

    def _refuse_late(self, when: float) -> None:
        """Refuse those for whom nothing before ``when`` is too late."""
        for waiter in [each for each in self._queue if _too_late(each, when)]:
            self._refuse(waiter, when - self._loop.time())

    def _refuse(self, waiter: _Waiter, wait: float) -> None:
        self._leave(waiter)
        if not waiter.turn.done():
            self._refused += 1
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
