"""Two calls never meet inside CCXT: the hazards that no other file here reproduces.

Which hazard is held by which test is a table in docs/CONCURRENCY.md. Where CCXT alone shows the
hazard in a few lines, the test shows it first and its absence afterwards.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
import ccxt.async_support as ccxt
import pytest
from aiohttp import web

from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.cloning import FROZEN, Mould, release
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.http import open_session
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.simulation import (
    Fault,
    SimulatedExchange,
    SimulationConfig,
    demo_accounts,
    demo_venue,
)
from tests.unit.exchanges.conftest import Bench, TestAccount, until
from tests.unit.exchanges.test_cloning import belongings
from tests.unit.exchanges.test_http import serving

KEYS = {"apiKey": "k" * 16, "secret": "s" * 16}


def prototype(exchange: str) -> Any:
    """A prototype with one spot market and its currencies, as CCXT's own code sets them."""
    made = build_prototype(ExchangeProfile(name=exchange, exchange=exchange), 10_000)
    market = {
        "id": "BTC-USDT",
        "symbol": "BTC/USDT",
        "base": "BTC",
        "quote": "USDT",
        "type": "spot",
        "baseId": "BTC",
        "quoteId": "USDT",
        "spot": True,
        "swap": False,
        "future": False,
        "option": False,
        "contract": False,
        "active": True,
        "info": {"id": "BTC-USDT"},
        "precision": {"amount": 1e-5, "price": 0.01},
        "limits": {"amount": {"min": 1e-5}},
        # Numbers and names that some classes index by while they take the tables in.
        "numericId": 1,
        "baseNumericId": 1,
        "quoteNumericId": 2,
        "uppercaseId": "BTC-USDT",
    }
    currencies = {
        code: made.safe_currency_structure({"id": code, "code": code, "numericId": at, "info": {}})
        for at, code in enumerate(("BTC", "USDT"))
    }
    made.set_markets([made.safe_market_structure(market)], currencies)
    return made


@asynccontextmanager
async def dropping_orders() -> AsyncIterator[tuple[str, list[str]]]:
    """A venue that closes the kept-alive connection on which an order comes, without an answer."""
    seen: list[str] = []

    async def venue(request: web.BaseRequest) -> web.Response:
        seen.append(f"{request.method} {request.path}")
        if request.path.endswith("/private/buy"):
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"jsonrpc": "2.0", "result": 1_700_000_000_000})

    async with serving(venue) as base_url:
        yield base_url, seen


async def test_deribits_orders_by_get_are_sent_once() -> None:
    """Before: on a dropped connection aiohttp sent the GET again, and the venue saw two orders."""
    order = ("BTC/USDT", "limit", "buy", 1, 1)
    bare = prototype("deribit")
    async with dropping_orders() as (base_url, seen):
        naive = ccxt.deribit({**KEYS, "enableRateLimit": False})
        naive.urls["api"] = {"rest": base_url}
        naive.set_markets(list(bare.markets.values()))
        await naive.fetch_time()
        with pytest.raises(ccxt.NetworkError):
            await naive.create_order(*order)
        await naive.close()
        assert seen.count("GET /api/v2/private/buy") == 2

        seen.clear()
        session = open_session(base_url=base_url, proxy=None, tls=None)
        ours = Mould(bare).clone(session=session, credentials=KEYS)
        await ours.fetch_time()
        with pytest.raises(ccxt.NetworkError):
            await ours.create_order(*order)
        await session.close()
        assert seen == ["GET /api/v2/public/get_time", "GET /api/v2/private/buy"]


async def test_what_a_public_call_leaves_behind_is_its_own(bench: Bench) -> None:
    """Before: last writer won on the shared instance, and the first caller read the other's
    address, headers and body (as `kraken.cancel_order` does after an await)."""
    bench.sim.faults.add(Fault(kind="latency", milliseconds=50, route="*/depth"))
    gateway = bench.gateway
    async with asyncio.timeout(10), gateway.public("paper") as a, gateway.public("paper") as b:
        slow = asyncio.create_task(a.call("fetch_order_book", "BTC/USDT"))
        await until(lambda: bench.count("GET /api/v3/depth") == 1)
        await b.call("fetch_ticker", "ETH/USDT")
        await slow
        one, other = a._instance, b._instance
        assert "depth?symbol=BTCUSDT" in one.last_request_url
        assert "ticker/24hr?symbol=ETHUSDT" in other.last_request_url
        assert one.last_response_headers is not other.last_response_headers


