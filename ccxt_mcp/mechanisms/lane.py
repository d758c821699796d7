"""A lane: one call at a time, in arrival order, with a bounded queue and a bounded wait.

Owns: who runs and who waits. Refuses: a call beyond the queue's limit and one that waited too long
(both as ``overloaded``), and to know what the calls do.

Invariants, held between awaits: at most one holder; a waiter's future is in ``_waiters`` exactly
while it is undecided; the lane is busy whenever somebody waits.
"""

from __future__ import annotations

import asyncio
from collections import deque

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.telemetry import Step, timed

__all__ = ["Lane", "waited_too_long"]


def waited_too_long(waited: float) -> Failure:
    """What a call is told whose turn did not come within so many seconds."""
    return Failure(
        Code.OVERLOADED,
        f"the call waited {waited:g}s for earlier calls of its session and was not started",
        hint="Calls of one session run one after the other; use a session of its own for"
        " each independent workflow, or raise `lane_wait_max`.",
        retry_after=1.0,
    )


class Lane:
    """First in, first out. Not re-entrant: a holder that acquires again waits for itself.

    Args:
        limit: how many calls may wait (the one that runs is not counted).
    """

    __slots__ = ("__weakref__", "_busy", "_waiters", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._busy = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a call holds the lane."""
        return self._busy

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._waiters)

    async def acquire(self, wait_max: float) -> None:
        """Take the lane, waiting at most ``wait_max`` seconds behind those who came before.

        Raises:
            Failure: ``overloaded``, when the queue is full or the wait was too long.
        """
        if not self._busy:
            self._busy = True
            return
        if len(self._waiters) >= self.limit:
            raise Failure(
                Code.OVERLOADED,
                f"this session already has {self.limit} calls waiting",
                hint="Wait for answers before sending more, or spread independent work over"
                " several sessions.",
                retry_after=1.0,
            )
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiters.append(turn)
        expiry = loop.call_later(wait_max, self._expire, turn, wait_max)
        try:
            with timed(Step.LANE):
                await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # The turn was granted in the same loop step as the cancellation: pass it on,
                # or the lane would stay busy for ever.
                self.release()
            elif turn in self._waiters:
                self._waiters.remove(turn)
            raise
        finally:
            expiry.cancel()

    def release(self) -> None:
        """Give the lane to the next waiter, or free it."""
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False

    def _expire(self, turn: asyncio.Future[None], waited: float) -> None:
        if turn.done():
            return
        self._waiters.remove(turn)
        turn.set_exception(waited_too_long(waited))

    def __repr__(self) -> str:
        return f"<Lane {'busy' if self._busy else 'free'}, {len(self._waiters)} waiting>"
