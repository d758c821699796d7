"""Limits and nonces that replicas have in common: CCXT's own classes, a simulated venue, one store.

Three gateways in one process, each with a node of its own, are three replicas to the store.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ccxt_mcp.cluster import holding
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.cluster.holding import HELD, Holding
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.budgets import Budget
from ccxt_mcp.exchanges.http import RoutedSession
from ccxt_mcp.exchanges.limits import Limits
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.model import CALLER, Caller
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.simulation import Fault, SimulatedExchange, SimulationConfig, demo_venue
from ccxt_mcp.simulation.venue import Venue, system_clock
from ccxt_mcp.store.memory import MemoryStore
from tests.unit.exchanges.conftest import TestAccount, paper, until
from tests.unit.exchanges.replicas import Replica, Stores, in_memory, memory_of, on_redis, replicas
from tests.unit.exchanges.test_limits import TICKER, _small, ask
from tests.unit.exchanges.test_nonce_order import BALANCE, INVALID, account, outcome

CALLS = 150


@pytest.fixture(params=["memory", "redis"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        return in_memory()
    return on_redis(request.getfixturevalue("redis_server"))


@asynccontextmanager
async def kraken() -> AsyncIterator[SimulatedExchange]:
    """A venue whose answers take 2 to 8 ms, and which looks at a nonce only then: as if requests
    had overtaken each other on their way."""
    config = SimulationConfig(
        rate_limit=None, kraken=None, latency_ms=2, jitter_ms=6, kraken_on_arrival=False
    )
    async with SimulatedExchange(config, venue=demo_venue(1)[0]) as sim:
        yield sim


def kraken_profile(sim: SimulatedExchange, **changes: object) -> ExchangeProfile:
    values = {"name": "kraken", "exchange": "kraken", "base_url": sim.base_url}
    return ExchangeProfile.model_validate({**values, "rate_limit": "off", **changes})


async def all_at_once(found: list[Replica], calls: int = CALLS) -> Counter[str]:
    async with asyncio.timeout(30):
        return Counter(
            await asyncio.gather(
                *(outcome(found[n % len(found)].gateway, account()) for n in range(calls))
            )
        )


async def test_150_calls_at_once_on_one_key_through_three_replicas_are_all_accepted(
    stores: Stores,
) -> None:
    async with kraken() as sim, replicas(stores, kraken_profile(sim)) as found:
        assert await all_at_once(found) == {"ok": CALLS}
        assert sim.counters.snapshot().errors == {}


async def test_replicas_with_lanes_of_their_own_overtake_each_other() -> None:
    """What makes the test above more than a formality."""
    async with kraken() as sim, replicas(in_memory(), kraken_profile(sim), alone=True) as found:
        outcomes = await all_at_once(found)
        assert outcomes[INVALID] > CALLS // 10
        assert outcomes[INVALID] + outcomes["ok"] == CALLS


async def test_three_replicas_at_full_speed_use_one_limit_and_never_exceed_it(
    redis_server: object, request: pytest.FixtureRequest
) -> None:
    """The venue's minute takes three seconds here, and it answers 429 to what is too much; callers
    leave at random. Without a common count it answers 429 to two thirds, and bans."""
    origin, speed, limit, lasting = system_clock(), 20.0, 600, 4.5
    base = time.monotonic()
    venue = Venue(seed=1, clock=lambda: origin + int((time.monotonic() - base) * 1000 * speed))
    pool = _small(limit, 60 / speed, used=())
    dice, config = random.Random(7), SimulationConfig(rate_limit=limit, ban_after=3)

    def limits(cluster: Cluster | None) -> Limits:
        return Limits(budgets=lambda _: Budget((pool,)), cluster=cluster)

    async with SimulatedExchange(config, venue=venue) as sim:
        profile = paper(sim.base_url, rate_limit="on")
        stores = on_redis(request.getfixturevalue("redis_server"))
        async with replicas(stores, profile, limits=limits) as found:
            sim.set_latency(2, 10)
            before, began = sim.counters.snapshot().by_route.get(TICKER, 0), time.monotonic()

            async def session(number: int) -> None:
                CALLER.set(Caller(session=f"s{number}"))
                while time.monotonic() - began < lasting:
                    patience = dice.uniform(0.0, 0.4) if dice.random() < 0.2 else 15.0
                    try:
                        async with asyncio.timeout(patience):
                            await ask(found[number % 3].gateway)
                    except TimeoutError:
                        continue

            async with asyncio.TaskGroup() as group:
                for number in range(30):
                    group.create_task(session(number))
                await asyncio.sleep(began + lasting - time.monotonic())
                took = time.monotonic() - began
                sent = sim.counters.snapshot().by_route[TICKER] - before
            assert set(sim.counters.snapshot().answers) <= {"200", "none"}
            assert sent * 2 >= 0.9 * limit * took * speed / 60


@asynccontextmanager
async def binance(**changes: object) -> AsyncIterator[tuple[SimulatedExchange, list[Replica]]]:
    async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=demo_venue(1)[0]) as sim:
        profile = paper(sim.base_url, **{"rate_limit": "on", **changes})
        async with replicas(in_memory(), profile) as found:
            yield sim, found


async def test_a_ban_that_one_replica_hears_stops_the_other_two() -> None:
    async with binance() as (sim, found):
        sim.faults.add(Fault(kind="status", status=418, times=1, headers={"Retry-After": "77"}))
        with pytest.raises(Failure) as told:
            await ask(found[0].gateway)
        assert told.value.retry_after == pytest.approx(77)
        await until(lambda: found[0].quiet)
        sent = sim.counters.snapshot().total
        token = DEADLINE.set(asyncio.get_running_loop().time() + 15)
        try:
            for each in found:
                with pytest.raises(Failure, match="blocked by the exchange") as refused:
                    await ask(each.gateway)
                assert refused.value.code is Code.RATE_LIMITED
                assert refused.value.retry_after == pytest.approx(77, abs=2)
        finally:
            DEADLINE.reset(token)
        assert sim.counters.snapshot().total == sent


async def test_a_profile_without_limits_never_asks_the_store() -> None:
    async with binance(rate_limit="off") as (_, found):
        store = memory_of(found[0].cluster)

        async def asked() -> None:
            raise AssertionError("the store was asked")

        store.trouble = asked
        await ask(found[0].gateway)
        assert found[0].gateway.snapshot()["paper"]["limits"]["request weight"]["used"] > 0
        store.trouble = None


async def test_what_needs_the_store_is_refused_while_that_is_away_and_goes_on_after() -> None:
    async with kraken() as sim, replicas(in_memory(), kraken_profile(sim), count=1) as found:
        store = memory_of(found[0].cluster)

        async def away() -> None:
            raise Failure(Code.STORE_UNAVAILABLE, "gone", retry_after=1.0)

        sent = sim.counters.snapshot().by_route.get(BALANCE, 0)
        store.trouble = away
        assert await outcome(found[0].gateway, account()) == "store_unavailable"
        assert sim.counters.snapshot().by_route.get(BALANCE, 0) == sent
        store.trouble = None
        assert await outcome(found[0].gateway, account()) == "ok"


async def test_after_a_holder_was_killed_in_mid_request_the_next_is_accepted() -> None:
    """The dead one gives nothing back: its lease ends by itself, and the next number is above all
    that it can have used. Here its clock was an hour ahead, too."""
    offset = 0.0
    store = MemoryStore(lambda: time.monotonic() + offset)
    async with kraken() as sim:
        ahead = kraken_profile(sim, options={"timeDifference": -3_600_000})
        async with (
            replicas(in_memory(store), ahead, count=1) as (dead,),
            replicas(in_memory(store), kraken_profile(sim), count=1) as (alive,),
        ):
            sim.faults.add(Fault(kind="hang", route=BALANCE, times=1))
            call = asyncio.create_task(outcome(dead.gateway, account()))
            await until(lambda: sim.counters.snapshot().by_route.get(BALANCE, 0) == 1)
            (lane,) = dead.gateway._nonces._lanes.values()
            used = lane._last
            assert used > (time.time() + 3500) * 1000
            # kill -9: nothing is renewed, released or answered any more.
            await dead.cluster.leases.stop()
            dead.cluster.leases.give = lambda *_, **__: None  # type: ignore[method-assign]
            waiting = asyncio.create_task(outcome(alive.gateway, account()))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            offset = 6.1
            async with asyncio.timeout(10):
                assert await waiting == "ok"
            (next_lane,) = alive.gateway._nonces._lanes.values()
            assert next_lane._last > used
            call.cancel()
            await asyncio.wait([call])


async def test_a_request_whose_replica_slept_before_the_send_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by SIGSTOP between the signature and the socket: another may have had the turn since."""
    slept, now, send = 0.0, holding._now, RoutedSession._send
    monkeypatch.setattr(holding, "_now", lambda: now() + slept)

    def sleep_first(self: RoutedSession, *args: object, **kwargs: object) -> object:
        nonlocal slept
        slept = 6.0
        return send(self, *args, **kwargs)  # type: ignore[arg-type]

    async with kraken() as sim, replicas(in_memory(), kraken_profile(sim), count=1) as (one,):
        before = sim.counters.snapshot().by_route.get(BALANCE, 0)
        with monkeypatch.context() as patch:
            patch.setattr(RoutedSession, "_send", sleep_first)
            assert await outcome(one.gateway, account()) == "store_unavailable"
        assert sim.counters.snapshot().by_route.get(BALANCE, 0) == before
        assert await outcome(one.gateway, account()) == "ok"


