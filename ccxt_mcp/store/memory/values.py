"""Values fetched by one for all, in memory.

Owns: the values and who fetches. Refuses: waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ccxt_mcp.store.memory.ground import Expiring, Ground
from ccxt_mcp.store.memory.mail import MemoryMail
from ccxt_mcp.store.protocol import Consulted

__all__ = ["MemoryValues"]


@dataclass(slots=True)
class _Duty:
    token: str
    since: float
    patience: float
    waiting: set[str] = field(default_factory=set)


class MemoryValues:
    """See ``protocol.Values``."""

    def __init__(self, ground: Ground, mail: MemoryMail) -> None:
        self._ground = ground
        self._mail = mail
        self._values: Expiring[tuple[bytes, float]] = Expiring(ground)
        self._duties: Expiring[_Duty] = Expiring(ground)

    def clear(self) -> None:
        self._values.clear()
        self._duties.clear()

    async def consult(
        self, name: str, token: str, *, node: str, max_age: float, patience: float
    ) -> Consulted:
        await self._ground.ready()
        now = self._ground.clock()
        duty = self._duties.get(name)
        if duty is not None and duty.token == token:
            # It lives: who waits for it may go on to.
            duty.patience = now - duty.since + patience
            self._duties.put(name, duty, 2 * patience)
            return Consulted(None, mine=True)
        kept = self._values.get(name)
        if kept is not None and now - kept[1] <= max_age:
            return Consulted(kept[0], now - kept[1])
        if duty is not None and now - duty.since < duty.patience and now - duty.since <= max_age:
            duty.waiting.add(node)
            return Consulted(None)
        waiting = set() if duty is None else duty.waiting
        # Who waits outlives a fetcher that was given up.
        self._duties.put(name, _Duty(token, now, patience, waiting), 2 * patience)
        return Consulted(None, mine=True)

    async def deposit(self, name: str, token: str, value: bytes | None, *, ttl: float) -> None:
        await self._ground.ready()
        duty = self._duties.get(name)
        if duty is None or duty.token != token:
            return
        if value is not None:
            self._values.put(name, (value, duty.since), ttl)
        self._end(name)

    async def discard(self, name: str) -> None:
        await self._ground.ready()
        self._values.pop(name)
        self._end(name)

    def _end(self, name: str) -> None:
        duty = self._duties.pop(name)
        for node in sorted(duty.waiting) if duty is not None else ():
            self._mail.send(node, f"deposited {name}")
