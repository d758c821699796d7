"""Three replicas over one store ask an exchange once.

The calls begin below HTTP: how fast two hundred connections are opened is not what is tested.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from ccxt_mcp.calls.policy import OPERATIONS
from ccxt_mcp.product import Product
from ccxt_mcp.simulation import Fault
from ccxt_mcp.store.opening import store_at
from tests.e2e.replicas import Replicas, running_replicas

TICKER = "GET /api/v3/ticker/24hr"
INFO = "GET /api/v3/exchangeInfo"
BTC = {"symbol": "BTC/USDT"}


@pytest.fixture(params=["memory", "redis"])
async def three(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Replicas]:
    """Answers last for longer than the slowest machine takes to ask for them again."""
    of_its_own = None
    if request.param == "redis":
        url, prefix = request.getfixturevalue("redis_server").url, secrets.token_hex(6)
        of_its_own = partial(store_at, url, prefix=prefix, timeout=5.0)
    for method, each in OPERATIONS.items():
        if each.fresh:
            monkeypatch.setitem(OPERATIONS, method, replace(each, fresh=60.0))
    async with running_replicas({}, {}, {}, of_its_own=of_its_own) as running:
        yield running


async def ask(product: Product, tool: str = "get_ticker", **arguments: Any) -> dict[str, Any]:
    return (await product.boundary.run(tool, arguments))[0]


async def test_replicas_that_start_cold_together_load_the_markets_once(three: Replicas) -> None:
    """Each for itself, a rolling restart of ten replicas is ten loads of every exchange at once:
    a part of the exchange's limit that calls then lack."""
    await asyncio.gather(*(ask(product, **BTC) for product in three.products * 10))
    assert three.asked(INFO) == 1
    markets = [await ask(each, "get_markets", limit=200) for each in three.products]
    assert markets[0]["markets"] == markets[1]["markets"] == markets[2]["markets"]
    origins = [each.gateway.snapshot()["paper"]["marketsFrom"] for each in three.products]
    assert sorted(origins) == ["process", "replica", "replica"]
    assert three.asked(INFO) == 1


async def test_two_hundred_who_ask_three_replicas_at_once_cost_one_request(
    three: Replicas,
) -> None:
    for product in three.products:
        await ask(product, symbol="ETH/USDT")
    three.sim.counters.reset()
    # The one that asks is still under way when the others come.
    three.sim.faults.add(Fault(kind="latency", route=TICKER, milliseconds=100, times=1))
    answers = await asyncio.gather(*(ask(three.products[n % 3], **BTC) for n in range(200)))
    assert three.asked(TICKER) == 1
    assert len({str(answer["ticker"]) for answer in answers}) == 1
    assert sum(not answer["cached"] for answer in answers) == 1


async def test_every_tool_says_the_same_of_another_replicas_answer(three: Replicas) -> None:
    """What JSON does not keep (a tuple, a key that is no text) would differ here."""
    asked: tuple[tuple[str, dict[str, Any]], ...] = (
        ("get_ticker", BTC),
        ("batch_get_tickers", {"symbols": ["BTC/USDT", "ETH/USDT"]}),
        ("batch_get_tickers", {}),
        ("get_orderbook", BTC | {"limit": 10}),
        ("get_ohlcv", BTC | {"timeframe": "1h", "limit": 20}),
        ("get_trades", BTC),
        ("get_funding_rates", {"symbols": ["BTC/USDT:USDT"]}),
        ("call_read_method", {"method": "fetchTradingLimits"}),
        ("call_read_method", {"method": "fetchBidsAsks"}),
    )
    for tool, arguments in asked:
        first, *rest = [await ask(each, tool, **arguments) for each in three.products]
        assert first.pop("cached") is False, tool
        first.pop("fetchedAt")
        for other in rest:
            assert other.pop("cached") is True, tool
            other.pop("fetchedAt")
            assert other == first, tool
