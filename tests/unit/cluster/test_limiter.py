"""A rate limit of several replicas, in virtual time: one store, three nodes, no venue."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ccxt_mcp.cluster.hand import IN_HAND
from ccxt_mcp.cluster.limiter import SharedLimiter
from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.rate_limit import Rules, Window
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.protocol import Spent
from tests.unit.mechanisms.virtual_time import run

MINUTE = Rules(98.0, 1500.0, (Window(5940.0, 60.0),))
SMALL = Rules(10.0, 5.0, (Window(20.0, 2.0),), transit=1.0)
TRIP = 0.0005


class Replicas:
    """Limiters on one store, each of a node of its own, half a millisecond away."""

    def __init__(self, rules: Rules, count: int = 3) -> None:
        self.loop = asyncio.get_running_loop()
        self.store = MemoryStore(self.loop.time)
        self.store.trouble = self.trip
        self.trips = 0
        self.under_way: Counter[str] = Counter()
        self.most_under_way = 0
        self.away: Failure | None = None
        self.deaf = False
        self.nodes = [Node(self.store, f"n{number}") for number in range(count)]
        self._apply = self.store.budgets.apply
        self.store.budgets.apply = self.apply  # type: ignore[method-assign,assignment]
        self.limiters = [
            SharedLimiter(node, "venue", "weight", rules, name="venue weight")
            for node in self.nodes
        ]

    async def trip(self) -> None:
        await asyncio.sleep(TRIP)
        if self.away is not None:
            raise self.away

    async def apply(self, *args: Any) -> Spent:
        self.trips += 1
        self.under_way["now"] += 1
        self.most_under_way = max(self.most_under_way, self.under_way["now"])
        try:
            spent = await self._apply(*args)
            if self.deaf:
                raise Failure(Code.STORE_UNAVAILABLE, "no answer", retry_after=1.0)
            return spent
        finally:
            self.under_way["now"] -= 1

    async def counted(self) -> float:
        """What the store counts now, whoever it is from."""
        rules = self.limiters[0]._budget._rules
        return (await self._apply("venue", "weight", rules, [])).counted


class Venue:
    """Counts what arrives within any window, as it arrives."""

    def __init__(self, rules: Rules) -> None:
        self.loop = asyncio.get_running_loop()
        (self.window,) = rules.windows
        self.arrived: list[tuple[float, float]] = []

    async def serve(self, cost: float, latency: float) -> None:
        await asyncio.sleep(latency / 2)
        self.arrived.append((self.loop.time(), cost))
        await asyncio.sleep(latency / 2)

    def most(self) -> float:
        """The most units in any window."""
        most = held = 0.0
        first = 0
        for now, cost in self.arrived:
            held += cost
            while self.arrived[first][0] <= now - self.window.seconds:
                held -= self.arrived[first][1]
                first += 1
            most = max(most, held)
        return most


def virtually(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def wrapped() -> None:
        run(test())

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


async def busy(
    limiter: SharedLimiter, venue: Venue, until: float, dice: random.Random, flow: object = None
) -> float:
    """Spend as fast as it goes; units."""
    loop, spent = asyncio.get_running_loop(), 0.0
    while loop.time() < until:
        cost = dice.choice((1.0, 1.0, 2.0))
        charge = await limiter.acquire(cost, flow)
        limiter.sent(charge)
        await venue.serve(cost, dice.uniform(0.01, 0.2))
        limiter.settle(charge)
        spent += cost
    return spent


@virtually
async def test_three_replicas_at_full_speed_never_exceed_one_limit_and_use_it() -> None:
    """Three limiters that count for themselves let three times the limit through."""
    replicas, venue, dice = Replicas(SMALL), Venue(SMALL), random.Random(8)
    until = replicas.loop.time() + 120
    async with asyncio.TaskGroup() as tasks:
        for number in range(30):
            limiter = replicas.limiters[number % 3]
            tasks.create_task(busy(limiter, venue, until, dice, flow=number))
    assert venue.most() <= SMALL.windows[0].limit
    assert sum(cost for _, cost in venue.arrived) >= 0.9 * SMALL.rate * 120


@virtually
async def test_a_warm_grant_costs_one_round_trip_and_its_settling_is_told_later() -> None:
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    began = replicas.loop.time()
    charge = await limiter.acquire(1.0)
    assert replicas.loop.time() - began == pytest.approx(TRIP)
    assert replicas.trips == 1
    limiter.sent(charge)
    for _ in range(5):
        limiter.settle(charge)
        limiter.observe_used(500.0)
    await asyncio.sleep(0.1)
    assert replicas.trips == 2
    assert await replicas.counted() == 500.0


@virtually
async def test_where_there_is_room_an_answer_is_told_with_the_next_request() -> None:
    """Told for itself it would be one more round trip of every call that comes alone."""
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    for _ in range(10):
        charge = await limiter.acquire(1.0)
        limiter.sent(charge)
        await asyncio.sleep(0.1)
        limiter.settle(charge)
        await asyncio.sleep(0.5)
    assert replicas.trips == 10
    # Nine were told; the last one ends by itself, and ages from then on.
    await asyncio.sleep(MINUTE.transit + MINUTE.windows[0].seconds - 4)
    assert 0 < await replicas.counted() < 10
    await asyncio.sleep(5)
    assert await replicas.counted() == 0
    assert limiter.idle


async def paced(
    replicas: Replicas, limiter: SharedLimiter, count: int, every: float, cost: float = 1.0
) -> list[float]:
    """Requests one after the other; the seconds that each waited for its charge."""
    waited = []
    for _ in range(count):
        began = replicas.loop.time()
        charge = await limiter.acquire(cost)
        waited.append(replicas.loop.time() - began)
        limiter.sent(charge)
        await asyncio.sleep(every / 2)
        limiter.settle(charge)
        await asyncio.sleep(every / 2)
    return waited


@virtually
async def test_requests_that_follow_each_other_find_their_charge_in_hand() -> None:
    """Asked for by each, it is a round trip that every call waits for."""
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    waited = await paced(replicas, limiter, 20, every=0.1)
    assert waited[2:] == [0.0] * 18
    assert replicas.trips <= 21
    # Nobody comes for the last one.
    await asyncio.sleep(IN_HAND)
    charges = replicas.trips
    await asyncio.sleep(MINUTE.transit + MINUTE.windows[0].seconds)
    assert replicas.trips == charges
    assert await replicas.counted() == 0.0
    assert limiter.idle


@virtually
async def test_a_charge_in_hand_that_nobody_wants_is_given_back() -> None:
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    await paced(replicas, limiter, 3, every=0.1)
    assert await replicas.counted() == 4.0
    await asyncio.sleep(IN_HAND)
    assert await replicas.counted() == 3.0


@virtually
async def test_requests_that_come_alone_have_nothing_kept_for_them() -> None:
    """Pacing tries what is in hand before it waits in line. Taken for two that follow each other,
    each request would have one more charge taken for it, and given back in a second round trip."""
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    for _ in range(10):
        charge = limiter.take(1.0) or await limiter.acquire(1.0)
        limiter.sent(charge)
        limiter.settle(charge)
        await asyncio.sleep(4 * IN_HAND)
    assert replicas.trips == 10


@virtually
async def test_a_charge_in_hand_is_not_used_by_a_process_that_slept() -> None:
    """It may have been spent for the store long ago, which may have been told of a ban since."""
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    await paced(replicas, limiter, 3, every=0.1)
    replicas.loop.now += 1  # type: ignore[attr-defined]
    assert limiter.take(1.0) is None
    await asyncio.sleep(0.05)
    assert await replicas.counted() == 3.0


@virtually
async def test_nothing_is_kept_in_hand_where_there_is_little_room() -> None:
    """What one replica keeps for a request that may come, another has a request for."""
    rules = Rules(10.0, 4.0)
    replicas = Replicas(rules)
    held = [await replicas.limiters[1].acquire(1.0) for _ in range(3)]
    await paced(replicas, replicas.limiters[0], 3, every=0.1)
    assert await replicas.counted() == pytest.approx(3.0, abs=1.0)
    assert replicas.limiters[0]._hand._charge is None
    for each in held:
        replicas.limiters[1].refund(each)


@virtually
async def test_what_is_only_to_be_had_in_hand_holds_nobody_up() -> None:
    """Refused, it would stand in line before another replica's request."""
    one, two, _ = Replicas(Rules(1.0, 5.0)).limiters
    for _ in range(2):
        one.sent(await one.acquire(2.0))
    async with asyncio.timeout(0.1):
        two.sent(await two.acquire(1.0))


