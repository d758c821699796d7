"""Turns: one at a time, first come first served, within each waiter's deadline.

Owns: who has the turn, who waits, and the outlook of a waiter. Refuses: waiting for a turn that
cannot come and end before the deadline as things stand, and knowing what the turns are for; the
words of the refusal are the caller's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ccxt_mcp.errors import Failure
from ccxt_mcp.mechanisms.deadline import remaining

__all__ = ["Turns"]

MARGIN = 0.05
"""Seconds before its deadline at which a waiter is told that its turn did not come."""

_REMEMBERED = 5


class Turns:
    """Not re-entrant: a holder that asks again waits for itself.

    Args:
        refusal: makes the failure for a waiter, from how many others wait and the seconds after
            which trying again makes sense.

    Invariants, held between awaits: at most one holder; a waiter's future is in ``_waiters``
    exactly while it is undecided; somebody has the turn whenever somebody waits.
    """

    __slots__ = ("_busy", "_refusal", "_since", "_took", "_waiters")

    def __init__(self, refusal: Callable[[int, float], Failure]) -> None:
        self._refusal = refusal
        self._busy = False
        self._since = 0.0
        self._took: deque[float] = deque(maxlen=_REMEMBERED)
        self._waiters: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<Turns {'taken' if self._busy else 'free'} waiting={len(self._waiters)}>"

    @property
    def busy(self) -> bool:
        """Whether somebody has the turn."""
        return self._busy

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiters)

    async def take(self) -> None:
        """Wait for the turn.

        Raises the refusal at once if the turn cannot come, and end, before the deadline of the call
        as things stand, and shortly before the deadline if it did not come after all.
        """
        loop = asyncio.get_running_loop()
        if not self._busy:
            self._busy, self._since = True, loop.time()
            return
        left = remaining()
        if left is not None:
            start, usual = self._outlook(loop.time())
            if start + usual > left:
                raise self._refusal(len(self._waiters), start)
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        bell = None if left is None else loop.call_later(left - MARGIN, self._expire, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # Its turn came in the same step of the loop: pass it on, or nobody gets one again.
                self._pass_on(loop.time())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise
        finally:
            if bell is not None:
                bell.cancel()

    def give(self) -> None:
        """End the turn; the first waiter's begins."""
        now = asyncio.get_running_loop().time()
        self._took.append(now - self._since)
        self._pass_on(now)

    def _pass_on(self, now: float) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._since = now
                waiter.set_result(None)
                return
        self._busy = False

    def _outlook(self, now: float) -> tuple[float, float]:
        """Seconds until a new waiter's turn, and how long a turn usually takes."""
        # The lower median of the last few, and of at least two: one turn that hung, or many that
        # were quick, must not decide alone.
        took = sorted(self._took)
        usual = took[(len(took) - 1) // 2] if len(took) > 1 else 0.0
        return max(usual - (now - self._since), 0.0) + usual * len(self._waiters), usual

    def _expire(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            self._waiters.remove(waiter)
            start, usual = self._outlook(asyncio.get_running_loop().time())
            waiter.set_exception(self._refusal(len(self._waiters), max(start, usual)))
