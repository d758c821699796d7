"""`/mcp` over HTTP with a toy server: sessions, lanes, ids, and what is refused."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.unit.transport.toy import INITIALIZE, Toy, call, toy_client


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
        assert word in response.json()["error"]["message"]
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
        assert response.headers["allow"] == "POST, DELETE"


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


async def test_a_modern_body_beyond_the_limit_is_refused() -> None:
    async with toy_client(max_body_bytes=2000) as (_, client):
        body = modern("echo", "x" * 5000)
        answer = await client.post("/mcp", json=body, headers=MODERN | {"Mcp-Name": "echo"})
        assert answer.status_code == 413
