"""The SDK's spans, opened only where somebody can see them.

Owns: passing by the SDK's tracing middleware while no provider of traces is configured. Refuses:
spans of its own (``telemetry.py``), and configuring a provider (``ops/traces.py``, or an embedding
program, at any time: it is looked for at each request).

Without a provider a span is seen by nobody, yet costs a tenth of a quick call. A request that
carries a trace still takes the middleware: its handler may pass the trace on.
"""

from __future__ import annotations

from typing import Any

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server

from ccxt_mcp.telemetry import traced

__all__ = ["open_spans_where_seen"]


class _WhereSeen(ServerMiddleware[Any]):
    def __init__(self, tracing: OpenTelemetryMiddleware) -> None:
        self._tracing = tracing

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        if traced() or (ctx.meta and "traceparent" in ctx.meta):
            return await self._tracing(ctx, call_next)
        return await call_next(ctx)


def open_spans_where_seen(server: Server[Any]) -> None:
    """Put the SDK's tracing middleware of this server behind a look for a provider; once."""
    server.middleware[:] = [
        _WhereSeen(each) if type(each) is OpenTelemetryMiddleware else each
        for each in server.middleware
    ]
