"""The guide's scenario: plain HTTP, no handshake, a session id of one's own per workflow.

These tests are about time: the exchange answers after a given latency, and what ran in parallel
shows in the sum. Bounds are loose; what they tell apart differs by a whole latency.
"""

import asyncio
import time
from typing import Any

from tests.e2e.conftest import Stack, StackFactory


async def timed(*calls: Any) -> tuple[float, list[dict[str, Any]]]:
    began = time.monotonic()
    async with asyncio.timeout(20):
        results = await asyncio.gather(*calls)
    return time.monotonic() - began, list(results)


async def test_two_workflows_at_a_slow_exchange_finish_together(stack: Stack) -> None:
    """At 2 s of latency both take about 2 s, not 4; `/health` lists both."""
    stack.sim.set_latency(2000)
    elapsed, (orders, balance) = await timed(
        stack.call("get_open_orders", session="workflow-orders-monitoring"),
        stack.call("account_balance", session="workflow-balance-monitoring"),
    )
    assert 1.9 < elapsed < 3.5
    assert orders["structuredContent"]["orders"]
    assert balance["structuredContent"]["balances"]
    listed = {item["sessionId"]: item for item in await stack.sessions()}
    for name in ("workflow-orders-monitoring", "workflow-balance-monitoring"):
        assert listed[name]["clientIp"] == "127.0.0.1"
        assert listed[name]["connectedAt"] <= listed[name]["lastActivity"]
        assert listed[name]["calls"] == 1
        assert listed[name]["latencyMs"]["p50"] > 1900


async def test_two_calls_in_one_session_run_one_after_the_other(stack: Stack) -> None:
    stack.sim.set_latency(2000)
    done: list[str] = []

    async def call(tool: str, number: int) -> dict[str, Any]:
        result = await stack.call(tool, session="shared-session", request_id=number)
        done.append(tool)
        return result

    async def second() -> dict[str, Any]:
        # Arrival order is what is promised, so the second is sent once the first was received.
        while not any(item["inFlight"] for item in await stack.sessions()):
            await asyncio.sleep(0.01)
        return await call("account_balance", 2)

    elapsed, results = await timed(call("get_open_orders", 1), second())
    assert 3.9 < elapsed < 6
    assert done == ["get_open_orders", "account_balance"]
    assert not any(result.get("isError") for result in results)


async def test_repeated_ids_in_one_session_each_get_their_own_answer(stack: Stack) -> None:
    _, (ticker, balance) = await timed(
        stack.call("get_ticker", {"symbol": "ETH/USDT"}, session="one", request_id=1),
        stack.call("account_balance", session="one", request_id=1),
    )
    assert ticker["structuredContent"]["ticker"]["symbol"] == "ETH/USDT"
    assert balance["structuredContent"]["balances"]


async def test_two_accounts_interleaved_see_only_their_own(stack: Stack) -> None:
    """500 calls of two accounts at once; the venue sees exactly one request for each."""
    first, second = stack.accounts
    expected = {}
    for account in stack.accounts:
        orders = await stack.call("get_open_orders", {"account": account.name})
        balance = await stack.call("account_balance", {"account": account.name})
        expected[account.name] = (
            {order["id"] for order in orders["structuredContent"]["orders"]},
            balance["structuredContent"]["balances"],
        )
    assert expected[first.name][0].isdisjoint(expected[second.name][0])
    assert expected[first.name][1] != expected[second.name][1]
    stack.sim.counters.reset()

    async def workflow(number: int) -> None:
        for step in range(25):
            account = stack.accounts[(number + step) % 2].name
            arguments = {"account": account}
            name = f"wf-{number}"
            if step % 2:
                result = await stack.call("account_balance", arguments, session=name)
                assert result["structuredContent"]["balances"] == expected[account][1]
            else:
                result = await stack.call("get_open_orders", arguments, session=name)
                seen = {order["id"] for order in result["structuredContent"]["orders"]}
                assert seen == expected[account][0]

    async with asyncio.timeout(60):
        await asyncio.gather(*(workflow(number) for number in range(20)))
    snapshot = stack.sim.counters.snapshot()
    assert snapshot.total == 500, snapshot
    for account in stack.accounts:
        assert sum(snapshot.by_key[account.api_key].values()) == 250
    assert snapshot.connections_opened <= 20


async def test_a_first_call_loads_the_market_table_once_for_all(make_stack: StackFactory) -> None:
    stack = await make_stack()
    _, results = await timed(
        *(
            stack.call("get_ticker", {"symbol": "BTC/USDT"}, session=f"wf-{number}")
            for number in range(50)
        )
    )
    assert not any(result.get("isError") for result in results)
    assert stack.sim.counters.snapshot().by_route["GET /api/v3/exchangeInfo"] == 1
