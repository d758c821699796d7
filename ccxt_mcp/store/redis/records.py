"""Records on Redis.

Owns: the words of their scripts and what these answer. Refuses: what the data means.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from ccxt_mcp.store.protocol import Opened, Record
from ccxt_mcp.store.redis.keys import Keys, micro
from ccxt_mcp.store.redis.scripts import Script
from ccxt_mcp.store.redis.wire import Call, Wire

__all__ = ["RedisRecords"]

_OPEN = Script("open", "record")
_WRITE = Script("write", "record")
_TOUCH = Script("touch", "record")
_REMOVE = Script("remove")

_KINDS = ("record", "latencies")
_SOON = 1.0
"""Seconds more than may lie between a removal and its repetition."""


class RedisRecords:
    """See ``protocol.Records``."""

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._keys = keys

    async def open(self, name: str, data: bytes, *, node: str, ttl: float) -> Opened:
        args = (name, node, 1, data, micro(ttl))
        reply = await self._wire.run(_OPEN, [*self._of(name), self._keys.leases(name)], args)
        return Opened(_record(reply), bool(reply[0]))

    async def read(self, name: str, *, node: str | None = None) -> Record | None:
        args = (name, node or "", 0)
        reply = await self._wire.run(_OPEN, [*self._of(name), self._keys.leases(name)], args)
        return None if reply is None else _record(reply)

    async def write(self, name: str, data: bytes, *, ttl: float) -> int | None:
        version = await self._wire.run(_WRITE, self._of(name), (data, micro(ttl)))
        return None if version is None else int(version)

    async def touch(self, names: Sequence[str], *, ttl: float) -> list[bool]:
        shards: dict[int, list[int]] = {}
        for i, name in enumerate(names):
            shards.setdefault(self._keys.shard(name), []).append(i)
        calls: list[Call] = [
            (_TOUCH, [key for i in each for key in self._of(names[i])], (micro(ttl),))
            for each in shards.values()
        ]
        there = [False] * len(names)
        if calls:
            replies = await self._wire.run_all(calls)
            for each, reply in zip(shards.values(), replies, strict=True):
                for i, found in zip(each, reply, strict=True):
                    there[i] = bool(found)
        return there

    async def remove(self, name: str) -> frozenset[str] | None:
        # A second time, where the first answer was lost, it finds nothing but that answer.
        args = (secrets.token_hex(8), micro(2 * self._wire.timeout + _SOON))
        nodes = await self._wire.run(_REMOVE, self._keys.of(name, *_KINDS, "removed"), args)
        return None if nodes is None else frozenset(node.decode() for node in nodes)

    def _of(self, name: str) -> list[str]:
        return self._keys.of(name, *_KINDS)


def _record(reply: Sequence[Any]) -> Record:
    _, now, held, fields, latencies = reply
    tally: dict[str, float] = {}
    nodes: set[str] = set()
    plain: dict[bytes, bytes] = {}
    for field, value in zip(fields[::2], fields[1::2], strict=True):
        if field.startswith(b"t:"):
            tally[field[2:].decode()] = float(value)
        elif field.startswith(b"n:"):
            nodes.add(field[2:].decode())
        else:
            plain[field] = value
    return Record(
        plain[b"d"],
        int(plain[b"v"]),
        (int(now) - int(plain[b"m"])) / 1_000_000,
        (int(now) - int(plain[b"u"])) / 1_000_000,
        tally,
        tuple(float(each) for each in latencies),
        bool(held),
        frozenset(nodes),
    )
