"""Large answers are bounded: requests to the exchange, rows, bytes, and what is kept.

How long they hold the event loop is measured by ``python -m benchmarks --only big-answers``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client.session import ClientSession

from ccxt_mcp.calls.bounds import MAX_BYTES
from ccxt_mcp.mechanisms.freshness import reading
from ccxt_mcp.simulation import Fault
from ccxt_mcp.simulation.book import Book
from ccxt_mcp.simulation.venue import system_clock
from ccxt_mcp.tools.of_market import MAX_REQUESTS
from tests.unit.tools.test_tools import check_success
from tests.unit.tools.world import Outcome, World, make_world

TICKERS = "GET /api/v3/ticker/24hr"
KLINES = "GET /api/v3/klines"
MINUTE = 60_000


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """3,000 spot markets, at a venue where time stands still: it makes 3,000 tickers once."""
    began = system_clock()
    listed = {"extra_symbols": 2_986, "clock": lambda: began}
    async with make_world(tmp_path, listed=listed) as made:
        yield made


async def pages(
    world: World, tool: str, *, and_older: bool = False, **arguments: Any
) -> list[Outcome]:
    """Every page of a result, each within its bounds and, for the SDK's client, of its schema; the
    last one may say that there are older rows than were asked for."""
    out: list[Outcome] = []
    more: dict[str, Any] = {}
    while True:
        assert len(out) < 400, "it never ends"
        outcome = await world.call(tool, {**arguments, **more})
        assert not outcome.is_error, outcome
        assert len(outcome.text.encode()) <= MAX_BYTES
        if not out or "nextCursor" not in outcome.data:
            check_success(tool, outcome)
        out.append(outcome)
        if "nextCursor" not in outcome.data:
            assert outcome.data["truncated"] is and_older
            return out
        assert outcome.data["truncated"] is True
        more = {"cursor": outcome.data["nextCursor"]}


async def test_three_thousand_tickers_are_read_in_pages_from_few_requests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each symbol once; the answer of the exchange is kept, so that pages taken within its moment
    are one request, although it is 2 MB as the exchange sent it."""
    await world.call("get_markets", {"limit": 1})
    world.sim.counters.reset()
    now = reading()
    with monkeypatch.context() as standing:
        # Both within one moment, however long the machine takes for them.
        standing.setattr(world.calls.reads, "_clock", lambda: now)
        first, second = [
            await world.call("batch_get_tickers", {"limit": 500, "maxAgeMs": 60_000, **more})
            for more in ({}, {"fields": ["symbol", "last"]})
        ]
    assert world.sim.counters.by_route[TICKERS] == 1
    assert second.data["cached"]
    assert first.data["total"] == 3_000
    assert 0 < world.calls.reads.snapshot()["bytes"] < 2_000_000
    parts = await pages(world, "batch_get_tickers", limit=500)
    symbols = [row["symbol"] for part in parts for row in part.data["tickers"]]
    assert symbols == sorted(world.gateway.listing("paper").markets)  # type: ignore[union-attr]
    assert all(len(part.text.encode()) <= MAX_BYTES for part in parts)


async def test_all_fields_of_three_thousand_tickers_are_kept_too(world: World) -> None:
    """What is larger than a quarter of the cache is not kept: each page would cost 80 of weight."""
    await world.call("batch_get_tickers", {"fields": ["symbol", "vwap"], "limit": 1})
    assert world.calls.reads.snapshot()["entries"] == 1


async def test_a_deep_book_is_one_request_and_bounded(world: World) -> None:
    await world.call("get_markets", {"limit": 1})
    world.sim.counters.reset()
    outcome = await world.call("get_orderbook", {"symbol": "BTC/USDT", "limit": 1_000})
    check_success("get_orderbook", outcome)
    assert len(outcome.data["bids"]) == len(outcome.data["asks"]) > 500
    assert world.sim.counters.total == 1
    refused = await world.call("get_orderbook", {"symbol": "BTC/USDT", "limit": 5_000})
    assert refused.failure["code"] == "invalid_argument"


