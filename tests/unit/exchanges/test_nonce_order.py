"""CCXT's own kraken class against a Kraken that takes nonces in strictly rising order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.errors import Failure
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.nonces import NonceLane
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.simulation import (
    Fault,
    SimulatedExchange,
    SimulationConfig,
    demo_accounts,
    demo_venue,
)
from ccxt_mcp.simulation.kraken import STARTER_TIER, KrakenLimits
from tests.unit.exchanges.conftest import ROOT, TestAccount

BALANCE = "POST /0/private/BalanceEx"
INVALID = "EAPI:Invalid nonce"
CALLS = 50


@asynccontextmanager
async def kraken(limits: KrakenLimits | None = None) -> AsyncIterator[SimulatedExchange]:
    """A venue whose answers take 5 to 30 ms, and which looks at a nonce only then: as if the
    requests had overtaken each other on their way."""
    config = SimulationConfig(
        rate_limit=None, kraken=limits, latency_ms=5, jitter_ms=25, kraken_on_arrival=False
    )
    venue, _ = demo_venue(1)
    async with SimulatedExchange(config, venue=venue) as sim:
        yield sim


@asynccontextmanager
async def warm(
    base_url: str, data_dir: Path | None = None, **changes: Any
) -> AsyncIterator[Gateway]:
    """A gateway to the venue, market tables loaded."""
    values = {"name": "kraken", "exchange": "kraken", "base_url": base_url, "rate_limit": "off"}
    profile = ExchangeProfile(**{**values, **changes})
    room = Gateway({"kraken": profile}, data_dir=data_dir, load_apart=False)
    try:
        async with asyncio.timeout(30), room.public("kraken"):
            pass
        yield room
    finally:
        await room.close()


def account(number: int = 0) -> TestAccount:
    keys = demo_accounts(1, dialect="kraken")[number]
    return TestAccount(keys.name, "kraken", {"apiKey": keys.api_key, "secret": keys.secret})


async def outcome(room: Gateway, of: TestAccount) -> str:
    async with room.private(of) as lease:
        try:
            await lease.call("fetch_balance")
        except Failure as failure:
            return INVALID if INVALID in failure.message else failure.code.value
        return "ok"


async def together(room: Gateway, *accounts: TestAccount) -> Counter[str]:
    async with asyncio.timeout(30):
        return Counter(await asyncio.gather(*(outcome(room, each) for each in accounts)))


async def test_fifty_calls_at_once_with_one_key_are_all_accepted() -> None:
    """Before, in ten rounds at a venue of 5 to 30 ms: fresh instances with CCXT's counter 2 to 5 of
    50; with one counter for all, but without the lane, 3 to 7. With both all 500, a round taking
    1.0 s."""
    async with kraken() as sim, warm(sim.base_url) as room:
        for _ in range(10):
            assert await together(room, *[account()] * CALLS) == {"ok": CALLS}
        assert sim.counters.snapshot().errors == {}


async def test_without_the_lane_requests_overtake_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What makes the test above more than a formality."""

    async def at_once(_: NonceLane) -> None: ...

    monkeypatch.setattr(NonceLane, "_enter", at_once)
    monkeypatch.setattr(NonceLane, "_leave", lambda _: None)
    async with kraken() as sim, warm(sim.base_url) as room:
        found = await together(room, *[account()] * CALLS)
        assert 0 < found["ok"] < CALLS // 2
        assert found["ok"] + found[INVALID] == CALLS


async def test_two_keys_do_not_wait_for_each_other() -> None:
    async with kraken() as sim, warm(sim.base_url) as room:
        key = account(0).credentials["apiKey"]
        sim.faults.add(Fault(kind="hang", route=BALANCE, api_key=key))
        hanging = asyncio.create_task(outcome(room, account(0)))
        assert await together(room, *[account(1)] * 5) == {"ok": 5}
        assert not hanging.done()
        hanging.cancel()
        await asyncio.wait([hanging])


async def test_public_calls_do_not_wait_for_a_key() -> None:
    async with kraken() as sim, warm(sim.base_url) as room:
        sim.faults.add(Fault(kind="hang", route=BALANCE))
        hanging = asyncio.create_task(outcome(room, account()))
        async with asyncio.timeout(5), room.public("kraken") as lease:
            await lease.call("fetch_ticker", "BTC/USDT")
        assert not hanging.done()
        hanging.cancel()
        await asyncio.wait([hanging])


async def test_a_request_cancelled_on_its_way_spoils_nothing_for_the_next() -> None:
    """Thirty calls at once, every third cancelled while it waits or is under way."""
    async with kraken() as sim, warm(sim.base_url) as room:
        for _ in range(3):
            calls = [asyncio.create_task(outcome(room, account())) for _ in range(30)]
            async with asyncio.timeout(30):
                for number, call in enumerate(calls):
                    if number % 3 == 1:
                        # Its predecessor is done, so this one is about to be sent, or was.
                        await asyncio.wait([calls[number - 1]])
                        for _ in range(number * 3):
                            await asyncio.sleep(0)
                        call.cancel()
                done = await asyncio.gather(*calls, return_exceptions=True)
            kept = [each for number, each in enumerate(done) if number % 3 != 1]
            assert kept == ["ok"] * 20


async def test_with_limits_a_call_is_accepted_or_refused_at_once_never_out_of_order() -> None:
    async with kraken(STARTER_TIER) as sim, warm(sim.base_url, rate_limit="on") as room:
        token = DEADLINE.set(asyncio.get_running_loop().time() + 4)
        try:
            found = await together(room, *[account()] * CALLS)
        finally:
            DEADLINE.reset(token)
        assert found["ok"] > 0
        assert found["ok"] + found["rate_limited"] == CALLS
        assert sim.counters.snapshot().errors == {}


CHILD = """
import asyncio, sys, time
back = float(sys.argv[3])
real = time.time
time.time = lambda: real() - back
from pathlib import Path
from tests.unit.exchanges.test_nonce_order import account, together, warm

async def main():
    async with warm(sys.argv[1], Path(sys.argv[2])) as room:
        while True:
            print(dict(await together(room, *[account()] * 50)), flush=True)

asyncio.run(main())
"""


async def test_after_a_kill_and_a_restart_calls_are_accepted_although_the_clock_went_back(
    tmp_path: Path,
) -> None:
    """Two servers one after the other, each killed at work, the second an hour earlier.

    Before: all calls of the second were refused for an hour.
    """
    async with kraken() as sim:
        for hours in range(2):
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", CHILD, sim.base_url, str(tmp_path), str(3600 * hours)),
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert child.stdout is not None
            async with asyncio.timeout(60):
                for _ in range(2):
                    assert await child.stdout.readline() == b"{'ok': 50}\n"
                child.kill()
                await child.wait()
        assert sim.counters.snapshot().errors == {}
