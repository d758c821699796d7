"""Public market data as CCXT's binance class sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt
import pytest

from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig
from tests.unit.simulation.conftest import Connect, binance


async def test_ccxt_parses_every_market_as_an_active_spot_market(
    sim: SimulatedExchange, connect: Connect
) -> None:
    markets = await connect().load_markets()
    assert len(markets) == len(sim.venue.markets)
    assert {m["type"] for m in markets.values()} == {"spot"}
    assert all(m["active"] for m in markets.values())
    btc = markets["BTC/USDT"]
    assert btc["precision"]["price"] == 0.01
    assert btc["precision"]["amount"] == 0.00001
    assert btc["limits"]["cost"]["min"] == 5.0


async def test_ccxt_loads_all_three_market_families_and_currencies_with_a_key(
    sim: SimulatedExchange, connect: Connect, accounts: Any
) -> None:
    exchange = connect(accounts[0])
    del exchange.options["fetchMarkets"]
    await exchange.load_markets()
    seen = sim.counters.snapshot().by_route
    assert {"GET /api/v3/exchangeInfo", "GET /fapi/v1/exchangeInfo"} <= set(seen)
    assert "GET /sapi/v1/capital/config/getall" in seen
    assert exchange.currencies["EUR"]["type"] == "fiat"


async def test_linear_contracts_are_listed_when_configured() -> None:
    config = SimulationConfig(linear_symbols=12, extra_symbols=30)
    async with SimulatedExchange(config) as sim:
        exchange = binance(sim.base_url, fetchMarkets={"types": ["spot", "linear", "inverse"]})
        try:
            markets = await exchange.load_markets()
        finally:
            await exchange.close()
    swaps = [m for m in markets.values() if m["swap"]]
    assert len(swaps) == 12
    assert all(m["linear"] and m["settle"] == "USDT" for m in swaps)
    assert len(markets) == 14 + 30 + 12


async def test_a_ticker_is_whole_and_within_its_own_day(connect: Connect) -> None:
    ticker = await connect().fetch_ticker("BTC/USDT")
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    assert ticker["bid"] < ticker["ask"]
    assert ticker["last"] in (ticker["bid"], ticker["ask"])
    assert ticker["low"] <= ticker["vwap"] <= ticker["high"]
    assert ticker["baseVolume"] > 0
    assert ticker["symbol"] == "BTC/USDT"


async def test_tickers_come_for_some_symbols_or_for_all(
    sim: SimulatedExchange, connect: Connect
) -> None:
    exchange = connect()
    some = await exchange.fetch_tickers(["BTC/USDT", "ETH/BTC"])
    assert set(some) == {"BTC/USDT", "ETH/BTC"}
    assert len(await exchange.fetch_tickers()) == len(sim.venue.markets)
    tops = await exchange.fetch_bids_asks(["XRP/USDT"])
    assert tops["XRP/USDT"]["bid"] < tops["XRP/USDT"]["ask"]
    assert len(await exchange.fetch_last_prices()) == len(sim.venue.markets)


@pytest.mark.parametrize(("asked", "given"), [(None, 100), (5, 5), (5_000, 5_000)])
async def test_the_order_book_is_sorted_and_as_deep_as_asked(
    connect: Connect, asked: int | None, given: int
) -> None:
    book = await connect().fetch_order_book("BTC/USDT", asked)
    bids, asks = [p for p, _ in book["bids"]], [p for p, _ in book["asks"]]
    assert len(bids) == len(asks) == given
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert bids[0] < asks[0]
    assert all(amount > 0 for _, amount in book["bids"] + book["asks"])
    assert book["nonce"]


async def test_candles_since_a_time_start_there_and_stop_at_the_limit(connect: Connect) -> None:
    exchange = connect()
    since = 1_750_000_000_000 // 3_600_000 * 3_600_000
    candles = await exchange.fetch_ohlcv("ETH/USDT", "1h", since, 24)
    assert [c[0] for c in candles] == [since + n * 3_600_000 for n in range(24)]
    for _, opened, high, low, close, volume in candles:
        assert low <= min(opened, close) <= max(opened, close) <= high
        assert volume > 0
    assert await exchange.fetch_ohlcv("ETH/USDT", "1h", since, 24) == candles


async def test_the_newest_candle_is_the_running_one(connect: Connect) -> None:
    exchange = connect()
    candles = await exchange.fetch_ohlcv("ETH/USDT", "1m", limit=3)
    assert len(candles) == 3
    now = exchange.milliseconds()
    assert now - 61_000 <= candles[-1][0] <= now


async def test_every_timeframe_ccxt_knows_is_answered(connect: Connect) -> None:
    exchange = connect()
    await exchange.load_markets()
    for timeframe in exchange.timeframes:
        assert len(await exchange.fetch_ohlcv("BTC/EUR", timeframe, limit=2)) == 2, timeframe


@pytest.mark.parametrize("method", ["publicGetAggTrades", "publicGetTrades"])
async def test_public_trades_have_rising_ids_and_both_sides(connect: Connect, method: str) -> None:
    trades = await connect(fetchTradesMethod=method).fetch_trades("BTC/USDT", limit=50)
    ids = [int(t["id"]) for t in trades]
    assert ids == list(range(ids[0], ids[0] + 50))
    assert {t["side"] for t in trades} == {"buy", "sell"}
    assert all(t["symbol"] == "BTC/USDT" for t in trades)


async def test_public_trades_since_a_time_start_there(connect: Connect) -> None:
    exchange = connect()
    since = 1_750_000_000_000
    trades = await exchange.fetch_trades("BTC/USDT", since, 10)
    assert [t["timestamp"] for t in trades] == [since + n * 1_000 for n in range(10)]
    again = await exchange.fetch_trades("BTC/USDT", since, 10)
    assert [t["info"] for t in again] == [t["info"] for t in trades]


async def test_the_venue_tells_its_time(sim: SimulatedExchange, connect: Connect) -> None:
    sim.venue.set_clock_offset(-3_600_000)
    exchange = connect()
    assert abs(exchange.milliseconds() - 3_600_000 - await exchange.fetch_time()) < 5_000


async def test_a_symbol_the_venue_does_not_list_is_a_bad_symbol(connect: Connect) -> None:
    with pytest.raises(ccxt.BadSymbol, match="-1121"):
        await connect().publicGetDepth({"symbol": "NOPEUSDT"})


@pytest.mark.parametrize(
    ("call", "params", "code"),
    [
        ("publicGetDepth", {}, -1102),
        ("publicGetDepth", {"symbol": ""}, -1105),
        ("publicGetDepth", {"symbol": "btc/usdt"}, -1100),
        ("publicGetDepth", {"symbol": "BTCUSDT", "limit": "many"}, -1100),
        ("publicGetDepth", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("publicGetDepth", {"symbol": "BTCUSDT", "colour": "red"}, -1104),
        ("publicGetKlines", {"symbol": "BTCUSDT"}, -1102),
        ("publicGetKlines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("publicGetTicker24hr", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
        ("publicGetTicker24hr", {"symbols": "BTCUSDT"}, -1100),
        ("publicGetTicker24hr", {"symbols": "[]"}, -1130),
        ("publicGetTicker24hr", {"symbol": "BTCUSDT", "type": "HUGE"}, -1130),
        ("publicGetAggTrades", {"symbol": "BTCUSDT", "fromId": 5, "startTime": 5}, -1128),
    ],
)
async def test_a_bad_parameter_gets_the_code_binance_gives(
    connect: Connect, call: str, params: dict[str, Any], code: int
) -> None:
    with pytest.raises(ccxt.ExchangeError, match=f'"code":{code},'):
        await getattr(connect(), call)(params)


async def test_a_path_binance_does_not_have_is_a_404_in_json(
    sim: SimulatedExchange, connect: Connect
) -> None:
    response = await connect().fetch(sim.base_url + "/api/v3/time")
    assert set(response) == {"serverTime"}
    with pytest.raises(ccxt.ExchangeNotAvailable, match="Not Found"):
        await connect().fetch(sim.base_url + "/api/v3/nothing")
    assert sim.counters.snapshot().by_route["(unknown)"] == 1


async def test_latency_delays_answers_and_can_be_taken_back(
    sim: SimulatedExchange, connect: Connect
) -> None:
    exchange, loop = connect(), asyncio.get_running_loop()
    sim.set_latency(20, 5)
    started = loop.time()
    await exchange.publicGetPing()
    assert loop.time() - started >= 0.019
    sim.set_latency(3_600_000)
    slow = asyncio.ensure_future(exchange.publicGetPing())
    async with asyncio.timeout(2):
        while sim.counters.in_flight == 0:
            await asyncio.sleep(0.001)
        sim.set_latency(0)
        assert await exchange.publicGetPing() == {}
    assert not slow.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


@pytest.mark.parametrize(
    "target",
    [
        "klines?symbol=BTCUSDT&interval=1M&startTime=99999999999999999999",
        "klines?symbol=BTCUSDT&interval=1w&endTime=0",
        "aggTrades?symbol=BTCUSDT&fromId=99999999999999999999",
        "aggTrades?symbol=BTCUSDT&startTime=99999999999999999999",
        "aggTrades?symbol=BTCUSDT&endTime=0",
    ],
)
async def test_a_range_without_anything_in_it_is_an_empty_list(
    sim: SimulatedExchange, connect: Connect, target: str
) -> None:
    assert await connect().fetch(f"{sim.base_url}/api/v3/{target}") == []


async def test_escapes_that_are_no_text_are_refused_in_json(
    sim: SimulatedExchange, connect: Connect
) -> None:
    with pytest.raises(ccxt.BadRequest, match="-1101"):
        await connect().fetch(f"{sim.base_url}/api/v3/depth?%ff=1&%ff=2&symbol=BTCUSDT")


async def test_linear_contracts_have_prices_candles_trades_and_funding_of_their_own() -> None:
    """Under the ids of the spot markets: one must not be answered with the other's."""
    async with SimulatedExchange(SimulationConfig(linear_symbols=3, burst=4)) as sim:
        exchange = binance(sim.base_url, fetchMarkets={"types": ["spot", "linear"]})
        try:
            spot, swap = "BTC/USDT", "BTC/USDT:USDT"
            prices = [(await exchange.fetch_ticker(symbol))["last"] for symbol in (spot, swap)]
            assert prices[0] != prices[1]
            assert len(await exchange.fetch_tickers(None, {"type": "swap"})) == 3
            for method in ("fetch_ohlcv", "fetch_trades", "fetch_order_book"):
                mine = await getattr(exchange, method)(swap)
                assert mine != await getattr(exchange, method)(spot)
            rates = await exchange.fetch_funding_rates()
            one = await exchange.fetch_funding_rate(swap)
            assert len(rates) == 3
            assert one["fundingRate"] == pytest.approx(rates[swap]["fundingRate"], abs=1e-3)
            assert one["fundingTimestamp"] % (8 * 3_600_000) == 0
            trades = await exchange.fetch_trades(spot, None, 8)
            assert [trades[n]["timestamp"] for n in (0, 4)] == [
                trades[3]["timestamp"],
                trades[7]["timestamp"],
            ]
        finally:
            await exchange.close()