@virtually
async def test_a_charge_in_hand_whose_grant_was_never_heard_is_given_back() -> None:
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    for deaf in (False, False, True):
        replicas.deaf = deaf
        limiter.sent(await limiter.acquire(1.0))
        await asyncio.sleep(0.1)
    replicas.deaf = False
    await asyncio.sleep(2)
    assert await replicas.counted() == 3.0


@virtually
async def test_what_costs_something_else_is_asked_for() -> None:
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    await paced(replicas, limiter, 3, every=0.1)
    charge = await limiter.acquire(20.0)
    assert charge.cost == 20.0
    await asyncio.sleep(IN_HAND)
    assert await replicas.counted() == 23.0


@virtually
async def test_a_charge_in_hand_does_not_pass_a_ban() -> None:
    """Its own replica's at once; after another one's, one request may still go, and no second."""
    replicas = Replicas(MINUTE)
    one, two, _ = replicas.limiters
    await asyncio.gather(*(paced(replicas, each, 3, every=0.1) for each in (one, two)))
    now = replicas.loop.time()
    one.ban(now + 60)
    for limiter, free in ((one, 0), (two, 1)):
        for n in range(3):
            if n < free:
                limiter.settle(await limiter.acquire(1.0, deadline=now + 30))
                await asyncio.sleep(0.02)
            else:
                with pytest.raises(Failure, match="blocked by the exchange"):
                    await limiter.acquire(1.0, deadline=now + 30)
    await asyncio.sleep(IN_HAND)
    assert await replicas.counted() == 7.0


