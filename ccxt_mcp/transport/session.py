"""One session: its record, its lane and what is known of its use.

Owns: everything that belongs to one session and nothing else. Refuses: to decide which request
belongs to it (``registry.py``) and to touch the wire (``endpoint.py``).
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any

from mcp_types import InitializeRequestParams, RequestId

from ccxt_mcp.mechanisms.interruption import Interruption
from ccxt_mcp.mechanisms.lane import Lane
from ccxt_mcp.model import Principal
from ccxt_mcp.transport.asking import Asking
from ccxt_mcp.transport.events import Events, Replay
from ccxt_mcp.transport.room import Caller, Room
from ccxt_mcp.transport.stream import Standing
from ccxt_mcp.transport.subscriptions import Quota, Subscriptions
from ccxt_mcp.transport.track import Track

if TYPE_CHECKING:
    from ccxt_mcp.transport.parts import Part

__all__ = [
    "SESSION",
    "SESSION_ENDED",
    "Kind",
    "PlainRequest",
    "Session",
    "SessionKey",
    "Usage",
    "label_of",
    "percentiles",
    "utc",
]

SESSION_ENDED = "The session was ended"
"""Why what a session had under way has ended with it."""

_LATENCIES = 64
"""How many latencies are kept for the percentiles: 256 bytes a session."""

SessionKey = tuple[str, str]
"""(principal's name, session id): a guessed id reaches nobody else's session."""


class PlainRequest(Enum):
    """Stands where a JSON-RPC id would: for a request that has none, and cannot be cancelled."""

    MARK = object()


class Kind(StrEnum):
    """How a session came to be."""

    MINTED = "minted"
    """``initialize`` was answered with an id of ours."""
    NAMED = "named"
    """The client chose the id; it opened on first use."""
    WORKFLOW = "workflow"
    """A name in the ``_meta`` of modern requests."""


def utc(timestamp: float) -> str:
    """POSIX seconds as UTC ISO-8601 with milliseconds and a ``Z``."""
    moment = datetime.fromtimestamp(timestamp, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def percentiles(latencies: Iterable[float]) -> dict[str, float] | None:
    """Median and 95th percentile; None of nothing."""
    ordered = sorted(latencies)
    if not ordered:
        return None
    last = len(ordered) - 1
    return {
        "p50": round(ordered[round(last * 0.5)], 1),
        "p95": round(ordered[round(last * 0.95)], 1),
    }


class Usage:
    """Counters of one session's tool calls. Written by ``lanes.py`` only."""

    __slots__ = ("_latencies", "_next", "calls", "errors", "last", "timeouts")

    def __init__(self) -> None:
        self.last = 0.0
        self.calls = 0
        self.errors = 0
        self.timeouts = 0
        self._latencies = array("f")
        self._next = 0

    def finished(self, milliseconds: float, *, error: bool, timeout: bool) -> None:
        """Count one call that ended; its latency excludes the time in the lane."""
        self.last = milliseconds
        self.calls += 1
        self.errors += error
        self.timeouts += timeout
        if len(self._latencies) < _LATENCIES:
            self._latencies.append(milliseconds)
        else:
            self._latencies[self._next] = milliseconds
            self._next = (self._next + 1) % _LATENCIES

    def refused(self) -> None:
        """Count one call that was not started; it says nothing about latency."""
        self.calls += 1
        self.errors += 1

    def percentiles(self) -> dict[str, float] | None:
        """Median and 95th percentile of the last 64 latencies in milliseconds; None before any."""
        return percentiles(self._latencies)


class Session:
    """A session of either era. Its identity never changes; what may change is declared here.

    ``requests`` counts the HTTP requests being served, the open stream among them: a session with
    any is neither expired nor evicted. ``running`` holds the requests under way by their JSON-RPC
    id, of which a client may use one several times at once, or by the mark of a plain request.
    ``client_params`` and ``protocol_version`` are rewritten by ``initialize`` alone. ``events``,
    ``asking`` and ``subscriptions`` are made when first needed, which for most sessions is never.
    ``part`` is set where other replicas may have parts of the same session, and never changed.
    """

    __slots__ = (
        "asking",
        "client_ip",
        "client_params",
        "closed",
        "connected_at",
        "events",
        "id",
        "key",
        "kind",
        "label",
        "lane",
        "last_activity",
        "part",
        "principal",
        "protocol_version",
        "replay",
        "requests",
        "room",
        "running",
        "state",
        "stream",
        "subscriptions",
        "touched",
        "usage",
    )

    def __init__(
        self,
        session_id: str,
        kind: Kind,
        principal: Principal,
        client_ip: str | None,
        *,
        protocol_version: str,
        lane: Lane,
        replay: Replay = Replay(),  # noqa: B008 - frozen
        room: Room | None = None,
    ) -> None:
        self.id = session_id
        self.key: SessionKey = (principal.name, session_id)
        self.kind = kind
        self.principal = principal
        self.client_ip = client_ip
        self.label = label_of(session_id, kind)
        self.lane = lane
        self.usage = Usage()
        self.state: dict[str, Any] = {}
        self.protocol_version = protocol_version
        self.client_params: InitializeRequestParams | None = None
        self.requests = 0
        self.running: dict[RequestId | PlainRequest, list[Interruption]] = {}
        self.stream: Standing | None = None
        self.replay = replay
        self.room = room
        self.events: Events | None = None
        self.asking: Asking | None = None
        self.subscriptions: Subscriptions | None = None
        self.part: Part | None = None
        self.closed = False
        self.connected_at = self.last_activity = time.time()
        self.touched = time.monotonic()

    def touch(self) -> None:
        """Note that the client was heard of."""
        self.last_activity = time.time()
        self.touched = time.monotonic()

    def begin(self, request_id: RequestId | PlainRequest) -> Interruption:
        """A request starts: its client may cancel it by its id, and the session's end does."""
        interruption = Interruption()
        self.running.setdefault(request_id, []).append(interruption)
        return interruption

    def finish(self, request_id: RequestId | PlainRequest, interruption: Interruption) -> None:
        """The request of ``begin`` has ended."""
        same = self.running[request_id]
        same.remove(interruption)
        if not same:
            del self.running[request_id]

    @property
    def handshaken(self) -> bool:
        """Whether its client went through ``initialize``: it can be asked, and read on."""
        return self.kind is Kind.MINTED and self.client_params is not None

    @property
    def reading(self) -> bool:
        """Whether a connection to this process reads the session's own stream."""
        return self.stream is not None and self.stream.connected

    @property
    def listening(self) -> bool:
        """Whether a connection to any replica reads it."""
        return self.reading or (self.part is not None and self.part.heard)

    def open_track(self, abandoned: Callable[[], None], owed: Sequence[RequestId] = ()) -> Track:
        """Begin a stream whose events are kept; see ``Events.open``."""
        if self.events is None:
            if self.part is None:
                self.events = Events(self.replay, self._room(), self._caller)
            else:
                self.events = self.part.events(self._room(), self._caller)
            if self.closed:
                self.events.close()
        return self.events.open(abandoned, owed)

    def _room(self) -> Room:
        return self.room or Room(self.replay.total)

    def questions(self) -> Asking:
        """What the client was asked and has not answered."""
        if self.asking is None:
            self.asking = Asking(None if self.part is None else self.part.directory.node.id)
        return self.asking

    def subscribed(self, quota: Quota) -> Subscriptions:
        """What its client has subscribed to, within these bounds."""
        if self.subscriptions is None:
            self.subscriptions = Subscriptions(quota, self._caller, self._say_once)
            if self.closed:
                self.subscriptions.end()
        return self.subscriptions

    def heard(self) -> None:
        """A connection reads the session's own stream from here on."""
        if self.subscriptions is not None:
            self.subscriptions.resume()

    def unheard(self) -> None:
        """A connection has ended; perhaps the one that read the session's own stream."""
        if self.subscriptions is not None and not self.listening:
            self.subscriptions.pause()

    @property
    def _caller(self) -> Caller:
        """With whom what it keeps and takes counts together."""
        return (self.principal.name, self.client_ip)

    def _say_once(self, message: bytes) -> bool:
        if self.stream is None:
            return False
        self.stream.push_once(message)
        return True

    def cancel(self, request_id: RequestId) -> None:
        """The client does not want the answers to its requests of this id any more."""
        for interruption in list(self.running.get(request_id, ())):
            interruption.interrupt("Request cancelled")

    def end(self) -> None:
        """Interrupt what runs or waits, and close the stream; for the registry alone."""
        self.closed = True
        if self.subscriptions is not None:
            self.subscriptions.end()
        if self.asking is not None:
            self.asking.end(SESSION_ENDED)
        for same in list(self.running.values()):
            for interruption in list(same):
                interruption.interrupt(SESSION_ENDED)
        if self.stream is not None:
            self.stream.close()
        if self.events is not None:
            self.events.close()

    def own_use(self) -> dict[str, Any]:
        """What the session's own caller may know of it; calls that have ended count."""
        return {
            "kind": self.kind.value,
            "connectedAt": utc(self.connected_at),
            "queued": self.lane.waiting,
            "calls": self.usage.calls,
            "errors": self.usage.errors,
            "timeouts": self.usage.timeouts,
            "latencyMs": self.usage.percentiles() or {},
        }

    def describe(self) -> dict[str, Any]:
        """The session as ``/health`` shows it; no id of another caller's minted session in it."""
        client = None
        if self.client_params is not None:
            info = self.client_params.client_info
            client = f"{info.name}/{info.version}"[:128]
        return {
            "sessionId": self.label,
            "connectedAt": utc(self.connected_at),
            "lastActivity": utc(self.last_activity),
            "clientIp": self.client_ip,
            "kind": self.kind.value,
            "principal": self.principal.name or None,
            "client": client,
            "protocolVersion": self.protocol_version,
            "inFlight": int(self.lane.busy),
            "queued": self.lane.waiting,
            "calls": self.usage.calls,
            "errors": self.usage.errors,
            "timeouts": self.usage.timeouts,
            "latencyMs": self.usage.percentiles(),
        }

    def __repr__(self) -> str:
        return f"<Session {self.label} {self.kind.value} {self.lane!r} calls={self.usage.calls}>"


def label_of(session_id: str, kind: Kind) -> str:
    """How a session is shown: a minted id opens it, so only a short hash of that is."""
    if kind is Kind.MINTED:
        return "#" + hashlib.sha256(session_id.encode()).hexdigest()[:12]
    return session_id


SESSION: ContextVar[Session | None] = ContextVar("ccxt_mcp_session", default=None)
"""The legacy session of the request being served; the lane's entry reads it."""
