"""The SDK's own client of the handshake era is asked and reads on, over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.context import ClientRequestContext

from ccxt_mcp.app import MCP_PATH, create_app
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.settings import Settings
from tests.conformance.fixture import build_fixture
from tests.unit.transport.talker import Talker
from tests.unit.transport.talker import call as told
from tests.unit.transport.toy import INITIALIZE

SSE = {"Accept": "application/json, text/event-stream"}


@pytest.fixture
async def fixture() -> AsyncIterator[str]:
    app = create_app(Settings(), build_fixture())
    async with serving(app, bind("127.0.0.1", 0), app.state.connections) as url:
        yield url + MCP_PATH


async def test_the_sdks_client_is_asked_while_its_call_runs(fixture: str) -> None:
    asked: list[str] = []

    async def sample(
        context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        asked.append("sampling")
        content = types.TextContent(text="a poem")
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async def elicit(
        context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        asked.append("elicitation")
        return types.ElicitResult(action="decline")

    async with Client(
        fixture, mode="legacy", sampling_callback=sample, elicitation_callback=elicit
    ) as client:
        poem, form = await asyncio.gather(
            client.call_tool("test_sampling", {"prompt": "write"}),
            client.call_tool("test_elicitation", {"message": "who"}),
        )
    assert sorted(asked) == ["elicitation", "sampling"]
    assert "a poem" in poem.model_dump_json()
    assert "decline" in form.model_dump_json()


async def test_the_sdks_client_reads_on_where_the_server_closed_the_stream(fixture: str) -> None:
    async with Client(fixture, mode="legacy") as client, asyncio.timeout(20):
        result = await client.call_tool("test_reconnection", {})
        assert not result.is_error
        assert (await client.call_tool("test_simple_text", {})).content


@asynccontextmanager
async def talking(**limits: int) -> AsyncIterator[tuple[Talker, httpx.AsyncClient, Any]]:
    """A talker behind a socket, a client with a session there, and the application's state."""
    talker = Talker()
    app = create_app(Settings(), talker.server())
    async with (
        serving(app, bind("127.0.0.1", 0), app.state.connections) as url,
        httpx.AsyncClient(base_url=url, timeout=10, limits=httpx.Limits(**limits)) as http,
        asyncio.timeout(20),
    ):
        opened = await http.post(MCP_PATH, json=INITIALIZE)
        http.headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
        yield talker, http, app.state


def data(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


async def test_a_connection_that_is_cut_is_read_on_by_another() -> None:
    """Cut as networks cut: the server is not told what has arrived."""
    async with talking() as (talker, http, state):
        seen: list[str] = []
        talker.tell(1, 2)
        async with http.stream("POST", MCP_PATH, json=told("say"), headers=SSE) as cut:
            async for line in cut.aiter_lines():
                seen.append(line)
                if len(data(seen)) == 2:
                    break
        talker.tell(3)
        last = [line[4:] for line in seen if line.startswith("id: ")][-1]
        async with http.stream("GET", MCP_PATH, headers=SSE | {"Last-Event-ID": last}) as again:
            lines = again.aiter_lines()
            async for line in lines:
                seen.append(line)
                if len(data(seen)) == 3:
                    talker.tell(4, None)
        said = [event.get("params", {}).get("progress") for event in data(seen)]
        assert said == [1, 2, 3, 4, None]
        assert talker.cancelled == 0
        (record,) = state.registry._sessions.values()
        assert not record.running
        assert not record.lane.busy


async def test_a_kept_alive_connection_serves_on_while_its_closed_call_runs() -> None:
    """A stream that is closed early ends a response, not its call: the next request comes through
    the same connection."""
    async with talking(max_connections=1) as (talker, http, state):
        closed = await http.post(MCP_PATH, json=told("poll"), headers=SSE)
        primer = next(line[4:] for line in closed.text.splitlines() if line.startswith("id: "))
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await http.post(MCP_PATH, json=ping)).json()["result"] == {}
        talker.tell(1, None)
        polled = await http.get(MCP_PATH, headers={"Last-Event-ID": primer})
        assert [event.get("id") for event in data(polled.text.splitlines())] == [None, 1]
        assert state.connections.counts.open == 1
