"""Rate limits, with CCXT's own classes against exchanges that enforce theirs."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from ccxt_mcp.accounts import Accounts
from ccxt_mcp.calls.pipeline import Call, Calls
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.budgets import BUDGETS, Budget, Pool, budget_of
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.limits import Limits
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.model import CALLER, Caller
from ccxt_mcp.settings import ExchangeProfile, Settings
from ccxt_mcp.simulation import Fault, SimulatedExchange, SimulationConfig, demo_venue
from ccxt_mcp.simulation.binance_routes import ROUTES
from ccxt_mcp.simulation.kraken import STARTER_TIER
from ccxt_mcp.simulation.venue import Venue, system_clock
from tests.unit.exchanges.conftest import TestAccount, paper, until
from tests.unit.exchanges.test_nonce_order import account as kraken_account

TICKER = "GET /api/v3/ticker/24hr"
CALLS: tuple[tuple[str, tuple[Any, ...], dict[str, Any], bool], ...] = (
    ("fetch_ticker", ("BTC/USDT",), {}, False),
    ("fetch_tickers", (), {}, False),
    ("fetch_order_book", ("BTC/USDT",), {"limit": 20}, False),
    ("fetch_order_book", ("BTC/USDT",), {"limit": 500}, False),
    ("fetch_order_book", ("BTC/USDT",), {"limit": 5000}, False),
    ("fetch_ohlcv", ("BTC/USDT", "1h"), {"limit": 5}, False),
    ("fetch_time", (), {}, False),
    ("fetch_balance", (), {}, True),
    ("fetch_open_orders", (), {}, True),
    ("fetch_open_orders", ("BTC/USDT",), {}, True),
    ("fetch_orders", ("BTC/USDT",), {}, True),
    ("fetch_my_trades", ("BTC/USDT",), {}, True),
)


def without_headers(exchange: str) -> Budget:
    """The published rules, uncorrected by what answers tell."""
    budget = budget_of(exchange)
    return replace(budget, pools=tuple(replace(pool, used=()) for pool in budget.pools))


@asynccontextmanager
async def exchange(
    limit: int | None = 6_000,
    *,
    limits: Limits | None = None,
    venue: Venue | None = None,
    profiles: Mapping[str, ExchangeProfile] | None = None,
    **changes: Any,
) -> AsyncIterator[tuple[SimulatedExchange, Gateway, TestAccount]]:
    """A venue with limits, and a gateway that keeps to them; market tables loaded."""
    demo, accounts = demo_venue(1)
    account = accounts[0]
    key = TestAccount(account.name, "paper", {"apiKey": account.api_key, "secret": account.secret})
    config = SimulationConfig(rate_limit=limit, ban_after=3)
    async with SimulatedExchange(config, venue=venue or demo) as sim:
        mine = paper(sim.base_url, **{"rate_limit": "on", **changes})
        gateway = Gateway({"paper": mine, **(profiles or {})}, limits=limits, load_apart=False)
        try:
            async with asyncio.timeout(30), gateway.public("paper"):
                pass
            if mine.exchange == "binance":
                # The clock is measured beside the load, and its request counts as well.
                await until(lambda: gateway.snapshot()["paper"]["clock"] is not None)
            yield sim, gateway, key
        finally:
            await gateway.close()


async def ask(gateway: Gateway, method: str = "fetch_ticker", *args: Any, **kwargs: Any) -> Any:
    async with asyncio.timeout(20), gateway.public("paper") as lease:
        return await lease.call(method, *(args or ("BTC/USDT",)), **kwargs)


def weight(gateway: Gateway, name: str = "request weight") -> dict[str, Any]:
    found = gateway.snapshot()["paper"]["limits"].get(name, {"used": 0.0})
    assert isinstance(found, dict)
    return found


def spent(sim: SimulatedExchange) -> int:
    return sim.binance.limits["/api/"].spend("127.0.0.1", 0, sim.venue.now()).used


def statuses(sim: SimulatedExchange) -> dict[str, int]:
    return sim.counters.snapshot().answers


async def test_our_count_of_every_call_is_the_venues() -> None:
    """Market tables included, although a process of its own loads them."""
    limits = Limits(budgets=without_headers)
    async with exchange(limits=limits) as (sim, gateway, key):
        assert weight(gateway)["used"] == spent(sim) > 0
        for method, args, kwargs, private in CALLS:
            before, seen = weight(gateway)["used"], sim.counters.snapshot().by_route
            async with asyncio.timeout(10):
                leasing = gateway.private(key) if private else gateway.public("paper")
                async with leasing as lease:
                    await lease.call(method, *args, **kwargs)
            now = sim.counters.snapshot().by_route
            new = [route for route, count in now.items() if count != seen.get(route)]
            venue = sum(
                ROUTES[("GET", route.removeprefix("GET "))].weigh(_parameters(method, args, kwargs))
                for route in new
            )
            assert weight(gateway)["used"] - before == pytest.approx(venue), (method, kwargs)
        assert weight(gateway)["used"] == pytest.approx(spent(sim))


def _parameters(method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, str]:
    named = {"symbol": "BTCUSDT"} if args else {}
    return {**named, **{name: str(value) for name, value in kwargs.items()}}


async def test_calls_beyond_the_budget_are_refused_before_they_are_sent() -> None:
    """Before, with fresh instances and CCXT's own throttler: each had a bucket of its own, so the
    venue saw everything at once and banned the address."""
    limits = Limits(budgets=lambda _: Budget((_small(200, 60.0),)))
    async with exchange(200, limits=limits) as (sim, gateway, _):
        token = DEADLINE.set(asyncio.get_running_loop().time() + 3.0)
        try:
            outcomes = await asyncio.gather(
                *(ask(gateway) for _ in range(120)), return_exceptions=True
            )
        finally:
            DEADLINE.reset(token)
        refused = [each for each in outcomes if isinstance(each, Failure)]
        assert {each.code for each in refused} == {Code.RATE_LIMITED}
        assert all(each.exchange == "paper" for each in refused)
        assert all((each.retry_after or 0) > 0 for each in refused)
        assert len(refused) + sim.counters.snapshot().by_route[TICKER] == 120
        assert "429" not in statuses(sim)


def _small(limit: float, seconds: float, **changes: Any) -> Pool:
    return replace(
        BUDGETS["binance"].pools[0], limit=limit, seconds=seconds, burst=limit / 4, **changes
    )


async def test_a_429_stops_everybody_for_as_long_as_it_says() -> None:
    async with exchange(None) as (sim, gateway, key):
        fault = Fault(kind="status", status=429, times=1, headers={"Retry-After": "40"})
        sim.faults.add(fault)
        with pytest.raises(Failure) as told:
            await ask(gateway)
        assert told.value.code is Code.RATE_LIMITED
        assert told.value.retry_after == pytest.approx(40)
        sent = sim.counters.snapshot().total
        token = DEADLINE.set(asyncio.get_running_loop().time() + 15)
        try:
            for leasing in (gateway.public("paper"), gateway.private(key)):
                async with asyncio.timeout(5), leasing as lease:
                    with pytest.raises(Failure, match="blocked by the exchange") as refused:
                        await lease.call("fetch_open_orders", "BTC/USDT")
                    assert refused.value.code is Code.RATE_LIMITED
                    assert refused.value.retry_after == pytest.approx(40, abs=2)
        finally:
            DEADLINE.reset(token)
        assert sim.counters.snapshot().total == sent
        assert weight(gateway)["blockedMs"] == pytest.approx(40_000, abs=2_000)


async def test_a_429_that_says_nothing_is_backed_off_from_longer_each_time() -> None:
    async with exchange(None) as (sim, gateway, _):
        sim.faults.add(
            Fault(kind="status", status=429, times=1, headers={"Retry-After": "soon"}, body={})
        )
        with pytest.raises(Failure) as told:
            await ask(gateway)
        assert told.value.retry_after == pytest.approx(2.0)
        assert 0 < weight(gateway)["blockedMs"] <= 2_000


async def test_a_ban_holds_all_limits_of_the_address() -> None:
    """Also those that nothing has been counted in yet: the venue bans the address, not a path."""
    async with exchange(None) as (sim, gateway, key):
        sim.faults.add(Fault(kind="status", status=418, times=1, headers={"Retry-After": "77"}))
        with pytest.raises(Failure) as told:
            await ask(gateway)
        assert told.value.retry_after == pytest.approx(77)
        sent = sim.counters.snapshot().total
        async with asyncio.timeout(5), gateway.private(key) as lease:
            for name, api in (("account", "private"), ("capital/config/getall", "sapi")):
                pacing = lease._held().pacing
                with pytest.raises(Failure, match="blocked"):
                    await pacing.request(api, name, "GET", 1.0).__aenter__()
        assert sim.counters.snapshot().total == sent


async def test_weight_that_others_used_counts() -> None:
    """Another program at the same address: without the venue's header the sum would be too much."""
    async with exchange(6_000) as (sim, gateway, _):
        sim.binance.limits["/api/"].spend("127.0.0.1", 5_000, sim.venue.now())
        await ask(gateway)
        assert weight(gateway)["used"] == pytest.approx(spent(sim))
        assert weight(gateway)["used"] >= 5_000


