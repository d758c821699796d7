"""One deadline covers a whole call, really ends it, and says what was under way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.simulation import Fault
from tests.unit.tools.world import make_world, until


async def test_a_hanging_exchange_ends_at_the_tool_timeout_by_name(tmp_path: Path) -> None:
    """The text is `fetchOpenOrders operation timed out after 300ms`; the request is closed, not
    left running; and the next call answers."""
    async with make_world(tmp_path, deadline=0.3) as world:
        async with asyncio.timeout(20), world.gateway.public("paper"):
            pass  # the tables are loaded now; their load has a test of its own
        world.sim.faults.add(Fault(kind="hang", route="GET /api/v3/openOrders", times=1))
        outcome = await world.call("get_open_orders")
        assert outcome.failure["code"] == "timeout"
        assert outcome.failure["message"] == "fetchOpenOrders operation timed out after 300ms"
        assert outcome.failure["operation"] == "fetchOpenOrders"
        assert outcome.failure["exchange"] == "paper"
        assert outcome.failure["retryable"] is True
        assert outcome.text.startswith(
            "timeout: fetchOpenOrders operation timed out after 300ms. Hint: "
        )
        await until(lambda: world.sim.counters.in_flight == 0)
        again = await world.call("get_open_orders")
        assert not again.is_error


async def test_the_deadline_covers_the_first_load_of_the_market_tables(tmp_path: Path) -> None:
    """A table that never comes ends the call on time, under the name of what was wanted."""
    async with make_world(tmp_path, deadline=0.3) as world:
        world.sim.faults.add(Fault(kind="hang", route="GET /api/v3/exchangeInfo"))
        outcome = await world.call("get_ticker", {"symbol": "BTC/USDT"})
        assert outcome.failure["message"] == "fetchTicker operation timed out after 300ms"


async def test_one_slow_request_is_the_exchanges_timeout_not_the_tools(tmp_path: Path) -> None:
    """CCXT's own timeout comes first and speaks of the exchange."""
    async with make_world(tmp_path, ccxt_timeout=0.3) as world:
        assert not (await world.call("get_ticker", {"symbol": "BTC/USDT"})).is_error
        world.sim.faults.add(Fault(kind="hang", route="GET /api/v3/account", times=1))
        outcome = await world.call("account_balance")
        assert outcome.failure["code"] == "timeout"
        assert "did not answer within 300ms" in outcome.failure["message"]


@pytest.mark.parametrize("fault", ["truncated", "html", "empty", "malformed"])
async def test_an_answer_that_cannot_be_believed_is_never_an_empty_balance(
    tmp_path: Path, fault: Any
) -> None:
    """Before shape checks, CCXT made an empty balance of a truncated one."""
    async with make_world(tmp_path) as world:
        await world.call("get_ticker", {"symbol": "BTC/USDT"})
        world.sim.faults.add(Fault(kind=fault, route="GET /api/v3/account"))
        outcome = await world.call("account_balance")
        assert outcome.is_error, outcome
        assert outcome.failure["code"] in ("bad_response", "exchange_unavailable"), outcome


async def test_a_cancellation_from_outside_passes_and_closes_the_request(tmp_path: Path) -> None:
    """The caller leaves while the exchange hangs: CancelledError, and nothing stays in flight."""
    async with make_world(tmp_path) as world:
        await world.call("get_ticker", {"symbol": "BTC/USDT"})
        world.sim.faults.add(Fault(kind="hang", route="GET /api/v3/openOrders"))

        async def work(call: Call) -> Any:
            async with call.private(None, None, "fetch_open_orders") as lease:
                return await call.fetch(lease, "fetch_open_orders")

        task = asyncio.create_task(world.calls.run(world.calls.begin("sample"), work))
        await until(lambda: world.sim.counters.in_flight == 1)
        task.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: world.sim.counters.in_flight == 0)


async def test_a_call_without_any_exchange_is_told_how_to_choose_one(tmp_path: Path) -> None:
    """Neither an argument nor a default: the refusal names both remedies."""
    async with make_world(tmp_path, default_exchange=None) as world:
        outcome = await world.call("get_ticker", {"symbol": "BTC/USDT"})
        assert outcome.failure["code"] == "invalid_argument"
        assert "`exchange` is required" in outcome.text
        assert "default_exchange" in outcome.text
        named = await world.call("account_balance", {"account": "second"})
        assert named.data["exchange"] == "paper"


async def test_a_method_outside_the_table_cannot_be_called(tmp_path: Path) -> None:
    """Read-only is an allowlist: a tool that asked for an order would fail as a fault of ours."""
    async with make_world(tmp_path) as world:

        async def work(call: Call) -> Any:
            async with call.private(None, None, "fetch_open_orders") as lease:
                return await call.fetch(lease, "create_order", "BTC/USDT", "limit", "buy", 1, 1)

        with pytest.raises(Failure) as caught:
            await world.calls.run(world.calls.begin("sample"), work)
        assert caught.value.code is Code.INTERNAL
