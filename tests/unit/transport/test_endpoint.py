"""`/mcp` over HTTP with a toy server: sessions, lanes, ids, and what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import mcp_types as types
import orjson
import pytest
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from starlette.types import Message as AsgiMessage

from ccxt_mcp.app import create_app
from ccxt_mcp.model import ANONYMOUS
from ccxt_mcp.settings import Settings
from tests.cluster.replicas import served
from tests.unit.transport.toy import INITIALIZE, Toy, call, running, toy_client


def returning(result: dict[str, Any]) -> Server[Any]:
    """A server whose every tool returns this."""

    async def call_tool(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        return result

    return Server("fixed", on_call_tool=call_tool)


def session(name: str) -> dict[str, str]:
    return {"Mcp-Session-Id": name}


async def health(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    sessions = (await client.get("/health")).json()["sessions"]
    assert isinstance(sessions, list)
    return sessions


async def until_queued(client: httpx.AsyncClient, count: int) -> None:
    async with asyncio.timeout(5):
        while sum(item["queued"] for item in await health(client)) < count:
            await asyncio.sleep(0)


async def test_plain_http_with_a_name_of_ones_own_calls_a_tool_without_a_handshake() -> None:
    async with toy_client() as (_, client):
        response = await client.post("/mcp", json=call("echo", "x"), headers=session("wf-1"))
        assert response.status_code == 200
        answer = response.json()
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", 1)
        assert answer["result"]["content"] == [{"type": "text", "text": "x"}]
        assert answer["result"]["structuredContent"] == {"value": "x"}
        (shown,) = await health(client)
        assert shown["sessionId"] == "wf-1"
        assert shown["kind"] == "named"
        assert shown["calls"] == 1
        assert shown["inFlight"] == 0
        assert shown["connectedAt"].endswith("Z")


async def test_a_handshake_mints_an_id_that_works_until_it_is_deleted() -> None:
    async with toy_client() as (_, client):
        opened = await client.post("/mcp", json=INITIALIZE)
        assert opened.json()["result"]["protocolVersion"] == "2025-11-25"
        minted = opened.headers["mcp-session-id"]
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await client.post("/mcp", json=ready, headers=session(minted))).status_code == 202
        answer = await client.post("/mcp", json=call("echo", "x"), headers=session(minted))
        assert answer.json()["result"]["structuredContent"] == {"value": "x"}
        assert (await client.delete("/mcp", headers=session(minted))).status_code == 204
        gone = await client.post("/mcp", json=call("echo"), headers=session(minted))
        assert gone.status_code == 404
        assert gone.json()["error"]["data"]["code"] == "session_not_found"


async def test_a_deleted_name_opens_again_by_a_request_but_not_by_anything_else() -> None:
    async with toy_client() as (_, client):
        await client.post("/mcp", json=call("echo"), headers=session("wf-1"))
        assert (await client.delete("/mcp", headers=session("wf-1"))).status_code == 204
        assert (await client.delete("/mcp", headers=session("wf-1"))).status_code == 404
        assert (await client.get("/mcp", headers=session("wf-1"))).status_code == 404
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await client.post("/mcp", json=note, headers=session("wf-1"))).status_code == 404
        again = await client.post("/mcp", json=call("echo"), headers=session("wf-1"))
        assert again.status_code == 200


async def test_a_failed_handshake_leaves_no_session_behind() -> None:
    async with toy_client() as (_, client):
        broken = {**INITIALIZE, "params": {"protocolVersion": 7}}
        assert "error" in (await client.post("/mcp", json=broken)).json()
        assert await health(client) == []


async def test_a_failed_handshake_does_not_end_a_session_that_works() -> None:
    """It once did, so that the next call ran beside the one that was running."""
    async with toy_client() as (toy, client), asyncio.timeout(5):
        first = asyncio.create_task(client.post("/mcp", json=call("hold"), headers=session("a")))
        await toy.started.wait()
        broken = {**INITIALIZE, "params": {}}
        assert "error" in (await client.post("/mcp", json=broken, headers=session("a"))).json()
        second = asyncio.create_task(client.post("/mcp", json=call("hold"), headers=session("a")))
        await until_queued(client, 1)
        assert toy.running == 1
        toy.go.set()
        await asyncio.gather(first, second)


async def test_different_sessions_run_in_parallel() -> None:
    async with toy_client() as (toy, client), asyncio.timeout(5), asyncio.TaskGroup() as group:
        for name in ("a", "b", "c"):
            group.create_task(client.post("/mcp", json=call("hold"), headers=session(name)))
        while toy.running < 3:
            await asyncio.sleep(0)
        toy.go.set()


async def test_calls_of_one_session_run_one_after_the_other_in_arrival_order() -> None:
    async with toy_client() as (toy, client), asyncio.timeout(5):
        tasks = []
        for number in range(5):
            body = call("hold", str(number), request_id=number)
            tasks.append(
                asyncio.create_task(client.post("/mcp", json=body, headers=session("one")))
            )
            await (toy.started.wait() if number == 0 else until_queued(client, number))
        toy.go.set()
        answers = [(await task).json() for task in tasks]
        assert toy.order == ["0", "1", "2", "3", "4"]
        assert toy.most_running == 1
        assert [answer["id"] for answer in answers] == [0, 1, 2, 3, 4]


async def test_pings_and_lists_pass_a_call_that_runs() -> None:
    async with toy_client() as (toy, client), asyncio.timeout(5):
        running = asyncio.create_task(
            client.post("/mcp", json=call("hold"), headers=session("one"))
        )
        await toy.started.wait()
        for method in ("ping", "tools/list"):
            body = {"jsonrpc": "2.0", "id": 9, "method": method}
            answer = await client.post("/mcp", json=body, headers=session("one"))
            assert "result" in answer.json()
        toy.go.set()
        await running


async def test_two_calls_with_the_same_id_at_once_each_get_their_own_answer() -> None:
    """In the SDK's own transport the second gets the first's result and the first hangs."""
    async with toy_client() as (toy, client), asyncio.timeout(5):
        tasks = [
            asyncio.create_task(
                client.post("/mcp", json=call("hold", value), headers=session("one"))
            )
            for value in ("first", "second")
        ]
        await until_queued(client, 1)
        toy.go.set()
        values = [(await task).json()["result"]["structuredContent"]["value"] for task in tasks]
        assert values == ["first", "second"]


async def test_a_full_lane_refuses_with_a_tool_result_that_says_so() -> None:
    async with toy_client(lane_queue_max=1) as (toy, client), asyncio.timeout(5):
        held = [
            asyncio.create_task(client.post("/mcp", json=call("hold"), headers=session("one")))
            for _ in range(2)
        ]
        await until_queued(client, 1)
        refused = (await client.post("/mcp", json=call("hold"), headers=session("one"))).json()
        assert refused["result"]["isError"] is True
        assert refused["result"]["_meta"]["ccxt-mcp/failure"]["code"] == "overloaded"
        assert "structuredContent" not in refused["result"]
        toy.go.set()
        await asyncio.gather(*held)


async def test_a_fault_inside_the_server_is_told_without_its_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with toy_client() as (_, client):
        answer = await client.post("/mcp", json=call("break"), headers=session("one"))
        assert answer.status_code == 200
        assert answer.json()["error"] == {"code": -32603, "message": "Internal server error"}
        (shown,) = await health(client)
        assert shown["errors"] == 1
        after = await client.post("/mcp", json=call("echo", "x"), headers=session("one"))
        assert after.json()["result"]["structuredContent"] == {"value": "x"}
    assert "the MCP kernel failed" in caplog.text


async def test_an_unknown_method_and_bad_params_are_json_rpc_errors() -> None:
    async with toy_client() as (_, client):
        unknown = {"jsonrpc": "2.0", "id": 1, "method": "no/such"}
        answer = (await client.post("/mcp", json=unknown, headers=session("one"))).json()
        assert answer["error"]["code"] == -32601
        bad = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 7}}
        answer = (await client.post("/mcp", json=bad, headers=session("one"))).json()
        assert answer["error"]["code"] == -32602
        assert "`params.name`" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "content", "status", "word"),
    [
        ({}, b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 400, "Mcp-Session-Id is missing"),
        (session("two words"), b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 400, "malformed"),
        (session("a" * 10_000), b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 400, "malformed"),
        (session("a"), b"{", 400, "not valid JSON"),
        (session("a"), b"[]", 400, "array"),
        (session("a"), b"1", 400, "object"),
        (session("a"), b'{"jsonrpc":"2.0","method":"tools/call"}', 400, "`id`"),
        (session("a"), b'"' + b"x" * (2 << 20) + b'"', 413, "max_body_bytes"),
        (session("a") | {"Content-Type": "text/plain"}, b"{}", 415, "application/json"),
        (session("a") | {"Accept": "text/html"}, b"{}", 406, "application/json"),
        (session("ccxtmcp-" + "0" * 32), b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 404, "init"),
    ],
)
async def test_what_http_refuses_is_named_with_its_remedy(
    headers: dict[str, str], content: bytes, status: int, word: str
) -> None:
    async with toy_client() as (_, client):
        response = await client.post(
            "/mcp", content=content, headers={"Content-Type": "application/json"} | headers
        )
        assert response.status_code == status
        refused = response.json()
        assert word in refused["error"]["message"]
        assert refused["id"] == (1 if b'"id":1' in content else None)
        assert await health(client) == []


async def test_a_missing_accept_header_is_no_error() -> None:
    async with toy_client() as (_, client):
        del client.headers["accept"]
        response = await client.post("/mcp", json=call("echo"), headers=session("a"))
        assert response.status_code == 200


async def test_a_client_that_takes_streams_only_gets_its_reply_as_one_event() -> None:
    async with toy_client() as (_, client):
        response = await client.post(
            "/mcp",
            json=call("echo", "x"),
            headers=session("a") | {"Accept": "text/event-stream"},
        )
        assert response.headers["content-type"] == "text/event-stream"
        assert response.text.startswith("event: message\ndata: {")
        assert response.text.endswith("}\n\n")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "GET"])
async def test_other_http_methods_are_answered_405_with_what_is_allowed(method: str) -> None:
    async with toy_client() as (_, client):
        response = await client.request(method, "/mcp")
        assert response.status_code == 405
        assert response.headers["allow"] == "POST, GET, DELETE"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(10**30, 10**30), ("a\ud800b", "a?b"), (float("nan"), None)],
)
async def test_what_a_tool_returns_is_sent_where_json_can_carry_it(value: Any, shown: Any) -> None:
    """orjson refuses all but the last of them, which was a 500 after the call had run."""
    server = returning({"content": [], "structuredContent": {"value": value}})
    async with running(served(Settings(), server)) as client:
        answer = (await client.post("/mcp", json=call("x"), headers=session("a"))).json()
        assert answer["result"]["structuredContent"] == {"value": shown}


async def test_a_result_that_cannot_be_json_is_a_fault_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = returning({"content": [], "structuredContent": {"value": object()}})
    async with running(served(Settings(), server)) as client:
        response = await client.post("/mcp", json=call("x"), headers=session("a"))
        assert response.status_code == 200
        assert response.json()["error"] == {"code": -32603, "message": "Internal server error"}
        (shown,) = await health(client)
        assert (shown["inFlight"], shown["queued"]) == (0, 0)


async def test_two_applications_over_one_server_keep_their_own_sessions_and_lifespans() -> None:
    """The second once took over the lane of the first, whose calls then failed on its sessions,
    and the end of one took the other's lifespan state."""
    toy = Toy()
    server = toy.server()
    seen: list[Any] = []
    entered = 0

    @asynccontextmanager
    async def lifespan(_: Server[Any]) -> AsyncIterator[int]:
        nonlocal entered
        entered += 1
        yield entered

    async def note(ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams) -> Any:
        seen.append(ctx.lifespan_context)
        return types.ListToolsResult(tools=[])

    server.lifespan = lifespan
    server.add_request_handler("tools/list", types.PaginatedRequestParams, note)
    one, two = create_app(Settings(), server), create_app(Settings(), server)
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    workflow = {"ccxt-mcp/workflow": "w"}
    async with running(one) as first:
        async with running(two) as second:
            for client, name in ((first, "a"), (second, "b")):
                answer = await client.post("/mcp", json=call("echo", "x"), headers=session(name))
                assert answer.json()["result"]["structuredContent"] == {"value": "x"}
                await client.post("/mcp", json=listing, headers=session(name))
            body = modern("echo", "x", **workflow)
            await first.post("/mcp", json=body, headers=MODERN | {"Mcp-Name": "echo"})
            assert [item["sessionId"] for item in await health(first)] == ["a", "w"]
            assert [item["sessionId"] for item in await health(second)] == ["b"]
        assert set(seen) == {1, 2}
        seen.clear()
        await first.post("/mcp", json=listing, headers=session("a"))
    assert seen == [1]


