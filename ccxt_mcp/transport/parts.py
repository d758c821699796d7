"""This replica's parts of sessions that all replicas share.

Owns: the table of the parts, by the names of their records. Refuses: to end a session: closing a
part here ends what runs in it, and no more (``directory.py`` ends sessions).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mcp_types import RequestId

from ccxt_mcp.cluster.holding import Holding
from ccxt_mcp.mechanisms.head_start import HeadStart
from ccxt_mcp.model import Principal
from ccxt_mcp.transport.events import Events
from ccxt_mcp.transport.registry import Registry
from ccxt_mcp.transport.room import Caller, Room
from ccxt_mcp.transport.session import Kind, Session, SessionKey
from ccxt_mcp.transport.session_record import name_of
from ccxt_mcp.transport.track import Mirror, Track

if TYPE_CHECKING:
    from ccxt_mcp.transport.directory import Directory

__all__ = ["EarlyTurn", "Part", "Parts"]

EarlyTurn = HeadStart[Holding | None]


class Part:
    """What a local part knows of its session's record.

    Mutable: ``version`` of the record as it was read last, 0 before there is one; ``epoch``, in
    which the part was known to be a live session's; ``streams`` (never unset): whether there may be
    somebody, anywhere, who reads the session's own stream; ``told``: (calls, errors, timeouts) that
    the record counts already; ``early``, within one step of the loop: the turn that was asked for
    on behalf of a call which is not in the lane yet; ``heard_until``: steady seconds until which a
    connection to another replica is believed to read it.
    """

    __slots__ = (
        "directory",
        "early",
        "epoch",
        "heard_until",
        "name",
        "session",
        "streams",
        "told",
        "version",
    )

    def __init__(self, directory: Directory, session: Session, name: str) -> None:
        self.directory = directory
        self.session = session
        self.name = name
        self.version = 0
        self.epoch = directory.epoch
        self.streams = False
        self.heard_until = 0.0
        self.told = (0, 0, 0)
        self.early: EarlyTurn | None = None

    @property
    def heard(self) -> bool:
        """Whether a connection to another replica reads the session's own stream."""
        return self.heard_until > time.monotonic()

    def events(self, room: Room, caller: Caller) -> Events:
        """What keeps the events of this replica's streams of the session."""
        replay = self.session.replay
        mirrors = self.directory.mirrors

        def mirrored(track: Track, owed: Sequence[RequestId]) -> Mirror:
            return mirrors.mirror(self.name, events.tag.decode(), track, owed, replay)

        events = Events(replay, room, caller, self.directory.node.id, mirrored)
        return events

    def __repr__(self) -> str:
        return f"<Part of {self.name}, version {self.version}>"


class Parts(Registry):
    """The registry of a replica among others: its sessions are parts, and may go at any time that
    they are idle.

    Mutable: ``_by_name``, the same sessions by the names of their records.
    """

    def __init__(self, **bounds: Any) -> None:
        super().__init__(**bounds)
        self._by_name: dict[str, Session] = {}

    def part(self, name: str) -> Session | None:
        """The live part of the session of this record."""
        return self._by_name.get(name)

    def known(self, principal: Principal, session_id: str) -> Session | None:
        """The live part of a caller's session."""
        return self._sessions.get((principal.name, session_id))

    def all(self) -> Iterable[Session]:
        """Every live part."""
        return self._sessions.values()

    def recent(self, since: float) -> list[Session]:
        """The parts that were used since then, in steady seconds, or are in use."""
        return [each for each in self._sessions.values() if each.requests or each.touched > since]

    def no_more_heard(self) -> None:
        """Pause the subscriptions of those whose reader elsewhere has not been heard of."""
        for session in list(self._sessions.values()):
            part = session.part
            if part is not None and part.heard_until and not part.heard:
                part.heard_until = 0.0
                session.unheard()

    def open(
        self, principal: Principal, session_id: str, client_ip: str | None, kind: Kind
    ) -> Session:
        """A part of a session that is known to be there."""
        return self._add(session_id, kind, principal, client_ip)

    def close(self, session: Session) -> None:
        """End a part: what runs in it is interrupted."""
        if session.closed:
            return
        assert session.part is not None
        super().close(session)
        del self._by_name[session.part.name]
        session.part.directory.closed_here(session)

    def _add(
        self, session_id: str, kind: Kind, principal: Principal, client_ip: str | None
    ) -> Session:
        session = super()._add(session_id, kind, principal, client_ip)
        assert self.shared is not None
        part = Part(self.shared, session, name_of(principal, session_id))
        session.part = part
        self._by_name[part.name] = session
        return session

    def _make_room(self, among: OrderedDict[SessionKey, Session], full: str) -> None:
        # The bounds on sessions are the directory's; a part that is idle can always go.
        for session in among.values():
            if not session.requests and not session.lane.busy:
                self.close(session)
                return
