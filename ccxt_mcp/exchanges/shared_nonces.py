"""A key's lane that replicas have in common: one turn in all of them, one row of numbers.

Owns: the lease of the store behind the lane's own turns, how long it is kept, and which numbers it
is good for. Refuses: a number that the store has not reserved, and a request without the lease.

**The turn.** Callers of this replica wait for each other as ever (``NonceLane``); the first of them
takes the lease ``nonce/<exchange>/<key>``, last of all that its request needs. The next caller gets
it from hand to hand, for ``_TURNS`` turns or ``_KEPT`` seconds; then whoever waits elsewhere is
first.

**The number** is above the store's mark, whoever raised that, and above what this replica has used
or has on disk. With the lease, ``AHEAD`` seconds of numbers are reserved in one step, and what was
not used of them is given back with it. A holder that dies gives nothing back, so the next one
begins above all that it can have used, whatever their clocks say: numbers follow the holder's clock
only as far as they are reserved.

**Where the order does not matter** (``nonce_rules.UNIQUE``) a lease on an instance gets a few
numbers of its own, before the call: CCXT takes them where nobody can wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import Any

from ccxt_mcp.cluster.holding import HELD, Holding, Leaseholder
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.nonce_lane import NonceLane, ahead_in, unit_of
from ccxt_mcp.exchanges.nonce_marks import MarkFile
from ccxt_mcp.mechanisms.deadline import remaining
from ccxt_mcp.mechanisms.turns import MARGIN

__all__ = ["SharedNonceLane"]

_TURNS = 10
_KEPT = 0.25
_TO_NEXT = 0.05
"""Seconds that the lease waits for the next caller here, who may have to wait for a limit first."""
_FEW = 4
"""Numbers that an instance gets at once where only uniqueness matters."""


class SharedNonceLane(NonceLane):
    """Turns and numbers of one key in all replicas.

    Invariants: ``_holding`` is the lease while it is this replica's, ``_turns_left`` and ``_until``
    how long it may be kept, ``_limit`` the last number that is reserved with it; ``_letting_go``
    is set while the lease is kept for nobody's request.
    """

    __slots__ = (
        *("_holding", "_leases", "_letting_go", "_limit", "_name", "_offset", "_turns_left"),
        *("_unit", "_until"),
    )
    common = True

    def __init__(
        self,
        exchange: str,
        file: MarkFile | None,
        leases: Leaseholder,
        name: str,
        ordered: bool = True,
        floor: int = 0,
        now: Callable[[], float] = time.time,
        propose: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(exchange, file, ordered=ordered, floor=floor, now=now)
        self._leases = leases
        self._name = name
        self._holding: Holding | None = None
        self._turns_left = 0
        self._until = 0.0
        self._limit = 0
        self._letting_go: asyncio.TimerHandle | None = None
        proposed = int((propose or _milliseconds)())
        self._unit = unit_of(proposed)
        self._offset = proposed - int(now() * self._unit)

    def turn(self) -> Any:
        return _SharedTurn(self)

    async def prepared(self) -> Any:
        """What one instance takes its turns and numbers from. Raises ``Failure``."""
        if self._ordered:
            return self
        numbers = _Numbers(self)
        await numbers.refill()
        return numbers

    def next(self, proposed: int) -> int:
        if self._holding is None:
            raise _no_number(self._exchange)
        self._holding.check()
        number = super().next(min(proposed, self._limit - self._stride + 1))
        if self._last > self._limit:
            raise _no_number(self._exchange)
        return number

    async def ready(self) -> Holding:
        """Have the lease. Raises ``Failure``, ``rate_limited`` where it cannot be had in time."""
        if self._letting_go is not None:
            self._letting_go.cancel()
            self._letting_go = None
        held = self._holding
        if held is None or not held.sure:
            self._let_go()
            held = self._holding = (await self.claim(ahead_in(self._unit)))[0]
            self._turns_left, self._until = _TURNS, asyncio.get_running_loop().time() + _KEPT
        self._turns_left -= 1
        return held

    async def claim(self, numbers: int) -> tuple[Holding, int]:
        """The lease, and the last number that is reserved with it: the last of so many at least."""
        clock = int(self._now() * self._unit) + self._offset
        reserve, ahead = max(clock, self._last) + numbers, numbers
        left = remaining()
        try:
            async with asyncio.timeout(None if left is None else max(0.0, left - MARGIN)):
                held = await self._leases.take(self._name, reserve=reserve, ahead=ahead)
        except TimeoutError:
            raise self._refusal(self._turns.waiting, 0.0) from None
        assert held is not None
        self._limit = max(reserve, held.mark + ahead)
        self._last = max(self._last, held.mark)
        return held, self._limit

    def _leave(self) -> None:
        held = self._holding
        if held is not None:
            loop = asyncio.get_running_loop()
            kept = self._turns_left > 0 and loop.time() < self._until and held.sure
            if kept and self._turns.waiting:
                self._letting_go = loop.call_later(_TO_NEXT, self._let_go)
            else:
                self._let_go()
        super()._leave()

    def _let_go(self) -> None:
        """Give the lease up, with what was not used of its numbers."""
        self._letting_go = None
        held, self._holding = self._holding, None
        if held is not None:
            self._leases.give(held, mark=self._last)


class _SharedTurn:
    """One request's turn. ``ready`` comes after all that it has to wait for otherwise."""

    __slots__ = ("_lane", "_token")

    def __init__(self, lane: SharedNonceLane) -> None:
        self._lane = lane
        self._token: Token[tuple[Holding, ...]] | None = None

    async def __aenter__(self) -> None:
        await self._lane._enter()

    async def ready(self) -> None:
        """Raises ``Failure`` where the turn cannot be had in time. Again is another look."""
        self._end()
        held = await self._lane.ready()
        self._token = HELD.set((*HELD.get(), held))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
        self._lane._leave()

    def _end(self) -> None:
        if self._token is not None:
            HELD.reset(self._token)
            self._token = None


class _Numbers:
    """Numbers of one instance, which no other in any replica has. Mutable: ``_next``, ``_last``."""

    __slots__ = ("_lane", "_last", "_next")
    common = True
    busy = False

    def __init__(self, lane: SharedNonceLane) -> None:
        self._lane = lane
        self._next, self._last = 1, 0

    def turn(self) -> Any:
        return _NumbersTurn(self)

    def next(self, proposed: int) -> int:
        lane, number = self._lane, self._next
        if number > self._last:
            raise _no_number(lane._exchange)
        self._next += lane._stride
        lane._used(self._next - 1, lane._unit)
        return number

    async def refill(self) -> None:
        """Have one at least. Raises ``Failure``."""
        if self._next > self._last:
            lane = self._lane
            # Of a clock in seconds, more than one would run ahead of it.
            few = (_FEW if lane._unit > 1 else 1) * lane._stride
            held, limit = await lane.claim(few)
            lane._leases.give(held)
            if limit > lane._stored:
                await asyncio.to_thread(lane._store, limit + ahead_in(lane._unit))
            self._next, self._last = limit - few + 1, limit


class _NumbersTurn:
    __slots__ = ("_numbers",)

    def __init__(self, numbers: _Numbers) -> None:
        self._numbers = numbers

    async def __aenter__(self) -> None:
        await self._numbers.refill()

    async def ready(self) -> None:
        """Nobody is waited for."""

    async def __aexit__(self, *_: object) -> None:
        """Nor does anybody wait."""


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _no_number(exchange: str) -> Failure:
    return Failure(
        Code.STORE_UNAVAILABLE,
        f"{exchange}: no number is reserved for this request, so it was not sent",
        retry_after=1.0,
    )