async def test_nothing_is_sent_for_a_session_whose_turn_is_lost() -> None:
    async with binance() as (sim, found):
        total = sim.counters.snapshot().total
        lost = Holding("lane", "t", 0.0, holding._now() - 1, 0, 0, None)
        token = HELD.set((lost,))
        try:
            with pytest.raises(Failure, match="could not keep its turn") as refused:
                await ask(found[0].gateway)
        finally:
            HELD.reset(token)
        assert refused.value.code is Code.STORE_UNAVAILABLE
        assert sim.counters.snapshot().total == total


async def test_cancel_storms_leave_no_charge_and_no_lease_behind() -> None:
    store, dice = MemoryStore(), random.Random(8)
    async with kraken() as sim:
        profile = kraken_profile(sim, rate_limit="on")

        def limits(cluster: Cluster | None) -> Limits:
            return Limits(
                budgets=lambda _: Budget((_small(10_000, 60, apis=("private",), per="key"),)),
                cluster=cluster,
            )

        async with replicas(in_memory(store), profile, limits=limits) as found:
            for _ in range(3):
                calls = [
                    asyncio.create_task(outcome(found[n % 3].gateway, account())) for n in range(30)
                ]
                await asyncio.sleep(dice.choice((0.0, 0.003, 0.02, 0.05)))
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            assert await all_at_once(found, 9) == {"ok": 9}
            await until(lambda: not any(len(each.cluster.leases) for each in found))
            await until(lambda: not any(store.leases.held(name) for name in _leases(store)))
            await until(lambda: all(each.quiet for each in found))
            for each in found:
                assert [limiter.waiting for limiter in each.limiters] == [0] * len(each.limiters)
                assert not each.cluster.leases._waiting
            for budget in store.budgets._budgets.live().values():
                # What was on its way when its call ended is the venue's to count, for a moment.
                await until(lambda b=budget: _under_way(b) == 0.0)  # type: ignore[misc]