async def test_a_cancelled_waiter_is_neither_sent_nor_charged() -> None:
    limits = Limits(budgets=lambda _: Budget((_small(200, 60.0),)))
    async with exchange(None, limits=limits) as (sim, gateway, _):
        calls = [asyncio.create_task(ask(gateway)) for _ in range(40)]
        # What has its place is answered; all others wait.
        await until(
            lambda: weight(gateway).get("waiting", 0) + sum(each.done() for each in calls) == 40
        )
        assert weight(gateway)["waiting"] >= 5
        used = weight(gateway)["used"]
        sent = sim.counters.snapshot().total
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert weight(gateway)["waiting"] == 0
        # A moment may have come for one of them.
        assert weight(gateway)["used"] <= used + 2
        assert sim.counters.snapshot().total - sent <= 1


async def test_off_counts_but_never_waits() -> None:
    limits = Limits(budgets=lambda _: Budget((_small(10, 60.0),)))
    async with exchange(None, limits=limits, rate_limit="off") as (sim, gateway, _):
        async with asyncio.timeout(10):
            await asyncio.gather(*(ask(gateway) for _ in range(30)))
        assert weight(gateway)["used"] == pytest.approx(spent(sim))
        assert sim.counters.snapshot().by_route[TICKER] == 30
        sim.faults.add(Fault(kind="status", status=429, times=1, headers={"Retry-After": "40"}))
        with pytest.raises(Failure):
            await ask(gateway)
        await ask(gateway)


