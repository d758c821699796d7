"""Answers that become streams, progress, the session's own stream, and calls that are given up.

Driven at the ASGI level: when a client leaves, and in which pieces an answer comes, is what these
tests are about, and no HTTP client lets them say it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from starlette.applications import Starlette

from ccxt_mcp.settings import Settings
from ccxt_mcp.transport import own_stream, reading, responder, stream
from tests.cluster.replicas import served, sessions_of
from tests.unit.transport.asgi import Request
from tests.unit.transport.toy import INITIALIZE


class Slow:
    """`wait` waits until it is let go; `tell` reports progress and a log line before it does."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.told = asyncio.Event()
        self.cancelled = 0

    def server(self) -> Server[Any]:
        async def list_tools(
            ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
        ) -> types.ListToolsResult:
            return types.ListToolsResult(tools=[])

        async def call_tool(
            ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
        ) -> types.CallToolResult:
            self.started.set()
            try:
                if params.name == "tell":
                    await ctx.session.report_progress(1, 2, "half")
                    self.told.set()
                if params.name == "announce":
                    await ctx.session.send_tool_list_changed()
                if params.name != "quick":
                    await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return types.CallToolResult(content=[types.TextContent(text=params.name)])

        return Server("slow", on_list_tools=list_tools, on_call_tool=call_tool)


