"""Markets that come and go, and exchanges that do: what leases see, what memory keeps."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.residents import Residents
from ccxt_mcp.exchanges.sources import Policy
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.simulation import Fault
from ccxt_mcp.simulation import binance_wire as wire
from tests.unit.exchanges.conftest import Bench, TestAccount, paper, until

MARKETS = "GET /api/v3/exchangeInfo"
EAGER = Policy(look_again_after=0.0)


@asynccontextmanager
async def gateway_of(bench: Bench, count: int = 1, **given: Any) -> AsyncIterator[Gateway]:
    """A gateway whose profiles `p0`, `p1`, … differ in an option, so that each has its tables.

    It loads them itself: starting a process for that costs more than all the rest of a test.
    """
    profiles = {
        f"p{number}": paper(
            bench.sim.base_url,
            name=f"p{number}",
            options={"fetchMarkets": {"types": ["spot"]}, "number": number},
        )
        for number in range(count)
    }
    gateway = Gateway(profiles, **{"load_apart": False, **given})
    try:
        async with asyncio.timeout(30):
            yield gateway
    finally:
        await gateway.close()


def list_market(bench: Bench, name: str, base: str) -> None:
    markets: Any = bench.sim.venue.markets
    markets[name] = replace(markets["BTCUSDT"], id=name, base=base)
    publish(bench)


def delist(bench: Bench, name: str) -> None:
    markets: Any = bench.sim.venue.markets
    del markets[name]
    publish(bench)


def publish(bench: Bench) -> None:
    """The venue writes its listing once; have it written again."""
    dialect: Any = bench.sim.binance
    answers = next(iter(dialect._public.values())).__self__
    answers._info = answers._describe(wire.spot_symbol, list(bench.sim.venue.markets.values()))


async def test_a_symbol_listed_since_is_found_by_its_first_caller(bench: Bench) -> None:
    """Before: unknown until the server was restarted."""
    async with gateway_of(bench, policy=EAGER) as gateway:
        async with gateway.public("p0") as lease:
            list_market(bench, "NEWUSDT", "NEW")
            with pytest.raises(Failure, match="does not list"):
                lease.market("NEW/USDT")
            assert await lease.look_again("NEW/USDT") is True
            assert lease.market("NEW/USDT")["id"] == "NEWUSDT"
            assert (await lease.call("fetch_ticker", "NEW/USDT"))["symbol"] == "NEW/USDT"
        async with gateway.private(replace(bench.main, exchange="p0")) as private:
            list_market(bench, "SECUSDT", "SEC")
            assert await private.look_again("SEC/USDT") is True
            assert private.market("SEC/USDT")["id"] == "SECUSDT"
            # Still this account's instance.
            assert len(await private.call("fetch_open_orders")) == 7
        assert gateway.snapshot()["p0"]["leases"] == 0


async def test_a_listing_that_takes_too_long_leaves_the_symbol_unknown(bench: Bench) -> None:
    """The caller hears in time that the symbol is unknown, not that its call timed out."""
    async with gateway_of(bench, policy=EAGER) as gateway, gateway.public("p0") as lease:
        bench.sim.faults.add(Fault(kind="hang", route=MARKETS, times=1))
        DEADLINE.set(asyncio.get_running_loop().time() + 0.5)
        assert await lease.look_again("NEW/USDT") is False
        assert asyncio.get_running_loop().time() < (DEADLINE.get() or 0)
        assert lease.market("BTC/USDT")


async def test_a_misspelt_or_invented_symbol_asks_the_exchange_at_most_once(bench: Bench) -> None:
    async with gateway_of(bench) as gateway, gateway.public("p0") as lease:
        for wrong in ("BTCUSDT", "btc/usdt", "MADE/UP", "UP/MADE"):
            assert await lease.look_again(wrong) is False
        assert bench.count(MARKETS) == 1


async def test_a_delisted_market_goes_and_a_lease_keeps_what_it_had(bench: Bench) -> None:
    """Tables are replaced as a whole; those in use never change."""
    async with gateway_of(bench, policy=EAGER) as gateway, gateway.public("p0") as old:
        before, held = old.markets(), old.market("XRP/BTC")
        delist(bench, "XRPBTC")
        list_market(bench, "NEWUSDT", "NEW")
        async with gateway.public("p0") as asking:
            assert await asking.look_again("NEW/USDT") is True
        async with gateway.public("p0") as new:
            assert "XRP/BTC" not in new.markets()
            assert "NEW/USDT" in new.markets()
        assert old.market("XRP/BTC") == held
        assert old.markets() == before
        assert "NEW/USDT" not in old.markets()
        assert (await old.call("fetch_ticker", "BTC/USDT"))["symbol"] == "BTC/USDT"


async def test_a_refresh_in_the_background_holds_up_nobody(bench: Bench) -> None:
    async with gateway_of(bench, policy=Policy(max_age=0.5)) as gateway:
        async with gateway.public("p0"):
            pass
        list_market(bench, "NEWUSDT", "NEW")
        bench.sim.faults.add(Fault(kind="hang", route=MARKETS, times=1))
        async with gateway.public("p0"):
            pass
        await until(lambda: bench.count(MARKETS) == 2)
        async with asyncio.timeout(1), gateway.public("p0") as lease:
            assert (await lease.call("fetch_ticker", "BTC/USDT"))["symbol"] == "BTC/USDT"
        assert gateway.snapshot()["p0"]["loading"] is True


async def test_profiles_with_equal_markets_share_them(bench: Bench) -> None:
    """Memory: an exchange under three names, for three proxies or accounts, is loaded once."""
    url = bench.sim.base_url
    gateway = Gateway({name: paper(url, name=name) for name in ("a", "b", "c")}, load_apart=False)
    try:
        async with asyncio.timeout(10), gateway.public("a") as a, gateway.public("b") as b:
            assert a._instance is not b._instance
            assert a._instance.markets is b._instance.markets
            assert gateway.snapshot()["b"]["marketsSharedBy"] == 2
            assert bench.count(MARKETS) == 1
    finally:
        await gateway.close()


async def test_the_least_recently_used_exchange_is_dropped_and_comes_back(bench: Bench) -> None:
    async with gateway_of(bench, 3, max_exchanges_loaded=2) as gateway:
        for name in ("p0", "p1", "p0", "p2"):
            async with gateway.public(name):
                pass
        await until(lambda: gateway.snapshot()["p1"]["markets"] is None)
        state = gateway.snapshot()
        assert [state[name]["markets"] for name in ("p0", "p1", "p2")] == [14, None, 14]
        assert state["p1"]["openConnections"] == 0
        async with gateway.public("p1") as lease:
            assert (await lease.call("fetch_ticker", "BTC/USDT"))["symbol"] == "BTC/USDT"


async def test_an_exchange_in_use_is_not_dropped(bench: Bench) -> None:
    async with gateway_of(bench, 3, max_exchanges_loaded=1) as gateway:
        async with gateway.public("p0") as a, gateway.public("p1") as b:
            async with gateway.public("p2"):
                pass
            for lease in (a, b):
                assert (await lease.call("fetch_ticker", "BTC/USDT"))["symbol"] == "BTC/USDT"
            loaded = [each["markets"] for each in gateway.snapshot().values()]
            assert loaded.count(14) >= 2
        # As soon as they are given back, there is one again.
        await until(
            lambda: [each["markets"] for each in gateway.snapshot().values()].count(14) == 1
        )


async def test_what_is_dropped_is_freed_without_a_collection(bench: Bench) -> None:
    """Tables are kept from the collector, so reference counts alone have to free them."""
    async with gateway_of(bench, 2, max_exchanges_loaded=1, load_apart=True) as gateway:
        async with gateway.public("p0") as lease:
            instance = weakref.ref(lease._instance)
        room = gateway._rooms["p0"]
        assert room._made is not None
        assert room._session is not None
        tables, mould = weakref.ref(room._made.tables), weakref.ref(room._made.mould)
        session = weakref.ref(room._session)
        gc.collect()
        gc.disable()
        try:
            async with gateway.public("p1"):
                pass
            await until(lambda: gateway.snapshot()["p0"]["markets"] is None)
            await until(lambda: not (tables() or mould() or instance()))
        finally:
            gc.enable()
        # The session is aiohttp's, which has cycles.
        gc.collect()
        assert session() is None


async def test_a_waiter_is_not_passed_over_by_those_who_come_later(bench: Bench) -> None:
    """With room for one, an exchange that is loading must not be sent away under its caller."""
    async with gateway_of(bench, 4, max_exchanges_loaded=1) as gateway:

        async def use(name: str) -> str:
            async with gateway.public(name) as lease:
                return str((await lease.call("fetch_ticker", "BTC/USDT"))["symbol"])

        names = [f"p{number}" for number in range(4)] * 3
        assert await asyncio.gather(*map(use, names)) == ["BTC/USDT"] * 12


async def test_the_order_of_use_decides() -> None:
    gone: list[str] = []

    class One:
        def __init__(self, name: str, idle: bool = True) -> None:
            self.name, self.idle = name, idle

        def shed(self) -> Any:
            gone.append(self.name)
            return asyncio.sleep(0)

    residents = Residents(2)
    a, b, c, d = One("a"), One("b"), One("c", idle=False), One("d")
    for each in (a, b, a, c):
        residents.used(each)
    assert gone == ["b"]
    residents.used(d)
    assert gone == ["b", "a"]
    residents.used(b)
    assert gone == ["b", "a", "d"]
    c.idle = True
    residents.trim()
    assert (len(residents), gone) == (2, ["b", "a", "d"])
    await residents.close()


async def test_a_dropped_exchange_keeps_its_failure_out_of_the_next_load(bench: Bench) -> None:
    bench.sim.faults.add(Fault(kind="status", status=503, route=MARKETS, times=1))
    async with gateway_of(bench, 2, max_exchanges_loaded=1) as gateway:
        with pytest.raises(Failure) as caught:
            async with gateway.public("p0"):
                pass
        assert caught.value.code is Code.EXCHANGE_UNAVAILABLE
        for name in ("p1", "p0"):
            async with gateway.public(name) as lease:
                assert lease.market("BTC/USDT")
        assert isinstance(bench.main, TestAccount)
