"""Rosters, logs and the list of nodes, in memory.

Owns: their members and entries. Refuses: what they mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ccxt_mcp.store.memory.ground import Expiring, Ground

__all__ = ["MemoryLogs", "MemoryNodes", "MemoryRoster"]


class MemoryRoster:
    """See ``protocol.Roster``. A roster's members are in the order in which they joined."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._rosters: dict[str, dict[str, float]] = {}

    def clear(self) -> None:
        self._rosters.clear()

    async def join(
        self, roster: str, member: str, *, ttl: float, most: int
    ) -> tuple[bool, str | None]:
        await self._ground.ready()
        members = self._members(roster)
        if member not in members and len(members) >= most:
            return False, min(members, key=lambda each: (members[each], each), default=None)
        members[member] = self._ground.clock() + ttl
        self._rosters[roster] = members
        return True, None

    async def touch(self, roster: str, members: Sequence[str], *, ttl: float) -> None:
        await self._ground.ready()
        there = self._members(roster)
        for member in members:
            if member in there:
                there[member] = self._ground.clock() + ttl

    async def leave(self, roster: str, member: str) -> None:
        await self._ground.ready()
        members = self._members(roster)
        members.pop(member, None)
        if not members:
            self._rosters.pop(roster, None)

    async def page(self, roster: str, *, offset: int, limit: int) -> tuple[int, list[str]]:
        await self._ground.ready()
        members = list(self._members(roster))
        return len(members), members[offset : offset + limit]

    def _members(self, roster: str) -> dict[str, float]:
        now = self._ground.clock()
        members = self._rosters.get(roster, {})
        for each in [each for each, end in members.items() if end <= now]:
            del members[each]
        return members


@dataclass(slots=True)
class _Log:
    """Mutable: ``floor``: the number from which on all that came later is still here."""

    floor: int
    last: int
    dropped: bool = False
    held: int = 0
    entries: deque[tuple[int, bytes]] = field(default_factory=deque)


class MemoryLogs:
    """See ``protocol.Logs``."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._logs: Expiring[_Log] = Expiring(ground)

    def clear(self) -> None:
        self._logs.clear()

    async def append(self, log: str, entry: bytes, *, most: int, size: int, ttl: float) -> int:
        await self._ground.ready()
        number = self._ground.number()
        kept = self._logs.get(log) or _Log(number, number)
        kept.last = number
        kept.entries.append((number, entry))
        kept.held += len(entry)
        while kept.entries and (len(kept.entries) > most or kept.held > size):
            kept.floor, gone = kept.entries.popleft()
            kept.held -= len(gone)
            kept.dropped = True
        self._logs.put(log, kept, ttl)
        return number

    async def after(self, log: str, number: int) -> tuple[list[tuple[int, bytes]], bool]:
        await self._ground.ready()
        kept = self._logs.get(log)
        if kept is None:
            return [], number == 0
        whole = kept.floor <= number <= kept.last if number else not kept.dropped
        return [each for each in kept.entries if each[0] > number], whole

    async def drop(self, log: str) -> None:
        await self._ground.ready()
        self._logs.pop(log)


class MemoryNodes:
    """See ``protocol.Nodes``."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._nodes: Expiring[bytes] = Expiring(ground)

    def clear(self) -> None:
        self._nodes.clear()

    async def beat(self, node: str, info: bytes, *, ttl: float) -> None:
        await self._ground.ready()
        self._nodes.put(node, info, ttl)

    async def all(self) -> dict[str, bytes]:
        await self._ground.ready()
        return self._nodes.live()

    async def gone(self, node: str) -> None:
        await self._ground.ready()
        self._nodes.pop(node)