@pytest.mark.parametrize("steps", range(12))
async def test_a_request_cancelled_at_any_await_leaves_lane_and_counters_free(steps: int) -> None:
    app = served(Settings(), Toy().server())
    body = orjson.dumps(call("echo", "x"))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"mcp-session-id", b"a"),
        ],
    }

    async def receive() -> AsgiMessage:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: AsgiMessage) -> None:
        await asyncio.sleep(0)

    async with app.router.lifespan_context(app), asyncio.timeout(5):
        task = asyncio.create_task(app(scope, receive, send))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        for item in app.state.registry.describe(10, 0):
            assert (item["inFlight"], item["queued"]) == (0, 0)
            assert app.state.registry.find(ANONYMOUS, "a").requests == 0


@pytest.mark.parametrize("path", ["/", "/health", "//mcp", "/MCP", "/sse"])
async def test_a_path_that_is_not_served_names_the_one_that_is(path: str) -> None:
    async with toy_client() as (_, client):
        response = await client.post(f"http://localhost{path}", json=call("echo"))
        assert response.status_code in (404, 405)
        assert "/mcp" in response.json()["error"]["message"]


async def test_a_person_with_a_browser_is_told_where_to_go() -> None:
    async with toy_client() as (_, client):
        page = await client.get("/")
        assert page.status_code == 200
        assert "/mcp" in page.text


