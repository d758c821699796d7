"""Driving the MCP kernel for one message of a legacy session.

Owns: the bridge from a session's record to the SDK's per-request ``Connection`` and back, and the
one place where an exception of the kernel becomes a JSON-RPC error. Refuses: HTTP.

Each POST has a ``Connection`` of its own, filled from the session: on a shared one, the end of a
ping would unwind the exit stack of a call that still runs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import anyio
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import ServerRunner, aclose_shielded
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import (
    cancelled_request_id_from_params,
    handler_exception_to_error_data,
    progress_token_from_params,
)
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import INTERNAL_ERROR
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import Scope

from ccxt_mcp.transport.refusal import Refusal, encode
from ccxt_mcp.transport.responder import Closer
from ccxt_mcp.transport.session import Session
from ccxt_mcp.transport.wire import Message

__all__ = ["REQUEST_CANCELLED", "Outlet", "Reply", "answer", "cancelled", "notify", "refused"]

logger = logging.getLogger(__name__)

REQUEST_CANCELLED = -32800
"""JSON-RPC code of a request that was cancelled (as in the Language Server Protocol)."""

_FIELD = re.compile(r"[A-Za-z_]{1,32}")

_TRANSPORT = TransportContext(kind="streamable-http", can_send_request=False)
_ASKING = TransportContext(kind="streamable-http", can_send_request=True)


class Outlet(Protocol):
    """What of a request's answer the kernel sees (``responder.py``, ``resuming.py``)."""

    @property
    def asks(self) -> bool:
        """Whether requests to the client can go this way."""

    def closers(self) -> tuple[Closer | None, Closer | None]:
        """What closes this stream's connection, and the session's own stream's, early."""

    async def emit(self, message: bytes) -> None:
        """Send a message ahead of the reply."""

    def leave(self, message: bytes) -> None:
        """Send a message with what is sent next."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One JSON-RPC response object as JSON, and whether it is a success."""

    body: bytes
    ok: bool


class _Channel:
    """The session's standalone stream; what is sent while there is none is dropped."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        if self._session.stream is None or not self._session.handshaken:
            raise NoBackChannelError(method)
        questions = self._session.questions()
        return await questions.ask(self._send, self._push, method, params, opts)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        self._push(_notification(method, params))

    async def _send(self, message: bytes) -> None:
        self._push(message)

    def _push(self, message: bytes) -> None:
        if self._session.stream is not None:
            self._session.stream.push(message)


class _Connection(Connection):
    """The SDK's connection, which knows whether anybody asked for its exit stack.

    Nearly nobody does, and to unwind an empty one costs more than the rest of the kernel's own
    work: the SDK's ``serve_one``, which is this and the unwinding, does it for every request.
    """

    has_cleanup = False

    @property
    def exit_stack(self) -> AsyncExitStack:
        self.has_cleanup = True
        return self._exit_stack

    @exit_stack.setter
    def exit_stack(self, stack: AsyncExitStack) -> None:
        self._exit_stack = stack


class _Exchange:
    """One message and its one reply, as the SDK's ``DispatchContext``."""

    def __init__(
        self, session: Session, message: Message, scope: Scope, outlet: Outlet | None
    ) -> None:
        self.request_id = message.id if message.is_request else None
        self._session = session
        self._params = message.params
        self._outlet = outlet
        asks = outlet is not None and outlet.asks
        close_stream = close_standing = None
        if outlet is not None and asks:
            close_stream, close_standing = outlet.closers()
        self.transport = _ASKING if asks else _TRANSPORT
        self.message_metadata = ServerMessageMetadata(
            request_context=Request(scope),
            can_send_request=asks,
            close_sse_stream=close_stream,
            close_standalone_sse_stream=close_standing,
        )

    @property
    def can_send_request(self) -> bool:
        """False again once the request has been answered."""
        return self._outlet is not None and self._outlet.asks

    def close(self) -> None:
        """The handler has returned: what it left running has no way to the client any more."""
        self._outlet = None

    @cached_property
    def cancel_requested(self) -> anyio.Event:
        # Most handlers never look, and an event costs as much as the whole rest of this object.
        return anyio.Event()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        outlet = self._outlet
        if outlet is None or not outlet.asks:
            raise NoBackChannelError(method)
        questions = self._session.questions()
        return await questions.ask(outlet.emit, outlet.leave, method, params, opts)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        if self._outlet is not None:
            await self._outlet.emit(_notification(method, params))

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        token = progress_token_from_params(self._params)
        if token is None:
            return
        told: dict[str, Any] = {"progressToken": token, "progress": progress}
        if total is not None:
            told["total"] = total
        if message is not None:
            told["message"] = message
        await self.notify("notifications/progress", told)


