"""`/metrics` of a running server: who may read it, and whether what it says is so."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from ccxt_mcp.app import create_app
from ccxt_mcp.settings import Settings
from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import Stack, StackFactory
from tests.unit.transport.toy import Toy, call, running

OPEN_ORDERS = "GET /api/v3/openOrders"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def sample(stack: Stack, name: str, **labels: str) -> float:
    """The sum of the samples of a name whose labels are these, among others."""
    response = await stack.http.get(f"{stack.url}/metrics")
    assert response.status_code == 200, response.text
    return sum(
        each.value
        for family in text_families(response.text)
        for each in family.samples
        if each.name == f"ccxt_mcp_{name}" and labels.items() <= each.labels.items()
    )


async def until(stack: Stack, name: str, value: float, **labels: str) -> None:
    async with asyncio.timeout(5):
        while await sample(stack, name, **labels) != value:
            await asyncio.sleep(0.005)


async def test_calls_are_counted_by_tool_exchange_and_outcome(stack: Stack) -> None:
    """A success, two failures (one before an exchange was chosen) and an invented tool."""
    await stack.call("get_open_orders")
    await stack.call("get_ticker", {"symbol": "NO/SUCH"})
    await stack.call("get_ticker", {"symbol": 5})
    await stack.call("get_my_secrets")
    calls = "calls_total"
    assert await sample(stack, calls, tool="get_open_orders", exchange="paper", outcome="ok") == 1
    assert await sample(stack, calls, tool="get_ticker", outcome="unknown_symbol") == 1
    assert await sample(stack, calls, exchange="none", outcome="invalid_argument") == 1
    assert await sample(stack, calls, tool="unknown", outcome="unknown_tool") == 1
    assert await sample(stack, calls) == 5
    assert await sample(stack, "call_duration_seconds_count") == 5
    assert await sample(stack, "sessions", kind="named") == 2


async def test_requests_to_an_exchange_are_all_counted_those_of_background_loads_too(
    make_stack: StackFactory,
) -> None:
    """The venue's own count is the reference. The tables are loaded by a helper process, on behalf
    of nobody's call: without `apart` its requests would be missing."""
    stack = await make_stack()
    await stack.call("get_ticker", {"symbol": "BTC/USDT"})
    stack.sim.faults.add(Fault(kind="status", route=OPEN_ORDERS, status=400, times=1))
    await stack.call("get_open_orders")
    await stack.call("get_open_orders")
    counted = stack.sim.counters.snapshot().total
    assert counted >= 4
    assert await sample(stack, "upstream_requests_total", exchange="paper") == counted
    assert await sample(stack, "upstream_request_duration_seconds_count") == counted
    assert await sample(stack, "upstream_requests_total", outcome="ok") == counted - 1
    assert await sample(stack, "wait_seconds_count", step="markets", exchange="paper") == 1


async def test_what_runs_and_waits_is_shown_and_waits_are_timed_when_they_end(
    make_stack: StackFactory,
) -> None:
    """Four slots make one for each key: of three sessions' calls with one key two wait for it; two
    more of the first session wait in its lane."""
    stack = await make_stack(max_calls=4)
    await stack.call("get_ticker", {"symbol": "BTC/USDT"})
    assert await sample(stack, "wait_seconds_count", step="lane") == 0
    assert await sample(stack, "wait_seconds_count", step="admission") == 0
    fault = stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    held = []
    for session in ("one", "two", "three"):
        held.append(asyncio.create_task(stack.call("get_open_orders", session=session)))
        await until(stack, "lanes_busy", len(held))
    held += [asyncio.create_task(stack.call("list_accounts", session="one")) for _ in range(2)]
    await until(stack, "lane_waiting", 2)
    await until(stack, "calls_waiting", 2)
    assert await sample(stack, "calls_running") == 1
    assert await sample(stack, "leases", exchange="paper") == 1
    assert await sample(stack, "requests_in_progress") == 5
    stack.sim.faults.clear(fault)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    await until(stack, "requests_in_progress", 0)
    await until(stack, "lanes_busy", 0)
    assert await sample(stack, "wait_seconds_count", step="lane") == 2
    assert await sample(stack, "wait_seconds_count", step="admission", exchange="paper") == 2
    # Two in the lane, two for a slot, one under way: each is counted, once.
    assert await sample(stack, "calls_total", outcome="cancelled") == 5
    assert await sample(stack, "calls_total", tool="list_accounts") == 2


