"""Market tables: what a load changed, carried elsewhere, is what an own load would have made."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.cloning import Mould
from ccxt_mcp.exchanges.http import open_session
from ccxt_mcp.exchanges.ingestion import Ingestion
from ccxt_mcp.exchanges.jobs import fetch_tables
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.exchanges.snapshots import fills, write
from ccxt_mcp.exchanges.tables import _PASSING, Tables, differences, let_go
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig
from tests.unit.exchanges.conftest import Bench, paper


def frames(tables: Tables, fingerprint: str = "f") -> Iterator[tuple[bytes, bytes]]:
    for data in write(tables, fingerprint):
        assert int.from_bytes(data[:4], "big") == len(data) - 4
        yield data[4:5], data[5:]


def carried(tables: Tables) -> Tables:
    """Tables after their way through a pipe."""
    ingestion = Ingestion("f", "test")
    for kind, body in frames(tables):
        ingestion.feed(kind, body)
    assert ingestion.tables is not None
    return ingestion.tables


def assert_same(one: Any, other: Any) -> None:
    """Two instances know the same, but for `markets_by_id`, where absences may be filled in."""
    left, right = vars(one), vars(other)
    for name in left.keys() | right.keys():
        if name in _PASSING:
            continue
        if name == "markets_by_id" and left[name] is not None:
            assert list(left[name]) == list(right[name])
            assert fills(left[name], right[name]) or all(
                fills(a, b)
                for key in left[name]
                for a, b in zip(left[name][key], right[name][key], strict=True)
            )
        elif name in ("baseCurrencies", "quoteCurrencies", "currencies_by_id") and left[name]:
            assert list(left[name]) == list(right[name])
            assert all(fills(value, right[name][key]) for key, value in left[name].items())
        else:
            assert left[name] == right[name], name
            if isinstance(left[name], dict):
                assert list(left[name]) == list(right[name]), name


async def test_a_clone_of_carried_tables_equals_a_clone_of_an_own_load() -> None:
    """Over the simulated exchange, spot and swaps, through CCXT's own parsing."""
    config = SimulationConfig(rate_limit=None, extra_symbols=50, linear_symbols=20)
    async with SimulatedExchange(config) as sim, asyncio.timeout(20):
        options = {"fetchMarkets": {"types": ["spot", "linear"]}}
        profile = paper(sim.base_url, options=options)
        session = open_session(base_url=sim.base_url, proxy=None, tls=None)
        tables = await fetch_tables(profile, 5000, session, pacing=None, origin="process")
        own = Mould(build_prototype(profile, 5000)).clone(session=session)
        await own.load_markets()
        given = Mould(build_prototype(profile, 5000)).clone()
        carried(tables).onto(given)
        assert tables.requests == 2
        assert len(given.markets) == 84
        assert_same(Mould(own).clone(), Mould(given).clone())
        one = given.markets_by_id["BTCUSDT"]
        assert {market["symbol"] for market in one} == {"BTC/USDT", "BTC/USDT:USDT"}
        # By reference: the memory of a table is that of its markets, once.
        assert all(given.markets[market["symbol"]] is market for market in one)
        assert given.currencies_by_id["BTC"] is given.currencies["BTC"]
        assert given.markets["BTC/USDT"]["info"]["filters"]
        await session.close()


