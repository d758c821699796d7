"""Admission: bounds in all, per exchange and per key; fair turns; nothing kept by the cancelled."""

import asyncio
import random
from collections import Counter

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.admission import Admission


def admission(
    *, total: int = 8, per_exchange: int = 4, per_key: int = 2, queue: int = 100
) -> Admission:
    return Admission(total=total, per_exchange=per_exchange, per_key=per_key, queue=queue)


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


class Crowd:
    """Calls that run until they are let go."""

    def __init__(self, slots: Admission) -> None:
        self.slots = slots
        self.running: Counter[tuple[str, str | None]] = Counter()
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.go = asyncio.Event()

    def call(self, exchange: str, key: str | None = None, flow: str = "s") -> asyncio.Task[None]:
        async def run() -> None:
            async with self.slots.slot(exchange, key, flow):
                self.running[exchange, key] += 1
                self.order.append(flow)
                try:
                    await self.go.wait()
                finally:
                    self.running[exchange, key] -= 1

        task = asyncio.create_task(run())
        self.tasks.append(task)
        return task

    async def end(self) -> None:
        self.go.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*self.tasks, return_exceptions=True)
        assert repr(self.slots) == f"<Admission 0/{self.slots._total} running, 0 waiting>"


async def test_one_exchange_gets_at_most_its_part_and_the_others_go_on() -> None:
    crowd = Crowd(admission())
    for _ in range(10):
        crowd.call("hanging")
    await settle()
    assert crowd.running["hanging", None] == 4
    crowd.call("other")
    await settle()
    assert crowd.running["other", None] == 1
    await crowd.end()


async def test_one_key_gets_at_most_its_part_of_the_exchange() -> None:
    crowd = Crowd(admission())
    for _ in range(5):
        crowd.call("x", "a")
    crowd.call("x", "b")
    await settle()
    assert crowd.running == {("x", "a"): 2, ("x", "b"): 1}
    await crowd.end()


async def test_a_full_queue_refuses_at_once() -> None:
    crowd = Crowd(admission(total=1, queue=1))
    crowd.call("x")
    crowd.call("x")
    await settle()
    with pytest.raises(Failure) as refused:
        async with crowd.slots.slot("x", None, "s"):
            pass
    assert refused.value.code is Code.OVERLOADED
    assert refused.value.retry_after == 1.0
    await crowd.end()


async def test_a_flood_leaves_places_to_wait_in_for_others() -> None:
    """Without a share, one caller's flood fills the queue, and everybody else is refused for as
    long as it lasts: 49 of 221 calls of others were, under 5,000 at once (`benchmarks.flood`)."""
    crowd = Crowd(admission(total=1, queue=10))
    for _ in range(50):
        crowd.call("x", "a", flow="flood")
    await settle()
    assert crowd.slots.waiting == 5
    for _ in range(50):
        # Under another key as well: the places are common.
        crowd.call("x", "b", flow="flood")
        crowd.call("x", "b", flow="second")
    await settle()
    assert crowd.slots.waiting == 8
    modest = [crowd.call("x", flow=f"modest-{n}") for n in range(3)]
    await settle()
    assert [task.done() for task in modest] == [False, False, True]
    await crowd.end()


async def test_a_session_with_many_calls_does_not_put_anothers_first_behind_them() -> None:
    slots = admission(total=1)
    order: list[str] = []
    go = asyncio.Event()

    async def call(flow: str) -> None:
        async with slots.slot("x", None, flow):
            await go.wait()
            order.append(flow)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(call("greedy"))
        await settle()
        group.create_task(call("modest"))
        await settle()
        go.set()
    assert order.index("modest") <= 2


async def test_cancelled_calls_keep_nothing_whenever_it_happens() -> None:
    """Without handing a slot on that was granted in the step of the cancellation, it is lost."""
    slots = admission(total=3, per_exchange=2, per_key=1)
    dice = random.Random(5)

    async def call(number: int) -> None:
        async with slots.slot(dice.choice("xyz"), dice.choice(["a", "b", None]), number % 5):
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)

    async with asyncio.timeout(20):
        for _ in range(100):
            tasks = [asyncio.create_task(call(number)) for number in range(20)]
            for _ in range(dice.randrange(12)):
                await asyncio.sleep(0)
                dice.choice(tasks).cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert repr(slots) == "<Admission 0/3 running, 0 waiting>"
            assert not slots._waiting
            assert not slots._of_exchange
            assert not slots._of_group


async def test_the_bounds_hold_at_every_moment() -> None:
    slots = admission(total=5, per_exchange=3, per_key=2, queue=1000)
    dice = random.Random(2)
    now: Counter[tuple[str, str | None]] = Counter()

    async def call(number: int) -> None:
        exchange, key = dice.choice("xy"), dice.choice(["a", "b", None])
        async with slots.slot(exchange, key, number % 7):
            now[exchange, key] += 1
            assert now.total() <= 5
            assert sum(n for (each, _), n in now.items() if each == exchange) <= 3
            assert key is None or now[exchange, key] <= 2
            await asyncio.sleep(0)
            now[exchange, key] -= 1

    async with asyncio.timeout(10):
        await asyncio.gather(*(call(number) for number in range(500)))
