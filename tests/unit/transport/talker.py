"""A server whose calls talk to their client before they answer, and sessions that listen to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from starlette.applications import Starlette

from ccxt_mcp.settings import Settings
from ccxt_mcp.transport.session import Session
from tests.cluster.replicas import served, sessions_of
from tests.unit.transport.asgi import App, Request
from tests.unit.transport.toy import INITIALIZE

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}


class Talker:
    """``say`` reports the steps that it is given with ``tell``, ``poll`` as well, but closes its
    stream first; ``ask`` and its like ask for a name, ``ask-aloud`` on the session's own stream."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[int | None] = asyncio.Queue()
        self.heard: asyncio.Queue[int | None] = asyncio.Queue()
        self.context: ServerRequestContext[Any] | None = None
        self.progress: list[tuple[float, float | None, str | None]] = []
        self.cancelled = 0
        self.started = asyncio.Event()

    def tell(self, *steps: int | None) -> None:
        """Let ``say`` report these; None lets it answer."""
        for step in steps:
            self.steps.put_nowait(step)

    async def told(self, count: int) -> None:
        """Wait until so many steps more have been reported."""
        async with asyncio.timeout(5):
            for _ in range(count):
                await self.heard.get()

    def server(self) -> Server[Any]:
        async def call_tool(
            ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
        ) -> Any:
            self.context = ctx
            self.started.set()
            try:
                text = await self._do(ctx, params)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return {"content": [{"type": "text", "text": text}]}

        return Server("talker", on_call_tool=call_tool)

    async def _do(self, ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> str:
        match params.name:
            case "say" | "poll":
                if params.name == "poll":
                    assert ctx.close_sse_stream is not None
                    await ctx.close_sse_stream()
                while (step := await self.steps.get()) is not None:
                    await ctx.session.report_progress(step)
                    self.heard.put_nowait(step)
            case "close":
                assert ctx.close_standalone_sse_stream is not None
                await ctx.close_standalone_sse_stream()
            case "announce":
                await ctx.session.send_tool_list_changed()
            case "flood":
                for step in range((params.arguments or {})["count"]):
                    await ctx.session.report_progress(step)
            case "ask":
                answer = await ctx.session.elicit_form("Your name?", SCHEMA, ctx.request_id)
                return f"{answer.action} {answer.content}"
            case "ask-aloud":
                answer = await ctx.session.elicit_form("Your name?", SCHEMA)
                return f"{answer.action} {answer.content}"
            case "ask-briefly" | "ask-with-progress":
                request = types.ElicitRequest(
                    params=types.ElicitRequestFormParams(message="?", requested_schema=SCHEMA)
                )

                async def note(progress: float, total: float | None, message: str | None) -> None:
                    self.progress.append((progress, total, message))

                result = await ctx.session.send_request(
                    request,
                    types.ElicitResult,
                    request_read_timeout_seconds=0.01 if params.name == "ask-briefly" else None,
                    metadata=ServerMessageMetadata(related_request_id=ctx.request_id),
                    progress_callback=note,
                )
                return result.action
            case "ask-within-a-deadline":
                try:
                    async with asyncio.timeout(0.01):
                        await ctx.session.elicit_form("?", SCHEMA, ctx.request_id)
                except TimeoutError:
                    return "too late"
            case "ask-and-go-on":
                asking = asyncio.create_task(ctx.session.elicit_form("?", SCHEMA, ctx.request_id))
                try:
                    await asyncio.shield(asking)
                except asyncio.CancelledError:
                    with contextlib.suppress(MCPError):
                        await asking
            case "ask-often":
                async with asyncio.TaskGroup() as group:
                    for _ in range((params.arguments or {})["count"]):
                        group.create_task(ctx.session.elicit_form("?", SCHEMA, ctx.request_id))
        return params.name


@asynccontextmanager
async def talking(**settings: Any) -> AsyncIterator[tuple[Talker, Starlette]]:
    """A talker behind the transport; afterwards nothing of its calls is left."""
    talker = Talker()
    app = served(Settings.model_validate(settings), talker.server())
    async with app.router.lifespan_context(app):
        yield talker, app
        async with asyncio.timeout(5):
            while any(s.running or s.requests for s in sessions(app)):
                await asyncio.sleep(0)
        assert all(s.asking is None or not len(s.asking) for s in sessions(app))


def sessions(app: Starlette) -> list[Session]:
    return sessions_of(app)


async def opened(app: App, version: str = "2025-11-25", **headers: str) -> str:
    """The id of a session that a client of this revision has opened."""
    params = {**INITIALIZE["params"], "protocolVersion": version}
    answer = await Request(
        app, "POST", {**INITIALIZE, "params": params}, leaves_after=None, slow=False, **headers
    ).done()
    return answer.headers["mcp-session-id"]


def call(tool: str, request_id: int | str = 1, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def post(app: App, session: str, body: Any, **more: Any) -> Request:
    return Request(app, "POST", body, mcp_session_id=session, **more)


def resume(app: App, session: str, event_id: str, **more: Any) -> Request:
    return Request(app, "GET", mcp_session_id=session, last_event_id=event_id, **more)


def steps(*requests: Request) -> list[int | str]:
    """What a call said on these connections: its steps, then the text of its answer."""
    said: list[int | str] = []
    for request in requests:
        for event in request.events():
            if "result" in event:
                said.append(event["result"]["content"][0]["text"])
            elif event.get("method") == "notifications/progress":
                said.append(int(event["params"]["progress"]))
    return said
