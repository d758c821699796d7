"""What a request waits for is told, and only when it waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.limits import Limits
from ccxt_mcp.exchanges.pacing import Pacing
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.telemetry import RECORDER, Silence, Step
from tests.unit.exchanges.test_nonce_order import account, kraken, outcome, warm


class Listener(Silence):
    def __init__(self) -> None:
        self.steps: Counter[tuple[Step, str | None, str]] = Counter()

    def step(self, step: Step, exchange: str | None, seconds: float, outcome: str) -> None:
        self.steps[step, exchange, outcome] += 1


@pytest.fixture
def told() -> Iterator[Counter[tuple[Step, str | None, str]]]:
    """How often each step was told of, by exchange and outcome."""
    listener = Listener()
    token = RECORDER.set(listener)
    yield listener.steps
    RECORDER.reset(token)


def slow(per_request_ms: float) -> Pacing:
    """The pacing of an exchange with CCXT's one request per so many milliseconds."""
    limits, profile = Limits(), ExchangeProfile(name="paper", exchange="bitmex")
    place = limits.place(profile, per_request_ms)
    return Pacing(limits, place, exchange="paper")


async def request(pacing: Pacing) -> None:
    async with pacing.request("public", "instrument", "GET", 1):
        pass


async def test_a_wait_for_a_limit_is_told_and_a_grant_at_once_is_not(
    told: Counter[tuple[Step, str | None, str]],
) -> None:
    pacing = slow(20)
    await request(pacing)
    assert told == {(Step.REQUEST, "paper", "ok"): 1}
    async with asyncio.timeout(10):
        while not told[Step.LIMIT, "paper", "ok"]:
            await request(pacing)
    assert told[Step.REQUEST, "paper", "ok"] > 1


async def test_a_request_that_is_refused_was_a_wait_and_no_request(
    told: Counter[tuple[Step, str | None, str]],
) -> None:
    """It was not sent: counted as a request it would look like one that the exchange refused."""
    pacing = slow(60_000)

    async def many() -> None:
        DEADLINE.set(asyncio.get_running_loop().time() + 1)
        for _ in range(100):
            await request(pacing)

    with pytest.raises(Failure) as refused:
        await asyncio.create_task(many())
    assert refused.value.code is Code.RATE_LIMITED
    assert told[Step.LIMIT, "paper", "rate_limited"] == 1
    assert set(told) == {
        (Step.REQUEST, "paper", "ok"),
        (Step.LIMIT, "paper", "rate_limited"),
    }


async def test_requests_of_one_key_wait_for_their_turn_and_others_do_not(
    told: Counter[tuple[Step, str | None, str]],
) -> None:
    async with kraken() as sim, warm(sim.base_url) as room:
        told.clear()
        assert await outcome(room, account(0)) == "ok"
        assert set(told) == {(Step.REQUEST, "kraken", "ok")}
        calls = (outcome(room, account(number)) for number in (0, 0, 0, 1))
        assert set(await asyncio.gather(*calls)) == {"ok"}
        assert told[Step.KEY, "kraken", "ok"] == 2
        assert told[Step.REQUEST, "kraken", "ok"] == 5
