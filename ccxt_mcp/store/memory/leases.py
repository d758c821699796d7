"""Leases and the records they guard, in memory.

Owns: who holds what, the lines, the marks, the records with what is counted. Refuses: waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ccxt_mcp.store.memory.ground import Expiring, Ground
from ccxt_mcp.store.memory.mail import MemoryMail
from ccxt_mcp.store.protocol import (
    LATENCIES,
    LATENCY,
    MARK_LIFE,
    Claim,
    Claimed,
    Opened,
    Record,
)

__all__ = ["MemoryLeases", "MemoryRecords"]


@dataclass(slots=True)
class _Waiter:
    node: str
    until: float


@dataclass(slots=True)
class _Lease:
    """Mutable: ``holder`` only while ``until`` is ahead; ``base`` is the mark before its claim."""

    holder: str = ""
    until: float = 0.0
    base: int = 0
    mark: int = 0
    line: dict[str, _Waiter] = field(default_factory=dict)


@dataclass(slots=True)
class _Document:
    data: bytes
    version: int
    made: float
    used: float
    ttl: float
    tally: dict[str, float] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))
    nodes: set[str] = field(default_factory=set)


class MemoryRecords:
    """See ``protocol.Records``."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._documents: Expiring[_Document] = Expiring(ground)
        self._leases: MemoryLeases | None = None

    def guarded_by(self, leases: MemoryLeases) -> None:
        self._leases = leases

    def clear(self) -> None:
        self._documents.clear()

    def find(self, name: str) -> _Document | None:
        return self._documents.get(name)

    def use(self, name: str, document: _Document, *, ttl: float, at_least: float = 0.0) -> None:
        document.used = self._ground.clock()
        document.ttl = ttl
        self._documents.put(name, document, max(ttl, at_least))

    async def open(self, name: str, data: bytes, *, node: str, ttl: float) -> Opened:
        await self._ground.ready()
        document = self.find(name)
        made = document is None
        if document is None:
            now = self._ground.clock()
            document = _Document(data, self._ground.number(), now, now, ttl)
        document.nodes.add(node)
        seen = self._seen(name, document)
        self.use(name, document, ttl=ttl)
        return Opened(seen, made)

    async def read(self, name: str, *, node: str | None = None) -> Record | None:
        await self._ground.ready()
        document = self.find(name)
        if document is None:
            return None
        if node is not None:
            document.nodes.add(node)
        return self._seen(name, document)

    async def write(self, name: str, data: bytes, *, ttl: float) -> int | None:
        await self._ground.ready()
        document = self.find(name)
        if document is None:
            return None
        document.data = data
        document.version = self._ground.number()
        self.use(name, document, ttl=ttl)
        return document.version

    async def touch(self, names: Sequence[str], *, ttl: float) -> list[bool]:
        await self._ground.ready()
        there = []
        for name in names:
            document = self.find(name)
            if document is not None:
                self.use(name, document, ttl=ttl)
            there.append(document is not None)
        return there

    async def remove(self, name: str) -> frozenset[str] | None:
        await self._ground.ready()
        document = self._documents.pop(name)
        return None if document is None else frozenset(document.nodes)

    def _seen(self, name: str, document: _Document) -> Record:
        now = self._ground.clock()
        return Record(
            document.data,
            document.version,
            now - document.made,
            now - document.used,
            dict(document.tally),
            tuple(document.latencies),
            self._leases is not None and self._leases.held(name),
            frozenset(document.nodes),
        )


class MemoryLeases:
    """See ``protocol.Leases``."""

    def __init__(self, ground: Ground, mail: MemoryMail, records: MemoryRecords) -> None:
        self._ground = ground
        self._mail = mail
        self._records = records
        self._leases: Expiring[_Lease] = Expiring(ground)
        records.guarded_by(self)

    def clear(self) -> None:
        self._leases.clear()

    def held(self, name: str) -> bool:
        lease = self._leases.get(name)
        return lease is not None and bool(lease.holder) and lease.until > self._ground.clock()

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
        await self._ground.ready()
        now = self._ground.clock()
        lease = self._current(name)
        document = self._records.find(name)
        if record:
            if document is None:
                self._leave(name, lease, token, length)
                return Claimed(Claim.MISSING)
            document.nodes.add(node)
            self._records.use(name, document, ttl=ttl, at_least=length)
        version = 0 if document is None else document.version
        if lease.holder == token:
            lease.until = now + length
        else:
            lease.line[token] = _Waiter(node, now + length)
            young = self._ground.born + length - now
            if young > 0.0:
                self._keep(name, lease, length)
                return Claimed(Claim.YOUNG, wait=young)
            self._promote(name, lease, length, asking=token)
        if lease.holder == token:
            lease.mark = max(lease.mark, reserve, lease.base + ahead)
        self._keep(name, lease, length)
        if lease.holder == token:
            return Claimed(Claim.GRANTED, length, lease.base, version)
        return Claimed(Claim.WAITING, wait=min(lease.until - now, length / 3), version=version)

    async def renew(self, name: str, token: str, *, length: float) -> bool:
        await self._ground.ready()
        lease = self._current(name)
        if lease.holder != token:
            return False
        lease.until = self._ground.clock() + length
        self._keep(name, lease, length)
        document = self._records.find(name)
        if document is not None:
            self._records.use(name, document, ttl=document.ttl, at_least=length)
        return True

    async def release(
        self,
        name: str,
        token: str,
        *,
        length: float,
        mark: int | None = None,
        tally: Mapping[str, float] | None = None,
    ) -> None:
        await self._ground.ready()
        lease = self._current(name)
        if lease.holder == token:
            if mark is not None:
                lease.mark = max(lease.base, mark)
        elif token not in lease.line:
            return
        self._leave(name, lease, token, length)
        document = self._records.find(name)
        if document is not None:
            for key, value in (tally or {}).items():
                if key == LATENCY:
                    document.latencies.append(value)
                else:
                    document.tally[key] = document.tally.get(key, 0.0) + value
            wanted = length if lease.holder or lease.line else 0.0
            self._records.use(name, document, ttl=document.ttl, at_least=wanted)

    def _current(self, name: str) -> _Lease:
        """The lease without what has ended."""
        lease = self._leases.get(name)
        if lease is None:
            return _Lease()
        now = self._ground.clock()
        if lease.until <= now:
            lease.holder = ""
        for token in [token for token, each in lease.line.items() if each.until <= now]:
            del lease.line[token]
        return lease

    def _leave(self, name: str, lease: _Lease, token: str, length: float) -> None:
        if lease.holder == token:
            lease.holder = ""
        lease.line.pop(token, None)
        self._promote(name, lease, length)
        self._keep(name, lease, length)

    def _promote(self, name: str, lease: _Lease, length: float, *, asking: str = "") -> None:
        """A lease that nobody holds is the first one's."""
        now = self._ground.clock()
        if lease.holder or not lease.line or self._ground.born + length > now:
            return
        token, first = next(iter(lease.line.items()))
        del lease.line[token]
        # Who did not ask just now may be gone: its claim is worth no more than before.
        lease.holder, lease.until = token, now + length if token == asking else first.until
        lease.base = lease.mark
        if token != asking:
            self._mail.send(first.node, f"granted {name} {token}")

    def _keep(self, name: str, lease: _Lease, length: float) -> None:
        if lease.holder or lease.line or lease.mark:
            self._leases.put(name, lease, MARK_LIFE if lease.mark else 2 * length)
        else:
            self._leases.pop(name)
