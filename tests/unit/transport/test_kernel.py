"""What the transport leaves out of the SDK's work for one request, and what it must not."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from opentelemetry import trace

from ccxt_mcp.mechanisms.lane import Lane
from ccxt_mcp.model import ANONYMOUS
from ccxt_mcp.transport import spans
from ccxt_mcp.transport.kernel import answer
from ccxt_mcp.transport.responder import Responder
from ccxt_mcp.transport.session import Kind, Session
from ccxt_mcp.transport.spans import open_spans_where_seen
from ccxt_mcp.transport.wire import Message

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/mcp", "headers": []}
CALL = {"name": "x"}


def server(handler: Any) -> Server[Any]:
    return Server("kernel", on_call_tool=handler)


async def nothing(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
    return {"content": []}


async def call(on: Server[Any], params: dict[str, Any]) -> bool:
    session = Session("s", Kind.NAMED, ANONYMOUS, None, protocol_version="2025-11-25", lane=Lane(1))

    async def nowhere(*_: Any) -> Any:
        raise AssertionError("nothing is written here")

    outlet = Responder(nowhere, nowhere, json=True, sse=False, gone=lambda: None)
    reply = await answer(on, session, Message("tools/call", params, 1), SCOPE, None, outlet=outlet)
    return reply.ok


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_handler_leaves_to_be_cleaned_up_is_cleaned_up(fails: bool) -> None:
    """Without the look at the connection's stack after each call, a handler's cleanup is lost."""
    events: list[str] = []

    async def handler(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        ctx.session._connection.exit_stack.callback(events.append, "cleaned up")
        events.append("called")
        if fails:
            raise RuntimeError("the handler failed")
        return {"content": []}

    assert await call(server(handler), CALL) is not fails
    assert events == ["called", "cleaned up"]


class Tracing(OpenTelemetryMiddleware):
    """The SDK's own, which notes that it ran."""

    def __init__(self) -> None:
        self.ran = 0

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        self.ran += 1
        return await super().__call__(ctx, call_next)


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Tracing:
    monkeypatch.setattr(spans, "OpenTelemetryMiddleware", Tracing)
    return Tracing()


PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@pytest.mark.parametrize(
    ("provider", "meta", "opened"),
    [(False, None, 0), (True, None, 1), (False, PARENT, 1), (False, {"progressToken": 1}, 0)],
)
async def test_a_span_is_opened_where_somebody_can_see_it(
    tracing: Tracing,
    monkeypatch: pytest.MonkeyPatch,
    provider: bool,
    meta: dict[str, Any] | None,
    opened: int,
) -> None:
    """Seen by a provider of traces, or passed on by a handler that was given a trace."""
    found = trace.NoOpTracerProvider() if provider else trace.ProxyTracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: found)
    traced = server(nothing)
    traced.middleware[:] = [tracing]
    open_spans_where_seen(traced)
    open_spans_where_seen(traced)
    assert await call(traced, CALL if meta is None else {**CALL, "_meta": meta})
    assert tracing.ran == opened
