"""From a session's record in the common store to this replica's part of it, and back.

Owns: opening, finding and ending sessions that all replicas share, and how long they live. Refuses:
to bound them (``bounds.py``), to believe its own parts where it may have missed that a session
ended, and to go on without the store where it is needed: nothing is opened, found or ended then.

A replica that sees an id for the first time reads the record and makes a part. A part that is there
is believed: who ends a session tells every replica that has one, and waits for them. What runs in a
session is the lane's (``shared_lane.py``), which asks the store for each call.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Failure
from ccxt_mcp.model import Principal
from ccxt_mcp.store.protocol import Record
from ccxt_mcp.transport.bounds import ROSTER, Bounds
from ccxt_mcp.transport.census import Census
from ccxt_mcp.transport.elsewhere import Elsewhere
from ccxt_mcp.transport.following import Following
from ccxt_mcp.transport.mirrors import Mirrors
from ccxt_mcp.transport.own_stream import OwnStreams
from ccxt_mcp.transport.parts import Part, Parts
from ccxt_mcp.transport.reach import Reach
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.registry import gone, is_minted, is_name
from ccxt_mcp.transport.session import Kind, Session, label_of
from ccxt_mcp.transport.session_record import Facts, describe, name_of, unavailable

__all__ = ["Directory"]

_CHUNK = 500
"""Records of one round trip, where there are many."""


class Directory:
    """The sessions of all replicas, as one of them sees them.

    Args:
        cluster: started and stopped by whoever made it.
        parts: this replica's; led from here.
        idle_timeout: seconds without a request, at any replica, after which a session ends.
        max_sessions, max_per_client: bounds, common to all replicas.
        adopt_named: whether an id that the client chose opens a session.

    Mutable: ``epoch`` (rises when messages may have been missed: parts of an earlier one are looked
    up before they are believed), ``_leading`` (by name: who makes a part just now), ``_void``
    (names among them that were ended meanwhile), ``_swept`` (steady seconds).
    """

    def __init__(
        self,
        cluster: Cluster,
        parts: Parts,
        *,
        idle_timeout: float,
        max_sessions: int,
        max_per_client: int,
        adopt_named: bool,
    ) -> None:
        self.cluster = cluster
        self.node = cluster.node
        self.store = cluster.store
        self.parts = parts
        self.ttl = idle_timeout
        self.epoch = 0
        self.reach = Reach(cluster.node)
        self._census = Census(self.reach, parts)
        self.elsewhere = Elsewhere(self.reach, parts)
        self.mirrors = Mirrors(self.reach)
        self.following = Following(self.reach, self.mirrors)
        self.own_streams = OwnStreams(self.reach, parts)
        self._adopt_named = adopt_named
        self._leading: dict[str, asyncio.Task[None]] = {}
        self._void: set[str] = set()
        self._swept = time.monotonic()
        self._bounds = Bounds(
            self.reach,
            parts,
            self._end,
            # Longer than it lives by more than a sweep, since the sweep tells of it.
            counted=idle_timeout + 2 * self.interval,
            max_sessions=max_sessions,
            max_per_client=max_per_client,
        )
        parts.shared = self
        self.reach.on("closed", self._closed)
        self.node.on_missed(self._missed)

    def __repr__(self) -> str:
        return f"<Directory {len(self.parts)} parts, {len(self._leading)} looked up>"

    # Finding and opening

    async def arrive(
        self,
        principal: Principal,
        session_id: str,
        client_ip: str | None,
        opens: Kind | None = None,
    ) -> None:
        """See to it that the registry has a part of this session exactly if it lives, and where
        ``opens`` names a kind, that it does.

        Raises:
            Refusal: 503 where there is no room, or the store cannot be asked. What else there is to
                refuse is the registry's to say.
        """
        if self._believed(principal, session_id) or not is_name(session_id):
            return
        if is_minted(session_id) or not self._adopt_named:
            opens = None
        name = name_of(principal, session_id)
        # One that has just ended is forgotten in a moment only, and waiting for it takes no time.
        while (leading := self._leading.get(name)) is not None and not leading.done():
            # What it is refused is refused to all: each would ask, and wait, in vain.
            await asyncio.shield(leading)
            if self._believed(principal, session_id):
                return
        leading = asyncio.create_task(self._lead(name, principal, session_id, client_ip, opens))
        self._leading[name] = leading
        leading.add_done_callback(lambda done: self._led(name, done))
        # Whoever comes meanwhile waits for it too, so it is not ended with the one who asked first.
        await asyncio.shield(leading)

    def _believed(self, principal: Principal, session_id: str) -> bool:
        session = self.parts.known(principal, session_id)
        return (
            session is not None and session.part is not None and (session.part.epoch == self.epoch)
        )

    def _led(self, name: str, leading: asyncio.Task[None]) -> None:
        if self._leading.get(name) is leading:
            del self._leading[name]
            self._void.discard(name)
        if not leading.cancelled():
            leading.exception()

    async def _lead(
        self,
        name: str,
        principal: Principal,
        session_id: str,
        client_ip: str | None,
        opens: Kind | None,
    ) -> None:
        known = self.parts.known(principal, session_id)
        epoch = self.epoch
        while True:
            self._void.discard(name)
            try:
                record, made = await self._record(name, principal, session_id, client_ip, opens)
            except Failure as failure:
                if known is not None and not known.closed:
                    # What needs no store goes on; a call asks the store again.
                    return
                raise unavailable(failure) from failure
            if made:
                await self._bounds.join(name, client_ip, named=True)
            # Ended between the answer of the store and now: it may be there again, or not.
            if name not in self._void:
                break
        if known is not None and known.closed:
            known = None
        if record is None:
            if known is not None:
                self.parts.close(known)
            return
        facts = Facts.decoded(record.data)
        if opens is not None and not made and not record.tally:
            # Never used: it may be of a replica that died before it counted it.
            self._bounds.count(name)
        if known is None:
            known = self.parts.open(principal, session_id, facts.client_ip, facts.kind)
        assert known.part is not None
        self._read(known.part, record, facts)
        known.part.epoch = epoch

    async def _record(
        self,
        name: str,
        principal: Principal,
        session_id: str,
        client_ip: str | None,
        opens: Kind | None,
    ) -> tuple[Record | None, bool]:
        if opens is None:
            return await self.store.records.read(name, node=self.node.id), False
        facts = Facts(
            opens,
            principal.name,
            label_of(session_id, opens),
            client_ip,
            time.time(),
            self.parts.first_version,
        )
        opened = await self.store.records.open(
            name, facts.encoded(), node=self.node.id, ttl=self.ttl
        )
        return opened.record, opened.made

    def _read(self, part: Part, record: Record, facts: Facts) -> None:
        if part.version != record.version:
            facts.tell(part.session)
            part.version = record.version
            if facts.streams and not part.streams:
                self.own_streams.of(part)
                self.node.later(self.own_streams.look(part))

    async def admit(self, session: Session) -> None:
        """Count a session that was minted just now; it has no record before its handshake is done.

        Raises:
            Refusal: 503 where there is no room, or the store cannot be asked.
        """
        assert session.part is not None
        session.requests += 1
        try:
            await self._bounds.join(session.part.name, session.client_ip, named=False)
        except Refusal:
            self.parts.close(session)
            raise
        finally:
            session.requests -= 1

    async def publish(self, session: Session) -> None:
        """Let all replicas know what a handshake, or a first stream, has changed.

        Raises:
            Refusal: 503 where the store cannot be asked.
        """
        part = session.part
        assert part is not None
        data = Facts.of(session).encoded()
        try:
            if part.version == 0:
                opened = await self.store.records.open(
                    part.name, data, node=self.node.id, ttl=self.ttl
                )
                part.version = opened.record.version
            else:
                part.version = await self.store.records.write(part.name, data, ttl=self.ttl) or 0
        except Failure as failure:
            raise unavailable(failure) from failure

    async def announce(self, part: Part) -> None:
        """Let all replicas know that a session has a stream of its own from now on.

        Raises:
            Failure: ``store_unavailable``.
            Refusal: 404 where the session has ended meanwhile.
        """
        if part.streams:
            return
        if not await self.read_again(part.session):
            raise gone()
        self.own_streams.of(part)
        await self.publish(part.session)

    async def read_again(self, session: Session) -> bool:
        """Look a live part's record up; False, and the part has ended, where there is none.

        Raises:
            Failure: ``store_unavailable``.
        """
        part = session.part
        assert part is not None
        record = await self.store.records.read(part.name, node=self.node.id)
        if record is None:
            self.drop(session)
            return False
        self._read(part, record, Facts.decoded(record.data))
        return True

    def drop(self, session: Session) -> None:
        """End a part from within one of its calls, which ends in its own words before that: it
        cannot interrupt itself."""
        asyncio.get_running_loop().call_soon(self.parts.close, session)

    async def reopen(self, session: Session) -> bool:
        """Make the record again of a named session whose part is here; False where that is not to
        be, or not possible: its client opens it anew.

        Raises:
            Failure: ``store_unavailable``.
        """
        part = session.part
        assert part is not None
        if session.kind is Kind.MINTED or session.closed:
            return False
        opened = await self.store.records.open(
            part.name, Facts.of(session).encoded(), node=self.node.id, ttl=self.ttl
        )
        if opened.made:
            try:
                await self._bounds.join(part.name, session.client_ip, named=True)
            except Refusal as refusal:
                raise refusal.as_failure() from None
        self._read(part, opened.record, Facts.decoded(opened.record.data))
        return not session.closed

    # Ending

    async def end(self, session: Session) -> None:
        """End a session at all replicas. When this returns, a request to any that can be reached
        does not find it any more.

        Raises:
            Refusal: 404 where another has ended it, 503 where the store cannot be asked.
        """
        part = session.part
        assert part is not None
        named = session.kind is not Kind.MINTED
        try:
            ended = await self._end(part.name, session.client_ip, named)
        except Failure as failure:
            raise unavailable(failure) from failure
        if not ended:
            self.parts.close(session)
            raise gone()

    async def _end(self, name: str, client_ip: str | None, named: bool) -> bool:
        nodes = await self.store.records.remove(name)
        self._closed(name)
        if nodes is None:
            return False
        await self.reach.ask(nodes, "closed", name)
        self._bounds.leave(name, client_ip, named=named)
        return True

    def _closed(self, name: str) -> None:
        """A session was ended, here or elsewhere."""
        if name in self._leading:
            self._void.add(name)
        session = self.parts.part(name)
        if session is not None:
            self.parts.close(session)

    def _missed(self) -> None:
        self.epoch += 1

    def closed_here(self, session: Session) -> None:
        """A part has gone; for ``parts.py`` alone."""
        part = session.part
        assert part is not None
        if session.kind is Kind.MINTED and part.version == 0:
            # It was counted, and came to nothing.
            self._bounds.leave(part.name, session.client_ip, named=False)

    # Life

    @property
    def interval(self) -> float:
        """Seconds between sweeps."""
        return min(60.0, max(0.05, self.ttl / 10))

    async def sweep(self) -> None:
        """Tell the store of the sessions that were used since the last time, and drop parts that
        nobody has used for long. A call tells of its session by itself; the rest is told here."""
        began = time.monotonic()
        used = [
            each
            for each in self.parts.recent(self._swept)
            if each.part is not None and each.part.version
        ]
        try:
            for at in range(0, len(used), _CHUNK):
                await self._touch(used[at : at + _CHUNK])
            self._swept = began
        except Failure:
            # Next time; nothing that was used meanwhile is forgotten.
            pass
        self.parts.no_more_heard()
        self.parts.expire()

    async def _touch(self, sessions: list[Session]) -> None:
        names = [each.part.name for each in sessions if each.part is not None]
        alive = await self.store.records.touch(names, ttl=self.ttl)
        used: dict[str, Session] = {}
        for session, name, there in zip(sessions, names, alive, strict=True):
            if there:
                used[name] = session
            elif not session.requests:
                self.parts.close(session)
        await self._bounds.touch(used)

    async def page(self, limit: int, offset: int) -> tuple[int, list[dict[str, Any]]]:
        """How many sessions there are at all replicas, and some as ``/health`` shows them, oldest
        first.

        Raises:
            Failure: ``store_unavailable``.
        """
        count, names = await self.store.roster.page(ROSTER, offset=offset, limit=limit)
        now = time.time()
        records = await asyncio.gather(*(self.store.records.read(name) for name in names))
        found = [
            (name, record, describe(record, now))
            for name, record in zip(names, records, strict=True)
            if record is not None
        ]
        return count, await self._census.complete(found)
