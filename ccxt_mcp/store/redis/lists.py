"""Rosters, logs and the list of nodes, on Redis.

Owns: the words of their scripts. Refuses: what their members and entries mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from ccxt_mcp.store.redis.keys import Keys, micro
from ccxt_mcp.store.redis.scripts import Script
from ccxt_mcp.store.redis.wire import Wire

__all__ = ["RedisLogs", "RedisNodes", "RedisRoster"]

_JOIN = Script("join", "roster")
_STAY = Script("stay", "roster")
_LEAVE = Script("leave")
_PAGE = Script("page", "roster")
_APPEND = Script("append")
_AFTER = Script("after")
_DROP = Script("drop")
_BEAT = Script("beat")
_NODES = Script("nodes")
_GONE = Script("gone")


class RedisRoster:
    """See ``protocol.Roster``."""

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._keys = keys

    async def join(
        self, roster: str, member: str, *, ttl: float, most: int
    ) -> tuple[bool, str | None]:
        reply = await self._wire.run(_JOIN, self._of(roster), (member, micro(ttl), most))
        return bool(reply[0]), reply[1].decode() if len(reply) > 1 else None

    async def touch(self, roster: str, members: Sequence[str], *, ttl: float) -> None:
        if members:
            await self._wire.run(_STAY, self._of(roster), (micro(ttl), *members))

    async def leave(self, roster: str, member: str) -> None:
        await self._wire.run(_LEAVE, self._of(roster), (member,))

    async def page(self, roster: str, *, offset: int, limit: int) -> tuple[int, list[str]]:
        # A last one of -1 would mean all.
        span = (offset, offset + limit - 1) if limit > 0 else (1, 0)
        count, members = await self._wire.run(_PAGE, self._of(roster), span)
        return count, [member.decode() for member in members]

    def _of(self, roster: str) -> list[str]:
        return self._keys.of(roster, "joined", "until")


class RedisLogs:
    """See ``protocol.Logs``."""

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._keys = keys

    async def append(self, log: str, entry: bytes, *, most: int, size: int, ttl: float) -> int:
        args = (entry, most, size, micro(ttl))
        return int(await self._wire.run(_APPEND, self._of(log), args, again=False, large=True))

    async def after(self, log: str, number: int) -> tuple[list[tuple[int, bytes]], bool]:
        (last, floor, dropped), found = await self._wire.run(
            _AFTER, self._of(log), (number,), large=True
        )
        entries = [(int(key.partition(b"-")[0]), fields[1]) for key, fields in found]
        if last is None:
            return entries, number == 0
        whole = int(floor) <= number <= int(last) if number else dropped == b"0"
        return entries, whole

    async def drop(self, log: str) -> None:
        await self._wire.run(_DROP, self._of(log))

    def _of(self, log: str) -> list[str]:
        return self._keys.of(log, "log", "logged")


class RedisNodes:
    """See ``protocol.Nodes``."""

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._keys = keys

    async def beat(self, node: str, info: bytes, *, ttl: float) -> None:
        await self._wire.run(_BEAT, [self._keys.nodes], (node, micro(ttl), info))

    async def all(self) -> dict[str, bytes]:
        reply = await self._wire.run(_NODES, [self._keys.nodes])
        return {node.decode(): info for node, info in zip(reply[::2], reply[1::2], strict=True)}

    async def gone(self, node: str) -> None:
        await self._wire.run(_GONE, [self._keys.nodes], (node,))
