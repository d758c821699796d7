"""What a subscribed address means, on whose behalf it is polled, and what counts as a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError

from ccxt_mcp.accounts import Accounts
from ccxt_mcp.model import CALLER, Caller, Principal, Scope
from ccxt_mcp.simulation import Fault, demo_venue
from ccxt_mcp.telemetry import RECORDER
from ccxt_mcp.tools.boundary import FAILURE_META, Boundary
from ccxt_mcp.tools.server import TOOLS
from ccxt_mcp.tools.watching import Watching
from tests.unit.tools.world import World, make_world

TICKER = "ccxt://markets/paper/BTC%2FUSDT/ticker"
ORDERS = "ccxt://accounts/main/open-orders"
TICKERS_ROUTE, ORDERS_ROUTE = "GET /api/v3/ticker/24hr", "GET /api/v3/openOrders"


class Told:
    """Counts what it is told, and can be waited for."""

    def __init__(self) -> None:
        self.times = 0
        self._news = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self._news.set()

    async def again(self) -> None:
        async with asyncio.timeout(5):
            await self._news.wait()
        self._news.clear()


class Clock:
    """A venue's time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_780_000_000_000

    def __call__(self) -> int:
        return self.now


@asynccontextmanager
async def watching_world(tmp_path: Path) -> AsyncIterator[tuple[World, Watching, Clock]]:
    """A venue whose prices stand still, polled as often as can be; nothing is left in the end."""
    clock = Clock()
    intervals: dict[str, Any] = {"ticker_poll_interval": 0.01, "orders_poll_interval": 0.01}
    # The clock stands at another time than ours, which CCXT finds out about.
    profile = {"options": {"adjustForTimeDifference": True, "fetchMarkets": {"types": ["spot"]}}}
    place = demo_venue(seed=3, clock=clock)
    async with make_world(tmp_path, place=place, profile=profile, **intervals) as world:
        watching = Watching(Boundary(world.calls, TOOLS), world.calls.settings)
        yield world, watching, clock
        assert len(watching) == 0
        await watching.close()


@contextmanager
def calling(name: str, *scopes: Scope) -> Iterator[None]:
    token = CALLER.set(Caller(Principal(name, frozenset(scopes)), session="somebodys"))
    try:
        yield
    finally:
        CALLER.reset(token)


def asked(world: World, route: str) -> int:
    return world.sim.counters.snapshot().by_route.get(route, 0)


async def polled(world: World, route: str, times: int = 3) -> None:
    """Wait until it has been asked so many times more."""
    goal = asked(world, route) + times
    async with asyncio.timeout(10):
        while asked(world, route) < goal:
            await asyncio.sleep(0.001)


async def test_a_price_is_told_of_when_it_has_changed_and_not_before(tmp_path: Path) -> None:
    async with watching_world(tmp_path) as (world, watching, clock):
        told = Told()
        watch = await watching.watch(TICKER, told)
        await polled(world, TICKERS_ROUTE)
        assert told.times == 0
        clock.now += 60_000
        await told.again()
        await polled(world, TICKERS_ROUTE)
        assert told.times == 1
        watch.stop()


async def test_a_tickers_own_time_is_no_change(tmp_path: Path) -> None:
    """It is another one at each poll: every subscriber would be told every time."""
    async with watching_world(tmp_path) as (world, watching, _):
        told = Told()
        async with httpx.AsyncClient(base_url=world.sim.base_url, trust_env=False) as http:
            ticker = (await http.get("/api/v3/ticker/24hr", params={"symbol": "BTCUSDT"})).json()
        watch = await watching.watch(TICKER, told)
        later = {**ticker, "closeTime": ticker["closeTime"] + 1}
        for body, times in ((later, 0), ({**later, "lastPrice": "1.00"}, 1)):
            fault = world.sim.faults.add(Fault(kind="malformed", route=TICKERS_ROUTE, body=body))
            await polled(world, TICKERS_ROUTE)
            assert told.times == times
            world.sim.faults.clear(fault)
        watch.stop()


async def test_an_order_is_told_of_when_it_has_changed_and_not_before(tmp_path: Path) -> None:
    async with watching_world(tmp_path) as (world, watching, _):
        told = Told()
        watch = await watching.watch(ORDERS, told)
        account = world.sim.venue.accounts[world.demo[0].api_key]
        order = account.resting()[0]
        await polled(world, ORDERS_ROUTE)
        assert told.times == 0
        account.put(replace(order, executed=order.quantity / 2, status="PARTIALLY_FILLED"))
        await told.again()
        account.put(replace(order, status="CANCELED"))
        await told.again()
        await polled(world, ORDERS_ROUTE)
        assert told.times == 2
        assert order.quantity > Decimal(0)
        watch.stop()


@pytest.mark.parametrize(
    "uri",
    [
        "ccxt://markets/paper/BTC/USDT/ticker",
        "ccxt://markets/paper/BTC%2fUSDT/ticker",
        "ccxt://markets/paper/btcusdt/ticker",
        "ccxt://markets/Paper/BTC-USDT/ticker",
        "ccxt://markets/p%61per/BTC%2FUSDT/ticker",
    ],
)
async def test_however_an_address_is_written_it_is_one_thing(tmp_path: Path, uri: str) -> None:
    async with watching_world(tmp_path) as (_, watching, _clock):
        watches = [await watching.watch(each, Told()) for each in (TICKER, uri)]
        assert len(watching) == 1
        for watch in watches:
            watch.stop()


