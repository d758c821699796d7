"""`/api` of a running server: the tools for whoever has no MCP client."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import jsonschema
import pytest

from ccxt_mcp.app import create_app
from ccxt_mcp.settings import Settings
from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import Stack, StackFactory
from tests.e2e.test_metrics import sample, until
from tests.e2e.test_python_clients import FAILURES, SUCCESSES
from tests.e2e.test_traces import tree
from tests.tracing import Spans
from tests.unit.transport.toy import Toy, running

OPEN_ORDERS = "GET /api/v3/openOrders"
NAMED = {"Mcp-Session-Id": "one"}


async def post(
    stack: Stack, tool: str, arguments: Any = None, headers: dict[str, str] | None = None
) -> httpx.Response:
    """A call, with an empty body where there are no arguments."""
    url = f"{stack.url}/api/tools/{tool}"
    if arguments is None:
        return await stack.http.post(url, headers=headers)
    return await stack.http.post(url, json=arguments, headers=headers)


def code(response: httpx.Response) -> str:
    """The failure's code, in an answer of the one form."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    error = response.json()["error"]
    assert {"code", "message", "retryable", "hint"} <= error.keys()
    assert error["message"]
    return str(error["code"])


async def test_every_tool_answers_what_the_document_says(stack: Stack) -> None:
    """Its success fits the schema of 200, its failure that of its status."""
    made = (await stack.http.get(f"{stack.url}/api/openapi.json")).json()
    for tool in SUCCESSES:
        responses = made["paths"][f"/api/tools/{tool}"]["post"]["responses"]
        found = await post(stack, tool, SUCCESSES[tool])
        assert found.status_code == 200, found.text
        jsonschema.validate(found.json(), responses["200"]["content"]["application/json"]["schema"])
        wrong = await post(stack, tool, FAILURES[tool])
        assert str(wrong.status_code) in responses
        assert 400 <= wrong.status_code < 500
        assert code(wrong)
        jsonschema.validate(wrong.json(), made["components"]["schemas"]["Failure"])


async def test_the_answer_is_the_one_that_mcp_clients_get(stack: Stack) -> None:
    """A result and a failure, of the same call both ways."""
    listed = await stack.call("get_open_orders")
    plain = await post(stack, "get_open_orders")
    assert plain.json() == listed["structuredContent"]
    refused = await stack.call("get_ticker", {"symbol": "NO/PE"})
    plain = await post(stack, "get_ticker", {"symbol": "NO/PE"})
    assert plain.status_code == 404
    assert plain.json()["error"] == refused["_meta"]["ccxt-mcp/failure"]


async def test_the_list_is_that_of_mcp(stack: Stack) -> None:
    listed = await stack.http.post(
        f"{stack.url}/mcp",
        headers=NAMED,
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    )
    for path in ("/api/tools", "/api/tools/"):
        plain = await stack.http.get(stack.url + path)
        assert plain.json()["tools"] == listed.json()["result"]["tools"]
    assert (await stack.http.head(f"{stack.url}/api/tools")).status_code == 200


async def test_an_empty_body_is_no_arguments_and_a_slash_does_no_harm(stack: Stack) -> None:
    for tool in ("list_accounts", "list_accounts/"):
        answer = await post(stack, tool)
        assert answer.json()["accounts"]


async def test_a_body_that_cannot_be_arguments_is_refused_in_words(
    make_stack: StackFactory,
) -> None:
    stack = await make_stack(max_body_bytes=1024)
    refused: list[tuple[bytes, str | None, int, str]] = [
        (b"{", "application/json", 400, "not valid JSON"),
        (b"[]", "application/json", 400, "one JSON object"),
        (b"null", "application/json", 400, "one JSON object"),
        (b'"x"', "application/json; charset=utf-8", 400, "one JSON object"),
        (b"{}", "text/plain", 415, "application/json"),
        (b"{}", None, 415, "missing"),
        (b"", "text/plain", 415, "application/json"),
        (b" " * 2_000, "application/json", 413, "max_body_bytes"),
    ]
    for body, kind, status, words in refused:
        answer = await stack.http.post(
            f"{stack.url}/api/tools/list_accounts",
            content=body,
            headers={} if kind is None else {"content-type": kind},
        )
        assert answer.status_code == status, body
        assert code(answer) == "invalid_argument"
        assert words in answer.json()["error"]["message"]
    assert await sample(stack, "http_refused_total") == len(refused)


async def test_wrong_paths_and_methods_say_what_is_served(stack: Stack) -> None:
    unknown = await post(stack, "get_tickr", {"symbol": "BTC/USDT"})
    assert unknown.status_code == 404
    assert code(unknown) == "unknown_tool"
    assert "did you mean `get_ticker`?" in unknown.json()["error"]["message"]
    for tool in ("get_ticker", "get_ticker/"):
        wrong = await stack.http.get(f"{stack.url}/api/tools/{tool}")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert code(wrong)
    wrong = await stack.http.post(f"{stack.url}/api/tools", json={})
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    nowhere = await stack.http.get(f"{stack.url}/api/tool")
    assert nowhere.status_code == 404
    assert "/api/tools" in nowhere.json()["error"]["message"]
    assert code(nowhere)


