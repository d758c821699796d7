"""All market tables in memory.

Owns: who shares which tables, and letting go of those that were replaced or are used no more.
Refuses: when to load (``sources``) and how (their users say).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

from ccxt_mcp.exchanges.sources import Frames, Policy, Source, TablesUser
from ccxt_mcp.exchanges.tables import Tables, let_go

__all__ = ["Library"]


class Library:
    """All tables in memory, by fingerprint.

    Mutable: ``_sources`` (each has at least one user), ``_leaving`` (tables that were replaced and
    wait for the last call that uses them), ``_tasks`` (tables being let go).
    """

    def __init__(self, policy: Policy, stored: Callable[[str, str], Frames] | None = None) -> None:
        self.policy = policy
        self._stored = stored
        self._sources: dict[str, Source] = {}
        self._leaving: dict[int, asyncio.TimerHandle] = {}
        self._last = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, fingerprint: str, exchange: str, user: TablesUser) -> Source:
        """The tables of a fingerprint, shared with all others who have joined it."""
        source = self._sources.get(fingerprint)
        if source is None:
            source = self._sources[fingerprint] = Source(
                fingerprint,
                exchange,
                self.policy,
                stored=lambda: self._frames(exchange, fingerprint),
                replaced=self._replace,
            )
        source.users[id(user)] = user
        return source

    async def leave(self, source: Source, user: TablesUser) -> None:
        """The last user's leaving stops what is under way and lets go of the tables."""
        source.users.pop(id(user), None)
        if source.users or self._sources.get(source.fingerprint) is not source:
            return
        del self._sources[source.fingerprint]
        tables, source.tables = source.tables, None
        await source.close()
        if tables is not None:
            self._release(tables)

    def _frames(self, exchange: str, fingerprint: str) -> Frames | None:
        return None if self._stored is None else self._stored(exchange, fingerprint)

    def _replace(self, tables: Tables) -> None:
        """Let go of tables when no call can be using them any more."""

        # By number: a callback that knew its own timer would keep both, and the tables, alive.
        number = self._last = self._last + 1

        def due() -> None:
            del self._leaving[number]
            self._release(tables)

        loop = asyncio.get_running_loop()
        self._leaving[number] = loop.call_later(self.policy.grace, due, context=Context())

    def _release(self, tables: Tables) -> None:
        """Let go of tables that nobody uses."""
        task = asyncio.get_running_loop().create_task(let_go(tables), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        sources, self._sources = list(self._sources.values()), {}
        for source in sources:
            source.tables = None
            await source.close()
        for timer in self._leaving.values():
            timer.cancel()
        self._leaving.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
