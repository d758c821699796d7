"""Waiting for a budget, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.rate_limit import Charge, Limiter, Rules, Window
from tests.unit.mechanisms.virtual_time import run

SLOW = Rules(1.0, 1.0)


def done(limiter: Limiter, charge: Charge) -> None:
    limiter.sent(charge)
    limiter.settle(charge)


async def ready() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()


def virtually(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def wrapped() -> None:
        async def bounded() -> None:
            async with asyncio.timeout(100_000):
                await test()

        run(bounded())

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


@virtually
async def test_what_fits_is_granted_at_once_and_the_rest_at_the_rate() -> None:
    limiter, began, grants = Limiter(Rules(2.0, 4.0), name="x"), now(), []
    for _ in range(8):
        done(limiter, await limiter.acquire(1.0))
        grants.append(round(now() - began, 6))
    assert grants == [0, 0, 0, 0, 0.5, 1.0, 1.5, 2.0]


@virtually
async def test_a_thousand_waiters_need_one_timer_and_no_polling() -> None:
    """Before, with CCXT's throttler: a look every millisecond, 40 % of a core for 100 waiters."""
    limiter = Limiter(Rules(10.0, 1.0), name="x")
    wakes = 0
    inner = limiter._wake

    def counted() -> None:
        nonlocal wakes
        wakes += 1
        inner()

    limiter._wake = counted  # type: ignore[method-assign]

    async def one(flow: int) -> None:
        done(limiter, await limiter.acquire(1.0, flow, now() + 1000))

    await asyncio.gather(*(one(flow % 64) for flow in range(1000)))
    assert wakes <= 2200
    assert limiter.waiting == 0
    assert limiter._timer is None


@virtually
async def test_what_cannot_be_granted_in_time_is_refused_at_once_with_the_wait() -> None:
    limiter = Limiter(SLOW, name="venue weight")
    done(limiter, await limiter.acquire(1.0))
    waiters = [asyncio.create_task(limiter.acquire(1.0, n, now() + 10)) for n in range(5)]
    await ready()
    began = now()
    with pytest.raises(Failure, match=r"venue weight is used up.* wait 6\.0s") as refused:
        await limiter.acquire(1.0, "late", now() + 5.5)
    assert now() == began
    assert refused.value.code is Code.RATE_LIMITED
    assert refused.value.retry_after == pytest.approx(6.0)
    for waiter in waiters:
        done(limiter, await waiter)


@virtually
async def test_who_is_overtaken_is_refused_at_its_deadline_and_never_granted() -> None:
    limiter = Limiter(SLOW, name="x")
    done(limiter, await limiter.acquire(1.0))

    async def one(flow: object, patience: float) -> None:
        done(limiter, await limiter.acquire(1.0, flow, now() + patience))

    heavy = [asyncio.create_task(one("heavy", 3.5)) for _ in range(3)]
    await ready()
    others = [asyncio.create_task(one(n, 60)) for n in range(5)]
    outcomes = await asyncio.gather(*heavy, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, Failure)]
    assert len(refused) == 2
    assert {each.code for each in refused} == {Code.RATE_LIMITED}
    await asyncio.gather(*others)
    assert limiter.waiting == 0


@virtually
async def test_a_cancelled_waiter_is_charged_nothing_and_the_next_one_moves_up() -> None:
    """Before, with CCXT's throttler: what had been cancelled was paid for all the same."""
    limiter, began = Limiter(SLOW, name="x"), now()
    done(limiter, await limiter.acquire(1.0))
    gone = [asyncio.create_task(limiter.acquire(1.0, n)) for n in range(20)]
    await ready()
    last = asyncio.create_task(limiter.acquire(1.0, "last"))
    await ready()
    for task in gone:
        task.cancel()
    done(limiter, await last)
    assert now() - began == pytest.approx(1.0)
    assert all(task.cancelled() for task in gone)
    assert limiter.snapshot()["granted"] == 2


@virtually
async def test_a_grant_that_meets_a_cancellation_goes_to_the_next() -> None:
    limiter, began = Limiter(SLOW, name="x"), now()
    done(limiter, await limiter.acquire(1.0))
    first = asyncio.create_task(limiter.acquire(1.0, 1))
    second = asyncio.create_task(limiter.acquire(1.0, 2))
    await ready()
    # In the very step of the loop in which the first is granted, before its task runs.
    asyncio.get_running_loop().call_at(began + 1.0, first.cancel)
    asyncio.get_running_loop().call_at(began + 1.0, limiter._proceed)
    done(limiter, await second)
    assert now() - began == pytest.approx(1.0)
    assert first.cancelled()


@virtually
async def test_a_waiter_cancelled_just_before_its_grant_is_passed_over() -> None:
    limiter = Limiter(SLOW, name="x")
    done(limiter, await limiter.acquire(1.0))
    first = asyncio.create_task(limiter.acquire(1.0, 1))
    second = asyncio.create_task(limiter.acquire(1.0, 2))
    await ready()
    first.cancel()
    limiter._ledger.used = 0.0
    limiter._proceed()
    done(limiter, await second)
    assert first.cancelled() or first.cancelling()
    await ready()
    assert limiter.waiting == 0


