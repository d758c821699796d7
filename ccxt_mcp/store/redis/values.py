"""Values fetched by one for all, on Redis.

Owns: the words of their scripts. Refuses: what the values are.
"""

from __future__ import annotations

from ccxt_mcp.store.protocol import Consulted
from ccxt_mcp.store.redis.keys import Keys, micro
from ccxt_mcp.store.redis.scripts import Script
from ccxt_mcp.store.redis.wire import Wire

__all__ = ["RedisValues"]

_CONSULT = Script("consult", "value")
_DEPOSIT = Script("deposit", "value")
_DISCARD = Script("discard", "value")


class RedisValues:
    """See ``protocol.Values``."""

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._keys = keys

    async def consult(
        self, name: str, token: str, *, node: str, max_age: float, patience: float
    ) -> Consulted:
        args = (name, token, self._keys.mail, node, micro(max_age), micro(patience))
        reply = await self._wire.run(_CONSULT, self._of(name), args, large=True)
        if len(reply) == 1:
            return Consulted(None, mine=bool(reply[0]))
        return Consulted(reply[2], int(reply[1]) / 1_000_000)

    async def deposit(self, name: str, token: str, value: bytes | None, *, ttl: float) -> None:
        args: list[str | int | bytes] = [name, token, self._keys.mail, micro(ttl)]
        if value is not None:
            args.append(value)
        await self._wire.run(_DEPOSIT, self._of(name), args, large=True)

    async def discard(self, name: str) -> None:
        await self._wire.run(_DISCARD, self._of(name), (name, "", self._keys.mail))

    def _of(self, name: str) -> list[str]:
        return self._keys.of(name, "value", "duty", "awaiting")