def _notification(method: str, params: Mapping[str, Any] | None) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return encode(message)


async def answer(
    server: Server[Any],
    session: Session,
    message: Message,
    scope: Scope,
    lifespan_state: Any,
    outlet: Outlet,
) -> Reply:
    """Serve one request and return its response, success or error.

    ``outlet`` carries what the handler has to say before: notifications, progress and questions.

    Raises:
        Refusal: HTTP is to answer instead.
    """
    assert message.method is not None
    assert message.id is not None
    connection = _connection(session)
    exchange = _Exchange(session, message, scope, outlet)
    try:
        try:
            result = await ServerRunner(server, connection, lifespan_state).on_request(
                exchange, message.method, message.params
            )
        finally:
            exchange.close()
            if connection.has_cleanup:
                await aclose_shielded(connection)
        body = encode({"jsonrpc": "2.0", "id": message.id, "result": result})
    except (MCPError, ValidationError) as exc:
        return _refused(message, exc)
    except Refusal as refusal:
        refusal.request_id = message.id
        raise
    except Exception:
        logger.exception("the MCP kernel failed on %s", message.method)
        return _refused(message, MCPError(INTERNAL_ERROR, "Internal server error"))
    if message.method == "initialize":
        session.client_params = connection.client_params
        session.protocol_version = connection.protocol_version
    return Reply(body, ok=True)


def _refused(message: Message, exc: MCPError | ValidationError) -> Reply:
    data = handler_exception_to_error_data(exc)
    assert data is not None
    error = data.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(exc, ValidationError):
        # The SDK says no more than "Invalid request parameters". Named is what is wrong, never
        # the value.
        wrong = exc.errors(include_url=False, include_context=False, include_input=False)[:3]
        named = (f"`{'.'.join(map(_step, item['loc']))[:80]}`: {item['msg']}" for item in wrong)
        error["message"] += ": " + "; ".join(named)
    return Reply(encode({"jsonrpc": "2.0", "id": message.id, "error": error}), ok=False)


def _step(part: int | str) -> str:
    """One step of the way to what is wrong; a key that no schema has may be anything, a key too."""
    return str(part) if isinstance(part, int) or _FIELD.fullmatch(part) else "…"


def refused(refusal: Refusal) -> Reply:
    """A refusal where HTTP cannot say it any more."""
    return Reply(encode(refusal.body()), ok=False)


def cancelled(message: Message, reason: str) -> Reply:
    """The answer to a request that was interrupted, for whoever still listens."""
    return _refused(message, MCPError(REQUEST_CANCELLED, reason))


async def notify(
    server: Server[Any],
    session: Session,
    message: Message,
    scope: Scope,
    lifespan_state: Any,
) -> None:
    """Act on a notification or an answer of the client's.

    Cancellation, and what is about a question of ours, is the transport's; the rest the server's
    if it wants it.
    """
    elsewhere = None if session.part is None else session.part.directory.elsewhere
    if message.method is None:
        if session.asking is not None:
            session.asking.answered(message.id, message.params or {})
        if elsewhere is not None and message.id is not None:
            await elsewhere.answered(session, message.id, message.params or {})
        return
    if message.method == "notifications/progress":
        if session.asking is not None:
            await session.asking.progressed(message.params)
        if elsewhere is not None:
            await elsewhere.progressed(session, message.params)
    if message.method == "notifications/cancelled":
        request_id = cancelled_request_id_from_params(message.params)
        if request_id is not None:
            session.cancel(request_id)
            if elsewhere is not None:
                await elsewhere.cancel(session, request_id)
    if server.get_notification_handler(message.method) is None:
        return
    runner = ServerRunner(server, _connection(session), lifespan_state)
    exchange = _Exchange(session, message, scope, None)
    await runner.on_notify(exchange, message.method, message.params)


def _connection(session: Session) -> _Connection:
    connection = _Connection(
        _Channel(session),
        protocol_version=session.protocol_version,
        session_id=session.id,
        client_params=session.client_params,
    )
    connection.state = session.state
    connection.initialized.set()
    return connection
