"""One budget, shared by all replicas: ``mechanisms.rate_limit`` with the count in the store.

Owns: asking the store for those at the head of this replica's line, and refusing them all with
``store_unavailable`` while nobody can say what is left. Refuses: who waits here, in which order and
until when (``mechanisms.waiting_line``), what is said (``budget``), a guess of its own, and to know
what is asked for.

One conversation with the store at a time. Each round trip tells it what happened since the last and
asks for as many waiters as were granted together before, so one that costs half a millisecond
serves a replica of any size; where the budget is the bottleneck, they are asked for one by one, and
the queue is as fair as without a store. Between replicas the store keeps the order.

Where requests follow each other closely and there is plenty of room, one charge is kept in hand for
the next, which then waits for no round trip. It counts like any other; one that nobody wants within
``IN_HAND`` is given back. For so long a replica may also not have heard of a ban that another was
told of, and send the one request that it has in hand.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Hashable

from ccxt_mcp.cluster.budget import CommonBudget, CommonCharge
from ccxt_mcp.cluster.hand import Hand
from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.ledger import Rules
from ccxt_mcp.mechanisms.waiting_line import Waiter, WaitingLine, penalty
from ccxt_mcp.store.protocol import Act, Do, Spent

__all__ = ["SharedLimiter"]

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


class SharedLimiter(WaitingLine[CommonCharge]):
    """A rate limit of several replicas.

    Args:
        node: this replica.
        place: what the venue bans as a whole; a name without secrets.
        part: which of its limits.
        rules: what may be spent.
        name: what is limited, for refusals (``binance request weight``).
        queue_max: how many may wait here.

    Invariants besides the line's, between awaits: ``_places`` are the names of the next charges,
    whoever gets them, and the first may stand in line in the store (``_in_line``), but not for
    nobody; while anybody waits or anything is unsaid, a conversation is under way (``_talking``) or
    a timer is set (``_timer``, for ``_alarm``) that starts one.
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
        super().__init__(rules, name=name, queue_max=queue_max)
        self._node = node
        self._budget = CommonBudget(node, place, part, rules, self._proceed)
        self._places: deque[str] = deque()
        self._in_line = False
        self._together = _TOGETHER
        self._due = 0.0
        self._outlook = 0.0
        self._pace = 0.0
        self._talking = False
        self._away_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = 0.0
        self._hand = Hand(self._budget)

    def __repr__(self) -> str:
        return f"<SharedLimiter {self.name!r} waiting={self.waiting} {self._budget!r}>"

    @property
    def idle(self) -> bool:
        """Nobody waits, nothing is blocked, nothing is remembered."""
        return not (self.waiting or self.blocked or self._talking) and self._budget.idle

    def take(self, cost: float) -> CommonCharge | None:
        """The charge in hand, if there is one of this cost, past nobody."""
        if self._queue or self.blocked:
            return None
        charge = self._hand.take(cost)
        if charge is not None:
            self._hand.expect(cost)
            self._granted += 1
            self._proceed()
        return charge

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
            self._proceed()

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

    def back_off(self, first: float, longest: float) -> float:
        """Block after a refusal that did not say for how long: ``first`` seconds, then twice that,
        whichever replica heard the last one.

        Assumes that the bucket is used up, and returns the seconds. ``forgive`` starts over.
        """
        budget = self._budget
        wait, budget.strikes = penalty(budget.strikes, first, longest)
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
        self._hand.empty()
        if self._budget.unsaid:
            self._start()

    def _enqueue(self, cost: float, flow: Hashable, deadline: float | None) -> Waiter[CommonCharge]:
        # Not in ``take``, which one request may try more than once.
        self._hand.expect(cost)
        return super()._enqueue(cost, flow, deadline)

    def _counted(self) -> float:
        return self._budget.counted

    def _wait(self, ahead: float, cost: float, now: float) -> float:
        # By what the store said last.
        wait = max(0.0, self._blocked - now)
        if self._outlook > now:
            wait = max(wait, self._outlook - now + ahead * self._pace)
        return wait

    def _proceed(self) -> None:
        """See to it that the store is asked and told when it is time to."""
        if self._talking:
            return
        if self._in_line and not self._queue:
            # Nobody stands in line for nobody.
            self._forget(1)
        now, when = self._loop.time(), math.inf
        if self._budget.unsaid:
            when = max(now + _GATHER, self._away_until)
        if self._queue:
            when = min(when, max(self._due, self._blocked))
        elif self._reaching:
            when = min(when, max(now + _GATHER, self._away_until, self._blocked))
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
        if (self._budget.unsaid or self._reaching) and self._away_until <= self._loop.time():
            self._start()
        else:
            self._proceed()

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
                spare = self._spare(waiters)
                if not waiters and not spare and not self._budget.unsaid:
                    return
                asks = [
                    Act(Do.TAKE, name, each.cost)
                    for name, each in zip(self._places, waiters, strict=False)
                ]
                try:
                    spent = await self._budget.speak(asks + spare)
                except BaseException:
                    # Taken or not: nobody will have them.
                    self._forget(len(asks))
                    for each in spare:
                        self._budget.forget(each.charge)
                    raise
                self._away_until = 0.0
                for each in spare[: max(0, spent.granted - len(asks))]:
                    self._hand.keep(self._budget.given(each.charge, each.amount, now))
                self._heed(spent, waiters, now)
                if not self._queue:
                    return
        except Failure as failure:
            self._away_until = self._loop.time() + _AGAIN
            self._refuse_all(failure)
        except BaseException:
            self._refuse_all(
                Failure(Code.STORE_UNAVAILABLE, f"the {self.name} could not be asked for")
            )
            raise
        finally:
            self._talking = False
            self._proceed()

    def _head(self, now: float) -> list[Waiter[CommonCharge]]:
        """Whom to ask for now, each with a place of its own."""
        if max(self._due, self._blocked) > now:
            return []
        waiters = [waiter for _, waiter in self._queue.first(self._together)]
        while len(self._places) < len(waiters):
            self._places.append(self._budget.name())
        return waiters

    @property
    def _reaching(self) -> bool:
        """Whether one more is to be had in hand: only where it is missed by nobody."""
        return self._budget.roomy and self._hand.wanted > 0.0

    def _spare(self, waiters: list[Waiter[CommonCharge]]) -> list[Act]:
        if not self._reaching or len(waiters) < len(self._queue) or self.blocked:
            return []
        cost = self._hand.wanted
        self._hand.ask()
        return [Act(Do.SPARE, self._budget.name(), cost)]

    def _heed(self, spent: Spent, waiters: list[Waiter[CommonCharge]], asked: float) -> None:
        now, late = self._loop.time(), 0.0
        for waiter in waiters[: spent.granted]:
            name = self._places.popleft()
            if waiter.turn.done():
                # Gone meanwhile. Left in the queue until it finds out, it would be asked for again.
                self._queue.remove(waiter.flow, waiter)
                self._budget.forget(name)
                continue
            if now < self._blocked:
                # Heard of here while the store was asked. It waits on.
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
        self._refuse_before(late)

    def _forget(self, count: int) -> None:
        self._in_line = False
        for _ in range(count):
            self._budget.forget(self._places.popleft())
