"""Leases on Redis.

Owns: the words of their scripts, and that all shards are of age together. Refuses: who holds what:
the scripts decide (``lua/lease.lua``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import lru_cache

from ccxt_mcp.errors import Failure
from ccxt_mcp.store.protocol import Claim, Claimed
from ccxt_mcp.store.redis.keys import Keys, micro
from ccxt_mcp.store.redis.scripts import Script
from ccxt_mcp.store.redis.wire import Call, Wire

__all__ = ["RedisLeases"]

_log = logging.getLogger("ccxt_mcp.store")

_CLAIM = Script("claim", "record", "lease")
_RENEW = Script("renew", "record", "lease")
_RELEASE = Script("release", "record", "lease")
_BORN = Script("born", "lease")

_CLAIMS = {each.value.encode(): each for each in Claim}
_AGAIN = 1.0


class RedisLeases:
    """See ``protocol.Leases``."""

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._keys = keys
        self._ageing: asyncio.Task[None] | None = None
        # Asked for twice in each call of a session.
        self._of = lru_cache(maxsize=4096)(self._keys_of)

    def let_age(self) -> None:
        """Let every shard count its age from now on, if it does not yet. What has just been found
        of one shard is so of all; otherwise each would make its first claim wait."""
        if self._ageing is None or self._ageing.done():
            self._ageing = asyncio.create_task(self._age())

    async def close(self) -> None:
        if self._ageing is not None:
            self._ageing.cancel()
            await asyncio.wait([self._ageing])

    async def claim(
        self,
        name: str,
        token: str,
        *,
        node: str,
        length: float,
        reserve: int = 0,
        ahead: int = 0,
        record: bool = False,
        ttl: float = 0.0,
    ) -> Claimed:
        state, time, mark, version, fresh = await self._wire.run(
            _CLAIM,
            self._of(name),
            (
                name,
                token,
                micro(length),
                self._keys.mail,
                node,
                str(max(0, reserve)),
                ahead,
                int(record),
                micro(ttl),
            ),
        )
        if fresh:
            self.let_age()
        claim = _CLAIMS[state]
        seconds = int(time) / 1_000_000
        if claim is Claim.GRANTED:
            return Claimed(claim, seconds, int(mark), int(version))
        return Claimed(claim, version=int(version), wait=seconds)

    async def renew(self, name: str, token: str, *, length: float) -> bool:
        args = (name, token, micro(length), self._keys.mail)
        return bool(await self._wire.run(_RENEW, self._of(name), args))

    async def release(
        self,
        name: str,
        token: str,
        *,
        length: float,
        mark: int | None = None,
        tally: Mapping[str, float] | None = None,
    ) -> None:
        args: list[str | int | float] = [name, token, micro(length), self._keys.mail]
        args.append("" if mark is None else str(max(0, mark)))
        for key, value in (tally or {}).items():
            args += [key, value]
        await self._wire.run(_RELEASE, self._of(name), args)

    def _keys_of(self, name: str) -> tuple[str, ...]:
        kinds = ("line", "waiting", "record", "latencies")
        return (self._keys.leases(name), *self._keys.of(name, *kinds))

    async def _age(self) -> None:
        calls: list[Call] = [(_BORN, [key] * 5, ("", "", 0, "")) for key in self._keys.all_leases()]
        while True:
            try:
                await self._wire.run_all(calls)
            except Failure as failure:
                _log.debug("the store's age is not known: %s", failure)
                await asyncio.sleep(_AGAIN)
            else:
                return
