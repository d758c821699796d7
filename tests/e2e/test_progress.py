"""Long work tells a caller that asked; seen with the SDK's client in both eras."""

from typing import Literal

import pytest
from mcp.client import Client

from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import StackFactory


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_caller_is_told_while_markets_load(
    make_stack: StackFactory, mode: Literal["legacy", "auto"]
) -> None:
    """The first call at a large exchange takes seconds, in which an agent's user sees nothing."""
    stack = await make_stack(load_apart=True)
    stack.sim.faults.add(Fault(kind="latency", route="*exchangeInfo", milliseconds=600))
    told: list[tuple[float, str | None]] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async with Client(f"{stack.url}/mcp", mode=mode) as client:
        cold = await client.call_tool(
            "get_ticker", {"symbol": "BTC/USDT"}, progress_callback=progress
        )
        assert not cold.is_error, cold
        assert {message for _, message in told} == {"loading the markets of paper"}
        told.clear()
        warm = await client.call_tool(
            "get_ticker", {"symbol": "BTC/USDT"}, progress_callback=progress
        )
        assert not warm.is_error
        assert told == []


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_caller_is_told_how_many_candles_are_there(
    make_stack: StackFactory, mode: Literal["legacy", "auto"]
) -> None:
    """A page of Kraken's has 720 candles: more than one request for a thousand."""
    stack = await make_stack(profile={"exchange": "kraken", "options": {}})
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        if message is not None and "candles" in message:
            told.append((progress, total, message))

    async with Client(f"{stack.url}/mcp", mode=mode) as client:
        asked = {"symbol": "BTC/USDT", "timeframe": "1m", "limit": 1_000}
        result = await client.call_tool("get_ohlcv", asked, progress_callback=progress)
        assert not result.is_error, result
        assert told == [(720.0, 1000.0, "720 of 1000 candles")]