def _under_way(budget: Any) -> float:
    budget.advance(time.monotonic())
    flying = budget.ledger.flying
    assert isinstance(flying, float)
    return flying


def _leases(store: MemoryStore) -> list[str]:
    return list(store.leases._leases.live())


@pytest.mark.parametrize(
    ("exchange", "at_most"),
    [("binance", {"spend": 1}), ("kraken", {"spend": 1, "claim": 1})],
)
async def test_a_call_with_keys_costs_few_round_trips(
    exchange: str, at_most: dict[str, int]
) -> None:
    """Awaited: one for the limit, one for the key where nonces have an order. In the background:
    one that releases the key. That there was an answer is told by the next call."""
    store, asked = MemoryStore(), Counter[str]()
    apply, claim = store.budgets.apply, store.leases.claim

    async def counted_apply(*args: object, **kwargs: object) -> object:
        acts = args[3]
        assert isinstance(acts, list)
        asked["spend" if any(act.do.value == "t" for act in acts) else "told"] += 1
        return await apply(*args, **kwargs)  # type: ignore[arg-type]

    async def counted_claim(*args: object, **kwargs: object) -> object:
        asked["claim"] += 1
        return await claim(*args, **kwargs)  # type: ignore[arg-type]

    store.budgets.apply = counted_apply  # type: ignore[method-assign,assignment]
    store.leases.claim = counted_claim  # type: ignore[method-assign,assignment]
    demo, accounts = demo_venue(1)
    async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=demo) as sim:
        if exchange == "kraken":
            profile, key = kraken_profile(sim, rate_limit="on"), account()
        else:
            first = accounts[0]
            profile = paper(sim.base_url, rate_limit="on")
            key = TestAccount(
                first.name, "paper", {"apiKey": first.api_key, "secret": first.secret}
            )
        async with replicas(in_memory(store), profile, count=1) as (one,):
            assert await outcome(one.gateway, key) == "ok"
            await until(lambda: one.quiet)
            asked.clear()
            assert await outcome(one.gateway, key) == "ok"
            await until(lambda: one.quiet)
            assert asked == at_most
            secrets = set(key.credentials.values())
            names = [*_leases(store), *store.budgets._budgets.live()]
            assert names
            assert not any(secret in name for secret in secrets for name in names)
