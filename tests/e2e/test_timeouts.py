"""The layers of timeout, at their real lengths, and the session afterwards.

Time is what is tested here, so these tests take as long as the deadlines that they are about; they
run side by side in one test each.
"""

import asyncio
import time
from typing import Any

from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import Stack, StackFactory

OPEN_ORDERS = "GET /api/v3/openOrders"


def failure(result: dict[str, Any]) -> dict[str, Any]:
    assert result["isError"] is True, result
    assert "structuredContent" not in result
    found = result["_meta"]["ccxt-mcp/failure"]
    assert isinstance(found, dict)
    assert found["message"] in result["content"][0]["text"]
    return found


async def test_a_hanging_exchange_ends_as_ccxts_timeout_after_ten_seconds(stack: Stack) -> None:
    """The same session's next call, of another kind, answers at once."""
    stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    began = time.monotonic()
    async with asyncio.timeout(14):
        result = await stack.call("get_open_orders", session="orders")
    assert 9.5 < time.monotonic() - began < 12
    found = failure(result)
    assert found["code"] == "timeout"
    assert found["retryable"] is True
    assert "within 10000ms" in found["message"]
    assert found["operation"] == "fetchOpenOrders"
    began = time.monotonic()
    after = await stack.call("account_balance", session="orders")
    assert not after.get("isError")
    assert time.monotonic() - began < 2
    (listed,) = [item for item in await stack.sessions() if item["sessionId"] == "orders"]
    assert (listed["calls"], listed["errors"], listed["timeouts"]) == (2, 1, 1)


async def test_a_chain_of_slow_answers_ends_as_the_tools_timeout_after_fifteen_seconds(
    make_stack: StackFactory,
) -> None:
    """A cold call needs the market table (9 s) and then the orders (9 s): neither is a timeout of
    CCXT, together they are one of the tool. The abandoned request is really cancelled."""
    stack = await make_stack()
    stack.sim.set_latency(9000)
    began = time.monotonic()
    async with asyncio.timeout(18):
        result = await stack.call("get_open_orders", session="orders")
    assert 14.5 < time.monotonic() - began < 17
    found = failure(result)
    assert found["code"] == "timeout"
    assert found["message"] == "fetchOpenOrders operation timed out after 15000ms"
    stack.sim.set_latency(0)
    async with asyncio.timeout(5):
        while stack.sim.counters.snapshot().in_flight:
            await asyncio.sleep(0.01)
        after = await stack.call("get_open_orders", session="orders")
    assert after["structuredContent"]["orders"]


async def test_deadlines_are_settings(make_stack: StackFactory) -> None:
    stack = await make_stack(ccxt_timeout=0.2, tool_timeout=5)
    await stack.call("get_ticker", {"symbol": "BTC/USDT"})
    stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    found = failure(await stack.call("get_open_orders"))
    assert "within 200ms" in found["message"]


async def test_a_dripping_body_is_stopped_by_the_same_timeout(make_stack: StackFactory) -> None:
    """A read timeout alone would be reset by every byte and never end."""
    stack = await make_stack(ccxt_timeout=0.3, tool_timeout=2)
    await stack.call("get_ticker", {"symbol": "BTC/USDT"})
    stack.sim.faults.add(Fault(kind="drip", route=OPEN_ORDERS, interval_ms=50))
    async with asyncio.timeout(5):
        found = failure(await stack.call("get_open_orders"))
    assert "within 300ms" in found["message"]


async def test_a_hanging_exchange_does_not_hold_up_other_sessions(
    make_stack: StackFactory,
) -> None:
    stack = await make_stack(ccxt_timeout=3, tool_timeout=4)
    await stack.call("get_ticker", {"symbol": "BTC/USDT"})
    stack.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    hanging = [
        asyncio.create_task(stack.call("get_open_orders", session=f"wf-{number}"))
        for number in range(20)
    ]
    began = time.monotonic()
    result = await stack.call("account_balance", session="other")
    assert not result.get("isError")
    assert time.monotonic() - began < 1.5
    for task in hanging:
        assert failure(await task)["code"] == "timeout"
