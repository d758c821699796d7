"""The store that replicas share: Redis or Valkey.

Owns: the parts, and when they begin and end. Refuses: to be imported where the extra `redis` is not
installed (``opening`` says so).

What the server has to be: Redis 6.2 or newer, or Valkey; `maxmemory-policy noeviction`, or else
sessions, limits and cached values may be evicted (leases are never given twice even then). Its
clock may be slewed but should not jump: a step forward ends leases early, a step back makes lanes
wait for one lease length.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from ccxt_mcp.store.redis.budgets import RedisBudgets
from ccxt_mcp.store.redis.keys import Keys
from ccxt_mcp.store.redis.leases import RedisLeases
from ccxt_mcp.store.redis.links import Link
from ccxt_mcp.store.redis.lists import RedisLogs, RedisNodes, RedisRoster
from ccxt_mcp.store.redis.mail import RedisMail
from ccxt_mcp.store.redis.records import RedisRecords
from ccxt_mcp.store.redis.values import RedisValues
from ccxt_mcp.store.redis.wire import Wire

__all__ = ["RedisStore"]

_POLICY = re.compile(r"maxmemory_policy\W+([a-z-]+)")


class RedisStore:
    """See ``protocol.Store``.

    Args:
        link: makes the way to the servers.
        prefix: of all keys; letters, digits, `.`, `_` and `-`.
        timeout: seconds for a round trip.
    """

    def __init__(self, link: Callable[[], Link], *, prefix: str, timeout: float) -> None:
        self._wire = Wire(link, timeout)
        keys = Keys(prefix)
        self.mail = RedisMail(self._wire, keys)
        self.records = RedisRecords(self._wire, keys)
        self.leases = RedisLeases(self._wire, keys)
        self.roster = RedisRoster(self._wire, keys)
        self.values = RedisValues(self._wire, keys)
        self.budgets = RedisBudgets(self._wire, keys)
        self.logs = RedisLogs(self._wire, keys)
        self.nodes = RedisNodes(self._wire, keys)
        # A server that has come back may be another one.
        self.mail.on_return = self.leases.let_age

    def __repr__(self) -> str:
        return f"<RedisStore {self._wire!r}>"

    async def open(self) -> None:
        self._wire.open()
        self.leases.let_age()

    async def close(self) -> None:
        await self.leases.close()
        await self.mail.close()
        await self._wire.close()

    async def ping(self) -> float:
        began = time.monotonic()
        await self._wire.command("PING")
        return time.monotonic() - began

    async def evicts(self) -> str | None:
        # Raw text of one server, or what a cluster's client made of the texts of all.
        told = _POLICY.findall(str(await self._wire.command("INFO", "memory")))
        return next((policy for policy in told if policy != "noeviction"), None)
