"""Many waiters, one piece of work: who leaves, what fails, and what is left behind."""

import asyncio

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.freshness import Reading
from ccxt_mcp.mechanisms.single_flight import Flight, SingleFlight

NOW = Reading(0.0, 0.0)


class Work:
    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = 0
        self.cancelled = False
        self.failure: Failure | None = None

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.failure is not None:
            raise self.failure
        return "done"


@pytest.fixture
def work() -> Work:
    return Work()


def join(flights: SingleFlight[str], work: Work, count: int) -> list[asyncio.Task[str]]:
    flight: Flight[str] | None = flights.under_way("k", 1.0, NOW)
    flight = flight or flights.start("k", work, NOW)
    return [asyncio.create_task(flights.outcome("k", flight)) for _ in range(count)]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_ask_meanwhile_get_one_outcome(work: Work) -> None:
    flights: SingleFlight[str] = SingleFlight()
    waiters = join(flights, work, 2) + join(flights, work, 3)
    await settle()
    work.go.set()
    assert await asyncio.gather(*waiters) == ["done"] * 5
    assert work.begun == 1
    assert len(flights) == 0


async def test_a_waiter_that_leaves_ends_nobody_elses_wait(work: Work) -> None:
    """CCXT's own shared load ends for all when one waiter is cancelled."""
    flights: SingleFlight[str] = SingleFlight()
    leaving, staying = join(flights, work, 2)
    await settle()
    leaving.cancel()
    await settle()
    assert not work.cancelled
    work.go.set()
    assert await staying == "done"
    assert leaving.cancelled()


async def test_the_last_waiter_that_leaves_ends_the_work(work: Work) -> None:
    """Otherwise requests go on for nobody, against the rate limit."""
    flights: SingleFlight[str] = SingleFlight()
    waiters = join(flights, work, 2)
    await settle()
    for waiter in waiters:
        waiter.cancel()
    assert len(flights) == 1
    await settle()
    assert work.cancelled
    assert len(flights) == 0
    (fresh,) = join(flights, work, 1)
    await settle()
    work.go.set()
    assert await fresh == "done"
    assert work.begun == 2


async def test_each_waiter_gets_a_failure_of_its_own(work: Work) -> None:
    """One exception raised in many tasks collects the frames, and with them the keys, of all."""
    flights: SingleFlight[str] = SingleFlight()
    work.failure = Failure(Code.TIMEOUT, "no answer", retry_after=2.0)
    waiters = join(flights, work, 3)
    await settle()
    work.go.set()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    failures = [each for each in outcomes if isinstance(each, Failure)]
    assert len({id(each) for each in failures}) == 3
    assert {(each.code, each.retry_after) for each in failures} == {(Code.TIMEOUT, 2.0)}
    assert work.failure not in failures


async def test_a_flight_that_began_too_long_ago_is_not_joined(work: Work) -> None:
    """Its answer may have been true before this caller asked."""
    flights: SingleFlight[str] = SingleFlight()
    (first,) = join(flights, work, 1)
    later = Reading(2.0, 2.0)
    assert flights.under_way("k", 1.0, later) is None
    second = asyncio.create_task(flights.outcome("k", flights.start("k", work, later)))
    await settle()
    work.go.set()
    assert list(await asyncio.gather(first, second)) == ["done", "done"]
    assert work.begun == 2
    assert len(flights) == 0