async def test_the_endpoint_answers_with_a_slash_at_its_end_too() -> None:
    async with toy_client() as (_, client):
        response = await client.post("/mcp/", json=call("echo"), headers=session("a"))
        assert response.status_code == 200


def modern(tool: str, value: str, **meta: Any) -> dict[str, Any]:
    body = call(tool, value)
    body["params"]["_meta"] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        **meta,
    }
    return body


MODERN = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}


async def test_a_modern_request_is_answered_without_a_session_and_without_accept() -> None:
    async with toy_client() as (_, client):
        del client.headers["accept"]
        response = await client.post(
            "/mcp", json=modern("echo", "x"), headers=MODERN | {"Mcp-Name": "echo"}
        )
        assert response.status_code == 200, response.text
        assert response.json()["result"]["structuredContent"] == {"value": "x"}
        assert await health(client) == []


async def test_modern_requests_of_one_workflow_share_a_lane_and_a_place_in_the_list() -> None:
    toy = Toy()
    async with toy_client(toy) as (_, client), asyncio.timeout(5):
        headers = MODERN | {"Mcp-Name": "hold"}
        workflow = {"ccxt-mcp/workflow": "orders-btc"}
        tasks = [
            asyncio.create_task(
                client.post("/mcp", json=modern("hold", str(n), **workflow), headers=headers)
            )
            for n in range(3)
        ]
        await until_queued(client, 2)
        (shown,) = await health(client)
        assert shown["sessionId"] == "orders-btc"
        assert shown["kind"] == "workflow"
        toy.go.set()
        for task in tasks:
            assert (await task).json()["result"]["structuredContent"]
        assert toy.most_running == 1


