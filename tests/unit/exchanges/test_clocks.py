"""Clocks: a venue's that is off is seen, followed, and asked about seldom."""

from __future__ import annotations

import asyncio

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.clocks import FRESH, PATIENCE, PER_MINUTE, Clock, adjusts
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.nonce_rules import ORDERED
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.simulation import Fault
from tests.unit.exchanges.conftest import Bench, paper, until
from tests.unit.exchanges.source import calls, inherited, lineage, methods, says

TIME = "GET /api/v3/time"
ORDERS = "GET /api/v3/openOrders"


class Venue:
    """A venue's clock, and both clocks of a machine, none of which goes by itself."""

    def __init__(self, off: float = 0.0, trip: float = 0.1) -> None:
        self.off = off
        self.trip = trip
        self.cut = 1
        self.asked = 0
        self.trips: list[float] = []
        self.passed = 0.0
        self.stepped = 0.0
        self.refuse = False
        self.gate: asyncio.Event | None = None

    def wall(self) -> float:
        return 1_763_700_000.25 + self.passed + self.stepped

    def steady(self) -> float:
        return self.passed

    async def ask(self) -> int:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse:
            raise Failure(Code.EXCHANGE_UNAVAILABLE, "gone")
        trip = self.trips.pop(0) if self.trips else self.trip
        self.passed += trip / 2
        theirs = int((self.wall() - self.stepped + self.off) * 1000)
        self.passed += trip / 2
        return theirs // self.cut * self.cut

    def clock(self) -> Clock:
        return Clock(self.ask, wall=self.wall, steady=self.steady)


async def corrected(clock: Clock) -> int:
    options: dict[str, int] = {}
    async with asyncio.timeout(5):
        await clock.correct(options)
    return options["timeDifference"]


@pytest.mark.parametrize("off", [30.0, -30.0, 1.75])
async def test_the_difference_is_read_off_the_middle_of_the_trip(off: float) -> None:
    venue = Venue(off)
    assert await corrected(venue.clock()) == pytest.approx(-off * 1000, abs=2)
    assert venue.asked == 1


@pytest.mark.parametrize(
    ("off", "trip", "cut"), [(0.0, 0.1, 1), (0.04, 0.1, 1), (0.9, 2.0, 1), (-0.1, 0.1, 1000)]
)
async def test_a_good_clock_is_believed_until_it_is_contradicted(
    off: float, trip: float, cut: int
) -> None:
    """Before: an answer that took two seconds, or told whole ones, put a good clock a second off,
    and Binance refuses what is more than one second ahead."""
    venue = Venue(off, trip)
    venue.cut = cut
    assert await corrected(venue.clock()) == 0


async def test_of_slow_answers_the_quickest_counts() -> None:
    venue = Venue(30.0)
    venue.trips = [3.0, 0.4, 1.0]
    clock = venue.clock()
    await corrected(clock)
    assert venue.asked == 3
    assert clock.difference == pytest.approx(-30_000, abs=2)
    state = clock.snapshot()
    assert state is not None
    assert state["offsetMs"] == -clock.difference
    assert state["roundTripMs"] == pytest.approx(400)


async def test_a_clock_that_tells_whole_seconds_is_asked_again() -> None:
    venue = Venue(30.0)
    venue.cut = 1000
    assert await corrected(venue.clock()) == pytest.approx(-30_000, abs=550)
    assert venue.asked == 3


async def test_a_reading_is_renewed_when_it_is_old_and_no_call_waits_for_that() -> None:
    venue = Venue(30.0)
    clock = venue.clock()
    await corrected(clock)
    venue.passed += FRESH - 10
    await corrected(clock)
    assert venue.asked == 1
    venue.passed += 10
    venue.off = 31.0
    assert await corrected(clock) == pytest.approx(-30_000, abs=2)
    await clock.settled()
    assert await corrected(clock) == pytest.approx(-31_000, abs=2)
    assert venue.asked == 2


async def test_a_step_of_our_own_clock_is_noticed() -> None:
    """Before: after the machine's clock was corrected by a minute, every call failed."""
    venue = Venue(0.0)
    clock = venue.clock()
    assert await corrected(clock) == 0
    venue.stepped = 60.0
    assert await corrected(clock) == pytest.approx(60_000, abs=2)


async def test_a_complaint_is_followed_at_once_but_not_without_end() -> None:
    venue = Venue(0.0)
    clock = venue.clock()
    await corrected(clock)
    venue.off = 30.0
    clock.complained()
    assert await corrected(clock) == pytest.approx(-30_000, abs=2)
    for _ in range(50):
        clock.complained()
        await corrected(clock)
    assert venue.asked == PER_MINUTE
    venue.passed += 60
    clock.complained()
    await corrected(clock)
    assert venue.asked == PER_MINUTE + 1