@asynccontextmanager
async def slow_app() -> AsyncIterator[tuple[Slow, Starlette]]:
    slow = Slow()
    app = served(Settings(), slow.server())
    async with app.router.lifespan_context(app):
        yield slow, app
        assert all(not s.running and not s.requests for s in sessions_of(app))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are watched from the first loop step, and silence is short: no test has to wait."""
    monkeypatch.setattr(responder, "WATCH_AFTER", 0.0)
    monkeypatch.setattr(responder, "KEEP_ALIVE", 0.05)
    monkeypatch.setattr(stream, "KEEP_ALIVE", 0.05)
    monkeypatch.setattr(reading, "KEEP_ALIVE", 0.05)
    monkeypatch.setattr(own_stream, "KEEP_ALIVE", 0.05)


def call(tool: str, request_id: int | str = 1, **meta: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"name": tool}
    if meta:
        params["_meta"] = meta
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def cancel(request_id: int | str) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": request_id},
    }


async def test_a_quick_answer_is_json_even_where_a_stream_is_accepted() -> None:
    async with slow_app() as (_, app):
        answer = await Request(app, "POST", call("quick"), mcp_session_id="a").done()
        assert answer.headers["content-type"] == "application/json"


async def test_progress_turns_the_answer_into_a_stream_that_ends_with_the_reply() -> None:
    async with slow_app() as (slow, app):
        request = Request(app, "POST", call("tell", progressToken="p"), mcp_session_id="a")
        await request.until(b"half")
        assert request.headers["content-type"] == "text/event-stream"
        slow.go.set()
        progress, reply = (await request.done()).events()
        assert progress["method"] == "notifications/progress"
        assert progress["params"] == {
            "progressToken": "p",
            "progress": 1,
            "total": 2,
            "message": "half",
        }
        assert reply["id"] == 1
        assert reply["result"]["content"][0]["text"] == "tell"


async def test_without_a_token_or_a_stream_progress_is_dropped() -> None:
    async with slow_app() as (slow, app):
        slow.go.set()
        silent = await Request(app, "POST", call("tell"), mcp_session_id="a").done()
        assert silent.headers["content-type"] == "application/json"
        body = call("tell", progressToken=1)
        json_only = await Request(
            app, "POST", body, mcp_session_id="a", accept="application/json"
        ).done()
        assert json_only.headers["content-type"] == "application/json"
        assert json.loads(json_only.body)["result"]


async def test_silence_turns_the_answer_into_a_stream_with_keep_alives() -> None:
    async with slow_app() as (slow, app):
        request = Request(app, "POST", call("wait"), mcp_session_id="a")
        await request.until(b": keep-alive\n\n: keep-alive\n\n")
        slow.go.set()
        (reply,) = (await request.done()).events()
        assert reply["result"]["content"][0]["text"] == "wait"


async def test_an_answer_does_not_wait_for_what_watches_its_client() -> None:
    """Each call of more than an instant would be answered some steps of the loop later: after
    whatever else was due, such as telling the store that its turn is over."""
    sent: list[str] = []
    watched = asyncio.Event()

    async def receive() -> Any:
        watched.set()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    answer = responder.Responder(receive, send, json=True, sse=True, gone=lambda: None)
    answer.start()
    await watched.wait()
    loop = asyncio.get_running_loop()
    loop.call_soon(sent.append, "something else")
    await answer.finish(b"{}")
    await answer.close()
    assert sent == ["http.response.start", "http.response.body", "something else"]


@pytest.mark.parametrize("accept", ["application/json", "*/*", ""])
async def test_silence_changes_nothing_for_a_client_that_names_no_stream(accept: str) -> None:
    """`fetch` and curl send `*/*` and parse one JSON object: a stream with comments breaks them."""
    async with slow_app() as (slow, app):
        request = Request(app, "POST", call("wait"), mcp_session_id="a", accept=accept)
        await slow.started.wait()
        await asyncio.sleep(0.12)  # two silences long: this is about time passing
        assert request.status is None
        slow.go.set()
        assert json.loads((await request.done()).body)["result"]


async def test_a_running_call_is_cancelled_by_its_id() -> None:
    async with slow_app() as (slow, app):
        request = Request(
            app, "POST", call("wait", "x"), mcp_session_id="a", accept="application/json, text/*"
        )
        await slow.started.wait()
        told = await Request(app, "POST", cancel("x"), mcp_session_id="a").done()
        assert told.status == 202
        await request.done()
        assert b'"code":-32800' in request.body
        assert slow.cancelled == 1
        after = await Request(app, "POST", call("quick"), mcp_session_id="a").done()
        assert json.loads(after.body)["result"]


async def test_a_call_that_waits_in_its_lane_is_cancelled_and_leaves_it() -> None:
    async with slow_app() as (slow, app):
        first = Request(app, "POST", call("wait", 1), mcp_session_id="a")
        await slow.started.wait()
        second = Request(app, "POST", call("wait", 2), mcp_session_id="a")
        (session,) = sessions_of(app)
        async with asyncio.timeout(5):
            while not session.lane.waiting:
                await asyncio.sleep(0)
        await Request(app, "POST", cancel(2), mcp_session_id="a").done()
        await second.done()
        assert b"-32800" in second.body
        assert session.lane.waiting == 0
        slow.go.set()
        await first.done()
        assert slow.cancelled == 0


async def test_an_id_of_another_session_or_of_nobody_cancels_nothing() -> None:
    async with slow_app() as (slow, app):
        request = Request(app, "POST", call("wait", 1), mcp_session_id="a")
        await slow.started.wait()
        await Request(app, "POST", call("quick", 1), mcp_session_id="b").done()
        for name, request_id in (("b", 1), ("a", 2), ("a", "1")):
            await Request(app, "POST", cancel(request_id), mcp_session_id=name).done()
        slow.go.set()
        await request.done()
        assert slow.cancelled == 0


async def test_a_client_that_leaves_ends_its_call_and_frees_the_lane() -> None:
    """Without it the lane stays held for as long as the exchange takes."""
    async with slow_app() as (slow, app):
        request = Request(app, "POST", call("wait"), mcp_session_id="a")
        await slow.started.wait()
        request.leave()
        await request.done()
        assert slow.cancelled == 1
        assert request.status is None
        after = await Request(app, "POST", call("quick"), mcp_session_id="a").done()
        assert after.status == 200


async def test_a_client_that_leaves_a_stream_ends_its_call_too() -> None:
    async with slow_app() as (slow, app):
        request = Request(app, "POST", call("tell", progressToken=1), mcp_session_id="a")
        await request.until(b"half")
        request.leave()
        await request.done()
        assert slow.cancelled == 1


async def test_deleting_a_session_ends_what_runs_and_what_waits_in_it() -> None:
    """Before, a call that waited would run beside those of a re-opened session of that name."""
    async with slow_app() as (slow, app):
        requests = [
            Request(app, "POST", call("wait", number), mcp_session_id="a") for number in (1, 2)
        ]
        await slow.started.wait()
        await Request(app, "DELETE", mcp_session_id="a").done()
        for request in requests:
            await request.done()
            assert b"The session was ended" in request.body
        assert slow.cancelled == 1


async def test_the_sessions_stream_carries_its_notifications_and_ends_with_it() -> None:
    async with slow_app() as (slow, app):
        opened = await Request(app, "POST", INITIALIZE).done()
        session = opened.headers["mcp-session-id"]
        listening = Request(app, "GET", mcp_session_id=session, accept="text/event-stream")
        await listening.until(b": open")
        again = await Request(app, "GET", mcp_session_id=session).done()
        assert again.status == 409
        slow.go.set()
        await Request(app, "POST", call("announce"), mcp_session_id=session).done()
        await listening.until(b"list_changed")
        await listening.until(b": keep-alive")
        await Request(app, "DELETE", mcp_session_id=session).done()
        await listening.done()
        assert listening.events()[0]["method"] == "notifications/tools/list_changed"


async def test_a_stream_whose_client_left_is_given_back() -> None:
    async with slow_app() as (_, app):
        await Request(app, "POST", call("quick"), mcp_session_id="a").done()
        listening = Request(app, "GET", mcp_session_id="a")
        await listening.until(b": open")
        listening.leave()
        await listening.done()
        again = Request(app, "GET", mcp_session_id="a")
        await again.until(b": open")
        again.leave()
        await again.done()


async def test_a_stream_needs_a_session_and_a_client_that_takes_it() -> None:
    async with slow_app() as (_, app):
        assert (await Request(app, "GET").done()).status == 405
        assert (await Request(app, "GET", mcp_session_id="nobody").done()).status == 404
        await Request(app, "POST", call("quick"), mcp_session_id="a").done()
        picky = await Request(app, "GET", mcp_session_id="a", accept="application/json").done()
        assert picky.status == 406
