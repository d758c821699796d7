"""Public answers are shared while they are young, and no longer: through the whole stack.

Each test counts the requests that the simulated exchange sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.calls.public_reads import Found, PublicReads
from ccxt_mcp.cluster.holding import HELD, Holding
from ccxt_mcp.errors import Failure
from ccxt_mcp.mechanisms.freshness import Reading
from ccxt_mcp.model import CALLER, Caller
from ccxt_mcp.simulation import Fault
from ccxt_mcp.tools.boundary import Boundary
from ccxt_mcp.tools.server import TOOLS
from tests.unit.tools.world import World, make_world, until

TICKER = "GET /api/v3/ticker/24hr"
BTC = {"symbol": "BTC/USDT"}


class Clock:
    """The moment that a test says it is."""

    def __init__(self) -> None:
        self.steady, self.wall = 1000.0, 1_800_000_000.0

    def __call__(self) -> Reading:
        return Reading(self.steady, self.wall)

    def pass_(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def world(tmp_path: Path, clock: Clock) -> AsyncIterator[World]:
    async with make_world(tmp_path) as made:
        await made.call("get_ticker", {"symbol": "ETH/USDT"})
        made.calls.reads = PublicReads(clock=clock)
        made.sim.counters.reset()
        yield made


async def ask(world: World, tool: str = "get_ticker", **arguments: Any) -> dict[str, Any]:
    result = await Boundary(world.calls, TOOLS).call(tool, BTC | arguments)
    assert not result.get("isError"), result
    data: dict[str, Any] = result["structuredContent"]
    return data


def asked(world: World, route: str = TICKER) -> int:
    return world.sim.counters.by_route[route]


async def test_two_hundred_who_ask_at_once_cost_one_request(world: World) -> None:
    """Without the flight each caller is a request: 200 workflows at the full minute are a ban."""
    answers = await asyncio.gather(*(ask(world) for _ in range(200)))
    assert asked(world) == 1
    assert len({str(answer["ticker"]) for answer in answers}) == 1
    assert sum(not answer["cached"] for answer in answers) == 1


async def test_an_answer_is_kept_for_its_moment_and_not_longer(world: World, clock: Clock) -> None:
    first = await ask(world)
    clock.pass_(0.99)
    second = await ask(world)
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["fetchedAt"] == second["fetchedAt"]
    clock.pass_(0.02)
    third = await ask(world)
    assert not third["cached"]
    assert third["fetchedAt"] > first["fetchedAt"]
    assert asked(world) == 2


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_jump_of_the_clock_makes_no_old_answer_young(
    world: World, clock: Clock, jump: float
) -> None:
    """By the wall clock alone, an answer of before the clock was set back is good for a day."""
    await ask(world)
    clock.wall += jump
    clock.pass_(1.01)
    assert not (await ask(world))["cached"]


async def test_a_caller_may_want_it_younger_but_not_older(world: World, clock: Clock) -> None:
    await ask(world)
    clock.pass_(0.5)
    assert (await ask(world, maxAgeMs=600))["cached"]
    assert not (await ask(world, maxAgeMs=400))["cached"]
    assert not (await ask(world, maxAgeMs=0))["cached"]
    clock.pass_(5)
    assert not (await ask(world, maxAgeMs=60_000))["cached"]


async def test_a_slow_answer_is_as_old_as_its_question(world: World, clock: Clock) -> None:
    """What comes after 3 s was true at some moment of them: for a bound of 1 s it is too old."""
    world.sim.faults.add(Fault(kind="latency", route=TICKER, milliseconds=100, times=1))
    slow = asyncio.create_task(ask(world))
    await until(lambda: world.sim.counters.in_flight > 0)
    clock.pass_(1.5)
    assert not (await ask(world))["cached"]
    await slow
    assert asked(world) == 2


async def test_other_questions_get_their_own_answers(world: World) -> None:
    """A key that forgot an argument would give one caller another's answer."""
    books = [
        await ask(world, "get_orderbook", limit=limit, symbol=symbol)
        for limit in (5, 10)
        for symbol in ("BTC/USDT", "ETH/USDT")
    ]
    assert [len(book["bids"]) for book in books] == [5, 5, 10, 10]
    assert books[0]["bids"] != books[1]["bids"]
    assert not any(book["cached"] for book in books)


async def test_spellings_of_one_symbol_share_an_answer(world: World) -> None:
    answers = [await ask(world, symbol=name) for name in ("BTC/USDT", "btcusdt", "btc-usdt")]
    assert [answer["cached"] for answer in answers] == [False, True, True]


async def test_what_is_an_accounts_is_never_kept(world: World) -> None:
    route = "GET /api/v3/account"
    for _ in range(3):
        result = await Boundary(world.calls, TOOLS).call("account_balance", {})
        assert not result.get("isError")
    assert asked(world, route) == 3
    assert world.calls.reads.snapshot()["entries"] == 0