async def test_a_public_calls_parameters_do_not_choose_for_the_next(bench: Bench) -> None:
    """Before: an option that CCXT sets from one call's parameters (coinbaseinternational's route)
    held for everybody on the shared instance."""
    async with bench.gateway.public("paper") as first:
        first._instance.options["defaultType"] = "swap"
        first._instance.has["fetchTicker"] = False
        first._instance.headers["X-Mode"] = "mine"
    async with bench.gateway.public("paper") as second:
        assert second._instance.options["defaultType"] == "spot"
        assert second.has("fetchTicker")
        assert "X-Mode" not in second._instance.headers


async def test_sandbox_addresses_stay_with_the_instance_that_asked_for_them() -> None:
    """Before: `set_sandbox_mode` changed `urls`, which everything made from them shared."""
    made = Mould(prototype("okx"))
    first, second = made.clone(), made.clone()
    first.set_sandbox_mode(True)
    assert first.isSandboxModeEnabled
    assert not second.isSandboxModeEnabled
    assert second.urls == made.prototype.urls
    assert "x-simulated-trading" not in second.headers


def test_a_token_that_an_exchange_keeps_in_its_options_dies_with_the_call() -> None:
    """Before: grvt's login cookie, kept in `options`, served the next account on the instance.

    The same holds for paradex, bullish, ndax, lighter, polymarket, coinbaseinternational, dydx and
    lbank, whose keys and tokens sit in the same place.
    """
    made = Mould(prototype("grvt"))
    first, second = made.clone(credentials=KEYS), made.clone(credentials=KEYS)
    login = "https://edge.grvt.io/auth/api_key/login"
    headers = {"Set-Cookie": "gravity=t0ken; Path=/", "X-Grvt-Account-Id": "1"}
    first.handle_errors(200, "OK", login, "POST", headers, "{}", {}, {}, None)
    assert first.options["AuthCookieValue"] == "gravity=t0ken"
    for other in (second, made.prototype, made.clone()):
        assert "t0ken" not in repr(vars(other))
    release(first)
    assert "t0ken" not in repr(vars(first))


async def test_one_waiters_timeout_ends_ccxts_load_for_all_and_ours_for_itself(
    bench: Bench,
) -> None:
    """Before: B's load was cancelled because A gave up (CCXT issue 29926)."""
    asked = asyncio.Event()

    class Venue(ccxt.binance):  # type: ignore[misc]
        async def fetch_markets(self, params: Any = None) -> Any:
            asked.set()
            await asyncio.Event().wait()

    naive = Venue({"enableRateLimit": False})
    a, b = (asyncio.create_task(naive.load_markets()) for _ in range(2))
    async with asyncio.timeout(5):
        await asked.wait()
        a.cancel()
        outcomes = await asyncio.gather(a, b, return_exceptions=True)
    await naive.close()
    assert [type(each) for each in outcomes] == [asyncio.CancelledError] * 2

    async def lease() -> str:
        async with bench.gateway.public("paper") as leased:
            return str(leased.market("BTC/USDT")["id"])

    a, b = (asyncio.create_task(lease()) for _ in range(2))
    await asyncio.sleep(0)
    a.cancel()
    async with asyncio.timeout(20):
        assert await b == "BTCUSDT"


async def test_market_tables_are_loaded_without_a_key(bench: Bench) -> None:
    """Before: a load on a keyed instance asked five requests more (7 instead of 2 on kucoin and
    binance) and wrote that account's fees and permissions into everybody's tables."""
    async with asyncio.timeout(20), bench.gateway.private(bench.main) as lease:
        await lease.call("fetch_balance")
    by_key = bench.sim.counters.snapshot().by_key
    assert by_key == {bench.main.credentials["apiKey"]: {"GET /api/v3/account": 1}}