async def test_profiles_share_a_limit_exactly_if_they_share_exchange_and_way() -> None:
    limits = Limits()

    def key(**changes: Any) -> Any:
        values = {"name": "x", "exchange": "binance", **changes}
        return limits.place(ExchangeProfile(**values), 50.0)

    assert key(name="a") is key(name="b")
    assert key() is key(exchange="binanceusdm")
    different = [
        key(),
        key(exchange="kraken"),
        key(base_url="http://h:1"),
        key(base_url="http://h:2"),
        key(proxy="http://user:secret@proxy:1"),
        key(sandbox=True),
    ]
    assert len({each.key for each in different}) == len(different)
    assert "secret" not in repr(different)


async def test_idle_limiters_make_room_and_busy_ones_stay() -> None:
    limits = Limits(most=16)
    place = limits.place(ExchangeProfile(name="okx", exchange="okx"), 110.0)
    (pool,) = place.pools("public", "GET", "market/ticker", keyed=False)
    busy = limits.counter(place, pool, "busy", None)
    busy.force(1.0)
    blocked = limits.limiter(place, pool, "blocked", None)
    blocked.block_until(asyncio.get_running_loop().time() + 60)
    for number in range(100):
        limits.limiter(place, pool, f"path{number}", None)
    assert len(limits._limiters) <= 16
    assert limits.counter(place, pool, "busy", None) is busy
    assert limits.limiter(place, pool, "blocked", None) is blocked