@virtually
async def test_where_there_is_little_room_the_store_hears_of_an_answer_at_once() -> None:
    """Otherwise the next replica would wait until the charge ends by itself."""
    rules = Rules(10.0, 1.0)
    replicas = Replicas(rules)
    one, two, _ = replicas.limiters
    charge = await one.acquire(1.0)
    one.sent(charge)
    one.settle(charge)
    began = replicas.loop.time()
    two.sent(await two.acquire(1.0))
    assert replicas.loop.time() - began < 0.25 < rules.transit


@virtually
async def test_who_waits_together_is_asked_for_together() -> None:
    """One by one, 256 sessions at 0.5 ms each would wait for 128 ms."""
    replicas = Replicas(MINUTE)
    began = replicas.loop.time()
    await asyncio.gather(*(replicas.limiters[0].acquire(1.0, n) for n in range(256)))
    assert replicas.trips == 4
    assert replicas.most_under_way == 1
    assert replicas.loop.time() - began < 0.01


@virtually
async def test_sessions_of_a_replica_are_served_in_turns() -> None:
    replicas = Replicas(SMALL)
    limiter, served = replicas.limiters[0], list[str]()

    async def one(flow: str) -> None:
        charge = await limiter.acquire(1.0, flow)
        served.append(flow)
        limiter.sent(charge)
        limiter.settle(charge)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(40):
            tasks.create_task(one("much"))
        await asyncio.sleep(0.2)
        for _ in range(5):
            tasks.create_task(one("little"))
    last = max(n for n, flow in enumerate(served) if flow == "little")
    assert served[: last + 1].count("much") <= 5 + 2 + 7


@virtually
async def test_who_wants_much_gets_it_although_other_replicas_want_little() -> None:
    replicas, venue, dice = Replicas(SMALL), Venue(SMALL), random.Random(8)
    until = replicas.loop.time() + 20
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            limiter = replicas.limiters[1 + number % 2]
            tasks.create_task(busy(limiter, venue, until, dice, flow=number))
        await asyncio.sleep(5)
        async with asyncio.timeout(3):
            charge = await replicas.limiters[0].acquire(5.0)
        replicas.limiters[0].settle(charge)


@virtually
async def test_a_ban_that_one_replica_hears_stops_all_and_all_limits_of_the_place() -> None:
    replicas = Replicas(MINUTE)
    one, two, three = replicas.limiters
    other = SharedLimiter(replicas.nodes[2], "venue", "orders", SMALL, name="venue orders")
    now = replicas.loop.time()
    one.ban(now + 60)
    await asyncio.sleep(0.02)
    for limiter in (one, two, other):
        with pytest.raises(Failure, match="blocked by the exchange") as refused:
            await limiter.acquire(1.0, deadline=now + 30)
        assert refused.value.code is Code.RATE_LIMITED
        assert refused.value.retry_after == pytest.approx(60, abs=0.1)
    await three.acquire(1.0)
    assert replicas.loop.time() >= now + 60


