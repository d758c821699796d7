"""Public trades and candles through the whole stack: what comes first, what comes next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.simulation import Fault
from ccxt_mcp.tools import candles
from tests.unit.tools.test_tools import check_success
from tests.unit.tools.world import World, make_world

TRADES = "GET /api/v3/aggTrades"
KLINES = "GET /api/v3/klines"
BTC = {"symbol": "BTC/USDT"}
HOUR = 3_600_000


def minutes_ago(minutes: float) -> int:
    return round(time.time() * 1000 - minutes * 60_000)


async def onwards(world: World, tool: str, key: str, **arguments: Any) -> Any:
    """The rows of all pages, and of how many pages."""
    rows: list[Any] = []
    more: dict[str, Any] = {}
    for number in range(1, 101):
        outcome = await world.call(tool, {**arguments, **more})
        check_success(tool, outcome)
        rows += outcome.data[key]
        if "nextCursor" not in outcome.data:
            return rows, number
        more = {"cursor": outcome.data["nextCursor"]}
    raise AssertionError("it never ends")


async def test_the_latest_trades_come_newest_first(world: World) -> None:
    outcome = await world.call("get_trades", {**BTC, "limit": 5})
    check_success("get_trades", outcome)
    times = [trade["timestamp"] for trade in outcome.data["trades"]]
    assert times == sorted(times, reverse=True)
    assert len(times) == 5
    assert times[0] >= outcome.data["fetchedAt"] - 2_000
    assert {"id", "side", "price", "amount"} <= outcome.data["trades"][0].keys()
    again = await world.call("get_trades", {**BTC, "limit": 5})
    assert again.data["cached"] is True
    refused = await world.call("get_trades", {**BTC, "cursor": "WyJhIiwxXQ"})
    assert refused.failure["code"] == "invalid_argument"


@pytest.mark.parametrize("limit", [7, 20, 1_000])
async def test_trades_of_one_millisecond_are_neither_lost_nor_doubled(
    tmp_path: Path, limit: int
) -> None:
    """Three a second share a millisecond, and pages of 7 cut them in two; more come meanwhile."""
    async with make_world(tmp_path, listed={"burst": 3}) as world:
        since = minutes_ago(0.7)
        trades, pages = await onwards(
            world, "get_trades", "trades", **BTC, since=since, limit=limit, maxAgeMs=0
        )
        numbers = [int(trade["id"]) for trade in trades]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert len(numbers) >= 3 * 41
        assert pages >= len(numbers) // limit
        before = await world.call("get_trades", {**BTC, "limit": 1_000})
        earlier = [trade for trade in before.data["trades"] if trade["timestamp"] >= since]
        assert int(earlier[-1]["id"]) == numbers[0]


async def test_a_millisecond_too_full_for_one_request_is_named(tmp_path: Path) -> None:
    """1,200 trades in one millisecond of which a request brings 1,000: asked for again and again,
    it would never end."""
    async with make_world(tmp_path, listed={"burst": 1_200}) as world:
        since = minutes_ago(1)
        outcome = await world.call("get_trades", {**BTC, "since": since, "limit": 1_000})
        more = {"cursor": outcome.data["nextCursor"]}
        for _ in range(6):
            outcome = await world.call(
                "get_trades", {**BTC, "since": since, "limit": 1_000, **more}
            )
            check_success("get_trades", outcome)
            if "More trades at" in outcome.data["notice"]:
                break
            more = {"cursor": outcome.data["nextCursor"]}
        else:
            raise AssertionError("nothing was said")
        at = outcome.data["trades"][0]["timestamp"]
        assert at % 1_000 == 0


async def test_a_quiet_hour_is_not_the_end_of_trades(world: World) -> None:
    """CCXT asks Binance for one hour from `since`: nothing in it says nothing of the next."""
    world.sim.faults.add(Fault(kind="malformed", route="*aggTrades", body=[], times=2))
    outcome = await world.call("get_trades", {**BTC, "since": minutes_ago(60 * 5), "limit": 3})
    assert len(outcome.data["trades"]) == 3
    assert outcome.data["trades"][0]["timestamp"] >= minutes_ago(60 * 3) - 60_000
    assert world.sim.counters.by_route[TRADES] == 3


async def test_trades_of_a_contract_are_read_too(tmp_path: Path) -> None:
    async with make_world(tmp_path, listed={"linear_symbols": 2}) as world:
        outcome = await world.call("get_trades", {"symbol": "BTC/USDT:USDT", "limit": 2})
        check_success("get_trades", outcome)
        assert outcome.data["symbol"] == "BTC/USDT:USDT"


async def test_cursors_that_somebody_made_up_are_refused(world: World) -> None:
    """Anybody can write one; a wrong type in it must not become a fault of the server."""
    asked: dict[str, Any] = {**BTC, "since": minutes_ago(5), "limit": 2}
    question = {"trades": "paper", "symbol": "BTC/USDT", "since": asked["since"]}
    made_up: list[tuple[Any, ...]] = [
        (1,),
        ("x", 1, "a"),
        (1, "x", "a"),
        (1.5, 1, "a"),
        (2**60, 1, "a"),
        (1, 1, 1),
    ]
    for place in made_up:
        cursor = Paging(question, lambda row: row, None).cursor(place)
        outcome = await world.call("get_trades", {**asked, "cursor": cursor})
        assert outcome.failure["code"] == "invalid_argument", place
    shape = {"candles": "paper", "symbol": "BTC/USDT", "timeframe": "1h", "until": None}
    latest: list[tuple[Any, ...]] = [(1,), (1, -1), (1, 10**6), ("a", 1)]
    onward: list[tuple[Any, ...]] = [("a",), (1, 1)]
    for since, wrong in ((None, latest), (5 * 10**11, onward)):
        for place in wrong:
            cursor = Paging({**shape, "since": since}, lambda row: row, None).cursor(place)
            arguments = {**BTC, "cursor": cursor, **({} if since is None else {"since": since})}
            outcome = await world.call("get_ohlcv", arguments)
            assert outcome.failure["code"] == "invalid_argument", place


@given(
    first=st.integers(0, 300),
    count=st.integers(1, 60),
    limit=st.integers(1, 25),
    page=st.sampled_from([1_000, 7]),
)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_since_is_in_and_until_is_not(
    world: World, first: int, count: int, limit: int, page: int
) -> None:
    """A range that ends where the next begins: together each candle once."""
    start = 1_767_225_600_000 + first * HOUR
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ccxt_mcp.exchanges.listing.Listing.most", lambda *_: page)
        rows, _ = await onwards(
            world,
            "get_ohlcv",
            "candles",
            **BTC,
            since=start,
            until=start + count * HOUR,
            limit=limit,
        )
    assert [row[0] for row in rows] == [start + number * HOUR for number in range(count)]


async def test_until_alone_ends_the_latest_candles(world: World) -> None:
    until = 1_767_225_600_000
    outcome = await world.call("get_ohlcv", {**BTC, "until": until, "limit": 3})
    check_success("get_ohlcv", outcome)
    times = [row[0] for row in outcome.data["candles"]]
    assert times == [until - 3 * HOUR, until - 2 * HOUR, until - HOUR]
    assert "older ones" in outcome.data["notice"]
    future = await world.call("get_ohlcv", {**BTC, "until": minutes_ago(-600), "limit": 3})
    assert future.data["candles"][-1][0] >= minutes_ago(61)
    wrong = await world.call("get_ohlcv", {**BTC, "since": until, "until": until})
    assert wrong.failure["code"] == "invalid_argument"


async def test_a_range_up_to_now_is_one_request_and_at_its_end(world: World) -> None:
    await world.call("get_markets")
    world.sim.counters.reset()
    outcome = await world.call("get_ohlcv", {**BTC, "since": minutes_ago(60 * 10), "limit": 500})
    assert 10 <= len(outcome.data["candles"]) <= 11
    assert outcome.data["truncated"] is False
    assert world.sim.counters.total == 1


async def test_a_range_that_has_not_begun_is_empty(world: World) -> None:
    outcome = await world.call("get_ohlcv", {**BTC, "since": minutes_ago(-60 * 24 * 30)})
    check_success("get_ohlcv", outcome)
    assert outcome.data["candles"] == []
    assert outcome.data["truncated"] is False


async def test_candles_of_before_the_listing_are_the_first_ones(world: World) -> None:
    """`since` years before a market existed: its first candles, in one request."""
    await world.call("get_markets")
    world.sim.counters.reset()
    outcome = await world.call("get_ohlcv", {**BTC, "since": "2010-01-01", "limit": 2})
    assert len(outcome.data["candles"]) == 2
    assert world.sim.counters.total == 1


async def test_a_candle_is_not_kept_beyond_its_own_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept for two seconds whatever happens, a candle read just before it closed is shown after
    it as a closed one, with a price that was not its last."""
    moment = [1_800_000_000.0 + 1_799.0]
    monkeypatch.setattr(time, "time", lambda: moment[0])
    asked = {**BTC, "timeframe": "30m", "limit": 2}
    assert candles._within_the_candle(1_800_000, None) == pytest.approx(1_799.0)
    assert candles._within_the_candle(1_800_000, 1.0) == 1.0
    moment[0] += 1.001
    assert candles._within_the_candle(1_800_000, None) == pytest.approx(0.001, abs=1e-4)
    monkeypatch.undo()
    await world.call("get_ohlcv", asked)
    assert world.sim.counters.by_route[KLINES] == 1