async def test_a_hundred_thousand_candles_are_read_in_pages_each_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `since` to `until`, with at most one request per page of at most 1,000 rows."""

    async def unchecked(*_: Any) -> None:
        """`pages` checks the first and the last; all of them would be a third of the time."""

    def rough(book: Book, start: int, *_: Any) -> tuple[int, int]:
        """Another third is the venue's search for each minute's true lowest and highest price."""
        return book.price(start) // 2, book.price(start) * 2

    monkeypatch.setattr(ClientSession, "validate_tool_result", unchecked)
    monkeypatch.setattr(Book, "_extremes", rough)
    await world.call("get_markets", {"limit": 1})
    world.sim.counters.reset()
    start = 1_767_225_600_000
    until = start + 100_000 * MINUTE
    parts = await pages(
        world,
        "get_ohlcv",
        symbol="BTC/USDT",
        timeframe="1m",
        since=start,
        until=until,
        limit=5000,
    )
    times = [row[0] for part in parts for row in part.data["candles"]]
    assert times == list(range(start, until, MINUTE))
    assert world.sim.counters.by_route[KLINES] <= len(parts)


async def test_the_latest_five_thousand_candles_come_in_pages_to_older_ones(world: World) -> None:
    """The newest are on the first page: who reads no further has the price of now."""
    begun = time.time() * 1000
    asked = {"symbol": "BTC/USDT", "timeframe": "5m", "limit": 5_000}
    parts = await pages(world, "get_ohlcv", and_older=True, **asked)
    times = [row[0] for part in reversed(parts) for row in part.data["candles"]]
    assert times == list(range(times[0], times[-1] + 1, 5 * MINUTE))
    assert len(times) == 5_000
    assert parts[0].data["candles"][-1][0] >= begun - 10 * MINUTE


async def test_a_range_of_many_requests_stops_at_its_bound_and_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange with pages of 20: 400 candles for one answer, with a cursor to the others."""
    monkeypatch.setattr("ccxt_mcp.exchanges.listing.Listing.most", lambda *_: 20)
    outcome = await world.call("get_ohlcv", {"symbol": "BTC/USDT", "since": "2026-01-01"})
    assert len(outcome.data["candles"]) == 100
    world.sim.counters.reset()
    asked = {"symbol": "ETH/USDT", "since": "2026-01-01", "limit": 1_000}
    first = await world.call("get_ohlcv", asked)
    check_success("get_ohlcv", first)
    assert world.sim.counters.by_route[KLINES] == MAX_REQUESTS
    assert len(first.data["candles"]) == 20 * MAX_REQUESTS
    assert "as many requests" in first.data["notice"]
    rest = await world.call("get_ohlcv", {**asked, "cursor": first.data["nextCursor"]})
    assert rest.data["candles"][0][0] == first.data["candles"][-1][0] + 3_600_000


async def test_when_time_runs_short_there_is_what_came_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a timeout, everything that was read would be lost, and again with the next try."""
    monkeypatch.setattr("ccxt_mcp.exchanges.listing.Listing.most", lambda *_: 20)
    async with make_world(tmp_path, deadline=3.0) as world:
        await world.call("get_markets")
        world.sim.faults.add(Fault(kind="hang", route="*klines", skip=3))
        asked = {"symbol": "BTC/USDT", "since": "2026-01-01", "limit": 200}
        outcome = await world.call("get_ohlcv", asked)
        check_success("get_ohlcv", outcome)
        assert len(outcome.data["candles"]) == 60
        assert "time ran short" in outcome.data["notice"]
        world.sim.faults.clear()
        rest = await world.call("get_ohlcv", {**asked, "cursor": outcome.data["nextCursor"]})
        assert rest.data["candles"][0][0] == outcome.data["candles"][-1][0] + 3_600_000


async def test_a_later_page_that_fails_does_not_lose_the_ones_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward the oldest are kept, and of the latest the newest, both without a gap."""
    monkeypatch.setattr("ccxt_mcp.exchanges.listing.Listing.most", lambda *_: 20)
    await world.call("get_markets", {"limit": 1})
    for more in ({"since": "2026-01-01"}, {}):
        world.sim.faults.clear()
        fault = Fault(kind="status", route="*klines", status=429, skip=2)
        world.sim.faults.add(fault)
        outcome = await world.call("get_ohlcv", {"symbol": "BTC/USDT", "limit": 100, **more})
        assert len(outcome.data["candles"]) == 40, outcome
        assert "rate_limited" in outcome.data["notice"]
        assert outcome.data["truncated"] is True
        times = [row[0] for row in outcome.data["candles"]]
        assert times == list(range(times[0], times[-1] + 1, 3_600_000))
