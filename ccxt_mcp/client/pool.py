"""A bounded number of sessions, shared by more calls than that.

Owns: the state of each session before it is handed out and after it is given back. Refuses: whose
turn it is (``seats.py``) and running calls (``workflow.py``).

A session is handed to one user at a time, for a call or for as long as ``session()`` is held: so as
many calls run in parallel as there are sessions, and none waits behind a slow one while another
session is free. Who waits is served in the order of arrival.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, overload

import httpx

from ccxt_mcp.client.address import base_of, http_client
from ccxt_mcp.client.calls import Asked, Catalogue, in_order
from ccxt_mcp.client.failures import CallFailed
from ccxt_mcp.client.reading import OnProgress
from ccxt_mcp.client.seats import Seat, Seats, Strategy, closed
from ccxt_mcp.client.wire import LEGACY, Era
from ccxt_mcp.client.workflow import Workflow

__all__ = ["PoolStats", "SessionPool", "Strategy"]

_CHECK_AFTER = 30.0
"""Seconds without use after which a session is asked whether it lives before it is handed out."""
_LOST = frozenset({"unreachable", "connection_lost", "session_not_found", "timeout"})
"""Codes after which a session is looked at before its next use."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool is doing.

    Attributes:
        size: most sessions.
        opened: sessions that have been opened so far and are kept.
        busy: sessions that are in somebody's hands.
        waiting: callers that wait for one.
        calls: calls that ended, by ``call`` and ``gather``.
        failed: of these, those that failed.
        reopened: sessions that were found gone or doubtful and were checked before their next use.
    """

    size: int
    opened: int
    busy: int
    waiting: int
    calls: int
    failed: int
    reopened: int


class SessionPool:
    """At most ``size`` sessions at a server, opened when they are first needed and reused.

    Use it as an async context manager, or call ``aclose`` at the end.

    Args:
        size: most sessions, and most calls at once.
        url: of the server, with ``/mcp`` or without.
        strategy: which of several free sessions is taken. ``round_robin``: the next in turn, so
            that all are used alike. ``least_busy``: one with no call in flight that was used last,
            so that no more are opened than calls really run at once.
        token: the bearer token, where the server has tokens.
        era: the protocol's form; the server speaks both.
        wait_max: seconds that a caller waits for a session while all are taken.
        timeout: seconds for one call from the moment it has its session, retries included.
        retries: how often a read is tried again; writes never are.
        name: 1 to 80 characters of ``A-Z a-z 0-9 . _ : -``; the sessions are
            ``wf-<name>-<number>-<8 hex digits>``.
        http: a client to be used instead of an own one; it is not closed and needs room for
            ``size`` connections and a few more.

    Raises:
        ValueError: a number is out of range, or the strategy, the name, the URL or the token
            cannot be one.
    """

    # Mutable: `_seats` and what stands in them; `_ending` (the end under way, set once); counts.

    def __init__(
        self,
        size: int,
        url: str,
        *,
        strategy: Strategy = "round_robin",
        token: str | None = None,
        era: Era = LEGACY,
        wait_max: float = 60.0,
        timeout: float = 90.0,
        retries: int = 2,
        name: str = "pool",
        http: httpx.AsyncClient | None = None,
    ) -> None:
        if size < 1 or not wait_max > 0:
            raise ValueError("size must be at least 1, and wait_max above 0 s")
        if strategy not in ("round_robin", "least_busy"):
            raise ValueError(f"strategy must be 'round_robin' or 'least_busy', not {strategy!r}")
        self.size = size
        self.url = base_of(url)
        self.strategy: Strategy = strategy
        self.wait_max = wait_max
        self.name = name
        self._token, self._era, self._timeout, self._retries = token, era, timeout, retries
        self._own_http = http is None
        # Beside the calls there are cancellations and the ends of sessions.
        self._http = http or http_client(self.url, size + 4)
        self._catalogue = Catalogue()
        self._seats = Seats(size, strategy)
        self._ending: asyncio.Task[None] | None = None
        self._calls = self._failed = self._reopened = 0
        # What is wrong with the name or the rest is said now, not at the first call.
        self._workflow(self._seats.all[0])

    async def __aenter__(self) -> SessionPool:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **keywords: Any,
    ) -> dict[str, Any]:
        """Run one tool in a free session, as ``Workflow.call`` does.

        Raises:
            CallFailed: as ``Workflow.call``, and ``overloaded`` when no session was free within
                ``wait_max``; nothing was sent then.
            RuntimeError: the pool is closed.
        """
        try:
            async with self.session() as workflow:
                return await workflow.call(
                    tool, arguments, timeout=timeout, on_progress=on_progress, **keywords
                )
        except CallFailed:
            self._failed += 1
            raise
        finally:
            self._calls += 1

    @overload
    async def gather(
        self, *calls: Asked, return_exceptions: Literal[False] = False
    ) -> list[dict[str, Any]]: ...

    @overload
    async def gather(
        self, *calls: Asked, return_exceptions: Literal[True]
    ) -> list[dict[str, Any] | CallFailed]: ...

    async def gather(
        self, *calls: Asked, return_exceptions: bool = False
    ) -> list[dict[str, Any] | CallFailed] | list[dict[str, Any]]:
        """Several calls, of which up to ``size`` run in parallel, in no promised order.

        Results are in the calls' order. If one fails the others are made nevertheless; then the
        first failure is raised, or all outcomes are returned where ``return_exceptions`` is set.

        Raises:
            CallFailed: the first failure, in the calls' order.
        """
        return await in_order(self, calls, return_exceptions=return_exceptions)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Workflow]:
        """One session for related steps, in nobody else's hands meanwhile.

        It is not to be closed, nor used after the block.

        Raises:
            CallFailed: ``overloaded`` when none was free within ``wait_max``; or the session could
                not be opened.
            RuntimeError: the pool is closed.
        """
        if self._seats.closed:
            raise RuntimeError(f"the pool {self.name!r} is closed")
        seat = await self._seats.take(self.wait_max)
        try:
            workflow = await self._fit(seat)
            try:
                yield workflow
            except CallFailed as failure:
                seat.doubtful = seat.doubtful or failure.code in _LOST
                raise
            except asyncio.CancelledError:
                # What it did in the session may run on for a while.
                seat.doubtful = True
                raise
        finally:
            self._leave(seat)

    def stats(self) -> PoolStats:
        """What the pool is doing now."""
        return PoolStats(
            size=self.size,
            opened=sum(seat.workflow is not None for seat in self._seats.all),
            busy=self.size - len(self._seats.free),
            waiting=len(self._seats.line),
            calls=self._calls,
            failed=self._failed,
            reopened=self._reopened,
        )

    async def aclose(self) -> None:
        """End the sessions at the server; takes a few seconds at most, twice is fine.

        Calls that are under way or wait for a session end with a failure. All who call it wait for
        the same end, which goes on where one of them is cancelled.
        """
        if self._ending is None:
            self._seats.close()
            # All of them at once: from here on nothing is sent in any.
            ends = [
                seat.workflow.close_soon() for seat in self._seats.all if seat.workflow is not None
            ]
            self._ending = asyncio.create_task(self._end(ends))
        await asyncio.shield(self._ending)

    async def _end(self, ends: Sequence[asyncio.Task[None]]) -> None:
        try:
            await asyncio.gather(*ends)
        finally:
            if self._own_http:
                await self._http.aclose()

    def __repr__(self) -> str:
        state = "closed" if self._seats.closed else self.strategy
        stats = self.stats()
        return f"<SessionPool {self.name} {state}, {stats.busy}/{self.size} busy>"

    async def _fit(self, seat: Seat) -> Workflow:
        """The seat's session, which lives as far as one can know and has nothing running."""
        idle = asyncio.get_running_loop().time() - seat.used
        if seat.workflow is not None and seat.workflow.closed:
            # Its end is under way, or long over.
            await seat.workflow.aclose()
            seat.workflow = None
        elif seat.workflow is not None and (seat.doubtful or idle > _CHECK_AFTER):
            seat.doubtful = True
            self._reopened += 1
            await seat.workflow.check()
        if self._seats.closed:
            raise closed()
        seat.doubtful = False
        if seat.workflow is None:
            seat.workflow = self._workflow(seat)
        return seat.workflow

    def _leave(self, seat: Seat) -> None:
        """Nobody has the seat any more."""
        seat.used = asyncio.get_running_loop().time()
        if seat.workflow is not None and seat.workflow.unsettled is not None:
            # The next call of that session would wait until the write has ended.
            seat.doubtful = True
            seat.workflow.close_soon()
        self._seats.give(seat)

    def _workflow(self, seat: Seat) -> Workflow:
        return Workflow(
            f"{self.name}-{seat.number}",
            self.url,
            token=self._token,
            era=self._era,
            timeout=self._timeout,
            retries=self._retries,
            http=self._http,
            catalogue=self._catalogue,
        )
