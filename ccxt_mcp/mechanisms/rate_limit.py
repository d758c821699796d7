"""One budget, shared by all who spend it: at once if it fits, else in a fair queue.

Owns: who is granted what and when, by ``ledger.py``'s arithmetic, and the one timer for the head of
the line. Refuses: who waits, and what they are refused with (``waiting_line.py``); to know what is
asked for, exchanges, MCP.

A charge has a life: granted (``acquire``, ``take``, ``force``), then either ``refund`` (its request
was never sent) or ``sent`` and, once it is answered, ``settle``. Whoever takes one ends it.
"""

from __future__ import annotations

import asyncio

from ccxt_mcp.mechanisms.ledger import Charge, Ledger, Rules, Window
from ccxt_mcp.mechanisms.waiting_line import WaitingLine, penalty

__all__ = ["Charge", "Limiter", "Rules", "Window"]

_STEP = 0.001
"""Seconds between looks at least: what a loop's timers can tell apart (uvloop counts in ms)."""
_SOON = 1e-6
"""Seconds that a loop's clock and a sum of floats may be apart."""


class Limiter(WaitingLine[Charge]):
    """A rate limit.

    Args:
        rules: what may be spent.
        name: what is limited, for refusals (``binance request weight``).
        queue_max: how many may wait.

    Invariant besides the line's, between awaits: while anybody waits a timer is set (``_timer``,
    for ``_due``) that is not later than the head's grant.
    """

    def __init__(self, rules: Rules, *, name: str, queue_max: int = 1000) -> None:
        super().__init__(rules, name=name, queue_max=queue_max)
        self._ledger = Ledger(rules, self._loop.time())
        self._strikes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<Limiter {self.name!r} waiting={self.waiting} {self._ledger!r}>"

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
            self._proceed()

    def refund(self, charge: Charge) -> None:
        """The request of this charge was never sent."""
        self._ledger.refund(charge)
        self._granted -= 1
        if self._queue:
            self._proceed()

    def block_until(self, when: float) -> None:
        """Grant nothing before ``when``. Who cannot wait so long is refused at once."""
        self.keep_back(when)

    def back_off(self, first: float, longest: float) -> float:
        """Block after a refusal that did not say for how long: ``first`` seconds, then twice that.

        Assumes that the bucket is used up, and returns the seconds. ``forgive`` starts over.
        """
        wait, self._strikes = penalty(self._strikes, first, longest)
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

    def _counted(self) -> float:
        self._ledger.advance(self._loop.time())
        return self._ledger.counted

    def _wait(self, ahead: float, cost: float, now: float) -> float:
        self._ledger.advance(now)
        return max(0.0, self._blocked - now, self._ledger.delay(ahead, cost, now))

    def _proceed(self) -> None:
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
        self._proceed()
