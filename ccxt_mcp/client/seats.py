"""Places for sessions, and the line of those that wait for one.

Owns: whose turn it is and which free place they get. Refuses: what stands in a place (``pool.py``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, TypeAlias

from ccxt_mcp.client.failures import CallFailed, Fate, failed
from ccxt_mcp.client.workflow import Workflow

__all__ = ["Seat", "Seats", "Strategy", "closed"]

Strategy: TypeAlias = Literal["round_robin", "least_busy"]


class Seat:
    """A place for one session.

    Attributes:
        number: from 1.
        workflow: None until it is first used.
        doubtful: the session is looked at before its next use.
        used: when it was given back last, by the event loop's clock.
    """

    __slots__ = ("doubtful", "number", "used", "workflow")

    def __init__(self, number: int) -> None:
        self.number = number
        self.workflow: Workflow | None = None
        self.doubtful = False
        self.used = 0.0


class Seats:
    """A fixed number of seats, each in one caller's hands or free.

    Mutable: ``free`` (least recently used first) and ``line`` (those that wait, first come first);
    while anybody waits, no seat is free. ``closed`` is never unset.
    """

    def __init__(self, size: int, strategy: Strategy) -> None:
        self.all = [Seat(number) for number in range(1, size + 1)]
        self.strategy: Strategy = strategy
        self.free = deque(self.all if strategy == "round_robin" else reversed(self.all))
        self.line: deque[asyncio.Future[Seat]] = deque()
        self.closed = False

    async def take(self, wait_max: float) -> Seat:
        """A seat, when it is this caller's turn.

        Raises:
            CallFailed: ``overloaded`` when none was free within ``wait_max`` seconds, ``cancelled``
                when the seats were closed meanwhile.
        """
        if self.free:
            return self._best()
        turn: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        self.line.append(turn)
        try:
            async with asyncio.timeout(wait_max):
                seat = await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # It was handed over in the moment in which nobody wanted it any more.
                self.give(turn.result())
            elif turn in self.line:
                self.line.remove(turn)
            if isinstance(error, TimeoutError):
                raise failed(
                    "overloaded",
                    f"all {len(self.all)} sessions of the pool were taken for {wait_max:g} s",
                    Fate.NOT_STARTED,
                ) from None
            raise
        if self.closed:
            # Handed over just before the end, and looked at after it.
            self.give(seat)
            raise closed()
        return seat

    def give(self, seat: Seat) -> None:
        """Give a seat back, to the next in the line if there is one."""
        while self.line:
            turn = self.line.popleft()
            if not turn.done():
                turn.set_result(seat)
                return
        self.free.append(seat)

    def close(self) -> None:
        """End the waiting of all in the line."""
        self.closed = True
        for waiting in self.line:
            if not waiting.done():
                waiting.set_exception(closed())
        self.line.clear()

    def _best(self) -> Seat:
        """By the strategy; a doubtful one only if there is no other."""
        order = self.free if self.strategy == "round_robin" else reversed(self.free)
        seat = min(order, key=lambda each: each.doubtful)
        self.free.remove(seat)
        return seat


def closed() -> CallFailed:
    """What a call ends with that waited for a session at the end of the pool."""
    return failed("cancelled", "the pool was closed", Fate.NOT_STARTED, retryable=False)
