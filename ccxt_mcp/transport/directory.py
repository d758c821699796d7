"""From a session's record in the common store to this replica's part of it, and back.

Owns: opening, finding and ending sessions that all replicas share, the bounds on them, and how long
they live. Refuses: to believe its own parts where it may have missed that a session ended, and to
go on without the store where it is needed: nothing is opened, found or ended then.

A replica that sees an id for the first time reads the record and makes a part. A part that is there
is believed: who ends a session tells every replica that has one, and waits for them. What runs in a
session is the lane's (``shared_lane.py``), which asks the store for each call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Failure
from ccxt_mcp.model import Principal
from ccxt_mcp.store.protocol import Record
from ccxt_mcp.transport.census import Census
from ccxt_mcp.transport.elsewhere import Elsewhere
from ccxt_mcp.transport.following import Following
from ccxt_mcp.transport.mirrors import Mirrors
from ccxt_mcp.transport.own_stream import OwnStreams
from ccxt_mcp.transport.parts import Part, Parts
from ccxt_mcp.transport.reach import Reach
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.registry import gone, is_minted, is_name, no_room
from ccxt_mcp.transport.session import Kind, Session, label_of
from ccxt_mcp.transport.session_record import Facts, describe, name_of

__all__ = ["ROSTER", "Directory", "unavailable"]

ROSTER = "sessions"
"""The list of all sessions, of which others are parts: of a client's, and of those with a name."""

