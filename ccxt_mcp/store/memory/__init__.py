"""The store of one process: all parts in memory.

Owns: the parts and their common ground. Refuses: to outlive the process. Several nodes in one
process may share one (tests do); with one node it is what a store of its own would be.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from ccxt_mcp.store.memory.budgets import MemoryBudgets
from ccxt_mcp.store.memory.ground import Ground
from ccxt_mcp.store.memory.leases import MemoryLeases, MemoryRecords
from ccxt_mcp.store.memory.lists import MemoryLogs, MemoryNodes, MemoryRoster
from ccxt_mcp.store.memory.mail import MemoryMail
from ccxt_mcp.store.memory.values import MemoryValues

__all__ = ["MemoryStore"]


class MemoryStore:
    """See ``protocol.Store``.

    Args:
        clock: steady seconds; tests give one that they move.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._ground = Ground(clock)
        self.mail = MemoryMail(self._ground)
        self.records = MemoryRecords(self._ground)
        self.leases = MemoryLeases(self._ground, self.mail, self.records)
        self.roster = MemoryRoster(self._ground)
        self.values = MemoryValues(self._ground, self.mail)
        self.budgets = MemoryBudgets(self._ground)
        self.logs = MemoryLogs(self._ground)
        self.nodes = MemoryNodes(self._ground)

    def __repr__(self) -> str:
        return "<MemoryStore>"

    @property
    def trouble(self) -> Callable[[], Awaitable[None]] | None:
        """Awaited before anything is done: tests let the store fail, hang or be slow by it."""
        return self._ground.trouble

    @trouble.setter
    def trouble(self, trouble: Callable[[], Awaitable[None]] | None) -> None:
        self._ground.trouble = trouble

    def flush(self) -> None:
        """Forget everything, as a server that was restarted empty."""
        for part in (
            self.records,
            self.leases,
            self.roster,
            self.values,
            self.budgets,
            self.logs,
            self.nodes,
        ):
            part.clear()
        self._ground.born = self._ground.clock()

    async def open(self) -> None:
        """Nothing to be made ready."""

    async def close(self) -> None:
        """Nothing is given back: others may share it."""

    async def ping(self) -> float:
        """0 unless in trouble."""
        began = self._ground.clock()
        await self._ground.ready()
        return self._ground.clock() - began

    async def evicts(self) -> str | None:
        """Nothing is forgotten before its time."""
        return None
