"""Carrying out what a POST says, for as long as its client wants the answer.

Owns: the life of a request between its session and its answer: counted by the gate, known to the
session by its id, ended when the client leaves, cancels or ends the session. Refuses: which session
it belongs to (``endpoint.py``) and how the answer is written (``responder.py``, ``resuming.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mcp.server.lowlevel import Server
from mcp_types import RequestId
from starlette.types import Receive, Scope, Send

from ccxt_mcp.mechanisms.interruption import Interruption
from ccxt_mcp.transport import batch
from ccxt_mcp.transport.gate import Gate
from ccxt_mcp.transport.kernel import Reply, answer, cancelled, notify, refused
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.responder import Responder
from ccxt_mcp.transport.resuming import Resumable
from ccxt_mcp.transport.session import SESSION_ENDED, Session
from ccxt_mcp.transport.shared_lane import ask_early
from ccxt_mcp.transport.wire import Message

__all__ = ["Answering"]

_LEFT = "The client left"
_ABANDONED = "Nobody came back for the answer"


class Answering:
    """Runs messages on one MCP server.

    Args:
        server: the low-level MCP server that answers.
        lifespan_state: what the server's lifespan yielded, once it runs.
        gate: counts the requests that are owed an answer.
    """

    def __init__(self, server: Server[Any], lifespan_state: Callable[[], Any], gate: Gate) -> None:
        self._server = server
        self._lifespan_state = lifespan_state
        self._gate = gate

    async def request(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        session: Session,
        message: Message,
        *,
        json: bool,
        sse: bool,
    ) -> None:
        """Serve one request; ``json`` and ``sse`` say what the client takes."""
        assert message.id is not None
        gone = False

        def left() -> None:
            nonlocal gone
            gone = True
            interruption.interrupt(_LEFT)

        def abandoned() -> None:
            interruption.interrupt(_ABANDONED)

        self._gate.enter()
        interruption = session.begin(message.id)
        responder = _responder(session, receive, send, json, sse, left, abandoned, [message.id])
        reply: Reply | None = None
        if message.method == "tools/call":
            ask_early(session)
        try:
            with interruption:
                responder.start()
                reply = await self._reply(session, message, scope, responder)
            # Written outside: an answer that exists is not cut between its head and its body.
            if reply is not None:
                extra = []
                if message.method == "initialize" and reply.ok:
                    extra = [(b"mcp-session-id", session.id.encode("latin-1"))]
                await responder.finish(reply.body, extra)
            elif interruption.reason is not None and not gone:
                await responder.finish(cancelled(message, interruption.reason).body)
        finally:
            self._gate.leave()
            session.finish(message.id, interruption)
            await responder.close()

    async def batch(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        session: Session,
        entries: list[batch.Entry],
        *,
        json: bool,
        sse: bool,
    ) -> None:
        """Serve a batch that owes an answer, each request of it as if it had come by itself."""
        gone = False
        ended: str | None = None
        running: set[Interruption] = set()

        def end(reason: str) -> None:
            nonlocal ended
            ended = reason
            for interruption in list(running):
                interruption.interrupt(reason)

        def left() -> None:
            nonlocal gone
            gone = True
            end(_LEFT)

        async def one(message: Message, turn: batch.Turn) -> bytes | None:
            assert message.id is not None
            if session.closed or ended is not None:
                return None if gone else cancelled(message, ended or SESSION_ENDED).body
            interruption = session.begin(message.id)
            running.add(interruption)
            reply: Reply | None = None
            try:
                # Around the wait for its turn, too: what has not begun can be cancelled as well.
                with interruption:
                    async with turn:
                        try:
                            reply = await self._reply(session, message, scope, responder)
                        except Refusal as refusal:
                            reply = refused(refusal)
            finally:
                running.discard(interruption)
                session.finish(message.id, interruption)
            if reply is None and interruption.reason is not None:
                reply = cancelled(message, interruption.reason)
            return None if gone or reply is None else reply.body

        async def told(message: Message) -> None:
            await self.notify(scope, session, message)

        # Each is owed its answer until all of it is written.
        owed = batch.requests_in(entries)
        self._gate.enter(owed)
        ids = [e.id for e in entries if isinstance(e, Message) and e.is_request]
        responder = _responder(
            session, receive, send, json, sse, left, lambda: end(_ABANDONED), ids
        )
        try:
            responder.start()
            await batch.serve(entries, responder, one, told)
        finally:
            self._gate.leave(owed)
            await responder.close()

    async def _reply(
        self, session: Session, message: Message, scope: Scope, responder: Responder
    ) -> Reply:
        """The reply to one request.

        Raises:
            Refusal: HTTP answers instead, and nothing has been written.
        """
        try:
            reply = await answer(
                self._server, session, message, scope, self._lifespan_state(), outlet=responder
            )
            if session.part is not None and message.method == "initialize" and reply.ok:
                await session.part.directory.publish(session)
        except Refusal as refusal:
            if not responder.as_stream:
                raise
            reply = refused(refusal)
        return reply

    async def notify(self, scope: Scope, session: Session, message: Message) -> None:
        """Act on a notification, or on an answer to a question of ours."""
        await notify(self._server, session, message, scope, self._lifespan_state())


def _responder(
    session: Session,
    receive: Receive,
    send: Send,
    json: bool,
    sse: bool,
    gone: Callable[[], None],
    abandoned: Callable[[], None],
    owed: Sequence[RequestId | None],
) -> Responder:
    if session.handshaken:
        return Resumable(
            receive,
            send,
            session,
            json=json,
            sse=sse,
            gone=gone,
            abandoned=abandoned,
            owed=[each for each in owed if each is not None],
        )
    return Responder(receive, send, json=json, sse=sse, gone=gone)