def structures(exchange: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Markets and currencies in CCXT's own form, spot and swap, some sharing an id."""
    markets = []
    for number, (base, quote) in enumerate((("BTC", "USDT"), ("ETH", "USDT"), ("ETH", "BTC"))):
        for kind in ("spot", "swap"):
            swap = kind == "swap"
            markets.append(
                exchange.safe_market_structure(
                    {
                        "id": f"{base}{quote}" + ("" if number else f"-{kind}"),
                        "symbol": f"{base}/{quote}" + (f":{quote}" if swap else ""),
                        "numericId": number * 2 + swap,
                        "base": base,
                        "quote": quote,
                        "settle": quote if swap else None,
                        "baseId": base.lower(),
                        "quoteId": quote.lower(),
                        "type": kind,
                        "spot": not swap,
                        "swap": swap,
                        "contract": swap,
                        "linear": swap or None,
                        "inverse": False if swap else None,
                        "active": True,
                        "precision": {"amount": 1e-08, "price": 0.01},
                        "limits": {"amount": {"min": 1e-08, "max": None}},
                        "info": {"pair": [base, quote], "serial": 2**70, "odd": float("inf")},
                    }
                )
            )
    currencies = {
        code: exchange.safe_currency_structure(
            {"id": code.lower(), "code": code, "numericId": number, "precision": 1e-08, "info": {}}
        )
        for number, code in enumerate(("BTC", "ETH", "USDT"))
    }
    return markets, currencies


async def test_every_exchange_class_is_carried_whole() -> None:
    """Each class's own `load_markets` and `set_markets`, fed with CCXT's structures.

    Found so: numbers as keys (poloniex), tables beside the nine (delta, extended), a second id of a
    market (deepcoin).
    """
    wrong = {}
    for exchange in catalog().exchanges:
        try:
            await carry(exchange)
        except AssertionError as error:
            wrong[exchange] = str(error)
    assert wrong == {}


async def carry(exchange: str) -> None:
    profile = ExchangeProfile(name=exchange, exchange=exchange)
    loads = Mould(build_prototype(profile, 1000)).clone()
    before = Mould(build_prototype(profile, 1000)).clone()
    markets, currencies = structures(loads)

    async def fetch_markets(params: Any = None) -> Any:
        return markets

    async def fetch_currencies(params: Any = None) -> Any:
        return currencies

    loads.fetch_markets, loads.fetch_currencies = fetch_markets, fetch_currencies
    await loads.load_markets()
    del loads.fetch_markets, loads.fetch_currencies
    attributes, options, gone = differences(before, loads)
    tables = carried(Tables(attributes, options, gone, 1.5, "process", len(loads.markets)))
    given = Mould(build_prototype(profile, 1000)).clone()
    tables.onto(given)
    assert_same(Mould(loads).clone(), Mould(given).clone())
    # Some have their markets in their source and ask for none.
    assert len(given.markets) == tables.markets == (6 if attributes else len(before.markets))
    if exchange == "poloniex":
        assert all(type(key) is int for key in given.options["currenciesByNumericId"])
    if exchange == "deepcoin":
        assert given.markets_by_id["btcusdt"][0] is given.markets["BTC/USDT:USDT"]


async def test_a_change_in_place_to_what_clones_share_is_found() -> None:
    """Compared with a clone of the same prototype it would not show."""
    profile = ExchangeProfile(name="kraken", exchange="kraken")
    before = Mould(build_prototype(profile, 1000)).clone()
    after = Mould(build_prototype(profile, 1000)).clone()
    assert differences(before, after) == ({}, {}, ())
    after.fees["trading"]["maker"] = 0.5
    after.options["new"] = 1
    del after.options["networks"]
    after.pacing = after.doubtful = True
    attributes, options, gone = differences(before, after)
    assert attributes == {"fees": after.fees}
    assert (options, gone) == ({"new": 1}, ("networks",))


async def test_tables_let_go_are_freed_a_little_at_a_time() -> None:
    """At once, 3,600 markets hold the loop for 12 ms."""

    class Market(dict[str, Any]):
        pass

    gc.collect()
    freed: list[int] = []
    markets: dict[str, Any] = {}
    for number in range(1000):
        markets[str(number)] = market = Market()
        weakref.finalize(market, freed.append, number)
        del market
    tables = Tables({"markets": markets}, {}, (), 0.0, "test", 1000)
    task = asyncio.create_task(let_go(tables, slice_size=100))
    del tables, markets
    counts = []
    async with asyncio.timeout(5):
        while not task.done():
            counts.append(len(freed))
            await asyncio.sleep(0)
    assert len(freed) == 1000
    assert max(b - a for a, b in zip(counts, [*counts[1:], 1000], strict=True)) <= 100


async def test_a_gateway_serves_what_the_helper_loaded(bench_apart: Bench) -> None:
    async with asyncio.timeout(10), bench_apart.gateway.public("paper") as lease:
        assert lease.market("BTC/USDT")["info"]["symbol"] == "BTCUSDT"
    state = bench_apart.gateway.snapshot()["paper"]
    assert (state["markets"], state["marketsFrom"], state["marketsStale"]) == (14, "helper", False)
    assert bench_apart.count("GET /api/v3/exchangeInfo") == 1