async def test_a_modern_workflow_with_a_bad_name_is_refused_as_a_tool_result() -> None:
    async with toy_client() as (_, client):
        for name in ("two words", 7):
            body = modern("echo", "x", **{"ccxt-mcp/workflow": name})
            answer = await client.post("/mcp", json=body, headers=MODERN | {"Mcp-Name": "echo"})
            result = answer.json()["result"]
            assert result["_meta"]["ccxt-mcp/failure"]["code"] == "invalid_argument"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
async def test_a_modern_body_that_is_not_utf_8_is_refused_as_in_the_other_era(
    encoding: str,
) -> None:
    """Python's JSON reader guesses encodings: a proxy that looks for a tool's name in the bytes
    would not find it, and the call be served all the same."""
    async with toy_client() as (_, client):
        body = json.dumps(modern("echo", "ä"), ensure_ascii=False).encode(encoding)
        json_only = {"Content-Type": "application/json"}
        for headers in (MODERN | {"Mcp-Name": "echo"}, {"Mcp-Session-Id": "a"}):
            answer = await client.post("/mcp", content=body, headers=headers | json_only)
            assert answer.status_code == 400, (headers, answer.text)
            assert answer.json()["error"]["code"] == -32700


async def test_a_modern_body_beyond_the_limit_is_refused() -> None:
    async with toy_client(max_body_bytes=2000) as (_, client):
        body = modern("echo", "x" * 5000)
        answer = await client.post("/mcp", json=body, headers=MODERN | {"Mcp-Name": "echo"})
        assert answer.status_code == 413