async def test_the_guard_stands_before_it(stack: Stack) -> None:
    """Refused in the form of plain HTTP, not as JSON-RPC."""
    foreign = await post(stack, "list_accounts", headers={"Host": "evil.example"})
    assert (foreign.status_code, code(foreign)) == (421, "invalid_argument")
    page = await post(stack, "list_accounts", headers={"Origin": "https://evil.example"})
    assert (page.status_code, code(page)) == (403, "permission_denied")


async def test_tokens_and_their_scopes_count(make_stack: StackFactory) -> None:
    tokens = {
        "reader": {"token": "r" * 32, "scopes": ["read"]},
        "watcher": {"token": "w" * 32, "scopes": ["ops"]},
    }
    stack = await make_stack(tokens=tokens)
    for path in ("/api/tools", "/api/openapi.json"):
        refused = await stack.http.get(stack.url + path)
        assert (refused.status_code, code(refused)) == (401, "permission_denied")
        assert refused.headers["www-authenticate"] == "Bearer"
    assert (await post(stack, "list_accounts")).status_code == 401
    reader = {"Authorization": f"Bearer {'r' * 32}"}
    assert (await post(stack, "list_accounts", headers=reader)).status_code == 200
    made = (await stack.http.get(f"{stack.url}/api/openapi.json", headers=reader)).json()
    assert made["security"] == [{"token": []}]
    watcher = {"Authorization": f"Bearer {'w' * 32}"}
    refused = await post(stack, "list_accounts", headers=watcher)
    assert (refused.status_code, code(refused)) == (403, "permission_denied")
    assert "`read`" in refused.json()["error"]["message"]


async def test_calls_of_one_name_run_in_order_and_share_the_lane_of_mcp(stack: Stack) -> None:
    """Steps: a plain call hangs at the exchange; an MCP call and another plain one of the same name
    wait behind it, in the order of arrival, while one of another name is answered."""
    fault = stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    done: list[int] = []

    async def finished(number: int, call: Any) -> Any:
        answer = await call
        done.append(number)
        return answer

    async def waiting(count: int) -> None:
        async with asyncio.timeout(5):
            while (await stack.sessions())[-1]["queued"] != count:
                await asyncio.sleep(0.005)

    first = asyncio.create_task(finished(1, post(stack, "get_open_orders", headers=NAMED)))
    await until(stack, "lanes_busy", 1)
    second = asyncio.create_task(finished(2, stack.call("list_accounts", session="one")))
    await waiting(1)
    third = asyncio.create_task(finished(3, post(stack, "list_accounts", headers=NAMED)))
    await waiting(2)
    beside = await post(stack, "list_accounts", headers={"Mcp-Session-Id": "two"})
    assert beside.status_code == 200
    assert (await post(stack, "list_accounts")).status_code == 200
    assert done == []
    stack.sim.faults.clear(fault)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    async with asyncio.timeout(5):
        await asyncio.gather(second, third)
    assert done == [2, 3]
    (shown,) = [each for each in await stack.sessions() if each["sessionId"] == "one"]
    assert (shown["calls"], shown["errors"], shown["kind"]) == (3, 1, "named")
    assert shown["inFlight"] == shown["queued"] == 0


async def test_calls_without_a_name_run_side_by_side(stack: Stack) -> None:
    """All three are at the exchange at once, and none has a session."""
    fault = stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    held = [asyncio.create_task(post(stack, "get_open_orders")) for _ in range(3)]
    await until(stack, "leases", 3, exchange="paper")
    assert [each["sessionId"] for each in await stack.sessions()] == ["warm-up"]
    stack.sim.faults.clear(fault)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


@pytest.mark.parametrize("headers", [{}, NAMED])
async def test_a_client_that_leaves_ends_its_read(stack: Stack, headers: dict[str, str]) -> None:
    """Without the watch the read would go on to its deadline, and hold the lane and a slot."""
    stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    held = asyncio.create_task(post(stack, "get_open_orders", headers=headers))
    await until(stack, "leases", 1, exchange="paper")
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    await until(stack, "leases", 0, exchange="paper")
    await until(stack, "requests_in_progress", 0)
    counted = await sample(stack, "calls_total", tool="get_open_orders", outcome="cancelled")
    assert counted == 1


async def test_what_watches_the_client_of_a_call_has_ended_with_it(stack: Stack) -> None:
    stack.sim.faults.add(Fault(kind="latency", route=OPEN_ORDERS, milliseconds=100))
    transport = httpx.ASGITransport(stack.app)
    async with httpx.AsyncClient(transport=transport, base_url=stack.url) as client:
        answer = await client.post("/api/tools/get_open_orders")
        watching = [each for each in asyncio.all_tasks() if "Responder" in repr(each)]
    assert answer.status_code == 200
    assert watching == []