_TRIES = 8
"""Sessions that are looked at to make room for one."""
_CHUNK = 500
"""Records of one round trip, where there are many."""
_NO_BOUND = 1 << 30


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
        self._max_sessions = max_sessions
        self._max_per_client = max_per_client
        self._adopt_named = adopt_named
        self._leading: dict[str, asyncio.Task[None]] = {}
        self._void: set[str] = set()
        self._swept = time.monotonic()
        parts.shared = self
        self.reach.on("closed", self._closed)
        self.reach.on("used", self._used)
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
        while (leading := self._leading.get(name)) is not None:
            await asyncio.wait([leading])
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
            # Ended between the answer of the store and now: it may be there again, or not.
            if name not in self._void:
                break
        if made:
            await self._join(name, client_ip, named=True)
        if known is not None and known.closed:
            known = None
        if record is None:
            if known is not None:
                self.parts.close(known)
            return
        facts = Facts.decoded(record.data)
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
            await self._join(session.part.name, session.client_ip, named=False)
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
                await self._join(part.name, session.client_ip, named=True)
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
            ended = await self._end(part.name, session.client_ip, named=named)
        except Failure as failure:
            raise unavailable(failure) from failure
        if not ended:
            self.parts.close(session)
            raise gone()

    async def _end(self, name: str, client_ip: str | None, *, named: bool) -> bool:
        nodes = await self.store.records.remove(name)
        self._closed(name)
        if nodes is None:
            return False
        await self.reach.ask(nodes, "closed", name)
        for roster in _rosters(client_ip, named=named):
            self.node.later(self.store.roster.leave(roster, name))
        return True

    def _closed(self, name: str) -> None:
        """A session was ended, here or elsewhere."""
        if name in self._leading:
            self._void.add(name)
        session = self.parts.part(name)
        if session is not None:
            self.parts.close(session)

    def _used(self, name: str) -> str:
        session = self.parts.part(name)
        return "yes" if session is not None and session.requests else "no"

    def _missed(self) -> None:
        self.epoch += 1

    def closed_here(self, session: Session) -> None:
        """A part has gone; for ``parts.py`` alone."""
        part = session.part
        assert part is not None
        if session.kind is Kind.MINTED and part.version == 0:
            # It was counted, and came to nothing.
            for roster in _rosters(session.client_ip, named=False):
                self.node.later(self.store.roster.leave(roster, part.name))

    # Bounds and life

    async def _join(self, name: str, client_ip: str | None, *, named: bool) -> None:
        """Count a session, making room where that has to be and can be.

        Raises:
            Refusal: 503; the record, if there is one, has been removed.
        """
        joined: list[str] = []
        try:
            for roster, most, full in (
                (ROSTER, self._max_sessions, f"all {self._max_sessions} sessions are in use"),
                (
                    _of_client(client_ip),
                    self._max_per_client,
                    f"all {self._max_per_client} sessions of one client address are in use",
                ),
            ):
                if not await self._room_in(roster, name, most):
                    raise no_room(full)
                joined.append(roster)
                if named:
                    await self.store.roster.join(
                        _named(roster), name, ttl=self._counted, most=_NO_BOUND
                    )
                    joined.append(_named(roster))
        except (Failure, Refusal) as error:
            for roster in joined:
                self.node.later(self.store.roster.leave(roster, name))
            if named:
                self.node.later(self._end(name, client_ip, named=True))
            if isinstance(error, Failure):
                raise unavailable(error) from error
            raise

    async def _room_in(self, roster: str, name: str, most: int) -> bool:
        for _ in range(_TRIES):
            if (await self.store.roster.join(roster, name, ttl=self._counted, most=most))[0]:
                return True
            # Nobody joins a list of which nobody may be a member, and hears who is idle longest.
            _, idlest = await self.store.roster.join(
                _named(roster), name, ttl=self._counted, most=0
            )
            if idlest is None:
                return False
            await self._make_room(roster, idlest)
        return False

    async def _make_room(self, roster: str, name: str) -> None:
        """End a named session, which opens by itself when its client comes back, unless it is in
        use: then it is not the longest idle."""
        record = await self.store.records.read(name)
        if record is None:
            for each in (roster, _named(roster)):
                await self.store.roster.leave(each, name)
            return
        facts = Facts.decoded(record.data)
        if record.held or name in await self._in_use(record.nodes, name):
            await self.store.roster.touch(_named(roster), [name], ttl=self._counted)
            return
        await self._end(name, facts.client_ip, named=True)
        for each in (roster, _named(roster)):
            await self.store.roster.leave(each, name)

    async def _in_use(self, nodes: Iterable[str], name: str) -> set[str]:
        here = self.parts.part(name)
        if here is not None and here.requests:
            return {name}
        answers = await self.reach.ask(nodes, "used", name)
        return {name} if "yes" in answers.values() else set()

    @property
    def _counted(self) -> float:
        """Seconds that a session counts for after its last sign of life; a sweep longer than it
        lives, since the sweep tells of it."""
        return self.ttl + 2 * self.interval

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
        self.parts.expire()

    async def _touch(self, sessions: list[Session]) -> None:
        names = [each.part.name for each in sessions if each.part is not None]
        alive = await self.store.records.touch(names, ttl=self.ttl)
        rosters: dict[str, list[str]] = {}
        for session, name, there in zip(sessions, names, alive, strict=True):
            if there:
                for roster in _rosters(session.client_ip, named=session.kind is not Kind.MINTED):
                    rosters.setdefault(roster, []).append(name)
            elif not session.requests:
                self.parts.close(session)
        for roster, members in rosters.items():
            await self.store.roster.touch(roster, members, ttl=self._counted)

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


def unavailable(failure: Failure) -> Refusal:
    """How HTTP says that the store is away."""
    seconds = max(1, round(failure.retry_after or 1.0))
    return Refusal(
        503,
        f"{failure.message[:1].upper()}{failure.message[1:]}; try again later",
        headers=[(b"retry-after", str(seconds).encode())],
        failure=failure,
    )


def _of_client(client_ip: str | None) -> str:
    return f"clients/{client_ip or '-'}"


def _named(roster: str) -> str:
    return f"{roster}/named"


def _rosters(client_ip: str | None, *, named: bool) -> list[str]:
    lists = [ROSTER, _of_client(client_ip)]
    return [*lists, *map(_named, lists)] if named else lists