@virtually
async def test_a_ban_that_is_heard_of_while_the_store_is_asked_is_not_passed() -> None:
    """The store had not heard of it yet when it granted. Sent all the same, a request prolongs the
    ban."""
    replicas = Replicas(MINUTE)
    limiter = replicas.limiters[0]
    asked = [asyncio.create_task(limiter.acquire(1.0)) for _ in range(3)]
    await asyncio.sleep(TRIP / 2)
    until = replicas.loop.time() + 60
    limiter.ban(until)
    await asyncio.sleep(1)
    assert await replicas.counted() == 0.0
    charges = await asyncio.gather(*asked)
    assert until <= replicas.loop.time() < until + 1
    for charge in charges:
        limiter.refund(charge)


@virtually
async def test_replicas_back_off_together_and_longer_each_time() -> None:
    replicas = Replicas(MINUTE)
    one, two, _ = replicas.limiters
    for limiter, wait in ((one, 2.0), (two, 4.0), (one, 8.0)):
        charge = await limiter.acquire(1.0)
        assert limiter.back_off(2.0, 60.0) == wait
        limiter.settle(charge)
        await asyncio.sleep(0.05)
        with pytest.raises(Failure):
            await two.acquire(1.0, deadline=replicas.loop.time() + 0.5)
    charge = await two.acquire(1.0)
    two.forgive()
    two.settle(charge)
    await asyncio.sleep(0.05)
    await one.acquire(1.0)
    assert one.back_off(2.0, 60.0) == 2.0


@virtually
async def test_a_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    replicas = Replicas(Rules(1.0, 5.0))
    one, two, _ = replicas.limiters
    for _ in range(5):
        one.settle(await one.acquire(1.0))
    await asyncio.sleep(0.02)
    for limiter in (one, two):
        now = replicas.loop.time()
        with pytest.raises(Failure, match="used up") as refused:
            await limiter.acquire(4.0, deadline=now + 2)
        assert refused.value.code is Code.RATE_LIMITED
        assert refused.value.retry_after == pytest.approx(4.0, abs=0.1)
        assert replicas.loop.time() - now < 0.01
        # Who was refused does not stand in line either.
        await asyncio.sleep(0.02)


@virtually
async def test_a_full_queue_is_overloaded() -> None:
    replicas = Replicas(Rules(1.0, 1.0))
    limiter = replicas.limiters[0]
    limiter.queue_max = 3
    charge = await limiter.acquire(1.0)
    waiting = [asyncio.create_task(limiter.acquire(1.0)) for _ in range(3)]
    await asyncio.sleep(0.01)
    with pytest.raises(Failure) as refused:
        await limiter.acquire(1.0)
    assert refused.value.code is Code.OVERLOADED
    limiter.settle(charge)
    for task in waiting:
        limiter.settle(await task)


@virtually
async def test_a_store_that_is_away_refuses_and_recovers_alone() -> None:
    """Never a guess: three replicas that guess are three limits."""
    replicas = Replicas(SMALL)
    one, two, _ = replicas.limiters
    charge = await one.acquire(3.0)
    replicas.away = Failure(Code.STORE_UNAVAILABLE, "gone", retry_after=1.0)
    one.sent(charge)
    one.settle(charge)
    one.block_until(replicas.loop.time() + 5)
    for limiter in (one, two):
        with pytest.raises(Failure) as refused:
            await limiter.acquire(1.0, deadline=replicas.loop.time() + 3)
        assert refused.value.code in (Code.STORE_UNAVAILABLE, Code.RATE_LIMITED)
    assert refused.value.code is Code.STORE_UNAVAILABLE
    await asyncio.sleep(3)
    replicas.away = None
    await asyncio.sleep(1.1)
    # What could not be said then has been said since.
    now = replicas.loop.time()
    with pytest.raises(Failure, match="blocked"):
        await two.acquire(1.0, deadline=now + 0.3)
    await two.acquire(1.0)
    assert replicas.loop.time() - now < 1.0