async def test_a_failure_is_everybodys_who_waits_and_nobodys_after(world: World) -> None:
    """A kept failure would go on for a moment after the exchange is well again."""
    fault = world.sim.faults.add(
        Fault(kind="status", route=TICKER, status=400, body={"code": -1100, "msg": "no"})
    )
    boundary = Boundary(world.calls, TOOLS)
    results = await asyncio.gather(*(boundary.call("get_ticker", BTC) for _ in range(5)))
    assert all(result.get("isError") for result in results)
    assert asked(world) == 1
    world.sim.faults.clear(fault)
    assert not (await ask(world))["cached"]


async def test_a_caller_that_leaves_takes_nobody_with_it_and_the_last_ends_the_request(
    world: World,
) -> None:
    world.sim.faults.add(Fault(kind="hang", route=TICKER))
    callers = [asyncio.create_task(ask(world)) for _ in range(3)]
    await until(lambda: world.sim.counters.in_flight == 1)
    callers[0].cancel()
    callers[1].cancel()
    await asyncio.wait(callers[:2])
    assert world.sim.counters.in_flight == 1
    callers[2].cancel()
    await asyncio.wait(callers)
    await until(lambda: world.sim.counters.in_flight == 0)
    await until(lambda: world.calls.admission.running == 0)
    assert world.calls.reads.snapshot()["underWay"] == 0


async def test_who_was_first_may_lose_its_turn_without_ending_it_for_those_who_joined(
    world: World,
) -> None:
    """The request goes on in the first caller's name, but not on its session's lease: that one is
    given back, or lost, while others still wait. Before, they were all told that the store was
    away."""
    token = HELD.set((Holding("lane", "t", 0.0, 0.0, 0, 0, None),))
    try:
        first = asyncio.create_task(ask(world))
    finally:
        HELD.reset(token)
    others = [asyncio.create_task(ask(world)) for _ in range(3)]
    answers = await asyncio.gather(first, *others)
    assert asked(world) == 1
    assert len({str(answer["ticker"]) for answer in answers}) == 1


async def test_whoever_comes_as_the_last_one_leaves_gets_an_answer(world: World) -> None:
    """Joining the request that has just been given up would end the new caller with it."""
    world.sim.faults.add(Fault(kind="latency", route=TICKER, milliseconds=300))
    boundary = Boundary(world.calls, TOOLS)
    first = asyncio.create_task(boundary.call("get_ticker", BTC))
    await until(lambda: world.sim.counters.in_flight > 0)
    first.cancel()
    second = asyncio.create_task(boundary.call("get_ticker", BTC))
    await asyncio.wait([first])
    assert not (await second).get("isError")


async def test_nobody_stands_in_the_line_of_another_who_asked_the_same(tmp_path: Path) -> None:
    """Joined to a question that still waits for a slot, a caller waited behind all that the other
    had asked before: 13 s instead of one turn."""
    async with make_world(tmp_path, max_calls=2) as world:
        async with world.gateway.public("paper"):
            """Market tables."""
        boundary = Boundary(world.calls, TOOLS)
        world.sim.faults.add(Fault(kind="latency", route="GET /api/v3/depth", milliseconds=50))

        async def book(session: str, limit: int) -> int:
            CALLER.set(Caller(session=session))
            await boundary.call("get_orderbook", BTC | {"limit": limit})
            return limit

        done: list[tuple[str, int]] = []

        async def noted(session: str, limit: int) -> None:
            done.append((session, await book(session, limit)))

        flood = [asyncio.create_task(noted("flood", limit)) for limit in range(1, 31)]
        await until(lambda: world.calls.admission.waiting > 20)
        await noted("other", 30)
        assert len(done) < 10
        for task in flood:
            task.cancel()
        await asyncio.wait(flood)
        await until(lambda: world.calls.admission.running == 0)


async def test_what_was_held_is_given_back_before_the_last_caller_hears_of_the_end(
    world: World,
) -> None:
    """Told at once, its session's next call would begin while this one still holds its slot."""
    world.sim.faults.add(Fault(kind="hang", route=TICKER))
    caller = asyncio.create_task(ask(world))
    await until(lambda: world.sim.counters.in_flight == 1)
    caller.cancel()
    await asyncio.wait([caller])
    assert world.calls.admission.running == 0
    assert world.calls.reads.snapshot()["underWay"] == 0


async def test_numbers_that_python_takes_for_the_same_are_different_questions(
    world: World,
) -> None:
    """5 and 5.0 (and 1 and True) are one key to Python: whoever asked what the exchange refuses
    got the answer to what another had asked."""
    call = world.calls.begin("test")
    await call.read("paper", "fetch_order_book", "BTC/USDT", 5, project=_levels)
    with pytest.raises(Failure):
        await call.read("paper", "fetch_order_book", "BTC/USDT", 5.0, project=_levels)
    kept = await call.read("paper", "fetch_order_book", "BTC/USDT", 5, project=_levels)
    assert kept.found is Found.KEPT


def _levels(raw: Any, *_: Any) -> int:
    return len(raw["bids"])
