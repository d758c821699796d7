"""The table of sessions: which exist, who may open one, which ends.

Owns: the sessions of this process, keyed by (principal, id), and the bounds on them. Refuses: ids
of a wrong form, ids that this server minted and that are gone, and sessions beyond the bounds.

All methods are synchronous: a decision and its change of the table cannot be interleaved.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import OrderedDict
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mcp_types.version import LATEST_HANDSHAKE_VERSION

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.lane import Lane
from ccxt_mcp.model import Principal
from ccxt_mcp.transport.events import Replay
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.room import Room
from ccxt_mcp.transport.session import Kind, Session, SessionKey
from ccxt_mcp.transport.subscriptions import Listener, Quota

if TYPE_CHECKING:
    from ccxt_mcp.transport.directory import Directory

__all__ = ["REGISTRY", "Registry", "gone", "is_minted", "is_name", "no_room"]

_MINTED = "ccxtmcp-"
"""What ids of ours begin with: such an id is never adopted as a client's name."""
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_RETRY_AFTER = (b"retry-after", b"5")


class Registry:
    """Sessions in the order of their last use.

    Args:
        max_sessions: sessions in all; beyond it the longest-idle named one makes room.
        max_per_client: sessions of one client address, by the same rule.
        idle_timeout: seconds without a request after which a session ends.
        adopt_named: whether an id that the client chose opens a session.
        lane_limit: how many calls of one session may wait.
        lane_wait_max: seconds that a call may wait for those before it.
        replay: how much a session keeps for clients that read on, and all of them together.
        quota: how many subscriptions there may be.
    """

    first_version = LATEST_HANDSHAKE_VERSION
    """Of a session whose client has not said which protocol version it speaks."""

    def __init__(
        self,
        *,
        max_sessions: int,
        max_per_client: int,
        idle_timeout: float,
        adopt_named: bool,
        lane_limit: int,
        lane_wait_max: float,
        replay: Replay = Replay(),  # noqa: B008 - frozen
        quota: Quota | None = None,
    ) -> None:
        self.lane_wait_max = lane_wait_max
        # Where the sessions are those of several replicas: asked before this table is.
        self.shared: Directory | None = None
        self.quota = quota or Quota()
        # Subscriptions that are streams of their own; each adds and removes itself.
        self.listeners: set[Listener] = set()
        self._streams_closed = False
        self._replay = replay
        self.room = Room(replay.total)
        self._max_sessions = max_sessions
        self._max_per_client = max_per_client
        self._idle_timeout = idle_timeout
        self._adopt_named = adopt_named
        self._lane_limit = lane_limit
        # Both hold the same sessions, longest idle first; changed by _add, touch and close only.
        self._sessions: OrderedDict[SessionKey, Session] = OrderedDict()
        self._by_client: dict[str | None, OrderedDict[SessionKey, Session]] = {}
        # Of sessions that were ended while a call of theirs goes on: whoever opens one of that name
        # again stands in the same line, so that an order overtakes none that is still on its way.
        self._lanes: WeakValueDictionary[SessionKey, Lane] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._sessions)

    def mint(self, principal: Principal, client_ip: str | None) -> Session:
        """Open a session under a new id of ours.

        Raises:
            Refusal: 503 when there is no room.
        """
        return self._add(_MINTED + secrets.token_hex(16), Kind.MINTED, principal, client_ip)

    def find(self, principal: Principal, session_id: str) -> Session:
        """The live session of this caller with this id.

        Raises:
            Refusal: 400 for an id that cannot be one, 404 for one that is not live.
        """
        session = self._sessions.get((principal.name, session_id))
        if session is None:
            _check_form(session_id)
            raise gone()
        return session

    def find_or_open(
        self,
        principal: Principal,
        session_id: str,
        client_ip: str | None,
        kind: Kind = Kind.NAMED,
    ) -> Session:
        """The live session, or a new one when the client may choose its name.

        Raises:
            Refusal: 400, 404 (as ``find``) or 503 when there is no room.
        """
        session = self._sessions.get((principal.name, session_id))
        if session is not None:
            return session
        _check_form(session_id)
        if is_minted(session_id) or not self._adopt_named:
            raise gone()
        return self._add(session_id, kind, principal, client_ip)

    def touch(self, session: Session) -> None:
        """Note a sign of life of a session's client."""
        session.touch()
        if not session.closed:
            self._sessions.move_to_end(session.key)
            self._by_client[session.client_ip].move_to_end(session.key)

    def close(self, session: Session) -> None:
        """End a session: its reads are interrupted, its stream ends, its id answers 404."""
        if session.closed:
            return
        del self._sessions[session.key]
        of_client = self._by_client[session.client_ip]
        del of_client[session.key]
        if not of_client:
            del self._by_client[session.client_ip]
        if session.lane.busy:
            self._lanes[session.key] = session.lane
        session.end()

    def listen(self, listener: Listener) -> None:
        """A stream of subscriptions begins; it ends at once where the streams have been closed
        since it was asked for."""
        self.listeners.add(listener)
        if self._streams_closed:
            listener.close()

    def close_streams(self) -> None:
        """End the sessions' own streams and those of subscriptions, and waiting for their clients'
        answers: the server is stopping, the sessions are not ended."""
        self._streams_closed = True
        for listener in self.listeners:
            listener.close()
        for session in self._sessions.values():
            if session.stream is not None:
                session.stream.close()
            if session.requests:
                session.questions().end("The server is stopping")

    def expire(self) -> int:
        """End the sessions that were idle too long; how many ended."""
        horizon = time.monotonic() - self._idle_timeout
        ended = []
        for session in self._sessions.values():
            if session.touched > horizon:
                break
            if not session.requests:
                ended.append(session)
        for session in ended:
            self.close(session)
        return len(ended)

    def describe(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """A page of the sessions, oldest first, as ``/health`` shows them."""
        ordered = sorted(self._sessions.values(), key=lambda s: (s.connected_at, s.id))
        return [session.describe() for session in ordered[offset : offset + limit]]

    def counts(self) -> dict[str, Any]:
        """How many sessions there are by kind, and what they are doing."""
        sessions = self._sessions.values()
        # Quick also over ten thousand sessions, most of which are doing nothing.
        kinds = [each.kind for each in sessions]
        active = [each for each in sessions if each.requests]
        return {
            "kinds": {kind.value: kinds.count(kind) for kind in Kind},
            "busy": sum(each.lane.busy for each in active),
            "waiting": sum(each.lane.waiting for each in active),
            "streams": sum(each.reading for each in active),
        }

    def _add(
        self, session_id: str, kind: Kind, principal: Principal, client_ip: str | None
    ) -> Session:
        if len(self._sessions) >= self._max_sessions:
            self._make_room(self._sessions, f"all {self._max_sessions} sessions are in use")
        of_client = self._by_client.get(client_ip)
        if of_client is not None and len(of_client) >= self._max_per_client:
            self._make_room(
                of_client, f"all {self._max_per_client} sessions of one client address are in use"
            )
        lane = self._lanes.get((principal.name, session_id)) or Lane(self._lane_limit)
        session = Session(
            session_id,
            kind,
            principal,
            client_ip,
            protocol_version=self.first_version,
            lane=lane,
            replay=self._replay,
            room=self.room,
        )
        self._sessions[session.key] = session
        self._by_client.setdefault(client_ip, OrderedDict())[session.key] = session
        return session

    def _make_room(self, among: OrderedDict[SessionKey, Session], full: str) -> None:
        """End the longest-idle named session: it re-opens by itself when its client comes back."""
        for session in among.values():
            if session.kind is not Kind.MINTED and not session.requests:
                self.close(session)
                return
        raise no_room(full)


REGISTRY: ContextVar[Registry | None] = ContextVar("ccxt_mcp_registry", default=None)
"""The sessions of the application that serves this request; one server may stand behind several."""


def is_name(session_id: str) -> bool:
    """Whether an id has the form that ids have."""
    return _NAME.fullmatch(session_id) is not None


def is_minted(session_id: str) -> bool:
    """Whether an id is of those that are never a client's own."""
    return session_id.startswith(_MINTED)


def no_room(full: str) -> Refusal:
    """The answer where no session can be opened; ``full`` says of what there is too much."""
    failure = Failure(
        Code.OVERLOADED,
        full,
        hint="End sessions that are done with DELETE, or raise `max_sessions` or"
        " `max_sessions_per_client`.",
        retry_after=5.0,
    )
    return Refusal(503, f"{full}; try again later", headers=[_RETRY_AFTER], failure=failure)


def _check_form(session_id: str) -> None:
    if not is_name(session_id):
        raise Refusal(
            400,
            "The session's name (`Mcp-Session-Id`, or `ccxt-mcp/workflow` in `_meta`) is malformed:"
            " it has 1 to 128 characters of A-Z a-z 0-9 . _ : -",
        )


def gone() -> Refusal:
    """The answer to an id of a session that is not live."""
    failure = Failure(Code.SESSION_NOT_FOUND, "the session has ended or never existed")
    return Refusal(404, "Session not found: send `initialize` to open a new one", failure=failure)