async def test_many_calls_at_once_ask_once() -> None:
    venue = Venue(30.0)
    clock = venue.clock()
    assert len(set(await asyncio.gather(*(corrected(clock) for _ in range(50))))) == 1
    assert venue.asked == 1


async def test_an_exchange_that_does_not_tell_its_time_is_asked_with_ours() -> None:
    venue = Venue()
    venue.refuse = True
    clock = venue.clock()
    assert await corrected(clock) == 0
    venue.refuse = False
    venue.off = 30.0
    assert await corrected(clock) == pytest.approx(-30_000, abs=2)


async def test_a_measurement_that_hangs_holds_a_call_up_for_a_bounded_time() -> None:
    venue = Venue()
    venue.gate = asyncio.Event()
    clock = venue.clock()
    clock.begin()
    await until(lambda: venue.asked == 1)
    venue.passed += PATIENCE
    assert await corrected(clock) == 0
    async with asyncio.timeout(5):
        await clock.close()
    clock.begin()
    assert repr(clock) == "<Clock unknown>"


async def test_a_cancelled_call_does_not_stop_the_measurement_of_others() -> None:
    venue = Venue(30.0)
    venue.gate = asyncio.Event()
    clock = venue.clock()
    first = asyncio.create_task(corrected(clock))
    second = asyncio.create_task(corrected(clock))
    await until(lambda: venue.asked == 1)
    first.cancel()
    await asyncio.wait([first])
    venue.gate.set()
    async with asyncio.timeout(5):
        assert await second == pytest.approx(-30_000, abs=2)


@pytest.mark.parametrize("seconds", [30, -30])
async def test_a_credentialed_read_works_at_a_venue_whose_clock_is_off(
    bench: Bench, seconds: int
) -> None:
    """Before: -1021, the timestamp is outside of the recvWindow, on every credentialed call."""
    bench.sim.venue.set_clock_offset(seconds * 1000)
    async with asyncio.timeout(20), bench.gateway.private(bench.main) as lease:
        assert len(await lease.call("fetch_open_orders")) == 7
    clock = bench.gateway.snapshot()["paper"]["clock"]
    assert clock["offsetMs"] == pytest.approx(seconds * 1000, abs=250)
    bench.sim.counters.reset()
    async with asyncio.timeout(20), bench.gateway.private(bench.main) as lease:
        await lease.call("fetch_open_orders")
    assert (bench.requests(), bench.count(TIME)) == (1, 0)


async def test_a_clock_that_goes_off_later_costs_one_refused_call(bench: Bench) -> None:
    """The same lease may try again at once: every request is signed with what is known by then."""
    async with asyncio.timeout(20), bench.gateway.private(bench.main) as lease:
        await lease.call("fetch_open_orders")
        bench.sim.venue.set_clock_offset(-60_000)
        with pytest.raises(Failure) as caught:
            await lease.call("fetch_open_orders")
        assert caught.value.retryable
        assert len(await lease.call("fetch_open_orders")) == 7


async def test_who_configures_a_difference_is_believed(bench: Bench) -> None:
    options = {"fetchMarkets": {"types": ["spot"]}, "timeDifference": 30_000}
    gateway = Gateway({"paper": paper(bench.sim.base_url, options=options)}, load_apart=False)
    bench.sim.venue.set_clock_offset(-30_000)
    try:
        async with asyncio.timeout(20), gateway.private(bench.main) as lease:
            assert len(await lease.call("fetch_open_orders")) == 7
        assert bench.count(TIME) == 0
    finally:
        await gateway.close()


async def test_a_venue_that_hangs_on_its_time_serves_calls_all_the_same(bench: Bench) -> None:
    bench.sim.faults.add(Fault(kind="hang", route=TIME))
    async with asyncio.timeout(20), bench.gateway.private(bench.main) as lease:
        assert len(await lease.call("fetch_open_orders")) == 7


def test_classes_with_the_option_are_those_that_use_it() -> None:
    """By reading CCXT's source. dydx has it in its source, and signs with something else."""
    using, having = set(), set()
    for exchange in catalog().exchanges:
        names = set().union(*(methods(each) for each in lineage(exchange))) - {"describe"}
        used = (inherited(exchange, name) for name in names)
        if any(code is not None and says(code, "timeDifference") for code in used):
            using.add(exchange)
        prototype = build_prototype(ExchangeProfile(name=exchange, exchange=exchange), 1000)
        if adjusts(exchange, prototype.options, prototype.has):
            having.add(exchange)
            asking = inherited(exchange, "fetch_time")
            assert asking is not None
            assert not calls(asking, "load_markets"), exchange
    assert having == using - set(ORDERED) - {"dydx"}
    assert len(having) >= 29