async def test_the_end_of_the_session_ends_its_plain_calls(stack: Stack) -> None:
    stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    held = asyncio.create_task(post(stack, "get_open_orders", headers=NAMED))
    await until(stack, "lanes_busy", 1)
    ended = await stack.http.delete(f"{stack.url}/mcp", headers=NAMED)
    assert ended.status_code == 204
    answer = await held
    assert (answer.status_code, code(answer)) == (503, "cancelled")
    assert answer.headers["retry-after"] == "1"


async def test_a_full_lane_and_a_deadline_have_statuses_of_their_own(
    make_stack: StackFactory,
) -> None:
    stack = await make_stack(lane_queue_max=1, tool_timeout=2, ccxt_timeout=1)
    # The first load of the tables may take longer than two seconds; it goes on without its caller,
    # and whoever comes next waits for the same one.
    for _ in range(20):
        if (await post(stack, "get_ticker", {"symbol": "BTC/USDT"})).status_code == 200:
            break
    else:
        pytest.fail("the market tables were never loaded")
    stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    late = asyncio.create_task(post(stack, "get_open_orders", headers=NAMED))
    await until(stack, "lanes_busy", 1)
    behind = asyncio.create_task(post(stack, "list_accounts", headers=NAMED))
    await until(stack, "lane_waiting", 1)
    refused = await post(stack, "list_accounts", headers=NAMED)
    assert (refused.status_code, code(refused)) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    answer = await late
    assert (answer.status_code, code(answer)) == (504, "timeout")
    assert (await behind).status_code == 200
    (shown,) = await stack.sessions()
    assert (shown["calls"], shown["errors"], shown["timeouts"]) == (3, 2, 1)


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        (Fault(kind="status", route=OPEN_ORDERS, status=401), 403, "authentication_failed"),
        (Fault(kind="reset", route=OPEN_ORDERS), 503, "exchange_unavailable"),
        (Fault(kind="status", route=OPEN_ORDERS, status=429), 429, "rate_limited"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
async def test_what_an_exchange_does_has_a_status(
    stack: Stack, fault: Fault, status: int, word: str
) -> None:
    stack.sim.faults.add(fault)
    answer = await post(stack, "get_open_orders")
    assert (answer.status_code, code(answer)) == (status, word)
    assert ("retry-after" in answer.headers) is (status in (429, 503))
    for account in stack.accounts:
        assert account.secret not in answer.text
        assert account.api_key not in answer.text


async def test_a_name_that_cannot_be_one_is_refused(stack: Stack) -> None:
    malformed = await post(stack, "list_accounts", headers={"Mcp-Session-Id": "a b"})
    assert (malformed.status_code, code(malformed)) == (400, "invalid_argument")
    gone = await post(stack, "list_accounts", headers={"Mcp-Session-Id": "ccxtmcp-" + "0" * 32})
    assert (gone.status_code, code(gone)) == (404, "session_not_found")


async def test_while_draining_calls_are_refused_as_retryable(make_stack: StackFactory) -> None:
    stack = await make_stack()
    await stack.app.state.drain(0)
    refused = await post(stack, "list_accounts")
    assert (refused.status_code, code(refused)) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"
    assert refused.json()["error"]["retryable"] is True


async def test_calls_are_counted_logged_and_traced_like_any(stack: Stack, spans: Spans) -> None:
    """A caller's trace goes on in the server, and an invented name is in no span."""
    spans.clear()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    traced = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    await post(stack, "get_open_orders", headers=traced)
    await post(stack, "get_open_orders", headers={"traceparent": "nonsense", "tracestate": "="})
    await post(stack, "my_pasted_key", {})
    await post(stack, "get_ticker", {"symbol": "NO/PE"}, headers=NAMED)
    counted = "calls_total"
    assert await sample(stack, counted, tool="get_open_orders", exchange="paper", outcome="ok") == 2
    assert await sample(stack, counted, tool="unknown", outcome="unknown_tool") == 1
    assert await sample(stack, counted, tool="get_ticker", outcome="unknown_symbol") == 1
    first, second = spans.named("tools/call get_open_orders")
    assert f"{first.context.trace_id:032x}" == trace_id
    assert second.parent is None
    assert tree(spans, first) == tree(spans, second) == {"request": {}}
    assert "my_pasted_key" not in "".join(span.to_json() for span in spans.all())
    (failed,) = spans.named("tools/call get_ticker")
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "unknown_symbol"


async def test_a_foreign_server_behind_the_transport_has_no_plain_interface() -> None:
    """What its tools are is not known here."""
    async with running(create_app(Settings(), Toy().server())) as client:
        assert (await client.get("/api/tools")).status_code == 404
