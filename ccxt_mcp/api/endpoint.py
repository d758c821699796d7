"""``/api``: the tools for whoever has no MCP client.

Owns: what a path, a method, the headers and the body of a plain request mean. Refuses: MCP, and
everything about a call but its HTTP (the seam ``Tools`` runs it; lanes and sessions are those of
``transport/``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson
from starlette.types import Receive, Scope, Send

from ccxt_mcp.api.document import openapi
from ccxt_mcp.api.statuses import failed
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.interruption import Interruption
from ccxt_mcp.model import CALLER, Caller
from ccxt_mcp.telemetry import RECORDER, Recorder, Silence, called
from ccxt_mcp.transport.gate import Gate
from ccxt_mcp.transport.guard import peer_of
from ccxt_mcp.transport.lanes import in_lane
from ccxt_mcp.transport.refusal import Refusal, encode, send_json
from ccxt_mcp.transport.registry import Registry
from ccxt_mcp.transport.responder import Responder
from ccxt_mcp.transport.session import Kind, PlainRequest, Session
from ccxt_mcp.transport.wire import ClientGone, check_content_type, read_body

__all__ = ["API_PATH", "Api", "Tools"]

API_PATH = "/api/"
_TOOLS = "/api/tools"
_DOCUMENT = "/api/openapi.json"
_TRACE = frozenset({b"traceparent", b"tracestate"})

logger = logging.getLogger(__name__)


class Tools(Protocol):
    """What is served here."""

    @property
    def listing(self) -> Mapping[str, Any]:
        """``tools``: name, title, description, inputSchema and outputSchema of each."""

    @property
    def documented(self) -> Sequence[Mapping[str, Any]]:
        """The same tools with every word of their schemas."""

    async def run(self, name: str, arguments: Any) -> tuple[dict[str, Any], str]:
        """The structured result of a tool, and that as JSON; raises ``Failure``."""


class Api:
    """The ASGI application behind ``/api``.

    Args:
        tools: what is served.
        registry: the sessions, those of ``/mcp``.
        gate: whether work is taken.
        max_body: largest request body in bytes.
        version: of this product, for the document.
        tokens_required: whether the guard asks for a token; for the document.
        recorder: told what the calls spend their time on.
    """

    def __init__(
        self,
        tools: Tools,
        registry: Registry,
        gate: Gate,
        *,
        max_body: int,
        version: str,
        tokens_required: bool,
        recorder: Recorder | None = None,
    ) -> None:
        self._tools = tools
        self._registry = registry
        self._gate = gate
        self._max_body = max_body
        self._recorder = recorder or Silence()
        listed, whole = tools.listing["tools"], tools.documented
        self._names = frozenset(tool["name"] for tool in listed)
        self._pages = {
            _TOOLS: encode({"tools": listed}),
            _DOCUMENT: encode(openapi(whole, version=version, tokens_required=tokens_required)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = peer_of(scope)
        # Set for every request: a connection's next one may be started in the context of this one.
        caller = CALLER.set(Caller(principal=peer.principal, client_ip=peer.client_ip))
        recorder = RECORDER.set(self._recorder)
        try:
            await self._serve(scope, receive, send)
        except Refusal as refusal:
            self._recorder.refused(refusal.status)
            await refusal.send(send, plain=True)
        except ClientGone:
            pass
        finally:
            RECORDER.reset(recorder)
            CALLER.reset(caller)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if path in self._pages:
            _allow(scope, "GET", "HEAD")
            await send_json(send, 200, self._pages[path])
        elif path.startswith(_TOOLS + "/"):
            _allow(scope, "POST")
            await self._post(path.removeprefix(_TOOLS + "/"), scope, receive, send)
        else:
            raise Refusal(
                404,
                f"Not served at this path: GET {_TOOLS} lists the tools, POST {_TOOLS}/NAME calls"
                f" one, GET {_DOCUMENT} describes them",
            )

    async def _post(self, tool: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if headers.get(b"content-type"):
            check_content_type(headers[b"content-type"])
        body = await read_body(receive, headers.get(b"content-length"), self._max_body)
        arguments = _arguments(body, headers.get(b"content-type"))
        self._gate.check()
        traced = {
            name.decode(): headers[name].decode("latin-1") for name in _TRACE & headers.keys()
        }
        name = headers.get(b"mcp-session-id")
        if name is None:
            await self._answer(tool, arguments, None, traced, receive, send)
            return
        peer = peer_of(scope)
        session_id = name.decode("latin-1")
        if self._registry.shared is not None:
            await self._registry.shared.arrive(
                peer.principal, session_id, peer.client_ip, Kind.NAMED
            )
        session = self._registry.find_or_open(peer.principal, session_id, peer.client_ip)
        session.requests += 1
        self._registry.touch(session)
        try:
            await self._answer(tool, arguments, session, traced, receive, send)
        finally:
            session.requests -= 1
            self._registry.touch(session)

    async def _answer(
        self,
        tool: str,
        arguments: Any,
        session: Session | None,
        traced: Mapping[str, str],
        receive: Receive,
        send: Send,
    ) -> None:
        """Run one call, for as long as its client wants the answer."""
        answer: tuple[int, bytes, list[tuple[bytes, bytes]]]
        gone = False

        def left() -> None:
            nonlocal gone
            gone = True
            interruption.interrupt("The client left")

        self._gate.enter()
        interruption = Interruption() if session is None else session.begin(PlainRequest.MARK)
        watched = Responder(receive, send, json=True, sse=False, gone=left)
        try:
            with interruption:
                watched.start()
                try:
                    with called(tool if tool in self._names else "unknown", traced):
                        answer = 200, await self._run(tool, arguments, session), []
                except Failure as failure:
                    answer = failed(failure)
            # What has begun to be sent cannot be taken back: from here on nothing interrupts.
            await watched.stop()
            if interruption.reason is not None:
                answer = failed(Failure(Code.CANCELLED, interruption.reason))
            if not gone:
                status, payload, headers = answer
                await send_json(send, status, payload, headers)
        finally:
            self._gate.leave()
            if session is not None:
                session.finish(PlainRequest.MARK, interruption)
            await watched.close()

    async def _run(self, tool: str, arguments: Any, session: Session | None) -> bytes:
        async def work() -> bytes:
            return (await self._tools.run(tool, arguments))[1].encode()

        if session is None:
            return await work()
        return await in_lane(session, self._registry, tool, work, lambda _: (False, False))


def _allow(scope: Scope, *methods: str) -> None:
    if scope["method"] not in methods:
        raise Refusal(
            405,
            f"Only {methods[0]} is served here",
            headers=[(b"allow", ", ".join(methods).encode())],
        )


def _arguments(body: bytes, content_type: bytes | None) -> Any:
    """The arguments of a call; an empty body is none."""
    if not body.strip():
        return {}
    check_content_type(content_type)
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(400, "The body is not valid JSON: send the arguments as an object") from None
    if not isinstance(decoded, dict):
        raise Refusal(400, "The body must be one JSON object: the tool's arguments")
    return decoded