async def test_one_key_of_kraken_never_exceeds_its_counter() -> None:
    """Before, in CCXT's costs: 50 balances took 150 s, though 15 of them may pass at once."""
    config = SimulationConfig(kraken=STARTER_TIER, latency_ms=1)
    async with SimulatedExchange(config, venue=demo_venue(1)[0]) as sim:
        profile = ExchangeProfile(name="kraken", exchange="kraken", base_url=sim.base_url)
        gateway = Gateway({"kraken": profile}, load_apart=False)
        account = kraken_account()

        async def balance() -> str:
            async with gateway.private(account) as lease:
                try:
                    await lease.call("fetch_balance")
                except Failure as failure:
                    return failure.code.value
                return "ok"

        try:
            async with asyncio.timeout(60), gateway.public("kraken"):
                pass
            token, began = DEADLINE.set(asyncio.get_running_loop().time() + 6), time.monotonic()
            async with asyncio.timeout(30):
                found = Counter(await asyncio.gather(*(balance() for _ in range(30))))
            DEADLINE.reset(token)
        finally:
            await gateway.close()
        assert found.keys() == {"ok", "rate_limited"}
        assert 14 <= found["ok"] <= 16
        assert time.monotonic() - began < 8
        assert sim.counters.snapshot().errors == {}


async def test_the_tools_deadline_reaches_the_limits() -> None:
    limits = Limits(budgets=lambda _: Budget((_small(200, 60.0),)))
    async with exchange(None, limits=limits) as (sim, gateway, _):
        settings = Settings(tool_timeout=2.0, ccxt_timeout=1.0)
        calls = Calls(gateway, Accounts(()), settings)

        async def ticker(call: Call) -> Any:
            async with call.public("paper", "fetch_ticker") as lease:
                return await call.fetch(lease, "fetch_ticker", "BTC/USDT")

        began = time.monotonic()
        outcomes = await asyncio.gather(
            *(calls.run(calls.begin("get_ticker"), ticker) for _ in range(40)),
            return_exceptions=True,
        )
        codes = Counter(e.code if isinstance(e, Failure) else "ok" for e in outcomes)
        assert set(codes) == {"ok", Code.RATE_LIMITED}
        # Not the minute that the limit would have them wait.
        assert time.monotonic() - began < 20.0
        assert DEADLINE.get() is None
        assert sim.counters.snapshot().by_route[TICKER] == codes["ok"]


async def test_the_budget_is_used_never_exceeded_and_shared_at_full_speed() -> None:
    """``benchmarks/soak_limits.py`` in small: the venue's minute takes three seconds here. Sessions
    leave at random; nobody sees a 429, and nobody waits much longer than the others."""
    origin, speed, limit = system_clock(), 20.0, 600
    base = time.monotonic()
    venue = Venue(seed=1, clock=lambda: origin + int((time.monotonic() - base) * 1000 * speed))
    pool = _small(limit, 60 / speed, used=())
    limits = Limits(budgets=lambda _: Budget((pool,)))
    async with exchange(limit, limits=limits, venue=venue) as (sim, gateway, _):
        sim.set_latency(2, 10)
        dice = random.Random(7)
        served: Counter[int] = Counter()
        before, began = sim.counters.snapshot().by_route.get(TICKER, 0), time.monotonic()

        async def session(number: int) -> None:
            CALLER.set(Caller(session=f"s{number}"))
            while time.monotonic() - began < 6.0:
                patience = dice.uniform(0.0, 0.4) if dice.random() < 0.2 else 15.0
                try:
                    async with asyncio.timeout(patience):
                        await ask(gateway)
                    served[number] += 1
                except TimeoutError:
                    continue

        async with asyncio.TaskGroup() as group:
            for number in range(32):
                group.create_task(session(number))
            await asyncio.sleep(began + 6.0 - time.monotonic())
            took = time.monotonic() - began
            sent = sim.counters.snapshot().by_route[TICKER] - before
        assert set(statuses(sim)) <= {"200", "none"}
        assert sent * 2 >= 0.9 * limit * took * speed / 60
        assert max(served.values()) <= 2 * min(served.values())
