"""Strictly rising nonces per key, in the order in which requests arrive."""

from __future__ import annotations

import asyncio

import ccxt
import pytest

from ccxt_mcp.simulation import (
    DemoAccount,
    Fault,
    SimulatedExchange,
    SimulationConfig,
    demo_accounts,
    demo_venue,
)
from tests.unit.simulation.conftest import Connect
from tests.unit.simulation.krakens import BALANCE, INVALID_NONCE, calling

Accounts = tuple[DemoAccount, ...]


async def until_in_flight(sim: SimulatedExchange, number: int) -> None:
    async with asyncio.timeout(5):
        while sim.counters.in_flight < number:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("second", [0, 99, 100])
async def test_a_nonce_that_is_not_above_the_last_one_is_refused(
    sim: SimulatedExchange, kraken_accounts: Accounts, second: int
) -> None:
    async with calling(sim, kraken_accounts[0]) as [main]:
        assert (await main.post(BALANCE, 100))["error"] == []
        assert await main.post(BALANCE, second) == INVALID_NONCE
        assert (await main.post(BALANCE, 101))["error"] == []
    assert sim.counters.snapshot().errors == {"EAPI:Invalid nonce": 1}


@pytest.mark.parametrize("nonce", ["", "1.5", "-1", "one", "0x10", str(2**64), "9" * 21])
async def test_what_is_no_unsigned_number_of_64_bits_is_no_nonce(
    sim: SimulatedExchange, kraken_accounts: Accounts, nonce: str
) -> None:
    async with calling(sim, kraken_accounts[0]) as [main]:
        assert await main.post(BALANCE, nonce) == INVALID_NONCE
        assert await main.send(BALANCE, "colour=blue", "") == INVALID_NONCE
        assert (await main.post(BALANCE, 2**64 - 1))["error"] == []


async def test_two_keys_do_not_disturb_each_other(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    async with calling(sim, *kraken_accounts) as [main, second]:
        assert (await main.post(BALANCE, 10**9))["error"] == []
        assert (await second.post(BALANCE, 5))["error"] == []
        assert (await second.post(BALANCE, 6))["error"] == []
        assert await main.post(BALANCE, 7) == INVALID_NONCE


async def test_only_a_signed_request_moves_the_last_nonce(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    name, key, _ = kraken_accounts[0]
    forger = DemoAccount(name, key, "A" * 88)
    async with calling(sim, forger, kraken_accounts[0]) as [forged, main]:
        assert await forged.post(BALANCE, 2**63) == {"error": ["EAPI:Invalid signature"]}
        assert (await main.post(BALANCE, 1))["error"] == []


async def test_the_order_of_arrival_counts_whatever_the_latency(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    """The first request is answered last, and both nonces are good all the same; a lower nonce that
    arrives while higher ones still wait for their answer is refused."""
    sim.faults.add(Fault(kind="latency", milliseconds=200, times=1))
    async with calling(sim, kraken_accounts[0]) as [main], asyncio.timeout(5):
        first = asyncio.ensure_future(main.post(BALANCE, 10))
        await until_in_flight(sim, 1)
        assert (await main.post(BALANCE, 11))["error"] == []
        assert await main.post(BALANCE, 9) == INVALID_NONCE
        assert (await first)["error"] == []


async def test_concurrent_requests_that_overtake_each_other_are_refused(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    sim.set_latency(200)
    async with calling(sim, kraken_accounts[0]) as [main], asyncio.timeout(5):
        late = asyncio.ensure_future(main.post(BALANCE, 2))
        await until_in_flight(sim, 1)
        assert await main.post(BALANCE, 1) == INVALID_NONCE
        assert (await late)["error"] == []


async def test_nonces_can_be_checked_in_the_order_of_the_answers_instead() -> None:
    venue, _ = demo_venue(7)
    config = SimulationConfig(rate_limit=None, kraken_on_arrival=False)
    async with SimulatedExchange(config, venue=venue) as sim, asyncio.timeout(5):
        sim.faults.add(Fault(kind="latency", milliseconds=500, times=1))
        async with calling(sim, demo_accounts(7, dialect="kraken")[0]) as [main]:
            first = asyncio.ensure_future(main.post(BALANCE, 10))
            await until_in_flight(sim, 1)
            assert (await main.post(BALANCE, 11))["error"] == []
            assert await first == INVALID_NONCE


async def test_the_last_nonce_outlives_counters_and_servers(kraken_accounts: Accounts) -> None:
    venue, _ = demo_venue(7)
    sim = SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue)
    async with sim, calling(sim, kraken_accounts[0]) as [main]:
        assert (await main.post(BALANCE, 50))["error"] == []
        sim.counters.reset()
        assert await main.post(BALANCE, 50) == INVALID_NONCE
    async with sim, calling(sim, kraken_accounts[0]) as [main]:
        assert await main.post(BALANCE, 50) == INVALID_NONCE
    other = SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue)
    async with other, calling(other, kraken_accounts[0]) as [main]:
        assert await main.post(BALANCE, 50) == INVALID_NONCE
        assert (await main.post(BALANCE, 51))["error"] == []


async def test_one_ccxt_instance_counts_up_and_two_of_one_key_collide(
    sim: SimulatedExchange, connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    """CCXT counts per instance: the reason why a key needs one place that hands out its nonces."""
    one, other = connect_kraken(kraken_accounts[0]), connect_kraken(kraken_accounts[0])
    for _ in range(5):
        await one.privatePostBalance()
    other.options["lastNonce"] = 0
    other.nonce = lambda: sim.venue.accounts[kraken_accounts[0].api_key].last_nonce
    with pytest.raises(ccxt.InvalidNonce, match="EAPI:Invalid nonce"):
        await other.privatePostBalance()
