"""Public market data as CCXT's kraken class sees it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import aiohttp
import ccxt
import pytest

from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig, Venue
from ccxt_mcp.simulation.kraken_names import Names
from tests.unit.simulation.conftest import NOW, Connect, kraken


async def public(sim: SimulatedExchange, path: str) -> Any:
    async with (
        aiohttp.ClientSession(sim.base_url) as session,
        session.get(f"/0/public/{path}") as answer,
    ):
        assert answer.status == 200
        return await answer.json()


async def test_ccxt_knows_every_market_by_its_unified_name(
    sim: SimulatedExchange, connect_kraken: Connect
) -> None:
    exchange = connect_kraken()
    markets = await exchange.load_markets()
    assert set(markets) == {f"{m.base}/{m.quote}" for m in sim.venue.markets.values()}
    assert all(m["active"] and m["spot"] for m in markets.values())
    ids = {symbol: market["id"] for symbol, market in markets.items()}
    assert ids["BTC/EUR"] == "XXBTZEUR"
    assert ids["ETH/BTC"] == "XETHXXBT"
    assert ids["BTC/USDT"] == "XBTUSDT"
    assert ids["DOGE/USDT"] == "XDGUSDT"
    assert ids["SOL/BTC"] == "SOLXBT"
    btc = markets["BTC/USDT"]
    assert btc["precision"] == {"amount": 0.00001, "price": 0.01}
    assert btc["limits"]["cost"]["min"] == 5.0
    assert markets["DOGE/USDT"]["precision"]["amount"] == 1.0


async def test_currencies_have_krakens_prefixes_and_unified_codes(connect_kraken: Connect) -> None:
    exchange = connect_kraken()
    await exchange.load_markets()
    ids = {code: currency["id"] for code, currency in exchange.currencies.items()}
    assert ids["BTC"] == "XXBT"
    assert ids["DOGE"] == "XXDG"
    assert ids["EUR"] == "ZEUR"
    assert ids["USDT"] == "USDT"


async def test_synthetic_markets_are_listed_when_configured() -> None:
    async with SimulatedExchange(SimulationConfig(extra_symbols=600)) as sim:
        exchange = kraken(sim.base_url)
        try:
            assert len(await exchange.load_markets()) == 614
        finally:
            await exchange.close()


async def test_a_ticker_is_whole_and_within_its_own_day(connect_kraken: Connect) -> None:
    ticker = await connect_kraken().fetch_ticker("BTC/EUR")
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    assert ticker["bid"] < ticker["ask"]
    assert ticker["last"] in (ticker["bid"], ticker["ask"])
    assert ticker["low"] <= ticker["vwap"] <= ticker["high"]
    assert ticker["baseVolume"] > 0
    today, day = ticker["info"]["t"]
    assert 0 <= today <= day == 86_400


async def test_tickers_come_for_some_markets_or_for_all(
    sim: SimulatedExchange, connect_kraken: Connect
) -> None:
    exchange = connect_kraken()
    assert len(await exchange.fetch_tickers()) == len(sim.venue.markets)
    chosen = await exchange.fetch_tickers(["BTC/USDT", "ETH/BTC"])
    assert set(chosen) == {"BTC/USDT", "ETH/BTC"}


@pytest.mark.parametrize("limit", [None, 1, 25, 500])
async def test_a_book_is_sorted_and_as_deep_as_asked(
    connect_kraken: Connect, limit: int | None
) -> None:
    book = await connect_kraken().fetch_order_book("BTC/USDT", limit)
    bids, asks = [row[0] for row in book["bids"]], [row[0] for row in book["asks"]]
    assert len(bids) == len(asks) == (limit or 100)
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "2w"])
async def test_candles_come_in_every_timeframe_and_include_the_running_one(
    sim: SimulatedExchange, connect_kraken: Connect, timeframe: str
) -> None:
    before = sim.venue.now()
    rows = await connect_kraken().fetch_ohlcv("ETH/USDT", timeframe)
    length = rows[1][0] - rows[0][0]
    assert {b[0] - a[0] for a, b in pairwise(rows)} == {length}
    assert before - length < rows[-1][0] <= sim.venue.now()
    assert len(rows) <= 720
    for _, o, h, low, c, volume in rows:
        assert low <= min(o, c) <= max(o, c) <= h
        assert volume >= 0


async def test_a_candle_of_fifteen_days_is_made_of_its_days(connect_kraken: Connect) -> None:
    exchange = connect_kraken()
    long = (await exchange.fetch_ohlcv("ETH/USDT", "2w"))[-2]
    days = [
        row
        for row in await exchange.fetch_ohlcv("ETH/USDT", "1d")
        if long[0] <= row[0] < long[0] + 15 * 86_400_000
    ]
    assert len(days) == 15
    assert (long[1], long[4]) == (days[0][1], days[-1][4])
    assert (long[2], long[3]) == (max(r[2] for r in days), min(r[3] for r in days))
    assert long[5] == pytest.approx(sum(r[5] for r in days))


async def test_candles_since_a_time_begin_there(
    sim: SimulatedExchange, connect_kraken: Connect
) -> None:
    since = (sim.venue.now() // 60_000 - 10) * 60_000
    rows = await connect_kraken().fetch_ohlcv("BTC/USDT", "1m", since)
    assert rows[0][0] == since
    assert 11 <= len(rows) <= 12


async def test_the_last_candle_comes_whatever_the_time_asked_for(sim: SimulatedExchange) -> None:
    answer = await public(sim, "OHLC?pair=XBTUSDT&since=4000000000")
    assert len(answer["result"]["XBTUSDT"]) == 1


async def test_public_trades_go_on_where_the_last_answer_ended(sim: SimulatedExchange) -> None:
    since = sim.venue.now() // 1000 - 100
    first = (await public(sim, f"Trades?pair=XBTUSDT&since={since}&count=3"))["result"]
    second = (await public(sim, f"Trades?pair=XBTUSDT&since={first['last']}&count=3"))["result"]
    ids = [row[6] for row in first["XBTUSDT"] + second["XBTUSDT"]]
    assert ids == list(range(ids[0], ids[0] + 6))
    assert int(first["XBTUSDT"][0][2]) == since + 1
    nothing = (await public(sim, "Trades?pair=XBTUSDT&since=4000000000"))["result"]
    assert nothing["XBTUSDT"] == []


async def test_ccxt_reads_public_trades(connect_kraken: Connect) -> None:
    trades = await connect_kraken().fetch_trades("BTC/USDT", limit=20)
    assert len(trades) == 20
    assert [t["timestamp"] for t in trades] == sorted(t["timestamp"] for t in trades)
    assert {t["side"] for t in trades} <= {"buy", "sell"}
    assert all(t["timestamp"] % 1_000 == 0 for t in trades)


async def test_time_and_status_are_told(sim: SimulatedExchange, connect_kraken: Connect) -> None:
    exchange = connect_kraken()
    assert abs(await exchange.fetch_time() - sim.venue.now()) < 2_000
    assert (await exchange.fetch_status())["status"] == "ok"


@pytest.mark.parametrize("name", ["XXBTZEUR", "XBTEUR", "XBT/EUR"])
async def test_a_pair_is_known_by_each_of_its_names(sim: SimulatedExchange, name: str) -> None:
    assert set((await public(sim, f"Ticker?pair={name}"))["result"]) == {"XXBTZEUR"}
    assert set((await public(sim, f"AssetPairs?pair={name}"))["result"]) == {"XXBTZEUR"}


@pytest.mark.parametrize("name", ["XBT", "XXBT"])
async def test_an_asset_is_known_by_each_of_its_names(sim: SimulatedExchange, name: str) -> None:
    result = (await public(sim, f"Assets?asset={name},ZEUR"))["result"]
    assert set(result) == {"XXBT", "ZEUR"}


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("Depth", "EGeneral:Invalid arguments"),
        ("Depth?pair=NOPE", "EQuery:Unknown asset pair"),
        ("Depth?pair=XBTUSDT&count=0", "EGeneral:Invalid arguments:count"),
        ("OHLC?pair=XBTUSDT&interval=7", "EGeneral:Invalid arguments:interval"),
        ("OHLC?pair=XBTUSDT&since=then", "EGeneral:Invalid arguments:since"),
        ("Ticker?pair=XBTUSDT,NOPE", "EQuery:Unknown asset pair"),
        ("AssetPairs?pair=", "EGeneral:Invalid arguments"),
        ("Assets?asset=NOPE", "EQuery:Unknown asset"),
        ("Nothing", "EGeneral:Unknown method"),
    ],
)
async def test_a_refusal_is_an_error_in_an_answer_with_status_200(
    sim: SimulatedExchange, path: str, error: str
) -> None:
    assert await public(sim, path) == {"error": [error]}
    assert sim.counters.snapshot().errors == {error: 1}


async def test_ccxt_raises_what_kraken_refuses(connect_kraken: Connect) -> None:
    with pytest.raises(ccxt.BadRequest, match="Invalid arguments"):
        await connect_kraken().publicGetDepth()
    with pytest.raises(ccxt.BadSymbol, match="Unknown asset"):
        await connect_kraken().publicGetAssets({"asset": "NOPE"})


async def test_unknown_parameters_are_ignored(sim: SimulatedExchange) -> None:
    assert (await public(sim, "Time?colour=blue"))["error"] == []


def test_transaction_ids_can_be_read_back_and_never_meet() -> None:
    venue = Venue(extra_symbols=40, clock=lambda: NOW)
    names = Names(venue.markets.values())
    account = venue.add_account("key", "secret", name="a", open_orders=60, past_orders=60)
    orders = [o for s in account.symbols() for o in account.orders(s)]
    ids = [names.order_id(o) for o in orders]
    assert len(set(ids)) == len(orders) == 120
    assert [names.resolve(text) for text in ids] == [(o.market.id, o.id) for o in orders]
    for wrong in ("", "OAAAAA-AAAAA", "O" * 19, "o" + ids[0][1:], "OAAAAA-AAAAA-AAAAA1"):
        assert names.resolve(wrong) is None