def test_two_clones_with_market_tables_share_nothing_but_those() -> None:
    """As `test_cloning` does for bare ones: what a class keeps of its markets beyond CCXT's nine
    tables (indexes in `options`, say) is either on the frozen list or each clone's own."""
    for exchange in catalog().exchanges:
        made = Mould(prototype(exchange))
        assert made.strangers == (), exchange
        first, second = made.clone(), made.clone()
        a, b = belongings(first), belongings(second)
        assert {a[key] for key in a.keys() & b.keys()} == set(), exchange
        for name in ("markets", "markets_by_id", "currencies", "symbols"):
            assert getattr(first, name) is getattr(made.prototype, name), (exchange, name)


@pytest.mark.parametrize(
    ("exchange", "options"), [("binance", {"fetchMarkets": {"types": ["spot"]}}), ("kraken", {})]
)
async def test_tables_from_an_exchange_are_shared_and_calls_do_not_write_them(
    exchange: Literal["binance", "kraken"], options: dict[str, Any]
) -> None:
    """The walk again on tables that were really loaded; then every read there is, after which the
    tables are what they were. Before (without the list): `delistedMarketsById` of kraken, written
    during calls, was the same object for everybody."""
    venue, _ = demo_venue(1)
    (demo, _) = demo_accounts(1, dialect=exchange)
    async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue) as sim:
        profile = ExchangeProfile(
            name="paper", exchange=exchange, base_url=sim.base_url, options=options
        )
        gateway = Gateway({"paper": profile})
        account = TestAccount("main", "paper", {"apiKey": demo.api_key, "secret": demo.secret})
        try:
            async with asyncio.timeout(30):
                await _walk_and_read(gateway, account)
        finally:
            await gateway.close()


async def _walk_and_read(gateway: Gateway, account: TestAccount) -> None:
    async with gateway.private(account) as a, gateway.private(account) as b:
        first, second = belongings(a._instance), belongings(b._instance)
        assert {first[key] for key in first.keys() & second.keys()} == set()
        tables = {
            name: vars(a._instance)[name] for name in sorted(FROZEN & vars(a._instance).keys())
        }
        before = copy.deepcopy(tables)
        for method, arguments in (
            ("fetch_balance", ()),
            ("fetch_open_orders", ()),
            ("fetch_closed_orders", ("BTC/USDT",)),
        ):
            await a.call(method, *arguments)
    async with gateway.public("paper") as lease:
        for method in ("fetch_ticker", "fetch_order_book", "fetch_ohlcv", "fetch_trades"):
            if method != "fetch_trades" or lease.id == "kraken":
                await lease.call(method, "BTC/USDT")
    assert tables == before


async def test_a_cookie_of_one_accounts_answer_does_not_reach_the_others_request() -> None:
    """Before: with aiohttp's own jar, shared with the session, account b sent a's cookie."""
    cookies: list[str | None] = []

    async def venue(request: web.BaseRequest) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        response = web.json_response({"jsonrpc": "2.0", "result": 1_700_000_000_000})
        response.set_cookie("account", request.headers.get("Authorization", "?")[:20])
        return response

    made = Mould(prototype("deribit"))
    async with serving(venue) as base_url:
        host = base_url.replace("127.0.0.1", "localhost")
        shared = aiohttp.ClientSession()
        naive = [
            ccxt.deribit({**KEYS, "apiKey": name, "enableRateLimit": False, "session": shared})
            for name in ("a", "b")
        ]
        for each in naive:
            each.urls["api"] = {"rest": host}
            await each.fetch_time()
            await each.close()
        await shared.close()
        assert cookies[0] is None
        assert cookies[1] is not None

        cookies.clear()
        session = open_session(base_url=host, proxy=None, tls=None)
        for name in ("a", "b"):
            clone = made.clone(session=session, credentials={**KEYS, "apiKey": name})
            await clone.fetch_time()
        await session.close()
        assert cookies == [None, None]