async def test_a_modern_body_without_a_length_is_refused_in_words_as_well() -> None:
    """The SDK answers bare text, which no MCP client can read."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    async with toy_client(max_body_bytes=2000) as (_, client):
        headers = MODERN | {"Mcp-Name": "echo", "Content-Type": "application/json"}
        answer = await client.post("/mcp", content=pieces(), headers=headers)
        assert answer.status_code == 413
        assert "max_body_bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html"])
async def test_a_modern_request_that_accepts_too_little_is_told_what_to_accept(accept: str) -> None:
    """The SDK answers an empty 406."""
    async with toy_client() as (_, client):
        headers = MODERN | {"Mcp-Name": "echo", "Accept": accept}
        answer = await client.post("/mcp", json=modern("echo", "x"), headers=headers)
        assert answer.status_code == 406
        assert "accept both" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
async def test_the_modern_era_has_no_method_but_post(method: str) -> None:
    async with toy_client() as (_, client):
        answer = await client.request(method, "/mcp", headers=MODERN)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
        assert "POST" in answer.json()["error"]["message"]


async def test_a_key_that_was_pasted_as_a_parameters_name_is_not_repeated() -> None:
    """The place of a wrong value is named, and parts of the place are the client's own words."""
    pasted = "Zq7xPasted0KeyA1b2C3d4E5f6G7h8I9j0"
    body = call("echo")
    body["params"]["inputResponses"] = {pasted: None}
    async with toy_client() as (_, client):
        answer = await client.post("/mcp", json=body, headers={"Mcp-Session-Id": "a"})
        message = answer.json()["error"]["message"]
        assert "inputResponses" in message or "input_responses" in message
        assert pasted[:8] not in message