async def test_prices_are_polled_for_everybody_and_accounts_for_each_caller(tmp_path: Path) -> None:
    async with watching_world(tmp_path) as (_, watching, _clock):
        watches = []
        for name in ("one", "two", "one"):
            with calling(name, Scope.READ):
                watches += [await watching.watch(each, Told()) for each in (TICKER, ORDERS)]
        assert len(watching) == 3
        for watch in watches:
            watch.stop()


async def test_who_may_not_read_cannot_subscribe_and_learns_no_names(tmp_path: Path) -> None:
    """What exists and what does not are refused alike."""
    async with watching_world(tmp_path) as (world, watching, _):
        with calling("watcher", Scope.OPS):
            said = set()
            for name in ("main", "second", "nobody"):
                with pytest.raises(MCPError) as refused:
                    await watching.watch(f"ccxt://accounts/{name}/open-orders", Told())
                failure = refused.value.error.data[FAILURE_META]
                assert failure["code"] == "permission_denied"
                said.add((refused.value.message, str(failure)))
            assert len(said) == 1
            # Also while others are polling it.
            with calling("reader", Scope.READ):
                watch = await watching.watch(TICKER, Told())
            with pytest.raises(MCPError, match="permission_denied"):
                await watching.watch(TICKER, Told())
            watch.stop()
        assert asked(world, ORDERS_ROUTE) == 0


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ccxt://markets/paper/NO%2FPE/ticker", "unknown_symbol: "),
        ("ccxt://markets/nowhere/BTC%2FUSDT/ticker", "unknown_exchange: "),
        ("ccxt://accounts/nobody/open-orders", "unknown_account: "),
        ("ccxt://accounts", "does not change"),
        ("ccxt://exchange/paper", "does not change"),
        ("ccxt://markets/paper//ticker", "There is no resource"),
        ("ccxt://accounts/main/closed-orders", "There is no resource"),
    ],
)
async def test_what_cannot_be_watched_is_refused_in_words(
    tmp_path: Path, uri: str, words: str
) -> None:
    async with watching_world(tmp_path) as (_, watching, _clock):
        with pytest.raises(MCPError) as refused:
            await watching.watch(uri, Told())
        assert words in refused.value.message
        assert refused.value.error.code == -32602
        assert refused.value.error.data["uri"] == uri


async def test_a_pasted_key_is_not_repeated(tmp_path: Path) -> None:
    key = "9f3b71c2" * 8
    async with watching_world(tmp_path) as (_, watching, _clock):
        for uri in (f"ccxt://accounts/{key}/open-orders", f"ccxt://markets/paper/{key}/ticker"):
            with pytest.raises(MCPError) as refused:
                await watching.watch(uri, Told())
            assert key[:16] not in refused.value.error.model_dump_json()


async def test_an_exchange_that_fails_is_said_at_once_and_later_kept_to_itself(
    tmp_path: Path,
) -> None:
    """A subscriber is refused; one that has subscribed stays, and is told when there is news."""
    async with watching_world(tmp_path) as (world, watching, clock):
        told = Told()
        watch = await watching.watch(TICKER, told)
        fault = world.sim.faults.add(Fault(kind="status", status=503))
        with pytest.raises(MCPError, match="exchange_unavailable"):
            await watching.watch(ORDERS, Told())
        await polled(world, TICKERS_ROUTE)
        world.sim.faults.clear(fault)
        clock.now += 60_000
        await told.again()
        assert told.times == 1
        watch.stop()


async def test_who_loses_sight_of_an_account_is_told_once_more(tmp_path: Path) -> None:
    """A subscription must not outlive the right to read."""
    async with watching_world(tmp_path) as (world, watching, _):
        told = Told()
        watch = await watching.watch(ORDERS, told)
        world.calls.accounts = Accounts()
        await told.again()
        assert watch.over
        assert len(watching) == 0


async def test_a_poll_is_made_in_its_callers_name_and_counted(tmp_path: Path) -> None:
    """In the first subscriber's session it would stand in its place among the calls under way."""
    seen: list[tuple[str, str]] = []

    class Noting:
        def call(self, tool: str, *_: object) -> None:
            seen.append((tool, CALLER.get().flow[-1]))

        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    async with watching_world(tmp_path) as (world, watching, _):
        token = RECORDER.set(Noting())  # type: ignore[arg-type]
        try:
            with calling("one", Scope.READ):
                watches = [await watching.watch(each, Told()) for each in (TICKER, ORDERS)]
        finally:
            RECORDER.reset(token)
        await polled(world, ORDERS_ROUTE)
        assert set(seen) == {
            ("get_ticker", "(subscriptions)"),
            ("get_open_orders", "(subscriptions)"),
        }
        for watch in watches:
            watch.stop()


async def test_closing_ends_what_is_asked(tmp_path: Path) -> None:
    async with watching_world(tmp_path) as (world, watching, _):
        await watching.watch(ORDERS, Told())
        world.sim.faults.add(Fault(kind="hang"))
        async with asyncio.timeout(5):
            while world.sim.counters.snapshot().in_flight == 0:
                await asyncio.sleep(0.001)
            await watching.close()
            while world.sim.counters.snapshot().in_flight:
                await asyncio.sleep(0.001)