@virtually
async def test_charges_whose_grant_was_never_heard_are_given_back() -> None:
    """The store had done what was asked, and its answer was lost. Nobody would ever settle them,
    and each would count for a whole window."""
    replicas = Replicas(MINUTE)
    replicas.deaf = True
    asked = [asyncio.create_task(replicas.limiters[0].acquire(1.0)) for _ in range(20)]
    for task in asked:
        with pytest.raises(Failure, match="no answer"):
            await task
    assert await replicas.counted() == 20.0
    replicas.deaf = False
    await asyncio.sleep(1.1)
    assert await replicas.counted() == 0.0


@virtually
async def test_cancel_storms_leave_no_charge_behind() -> None:
    """Cancelled while they wait, while the store is asked, and in the step in which they are
    granted."""
    replicas, dice = Replicas(SMALL), random.Random(8)
    for round_ in range(40):
        limiter = replicas.limiters[round_ % 3]
        tasks = [asyncio.create_task(limiter.acquire(1.0, n)) for n in range(10)]
        await asyncio.sleep(dice.choice((0.0, TRIP / 2, TRIP, 2 * TRIP, 0.3)))
        for task in tasks:
            task.cancel()
        for done in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(done, BaseException):
                limiter.refund(done)
        await asyncio.sleep(dice.choice((0.0, 0.05)))
    await asyncio.sleep(IN_HAND + 0.1)
    assert await replicas.counted() == 0.0
    assert [each.waiting for each in replicas.limiters] == [0, 0, 0]
    await asyncio.sleep(120)
    assert all(each.idle for each in replicas.limiters)


@virtually
async def test_who_is_cancelled_while_the_store_is_asked_is_not_asked_for_again() -> None:
    """With a store that answers without a pause it would be asked for without end, and nothing else
    would run in this process."""
    replicas = Replicas(MINUTE)
    limiter, asked = replicas.limiters[0], 0

    async def at_once(*args: Any) -> Spent:
        nonlocal asked
        asked += 1
        assert asked < 10
        return await replicas._apply(*args)

    replicas.store.trouble = None
    replicas.store.budgets.apply = at_once  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(limiter.acquire(1.0))
    for _ in range(2):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0.1)
    assert task.cancelled()
    assert asked == 2, "taken, and given back"
    assert await replicas.counted() == 0.0


@virtually
async def test_a_charge_counts_in_full_until_its_request_is_sent() -> None:
    """It may wait for another limit for longer than `transit`. Without being held up, it would have
    been forgotten before the venue counts it."""
    replicas = Replicas(Rules(1.0, 5.0, (Window(5.0, 10.0),), transit=1.0))
    limiter = replicas.limiters[0]
    charges = [await limiter.acquire(1.0) for _ in range(5)]
    await asyncio.sleep(30)
    assert await replicas.counted() == 5.0
    with pytest.raises(Failure, match="used up"):
        await replicas.limiters[1].acquire(1.0, deadline=replicas.loop.time() + 5)
    for charge in charges:
        limiter.sent(charge)
        limiter.settle(charge)
    await asyncio.sleep(10.1)
    assert await replicas.counted() == 0.0


@virtually
async def test_what_was_sent_long_after_it_was_granted_counts_anew() -> None:
    """A process that slept between the two: its charge has been forgotten meanwhile."""
    replicas = Replicas(Rules(1.0, 5.0, (Window(5.0, 10.0),), transit=1.0))
    limiter = replicas.limiters[0]
    charge = await limiter.acquire(5.0)
    replicas.loop.now += 30  # type: ignore[attr-defined]
    limiter.sent(charge)
    await asyncio.sleep(0.05)
    assert await replicas.counted() == 5.0


@virtually
async def test_what_a_killed_replica_had_taken_counts_and_is_forgotten_in_time() -> None:
    replicas = Replicas(SMALL)
    for _ in range(5):
        replicas.limiters[0].sent(await replicas.limiters[0].acquire(1.0))
    await asyncio.sleep(SMALL.transit + 2 + 0.5)
    assert await replicas.counted() == 0.0


@virtually
async def test_a_store_that_was_emptied_does_not_let_a_whole_window_through_again() -> None:
    replicas = Replicas(Rules(100.0, 50.0, (Window(100.0, 60.0),)))
    one, two, _ = replicas.limiters
    for limiter in (one, two):
        for _ in range(5):
            charge = await limiter.acquire(10.0)
            limiter.sent(charge)
            limiter.settle(charge)
        await asyncio.sleep(0.5)
    replicas.store.flush()
    with pytest.raises(Failure):
        await two.acquire(10.0, deadline=replicas.loop.time() + 20)