async def test_a_full_lane_and_a_refused_request_are_counted() -> None:
    """Neither reaches a tool."""
    app = create_app(Settings(lane_queue_max=1), (toy := Toy()).server())
    async with running(app) as client:
        named = {"Mcp-Session-Id": "wf"}
        first = asyncio.create_task(client.post("/mcp", json=call("hold"), headers=named))
        await toy.started.wait()
        second = asyncio.create_task(client.post("/mcp", json=call("echo"), headers=named))
        while not app.state.registry.counts()["waiting"]:
            await asyncio.sleep(0)
        await client.post("/mcp", json=call("echo"), headers=named)
        await client.post("/mcp", json=call("echo"))
        await client.post("/mcp", json=call("echo"), headers=named | {"Host": "evil.example"})
        text = (await client.get("/metrics")).text
        toy.go.set()
        await asyncio.gather(first, second)
    overloaded = 'ccxt_mcp_calls_total{exchange="none",outcome="overloaded",tool="unknown"} 1.0'
    assert overloaded in text
    assert 'ccxt_mcp_http_refused_total{status="400"} 1.0' in text
    assert 'ccxt_mcp_http_refused_total{status="421"} 1.0' in text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("", "text/plain"), ("*/*", "text/plain"), (OPENMETRICS, "application/openmetrics-text")],
)
async def test_both_formats_can_be_parsed(stack: Stack, accept: str, kind: str) -> None:
    response = await stack.http.get(f"{stack.url}/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith(kind)
    parse = open_families if "openmetrics" in kind else text_families
    names = {family.name for family in parse(response.text)}
    assert {"ccxt_mcp_call_duration_seconds", "process_resident_memory_bytes"} <= names
    assert "_created" not in response.text


async def test_a_server_with_tokens_shows_metrics_to_those_with_the_scope_ops_only() -> None:
    tokens = {
        "reader": {"token": "r" * 40, "scopes": ["read"]},
        "watcher": {"token": "w" * 40, "scopes": ["ops"]},
    }
    app = create_app(Settings.model_validate({"tokens": tokens}), Toy().server())
    async with running(app) as client:
        answers = [
            await client.get("/metrics", headers=headers)
            for headers in (
                {},
                {"Authorization": f"Bearer {'r' * 40}"},
                {"Authorization": f"Bearer {'w' * 40}"},
            )
        ]
    assert [answer.status_code for answer in answers] == [401, 403, 200]
    assert "`ops`" in answers[1].json()["error"]
    assert "ccxt_mcp_" not in answers[1].text


async def test_a_server_without_tokens_shows_metrics_to_its_own_machine_only() -> None:
    app = create_app(Settings(), Toy().server())
    for address, status in (("127.0.0.1", 200), ("192.0.2.7", 403)):
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/metrics")).status_code == status, address


async def test_connections_and_those_that_were_hung_up_on_are_counted(stack: Stack) -> None:
    port = int(stack.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n")
    await asyncio.wait_for(reader.read(), 5)
    writer.close()
    text = (await stack.http.get(f"{stack.url}/metrics")).text
    assert 'ccxt_mcp_connections_refused_total{reason="too_large_headers"} 1.0' in text
    assert 'ccxt_mcp_connections_refused_total{reason="refused_full"} 0.0' in text
    assert "ccxt_mcp_connections_open 0.0" not in text
    assert "ccxt_mcp_connections_open " in text


async def test_no_secret_and_no_name_of_a_workflow_is_in_the_metrics(stack: Stack) -> None:
    """Private calls that succeed and that fail in several ways, and a key pasted where a name
    belongs."""
    secret = stack.accounts[0].secret
    await stack.call("get_open_orders", session="workflow-of-alice")
    stack.sim.faults.add(Fault(kind="status", route=OPEN_ORDERS, status=401, times=1))
    await stack.call("get_open_orders", session="workflow-of-alice")
    stack.sim.faults.add(Fault(kind="reset", route=OPEN_ORDERS, times=3))
    await stack.call("get_open_orders", session="workflow-of-alice")
    for tool, arguments in (
        (secret, {}),
        ("get_ticker", {"symbol": secret}),
        ("get_ticker", {"symbol": "BTC/USDT", "exchange": secret}),
        ("account_balance", {"account": secret}),
    ):
        await stack.call(tool, arguments, session="workflow-of-alice")
    text = (await stack.http.get(f"{stack.url}/metrics")).text
    assert 'outcome="authentication_failed"' in text or 'outcome="exchange_error"' in text
    for account in stack.accounts:
        for word in (account.api_key[:16], account.secret[:16], f'"{account.name}"'):
            assert word not in text
    for word in ("signature", "alice", "BTC", "127.0.0.1"):
        assert word not in text, word


@pytest.mark.parametrize(
    "accept", ["text/plain; version=abc", "application/openmetrics-text; version=x"]
)
async def test_a_format_of_no_version_is_answered_in_the_common_one(
    stack: Stack, accept: str
) -> None:
    """The library throws at such a header: a 500, and a traceback for as many as are sent."""
    answer = await stack.http.get(f"{stack.url}/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
