"""The lane around ``tools/call``: calls of one session run one after the other, in both eras.

Owns: the entry of ``tools/call`` of whatever MCP server is mounted, and ``in_lane``, by which plain
HTTP queues in the same lanes. It queues the call, notes what became of it, and tells the tools how
long it waited. Refuses: nothing itself; what the lane refuses becomes a tool result through
``refuse``, which the app passes in.

It sits at the kernel's entry rather than before it, so that the SDK's own modern path still sees a
disconnect while a call waits; nothing before it awaits, so the order of arrival is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.model import CALLER, Caller
from ccxt_mcp.telemetry import RECORDER
from ccxt_mcp.transport.batch import BUDGET
from ccxt_mcp.transport.directory import unavailable
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.registry import REGISTRY, Registry, gone
from ccxt_mcp.transport.session import SESSION, Kind, Session
from ccxt_mcp.transport.shared_lane import in_turn

__all__ = ["FAILURE_META", "WORKFLOW_META", "in_lane", "queue_tool_calls"]

FAILURE_META = "ccxt-mcp/failure"
WORKFLOW_META = "ccxt-mcp/workflow"

_T = TypeVar("_T")

_OF_HTTP: Mapping[Code, Callable[[Failure], Refusal]] = {
    Code.SESSION_NOT_FOUND: lambda _: gone(),
    Code.STORE_UNAVAILABLE: unavailable,
}
"""What the transport of the legacy era says itself, where a call was not begun."""

Handler = Callable[[ServerRequestContext[Any, Any], Any], Awaitable[Any]]


async def in_lane(
    session: Session,
    registry: Registry,
    tool: str,
    work: Callable[[], Awaitable[_T]],
    outcome: Callable[[_T], tuple[bool, bool]],
) -> _T:
    """Do the work of one call when it is its session's turn, and count what became of it.

    Args:
        session: whose turn; the caller has told the registry that it is in use.
        registry: knows how long a call may wait.
        tool: as the caller named it.
        work: reads in ``CALLER`` which session it is done for, and how long it waited.
        outcome: (was it an error, was it a timeout) of a result.

    Raises:
        Failure: ``overloaded`` where the lane is full or moves too slowly, or the batch's answer is
            long enough; ``session_not_found`` and ``store_unavailable`` where replicas share the
            session; or the work's own.
    """
    arrived = time.perf_counter()
    try:
        await session.lane.acquire(registry.lane_wait_max)
    except Failure as failure:
        session.usage.refused()
        RECORDER.get().call(tool, None, failure.code.value, None)
        raise
    except asyncio.CancelledError:
        RECORDER.get().call(tool, None, Code.CANCELLED.value, None)
        raise
    try:
        if (budget := BUDGET.get()) is not None:
            try:
                budget.check()
            except Failure as failure:
                session.usage.refused()
                RECORDER.get().call(tool, None, failure.code.value, None)
                raise
        if registry.shared is None:
            return await _counted(session, arrived, work, outcome)

        def refused(error: BaseException) -> None:
            code = error.code if isinstance(error, Failure) else Code.CANCELLED
            session.usage.refused()
            RECORDER.get().call(tool, None, code.value, None)

        return await in_turn(
            registry.shared,
            session,
            lambda: _counted(session, arrived, work, outcome),
            arrived=arrived,
            wait_max=registry.lane_wait_max,
            refused=refused,
        )
    finally:
        session.lane.release()


async def _counted(
    session: Session,
    arrived: float,
    work: Callable[[], Awaitable[_T]],
    outcome: Callable[[_T], tuple[bool, bool]],
) -> _T:
    began = time.perf_counter()
    caller = CALLER.get()
    token = CALLER.set(
        Caller(
            principal=caller.principal,
            session=session.label,
            client_ip=caller.client_ip,
            queued_ms=(began - arrived) * 1000,
            usage=session.own_use,
        )
    )
    error, timeout = True, False
    try:
        result = await work()
        error, timeout = outcome(result)
        return result
    except Failure as failure:
        timeout = failure.code is Code.TIMEOUT
        raise
    finally:
        CALLER.reset(token)
        session.usage.finished((time.perf_counter() - began) * 1000, error=error, timeout=timeout)


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

        begun = False

        async def work() -> Any:
            nonlocal begun
            begun = True
            return await self._entry(ctx, params)

        session = SESSION.get()
        try:
            if session is not None:
                try:
                    return await in_lane(session, registry, params.name, work, _outcome)
                except Failure as failure:
                    if not begun and failure.code in _OF_HTTP:
                        raise _OF_HTTP[failure.code](failure) from failure
                    raise
            session = await _workflow(registry, ctx, params.name)
            if session is None:
                return await work()
            return await self._of_workflow(session, registry, ctx, params.name, work)
        except Failure as failure:
            return self._refuse(failure)

    async def _of_workflow(
        self,
        session: Session,
        registry: Registry,
        ctx: ServerRequestContext[Any, Any],
        tool: str,
        work: Callable[[], Awaitable[Any]],
    ) -> Any:
        """A modern call: the end of its workflow ends it, as the endpoint does with legacy ones."""
        request_id = "" if ctx.request_id is None else ctx.request_id
        session.requests += 1
        interruption = session.begin(request_id)
        try:
            with interruption:
                return await in_lane(session, registry, tool, work, _outcome)
        finally:
            session.finish(request_id, interruption)
            session.requests -= 1
            registry.touch(session)
        # Counted already, by whichever room it was in.
        return self._refuse(Failure(Code.CANCELLED, interruption.reason or "The call was ended"))


async def _workflow(
    registry: Registry, ctx: ServerRequestContext[Any, Any], tool: str
) -> Session | None:
    """The session of a modern request that names its workflow."""
    name = (ctx.meta or {}).get(WORKFLOW_META)
    if name is None:
        return None
    caller = CALLER.get()
    try:
        if not isinstance(name, str):
            raise Refusal(400, f"`_meta[{WORKFLOW_META!r}]` must be a string")
        if registry.shared is not None:
            await registry.shared.arrive(caller.principal, name, caller.client_ip, Kind.WORKFLOW)
        session = registry.find_or_open(caller.principal, name, caller.client_ip, Kind.WORKFLOW)
    except Refusal as refusal:
        failure = refusal.as_failure()
        RECORDER.get().call(tool, None, failure.code.value, None)
        raise failure from None
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
