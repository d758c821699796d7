"""The lane around ``tools/call``: calls of one session run one after the other, in both eras.

Owns: the entry of ``tools/call`` of whatever MCP server is mounted. It queues the call, notes what
became of it, and tells the tools how long it waited. Refuses: nothing itself; what the lane refuses
becomes a tool result through ``refuse``, which the app passes in.

It sits at the kernel's entry rather than before it, so that the SDK's own modern path still sees a
disconnect while a call waits; nothing before it awaits, so the order of arrival is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.model import CALLER
from ccxt_mcp.telemetry import RECORDER
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.registry import REGISTRY, Registry
from ccxt_mcp.transport.session import SESSION, Kind, Session

__all__ = ["FAILURE_META", "WORKFLOW_META", "queue_tool_calls"]

FAILURE_META = "ccxt-mcp/failure"
WORKFLOW_META = "ccxt-mcp/workflow"

Handler = Callable[[ServerRequestContext[Any, Any], Any], Awaitable[Any]]


class _LanedCall:
    """The wrapped entry; a class, so that a second app over one server finds it wrapped.

    It belongs to the server, not to an app: whose sessions a call is about says ``REGISTRY``.
    """

    def __init__(self, entry: Handler, refuse: Callable[[Failure], Mapping[str, Any]]) -> None:
        self._entry = entry
        self._refuse = refuse

    async def __call__(self, ctx: ServerRequestContext[Any, Any], params: Any) -> Any:
        registry = REGISTRY.get()
        if registry is None:
            return await self._entry(ctx, params)
        session = SESSION.get()
        try:
            if session is not None:
                return await self._queued(session, registry, ctx, params)
            session = _workflow(registry, ctx)
            if session is None:
                return await self._entry(ctx, params)
            return await self._of_workflow(session, registry, ctx, params)
        except Failure as failure:
            RECORDER.get().call(params.name, None, failure.code.value, None)
            return self._refuse(failure)

    async def _of_workflow(
        self,
        session: Session,
        registry: Registry,
        ctx: ServerRequestContext[Any, Any],
        params: Any,
    ) -> Any:
        """A modern call: the end of its workflow ends it, as the endpoint does with legacy ones."""
        request_id = "" if ctx.request_id is None else ctx.request_id
        session.requests += 1
        interruption = session.begin(request_id)
        try:
            with interruption:
                return await self._queued(session, registry, ctx, params)
        finally:
            session.finish(request_id, interruption)
            session.requests -= 1
            registry.touch(session)
        # Counted already, by whichever room it was in.
        return self._refuse(Failure(Code.CANCELLED, interruption.reason or "The call was ended"))

    async def _queued(
        self,
        session: Session,
        registry: Registry,
        ctx: ServerRequestContext[Any, Any],
        params: Any,
    ) -> Any:
        arrived = time.perf_counter()
        try:
            await session.lane.acquire(registry.lane_wait_max)
        except Failure:
            session.usage.refused()
            raise
        except asyncio.CancelledError:
            RECORDER.get().call(params.name, None, Code.CANCELLED.value, None)
            raise
        try:
            return await self._run(session, arrived, ctx, params)
        finally:
            session.lane.release()

    async def _run(
        self,
        session: Session,
        arrived: float,
        ctx: ServerRequestContext[Any, Any],
        params: Any,
    ) -> Any:
        began = time.perf_counter()
        token = CALLER.set(
            replace(
                CALLER.get(),
                session=session.label,
                queued_ms=(began - arrived) * 1000,
                usage=session.own_use,
            )
        )
        error, timeout = True, False
        try:
            result = await self._entry(ctx, params)
            error, timeout = _outcome(result)
            return result
        finally:
            CALLER.reset(token)
            session.usage.finished(
                (time.perf_counter() - began) * 1000, error=error, timeout=timeout
            )


def _workflow(registry: Registry, ctx: ServerRequestContext[Any, Any]) -> Session | None:
    """The session of a modern request that names its workflow."""
    name = (ctx.meta or {}).get(WORKFLOW_META)
    if name is None:
        return None
    caller = CALLER.get()
    try:
        if not isinstance(name, str):
            raise Refusal(400, f"`_meta[{WORKFLOW_META!r}]` must be a string")
        session = registry.find_or_open(caller.principal, name, caller.client_ip, Kind.WORKFLOW)
    except Refusal as refusal:
        raise refusal.as_failure() from None
    registry.touch(session)
    return session


def queue_tool_calls(
    server: Server[Any], *, refuse: Callable[[Failure], Mapping[str, Any]]
) -> None:
    """Put the lane around the server's ``tools/call``; a server without tools is left alone."""
    registered = server.get_request_handler("tools/call")
    if registered is None or isinstance(registered.handler, _LanedCall):
        return
    laned = _LanedCall(registered.handler, refuse)
    server.add_request_handler("tools/call", CallToolRequestParams, laned)


def _outcome(result: Any) -> tuple[bool, bool]:
    """(was it an error, was it a timeout), from the result as handlers may return it."""
    if isinstance(result, Mapping):
        if not result.get("isError"):
            return False, False
        meta = result.get("_meta")
        failure = meta.get(FAILURE_META) if isinstance(meta, Mapping) else None
        return True, isinstance(failure, Mapping) and failure.get("code") == "timeout"
    return bool(getattr(result, "is_error", False)), False
