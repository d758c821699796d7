"""``/mcp``: one path, two protocol eras.

Owns: what an HTTP method, its headers and its session id mean. A request of the legacy era (the
handshake revisions, and plain HTTP without any revision header) is served here on the SDK's
``ServerRunner``; a modern one goes through the SDK's own session manager. Refuses: what the HTTP
side of the specification refuses, each with words that say what to send instead.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ccxt_mcp.model import CALLER, Caller
from ccxt_mcp.telemetry import RECORDER, Recorder, Silence
from ccxt_mcp.transport.answering import Answering
from ccxt_mcp.transport.batch import BATCHING, Entry, entries, refuse
from ccxt_mcp.transport.gate import Gate
from ccxt_mcp.transport.guard import peer_of
from ccxt_mcp.transport.listening import listen
from ccxt_mcp.transport.modern import serve_modern
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.registry import REGISTRY, Registry
from ccxt_mcp.transport.sealing import USER, known_to_sdk
from ccxt_mcp.transport.session import SESSION, Kind, Session
from ccxt_mcp.transport.wire import (
    ClientGone,
    Message,
    accepts,
    check_content_type,
    parse,
    read_body,
    reads_streams,
)

__all__ = ["Endpoint"]

logger = logging.getLogger(__name__)

_LEGACY = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)
_ALLOW = (b"allow", b"POST, GET, DELETE")
_BATCHING = BATCHING.encode()
_NOTE = Message("notifications/", None, None)
"""Stands for a batch without requests: it opens no session."""


@dataclass(slots=True)
class _Headers:
    """The request headers that decide its way."""

    accept: bytes | None = None
    content_type: bytes | None = None
    content_length: bytes | None = None
    session_id: str | None = None
    last_event_id: str | None = None
    protocol_version: bytes | None = None

    @classmethod
    def of(cls, scope: Scope) -> _Headers:
        found = cls()
        for name, value in scope["headers"]:
            if name == b"accept":
                found.accept = value if found.accept is None else found.accept + b"," + value
            elif name == b"content-type":
                found.content_type = value
            elif name == b"content-length":
                found.content_length = value
            elif name == b"mcp-session-id":
                found.session_id = value.decode("latin-1")
            elif name == b"mcp-protocol-version":
                found.protocol_version = value
            elif name == b"last-event-id":
                # An empty one is none: so an event source says that it has seen nothing yet.
                found.last_event_id = value.decode("latin-1") or None
        return found


class Endpoint:
    """The ASGI application behind ``/mcp``.

    Args:
        server: the low-level MCP server that answers.
        manager: the SDK's session manager over the same server, for modern requests.
        lifespan_state: what the server's lifespan yielded, once it runs.
        registry: the sessions.
        gate: whether work is taken.
        max_body: largest request body in bytes.
        recorder: told what the requests spend their time on.
    """

    def __init__(
        self,
        server: Server[Any],
        manager: StreamableHTTPSessionManager,
        lifespan_state: Callable[[], Any],
        registry: Registry,
        gate: Gate,
        *,
        max_body: int,
        recorder: Recorder | None = None,
    ) -> None:
        self._answering = Answering(server, lifespan_state, gate)
        self._manager = manager
        self._registry = registry
        self._gate = gate
        self._max_body = max_body
        self._recorder = recorder or Silence()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _Headers.of(scope)
        peer = peer_of(scope)
        caller = CALLER.set(Caller(principal=peer.principal, client_ip=peer.client_ip))
        user = USER.set(known_to_sdk(peer.principal))
        registry = REGISTRY.set(self._registry)
        recorder = RECORDER.set(self._recorder)
        # A connection's flow control can start this request in the context of an earlier one, so
        # what the call below reads is set here even where there is nothing to say.
        session = SESSION.set(None)
        try:
            version = headers.protocol_version
            if version is not None and version not in _LEGACY:
                await self._modern(scope, headers, version, receive, send)
            elif scope["method"] == "POST":
                await self._post(scope, headers, receive, send)
            elif scope["method"] == "DELETE":
                await self._delete(scope, headers, send)
            elif scope["method"] == "GET":
                await self._get(scope, headers, receive, send)
            else:
                raise Refusal(405, "Only POST, GET and DELETE are served here", headers=[_ALLOW])
        except Refusal as refusal:
            self._recorder.refused(refusal.status)
            await refusal.send(send)
        except (ClientGone, ClientDisconnect):
            pass
        finally:
            SESSION.reset(session)
            RECORDER.reset(recorder)
            REGISTRY.reset(registry)
            USER.reset(user)
            CALLER.reset(caller)

    async def _modern(
        self, scope: Scope, headers: _Headers, version: bytes, receive: Receive, send: Send
    ) -> None:
        await serve_modern(
            self._manager,
            self._gate,
            scope,
            version,
            headers.accept,
            headers.content_type,
            headers.content_length,
            receive,
            send,
            max_body=self._max_body,
        )

    async def _post(self, scope: Scope, headers: _Headers, receive: Receive, send: Send) -> None:
        check_content_type(headers.content_type)
        json, sse = accepts(headers.accept)
        sse = sse and (not json or reads_streams(headers.accept))
        if not json and not sse:
            raise Refusal(
                406, "Answers are `application/json` or `text/event-stream`: accept one of them"
            )
        body = await read_body(receive, headers.content_length, self._max_body)
        message = parse(body)
        if isinstance(message, list):
            found = entries(message, len(body))
            session = await self._session_of_batch(scope, headers, found)
            work = self._batch(scope, receive, send, session, found, json=json, sse=sse)
            await self._within(session, work)
            return
        try:
            if message.is_request:
                self._gate.check()
            session = await self._session_for(scope, headers, message)
        except Refusal as refusal:
            refusal.request_id = message.id if message.is_request else None
            raise
        if message.is_request:
            work = self._answering.request(
                scope, receive, send, session, message, json=json, sse=sse
            )
        else:
            work = self._notify(scope, send, session, message)
        await self._within(session, work)

    async def _within(self, session: Session, work: Awaitable[None]) -> None:
        """Do work of a session, which is in use for as long."""
        session.requests += 1
        self._registry.touch(session)
        bound = SESSION.set(session)
        named = CALLER.set(_named(CALLER.get(), session))
        try:
            await work
        finally:
            if session.kind is Kind.MINTED and session.client_params is None:
                # The handshake did not succeed: nobody was told the id, so nothing is kept.
                self._registry.close(session)
            CALLER.reset(named)
            SESSION.reset(bound)
            session.requests -= 1
            self._registry.touch(session)

    async def _notify(self, scope: Scope, send: Send, session: Session, message: Message) -> None:
        await self._answering.notify(scope, session, message)
        await _send_empty(send, 202, [(b"content-length", b"0")])

    async def _batch(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        session: Session,
        found: list[Entry],
        *,
        json: bool,
        sse: bool,
    ) -> None:
        if any(isinstance(entry, Refusal) or entry.is_request for entry in found):
            await self._answering.batch(scope, receive, send, session, found, json=json, sse=sse)
            return
        for entry in found:
            assert isinstance(entry, Message)
            await self._answering.notify(scope, session, entry)
        await _send_empty(send, 202, [(b"content-length", b"0")])

    async def _session_of_batch(
        self, scope: Scope, headers: _Headers, found: list[Entry]
    ) -> Session:
        """The session of a batch, whose client has to speak the one revision that has batches."""
        requests = [each for each in found if isinstance(each, Message) and each.is_request]
        if requests:
            self._gate.check()
        if headers.session_id is None or (requests and headers.protocol_version == _BATCHING):
            session = await self._session_for(scope, headers, requests[0] if requests else _NOTE)
        else:
            session = await self._live(scope, headers.session_id)
        # A session with a name has negotiated nothing: each request says what it is.
        said = None if headers.protocol_version is None else headers.protocol_version.decode()
        spoken = said if session.client_params is None else session.protocol_version
        if spoken != BATCHING:
            raise refuse(spoken)
        return session

    async def _session_for(self, scope: Scope, headers: _Headers, message: Message) -> Session:
        """The session that a message belongs to; opens one where that is what the message does."""
        peer = peer_of(scope)
        if headers.session_id is None:
            if message.method == "initialize":
                session = self._registry.mint(peer.principal, peer.client_ip)
                if self._registry.shared is not None:
                    await self._registry.shared.admit(session)
                return session
            raise Refusal(
                400,
                "Mcp-Session-Id is missing: send `initialize` first and repeat the id that it"
                " answers, or name your session yourself, for instance"
                " `Mcp-Session-Id: my-workflow`",
            )
        if message.is_request:
            if self._registry.shared is not None:
                await self._registry.shared.arrive(
                    peer.principal, headers.session_id, peer.client_ip, Kind.NAMED
                )
            session = self._registry.find_or_open(
                peer.principal, headers.session_id, peer.client_ip
            )
            if headers.protocol_version is not None and session.client_params is None:
                session.protocol_version = headers.protocol_version.decode("ascii")
            return session
        return await self._live(scope, headers.session_id)

    async def _live(self, scope: Scope, session_id: str) -> Session:
        """The session of a request that opens none."""
        peer = peer_of(scope)
        if self._registry.shared is not None:
            await self._registry.shared.arrive(peer.principal, session_id, peer.client_ip)
        return self._registry.find(peer.principal, session_id)

    async def _get(self, scope: Scope, headers: _Headers, receive: Receive, send: Send) -> None:
        """The stream of messages that belong to no call."""
        if headers.session_id is None:
            raise Refusal(
                405,
                "GET opens a session's stream of server messages: send its Mcp-Session-Id, or"
                " POST a message",
                headers=[_ALLOW],
            )
        session = await self._live(scope, headers.session_id)
        if not accepts(headers.accept)[1]:
            raise Refusal(406, "The stream is `text/event-stream`: accept it")
        session.requests += 1
        try:
            await listen(session, self._gate, headers.last_event_id, receive, send)
        finally:
            session.requests -= 1
            self._registry.touch(session)

    async def _delete(self, scope: Scope, headers: _Headers, send: Send) -> None:
        if headers.session_id is None:
            raise Refusal(400, "Mcp-Session-Id is missing: which session shall end?")
        session = await self._live(scope, headers.session_id)
        if self._registry.shared is not None:
            await self._registry.shared.end(session)
        else:
            self._registry.close(session)
        await _send_empty(send, 204, [])


def _named(caller: Caller, session: Session) -> Caller:
    return Caller(principal=caller.principal, session=session.label, client_ip=caller.client_ip)


async def _send_empty(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
