"""Kraken's limits, and bans that last, in both dialects."""

from __future__ import annotations

from typing import Any

import aiohttp
import ccxt
import pytest

from ccxt_mcp.simulation import (
    DemoAccount,
    KrakenLimits,
    SimulatedExchange,
    SimulationConfig,
    demo_accounts,
    demo_venue,
)
from ccxt_mcp.simulation.limits import Bans, CallCounter
from tests.unit.simulation.conftest import NOW, kraken
from tests.unit.simulation.krakens import BALANCE, Caller, calling

MAIN, SECOND = demo_accounts(7, dialect="kraken")
LIMITED = {"error": ["EAPI:Rate limit exceeded"]}
LOCKED_OUT = {"error": ["EGeneral:Temporary lockout"]}


def limited(**limits: Any) -> SimulatedExchange:
    """A venue whose clock stands still until it is moved."""
    venue, _ = demo_venue(7, clock=lambda: NOW)
    return SimulatedExchange(SimulationConfig(kraken=KrakenLimits(**limits)), venue=venue)


async def errors(caller: Caller, nonces: range, method: str = BALANCE) -> list[str | None]:
    answers = [await caller.post(method, nonce) for nonce in nonces]
    return [answer["error"][0] if answer["error"] else None for answer in answers]


async def ask(sim: SimulatedExchange, method: str, path: str) -> tuple[int, Any, Any]:
    async with (
        aiohttp.ClientSession(sim.base_url) as session,
        session.request(method, path) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


async def test_a_key_may_call_fifteen_times_at_once_and_then_every_three_seconds() -> None:
    async with limited() as sim, calling(sim, MAIN) as [main]:
        assert await errors(main, range(1, 18)) == [None] * 15 + ["EAPI:Rate limit exceeded"] * 2
        sim.venue.set_clock_offset(3_000)  # 0.99 of a call has decayed
        assert await main.post(BALANCE, 20) == LIMITED
        sim.venue.set_clock_offset(3_031)
        assert (await main.post(BALANCE, 21))["error"] == []
        assert await main.post(BALANCE, 22) == LIMITED


async def test_history_costs_twice_as_much_and_orders_nothing() -> None:
    async with limited() as sim, calling(sim, MAIN) as [main]:
        assert (await errors(main, range(1, 9), "TradesHistory")).count(None) == 7
        assert await errors(main, range(10, 12)) == [None, "EAPI:Rate limit exceeded"]
        assert await main.post("AddOrder", 12) == {"error": ["EGeneral:Permission denied"]}


async def test_every_key_has_a_counter_of_its_own() -> None:
    async with limited(counter=2) as sim, calling(sim, MAIN, SECOND) as [main, second]:
        assert (await errors(main, range(1, 4))).count(None) == 2
        assert (await errors(second, range(1, 4))).count(None) == 2


async def test_a_call_over_the_limit_spends_no_nonce() -> None:
    async with limited(counter=1) as sim, calling(sim, MAIN) as [main]:
        assert (await main.post(BALANCE, 10))["error"] == []
        assert await main.post(BALANCE, 20) == LIMITED
        sim.venue.set_clock_offset(10_000)
        assert (await main.post(BALANCE, 11))["error"] == []


async def test_a_refused_nonce_counts_all_the_same() -> None:
    async with limited(counter=2) as sim, calling(sim, MAIN) as [main]:
        assert (await main.post(BALANCE, 10))["error"] == []
        assert await main.post(BALANCE, 10) == {"error": ["EAPI:Invalid nonce"]}
        assert await main.post(BALANCE, 11) == LIMITED


async def test_public_calls_are_counted_per_address() -> None:
    async with limited(public_burst=3) as sim:
        path = "/0/public/Time"
        said = [(await ask(sim, "GET", path))[1]["error"] for _ in range(4)]
        assert said == [[], [], [], ["EGeneral:Too many requests"]]
        sim.venue.set_clock_offset(1_000)
        assert (await ask(sim, "GET", path))[1]["error"] == []


async def test_ccxt_sees_both_limits_as_ddos_protection() -> None:
    async with limited(counter=1, public_burst=1) as sim:
        exchange = kraken(sim.base_url, MAIN)
        try:
            await exchange.privatePostBalance()
            with pytest.raises(ccxt.DDoSProtection, match="Rate limit exceeded"):
                await exchange.privatePostBalance()
            await exchange.fetch_time()
            with pytest.raises(ccxt.DDoSProtection, match="Too many requests"):
                await exchange.fetch_time()
        finally:
            await exchange.close()


@pytest.mark.parametrize("config", [{"rate_limit": None}, {"kraken": None}])
async def test_all_limits_and_lockouts_can_be_turned_off(config: dict[str, Any]) -> None:
    venue, _ = demo_venue(7, clock=lambda: NOW)
    forger = DemoAccount("main", MAIN.api_key, "A" * 88)
    async with (
        SimulatedExchange(SimulationConfig(**config), venue=venue) as sim,
        calling(sim, MAIN, forger) as [main, forged],
    ):
        assert set(await errors(main, range(1, 100))) == {None}
        assert set(await errors(forged, range(1, 40))) == {"EAPI:Invalid signature"}
        assert [(await ask(sim, "GET", "/0/public/Time"))[0] for _ in range(40)] == [200] * 40


@pytest.mark.parametrize("cause", ["counter", "nonce", "signature", "key", "public"])
async def test_those_who_do_not_stop_are_locked_out_of_everything_until_it_ends(cause: str) -> None:
    bounds: dict[str, Any] = {"ban_after": 3, "ban_ms": 60_000}
    if cause == "counter":
        bounds["counter"] = 1
    if cause == "public":
        bounds["public_burst"] = 1
    account = {
        "signature": DemoAccount("main", MAIN.api_key, "A" * 88),
        "key": DemoAccount("main", "Z" * 56, MAIN.secret),
    }.get(cause, MAIN)
    async with limited(**bounds) as sim, calling(sim, account, SECOND) as [offender, second]:
        for n in range(5):
            if cause == "public":
                last = (await ask(sim, "GET", "/0/public/Time"))[1]
            else:
                last = await offender.post(BALANCE, 1 if cause == "nonce" else n + 1)
            if last == LOCKED_OUT:
                break
        violations = n if cause in ("counter", "nonce", "public") else n + 1
        assert (last, violations) == (LOCKED_OUT, 4)
        sim.venue.set_clock_offset(59_999)
        assert await second.post(BALANCE, 1) == LOCKED_OUT
        assert (await ask(sim, "GET", "/0/public/Time"))[1] == LOCKED_OUT
        assert sim.counters.snapshot().errors["EGeneral:Temporary lockout"] == 3
        sim.venue.set_clock_offset(60_000)
        assert (await second.post(BALANCE, 1))["error"] == []
        assert (await ask(sim, "GET", "/0/public/Time"))[1]["error"] == []


async def test_a_lockout_reaches_ccxt_as_ddos_protection_and_can_be_lifted() -> None:
    async with limited(counter=1, ban_after=0) as sim, calling(sim, MAIN) as [main]:
        assert await errors(main, range(1, 3)) == [None, "EGeneral:Temporary lockout"]
        exchange = kraken(sim.base_url)
        try:
            with pytest.raises(ccxt.DDoSProtection, match="Temporary lockout"):
                await exchange.fetch_time()
            sim.venue.set_clock_offset(100_000)
            (ban,) = (await ask(sim, "GET", "/_sim/bans"))[1]
            assert ban == {
                "dialect": "kraken",
                "address": "127.0.0.1",
                "until": NOW + 900_000,
                "left_ms": 800_000,
            }
            assert (await ask(sim, "DELETE", "/_sim/bans"))[1] == {"lifted": 1}
            assert await exchange.fetch_time() == (NOW + 100_000) // 1_000 * 1_000
            assert (await ask(sim, "GET", "/_sim/bans"))[1] == []
        finally:
            await exchange.close()


async def test_a_binance_ban_covers_all_families_and_counts_down() -> None:
    venue, _ = demo_venue(7, clock=lambda: NOW)
    config = SimulationConfig(rate_limit=1, ban_after=2, ban_ms=30_000)
    async with SimulatedExchange(config, venue=venue) as sim:
        path = "/api/v3/ping"
        said = [(await ask(sim, "GET", path))[0] for _ in range(5)]
        assert said == [200, 429, 429, 418, 418]
        venue.set_clock_offset(10_000)
        status, body, headers = await ask(sim, "GET", "/fapi/v1/ping")
        assert (status, headers["Retry-After"]) == (418, "20")
        assert str(NOW + 30_000) in body["msg"]
        assert (await ask(sim, "GET", "/0/public/Time"))[1]["error"] == []
        (ban,) = (await ask(sim, "GET", "/_sim/bans"))[1]
        assert (ban["dialect"], ban["left_ms"]) == ("binance", 20_000)
        seen = sim.counters.snapshot()
        assert seen.answers == {"200": 2, "429": 2, "418": 3}
        assert seen.errors == {"-1003": 5}
        venue.set_clock_offset(30_000)
        assert (await ask(sim, "GET", "/fapi/v1/ping"))[0] == 200


def test_violations_of_another_minute_do_not_add_up() -> None:
    bans = Bans(after=1, ms=5)
    assert bans.violated("a", 60_000) is None
    assert bans.violated("a", 120_000) is None
    assert bans.violated("b", 120_001) is None
    assert bans.violated("a", 120_001) == 120_006
    assert bans.active(120_005) == {"a": 120_006}
    assert bans.until("a", 120_006) is None


def test_bans_can_be_turned_off_and_senseless_limits_are_refused() -> None:
    never = Bans(after=None)
    assert not any(never.violated("a", NOW) for _ in range(100))
    with pytest.raises(ValueError, match="ban"):
        Bans(ms=0)
    with pytest.raises(ValueError, match="decay"):
        CallCounter(15, 0)
    with pytest.raises(ValueError, match="maximum"):
        CallCounter(0, 1)


def test_a_counter_decays_to_zero_and_not_below() -> None:
    counter = CallCounter(2, 0.5)
    assert counter.spend("a", 2, 0)
    assert counter.level("a", 1_000) == 1.5
    assert counter.level("a", 60_000) == 0
    assert not counter.spend("a", 1, 1_000)
    assert counter.spend("a", 1, 2_000)
    assert counter.level("a", 1_000) == 2.0  # a clock that goes back takes nothing away
    counter.forget()
    assert counter.level("a", 2_000) == 0