@virtually
async def test_a_block_holds_everybody_and_refuses_who_cannot_wait_so_long() -> None:
    limiter, began = Limiter(Rules(100.0, 1.0), name="x"), now()
    done(limiter, await limiter.acquire(1.0))
    patient = asyncio.create_task(limiter.acquire(1.0, 1, began + 60))
    hasty = asyncio.create_task(limiter.acquire(1.0, 2, began + 5))
    await ready()
    limiter.block_until(began + 30)
    limiter.block_until(began + 10)
    with pytest.raises(Failure, match="blocked by the exchange") as refused:
        await hasty
    assert now() == began
    assert refused.value.retry_after == pytest.approx(30.0)
    with pytest.raises(Failure):
        await limiter.acquire(1.0, 3, began + 29)
    assert not limiter.idle
    done(limiter, await patient)
    assert now() - began == pytest.approx(30.0)


@virtually
async def test_backing_off_doubles_until_the_venue_answers_again() -> None:
    limiter = Limiter(Rules(100.0, 10.0), name="x")
    assert [limiter.back_off(2.0, 10.0) for _ in range(4)] == [2.0, 4.0, 8.0, 10.0]
    limiter.forgive()
    assert limiter.back_off(2.0, 10.0) == 2.0
    assert limiter.take(1.0) is None


@virtually
async def test_a_full_queue_is_overloaded() -> None:
    limiter = Limiter(SLOW, name="x", queue_max=3)
    done(limiter, await limiter.acquire(1.0))
    waiters = [asyncio.create_task(limiter.acquire(1.0, n)) for n in range(3)]
    await ready()
    with pytest.raises(Failure) as refused:
        await limiter.acquire(1.0, 4)
    assert refused.value.code is Code.OVERLOADED
    assert refused.value.retry_after == pytest.approx(4.0)
    for waiter in waiters:
        done(limiter, await waiter)


@virtually
async def test_more_than_the_burst_waits_longer_but_not_for_ever() -> None:
    limiter, began = Limiter(Rules(10.0, 20.0, (Window(100.0, 10.0),)), name="x"), now()
    done(limiter, await limiter.acquire(20.0))
    done(limiter, await limiter.acquire(400.0))
    assert now() - began == pytest.approx(10.0, abs=0.2)
    done(limiter, await limiter.acquire(1.0))
    assert now() - began < 70


@virtually
async def test_nobody_passes_those_who_wait() -> None:
    limiter = Limiter(Rules(1.0, 10.0), name="x")
    done(limiter, await limiter.acquire(5.0))
    big = asyncio.create_task(limiter.acquire(8.0, "big"))
    await ready()
    small = asyncio.create_task(limiter.acquire(1.0, "small"))
    await ready()
    assert not small.done()
    done(limiter, await big)
    done(limiter, await small)


@virtually
async def test_a_request_under_way_is_waited_for_by_its_answer_not_by_looking() -> None:
    limiter, began = Limiter(Rules(1.0, 1.0, transit=50.0), name="x"), now()
    flying = await limiter.acquire(1.0)
    limiter.sent(flying)
    waiting = asyncio.create_task(limiter.acquire(1.0))
    await asyncio.sleep(7.0)
    limiter.settle(flying)
    done(limiter, await waiting)
    assert now() - began == pytest.approx(8.0)


def test_waits_shorter_than_a_loops_timers_can_tell_apart_are_waits_as_well() -> None:
    """Before, on uvloop: an AttributeError now and then, since a timer due within half a
    millisecond is none of its timers and does not know when it is due."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> float:
        limiter, began = Limiter(Rules(4000.0, 1.0), name="x"), now()

        async def one(flow: int) -> None:
            charge = await limiter.acquire(1.0, flow)
            limiter.sent(charge)
            await asyncio.sleep(0)
            limiter.settle(charge)

        async with asyncio.timeout(20):
            await asyncio.gather(*(one(flow % 7) for flow in range(400)))
        return now() - began

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) >= 0.099


async def _rush(cancelling: float, latency: float) -> dict[str, Any]:
    """64 sessions at full speed for two of the venue's minutes (of 6 s here)."""
    rules = Rules(98.0, 150.0, (Window(594.0, 6.0),))
    limiter, dice, began = Limiter(rules, name="x"), random.Random(4), now()
    spent: Counter[int] = Counter()
    arrived: list[tuple[float, float]] = []
    waits: list[float] = []

    async def request(session: int, cost: float) -> None:
        asked = now()
        charge = await limiter.acquire(cost, session, asked + 14)
        waits.append(now() - asked)
        limiter.sent(charge)
        await asyncio.sleep(dice.random() * latency)
        arrived.append((now() - began, cost))
        spent[session] += int(cost)
        await asyncio.sleep(dice.random() * latency)
        limiter.settle(charge)

    async def session(number: int) -> None:
        while now() - began < 12.0:
            cost = dice.choice((2.0, 2.0, 2.0, 6.0))
            try:
                async with asyncio.timeout(dice.random() * 3 if dice.random() < cancelling else 99):
                    await request(number, cost)
            except TimeoutError:
                continue

    await asyncio.gather(*(session(number) for number in range(64)))
    windows = [sum(c for at, c in arrived if n * 6 <= at < n * 6 + 6) for n in range(2)]
    return {"windows": windows, "spent": spent, "waits": waits}


@pytest.mark.parametrize("cancelling", [0.0, 0.3])
def test_at_saturation_the_budget_is_used_never_exceeded_and_shared_evenly(
    cancelling: float,
) -> None:
    async def main() -> dict[str, Any]:
        return await _rush(cancelling, latency=0.04)

    seen = run(main())
    assert all(570 <= each <= 600 for each in seen["windows"])
    assert max(seen["waits"]) < 14
    if not cancelling:
        shares = sorted(seen["spent"].values())
        assert shares[-1] <= 2 * shares[0]
