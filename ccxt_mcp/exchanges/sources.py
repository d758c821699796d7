"""Market tables in memory: loaded once for everybody, and kept fresh.

Owns: when tables are loaded again (before they age out, when a symbol is unknown) and how often at
most; what a failed load means for the next caller. Refuses: knowing how to load (its users say),
who its users are (``library``), the form of tables, and files.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.ingestion import Ingestion, Unreadable
from ccxt_mcp.exchanges.markets import landed, shutting_down
from ccxt_mcp.exchanges.tables import Tables
from ccxt_mcp.telemetry import apart

__all__ = ["Frames", "Policy", "Source", "TablesUser"]

Frames = AsyncIterator[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Policy:
    """How fresh tables are kept; all in seconds.

    Tables are loaded again at ``refresh_at`` of ``max_age``, a little earlier for some than for
    others, so that exchanges loaded together are not refreshed together. Older than ``max_age``
    they are served all the same (a listing of yesterday beats none), and marked. Tables on disk
    older than ``disk_max_age`` are not used. ``starts`` loads may begin in ``window``; a failed
    refresh is tried again after ``retry_after``, doubling. An unknown symbol has tables loaded
    again unless a load began within ``look_again_after``.
    """

    max_age: float = 21_600.0
    refresh_at: float = 0.8
    disk_max_age: float = 604_800.0
    starts: int = 6
    window: float = 60.0
    retry_after: float = 60.0
    look_again_after: float = 60.0
    grace: float = 30.0
    """How long replaced tables are held for calls that still use them; longer than any call."""


_YOUNGER = 1.0
"""Seconds by which tables have to be younger to be others."""


class TablesUser(Protocol):
    """A profile that uses tables."""

    async def fetch(self, max_age: float) -> Tables:
        """Load them from the exchange, or have them of another replica that did so at most
        ``max_age`` seconds ago. Raises ``Failure``."""

    def changed(self) -> None:
        """Told when there are new ones."""


class Source:
    """The tables of one fingerprint, from disk at first, then from the exchange.

    Mutable, all changed between awaits only: ``tables`` (replaced as a whole, never changed),
    ``users``, ``_flight`` (at most one task that reads or loads), ``_starts`` (when loads from
    the exchange began, the last ``window`` of them), ``failed`` (the last load's failure; ``None``
    after a success), ``_failures`` (how many in a row), ``_timer`` (the next refresh), ``_due``
    (the time has come; done as soon as somebody uses the tables), ``_used`` (since the last load).
    """

    def __init__(
        self,
        fingerprint: str,
        exchange: str,
        policy: Policy,
        *,
        stored: Callable[[], Frames | None],
        replaced: Callable[[Tables], None],
    ) -> None:
        self.fingerprint = fingerprint
        self.exchange = exchange
        self.users: dict[int, TablesUser] = {}
        self.tables: Tables | None = None
        self.failed: Failure | None = None
        self._policy = policy
        self._stored = stored
        self._replaced = replaced
        self._flight: asyncio.Task[Failure | None] | None = None
        self._looked_on_disk = False
        self._starts: deque[float] = deque()
        self._failures = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._used = self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "loading" if self._flight else "idle"
        return f"<Source {self.exchange} {state} users={len(self.users)} {self.age}>"

    @property
    def loading(self) -> bool:
        return self._flight is not None

    @property
    def age(self) -> float | None:
        """Seconds since the tables in use were asked for; ``None`` without tables."""
        return None if self.tables is None else max(0.0, time.time() - self.tables.fetched_at)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values; ages in seconds."""
        tables, age = self.tables, self.age
        return {
            "markets": tables.markets if tables else None,
            "marketsAgeSeconds": None if age is None else round(age, 1),
            "marketsFrom": tables.origin if tables else None,
            "marketsStale": age is not None and age > self._policy.max_age,
            "marketsFailure": self.failed.code.value if self.failed else None,
            "marketsSharedBy": len(self.users),
            "loading": self.loading,
        }

    def touch(self) -> None:
        """The tables are used; refresh them if it is time."""
        self._used = True
        if self._due and self.tables is not None:
            self._refresh()

    def begin(self) -> None:
        """Start what ``get`` would wait for, unless that is refused."""
        if self.tables is None and self._flight is None and self._wait() <= 0:
            self._start()

    async def get(self) -> Tables:
        """The tables: at once if there are any, however old; else as soon as they are loaded.

        Raises the load's ``Failure``, also of one just before, if too many have begun lately.
        """
        self.touch()
        found = self.tables
        if found is not None:
            return found
        if self._flight is None:
            wait = self._wait()
            if wait > 0:
                raise self._refused(wait)
            self._start()
        failure = await self._landed()
        if failure is not None:
            raise failure.again()
        found = self.tables
        if found is None:
            raise shutting_down(self.exchange)
        return found

    async def look_again(self, seen: Tables) -> bool:
        """Whether there are other tables than ``seen``; has them loaded again if that may be."""
        if self.tables is not seen:
            return self.tables is not None
        if self._flight is None:
            now = asyncio.get_running_loop().time()
            latest = self._starts[-1] if self._starts else None
            if latest is not None and now - latest < self._policy.look_again_after:
                return False
            self._start(self._policy.look_again_after)
        return await self._landed() is None

    async def close(self) -> None:
        """Stop a load under way; its waiters get a ``Failure``."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        flight = self._flight
        if flight is not None:
            flight.cancel()
            await asyncio.wait([flight])

    def _wait(self) -> float:
        """Seconds until another load may begin."""
        now, starts = asyncio.get_running_loop().time(), self._starts
        while starts and now - starts[0] >= self._policy.window:
            starts.popleft()
        if len(starts) < self._policy.starts:
            return 0.0
        return self._policy.window - (now - starts[0])

    def _start(self, max_age: float | None = None) -> None:
        """Read or load; another replica's tables may be ``max_age`` seconds old, and have to be
        younger than those that there are."""
        if max_age is None:
            share = self._policy.refresh_at if self.tables is None else 0.5
            max_age = self._policy.max_age * share
        if (age := self.age) is not None:
            max_age = min(max_age, age - _YOUNGER)
        if self._closed:
            raise shutting_down(self.exchange)
        # A context of its own: the first caller's deadline is not everybody's.
        self._flight = asyncio.get_running_loop().create_task(
            self._fly(max_age), name=f"load {self.exchange}", context=apart()
        )
        self._flight.add_done_callback(self._done)

    async def _landed(self) -> Failure | None:
        return None if self._flight is None else await landed(self._flight, self.exchange)

    async def _fly(self, max_age: float) -> Failure | None:
        # A Failure is returned, not raised: it has many readers, or none, and an exception that is
        # raised in several places at once collects the frames of all of them.
        tables = None
        if not self._looked_on_disk:
            tables = await self._from_disk()
            self._looked_on_disk = True
        if tables is None:
            self._starts.append(asyncio.get_running_loop().time())
            try:
                tables = await next(iter(self.users.values())).fetch(max_age)
            except Failure as failure:
                return self._remember(failure.with_traceback(None))
            except Exception as error:
                # A fault of ours, or a machine without threads: refreshing must go on all the same.
                kind = type(error).__name__
                words = f"{self.exchange}: the market tables could not be loaded ({kind})"
                return self._remember(Failure(Code.INTERNAL, words, retryable=True))
        self._accept(tables)
        return None

    def _accept(self, tables: Tables) -> None:
        old, self.tables = self.tables, tables
        self.failed, self._failures, self._used, self._due = None, 0, old is None, False
        age = max(0.0, time.time() - tables.fetched_at)
        fresh = self._policy.max_age * self._policy.refresh_at * random.uniform(0.9, 1.0)
        # What is overdue waits for a moment too: a start has more urgent things to do.
        self._at(max(fresh - age, min(2.0, fresh / 10)))
        for user in list(self.users.values()):
            user.changed()
        if old is not None:
            self._replaced(old)

    def _remember(self, failure: Failure) -> Failure:
        self.failed = failure
        if self.tables is not None:
            pause = self._policy.retry_after * 2 ** min(self._failures, 10)
            self._at(min(pause, self._policy.max_age / 4))
        self._failures += 1
        return failure

    def _at(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._come_due, context=apart())

    def _come_due(self) -> None:
        self._due = True
        # What nobody uses is not refreshed; the next use gets it as it is, and has it refreshed.
        if self._used:
            self._refresh()

    def _refresh(self) -> None:
        if self._flight is None and not self._closed and self._wait() <= 0:
            self._due = False
            self._start()

    async def _from_disk(self) -> Tables | None:
        """The tables of an earlier run, unless they are damaged or too old."""
        frames: Any = self._stored()
        if frames is None:
            return None
        ingestion = Ingestion(self.fingerprint, "disk")
        try:
            async with aclosing(frames):
                async for kind, body in frames:
                    ingestion.feed(kind, body)
                    await asyncio.sleep(0)
        except Unreadable:
            # As good as none: the load that follows replaces it.
            return None
        tables = ingestion.tables
        # From the future: the clock was set back, or the file is not what it says.
        age = 0.0 if tables is None else time.time() - tables.fetched_at
        if tables is None or age > self._policy.disk_max_age or age < -60:
            return None
        return tables

    def _done(self, flight: asyncio.Task[Failure | None]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()
        if self._due and self._used:
            self._refresh()

    def _refused(self, wait: float) -> Failure:
        failure = self.failed or shutting_down(self.exchange)
        refused = failure.again()
        refused.retry_after = max(wait, failure.retry_after or 0.0)
        return refused
