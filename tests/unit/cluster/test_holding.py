"""Leases as a replica holds them: never two holders, none left behind, loss known in time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from ccxt_mcp.cluster import holding as module
from ccxt_mcp.cluster.holding import HELD, LENGTH, Holding, Leaseholder, check_held
from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.protocol import Claim
from tests.unit.store.world import until


class Clock:
    """The store's clock and those of the nodes, which tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Replicas:
    """Two nodes on one store."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.store = MemoryStore(clock)
        self.nodes = [Node(self.store, name) for name in ("a", "b")]
        self.leases = [Leaseholder(node) for node in self.nodes]

    async def free(self, name: str = "lane") -> bool:
        """Whether the lease is nobody's, and nobody stands in line."""
        claimed = await self.store.leases.claim(name, "probe", node="probe", length=LENGTH)
        await self.store.leases.release(name, "probe", length=LENGTH)
        return claimed.state is Claim.GRANTED

    async def settled(self) -> None:
        await until(lambda: all("0 under way" in repr(node) for node in self.nodes))


@pytest.fixture
async def replicas(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replicas]:
    clock = Clock()
    monkeypatch.setattr(module, "_now", clock)
    monkeypatch.setattr(module, "_LOOK", 0.002)
    monkeypatch.setattr(module, "_AGAIN", 0.002)
    monkeypatch.setattr("ccxt_mcp.cluster.node._TO_END", 0.05)
    replicas = Replicas(clock)
    for node, leases in zip(replicas.nodes, replicas.leases, strict=True):
        await node.start()
        await leases.start()
    yield replicas
    for node, leases in zip(replicas.nodes, replicas.leases, strict=True):
        await leases.stop()
        await node.stop()


async def took(leases: Leaseholder, name: str = "lane") -> Holding:
    holding = await leases.take(name)
    assert holding is not None
    return holding


async def test_turns_go_round_between_replicas_without_overlap(replicas: Replicas) -> None:
    inside: list[int] = []
    turns: list[int] = []

    async def worker(number: int) -> None:
        chance = random.Random(number)
        leases = replicas.leases[number % 2]
        for _ in range(10):
            holding = await took(leases)
            assert not inside
            inside.append(number)
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            inside.remove(number)
            turns.append(number)
            leases.give(holding)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(worker(number))
    assert len(turns) == 100
    await replicas.settled()
    assert await replicas.free()
    assert repr(replicas.leases[0]) == "<Leaseholder 0 held, 0 wait>"


async def test_a_missing_record_is_no_lease(replicas: Replicas) -> None:
    assert await replicas.leases[0].take("lane", record=True, ttl=60) is None
    opened = await replicas.store.records.open("lane", b"x", node="a", ttl=60)
    holding = await replicas.leases[0].take("lane", record=True, ttl=60)
    assert holding is not None
    assert holding.version == opened.record.version


async def test_the_numbers_used_are_what_the_next_begins_with(replicas: Replicas) -> None:
    a, b = replicas.leases
    first = await a.take("key", reserve=1000)
    assert first is not None
    a.give(first, mark=700)
    second = await b.take("key", reserve=800, ahead=500)
    assert second is not None
    b.give(second)
    third = await a.take("key")
    assert third is not None
    assert (first.mark, second.mark, third.mark) == (0, 700, 1200)


async def test_a_take_that_is_cancelled_anywhere_leaves_no_lease_behind(
    replicas: Replicas,
) -> None:
    """Cancelled after each number of steps of the loop, while the store is slow, alone and in line.
    Without the care for a claim under way its release overtakes it, and the lane stands still for
    a lease's length."""
    chance = random.Random(1)

    async def slow() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    a, b = replicas.leases
    for in_line in (False, True):
        for steps in range(25):
            replicas.store.trouble = None
            holder = await took(b) if in_line else None
            replicas.store.trouble = slow
            task = asyncio.create_task(a.take("lane"))
            for step in range(steps):
                await asyncio.sleep(0)
                if holder is not None and step == steps // 2:
                    b.give(holder)
            task.cancel()
            [outcome] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, Holding):
                a.give(outcome)
            if holder is not None:
                b.give(holder)
            await replicas.settled()
            replicas.store.trouble = None
            await replicas.settled()
            assert await replicas.free(), f"{in_line=} {steps=}"


async def test_a_take_that_the_store_fails_leaves_no_lease_behind(replicas: Replicas) -> None:
    """What was asked may have been done although the answer was lost."""
    leases = replicas.store.leases
    claim = leases.claim

    async def done_but_not_answered(*args: object, **words: object) -> object:
        await claim(*args, **words)  # type: ignore[arg-type]
        raise Failure(Code.STORE_UNAVAILABLE, "away", retry_after=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "claim", done_but_not_answered)
        with pytest.raises(Failure):
            await replicas.leases[0].take("lane")
    await replicas.settled()
    assert await replicas.free()


async def test_a_lease_is_given_up_as_soon_as_the_store_is_back(replicas: Replicas) -> None:
    """Without that the next one waits for its end, although the store is well again."""
    holding = await took(replicas.leases[0])

    async def away() -> None:
        raise Failure(Code.STORE_UNAVAILABLE, "away", retry_after=1)

    replicas.store.trouble = away
    replicas.leases[0].give(holding)
    await asyncio.sleep(0.01)
    replicas.store.trouble = None
    await replicas.settled()
    assert await replicas.free()


async def test_what_is_held_is_renewed(replicas: Replicas) -> None:
    holding = await took(replicas.leases[0])
    for _ in range(8):
        replicas.clock.now += LENGTH / 3 + 0.01
        await until(lambda: holding.asked == replicas.clock.now)
        holding.check()
    assert not await replicas.free()
    assert not holding.lost


async def test_a_lease_is_lost_by_the_nodes_own_clock_while_the_store_hangs(
    replicas: Replicas,
) -> None:
    """Nothing tells the holder; it knows before the store would give the lease to another."""
    holding = await took(replicas.leases[0])
    told: list[str] = []
    holding.on_loss(lambda: told.append("lost"))
    hanging = asyncio.Event()
    replicas.store.trouble = hanging.wait  # type: ignore[assignment]
    replicas.clock.now += LENGTH - module.MARGIN - 0.01
    await asyncio.sleep(0.02)
    assert holding.sure
    assert not told
    replicas.clock.now += 0.02
    await until(lambda: told == ["lost"])
    # An answer that comes now is too late, though the store may have renewed it.
    hanging.set()
    await asyncio.sleep(0.02)
    assert holding.lost
    with pytest.raises(Failure) as caught:
        holding.check()
    assert caught.value.code is Code.STORE_UNAVAILABLE
    assert told == ["lost"]


async def test_a_process_that_slept_finds_out_before_its_next_send(replicas: Replicas) -> None:
    """The loop has not run since, so no timer could tell."""
    holding = await took(replicas.leases[0])
    told: list[str] = []
    holding.on_loss(lambda: told.append("lost"))
    mark = HELD.set((holding,))
    try:
        check_held()
        replicas.clock.now += LENGTH
        with pytest.raises(Failure):
            check_held()
    finally:
        HELD.reset(mark)
    assert told == ["lost"]
    late: list[str] = []
    holding.on_loss(lambda: late.append("lost"))
    assert late == ["lost"]
    check_held()


async def test_a_lease_that_the_store_has_forgotten_is_lost_at_the_next_renewal(
    replicas: Replicas,
) -> None:
    holding = await took(replicas.leases[0])
    replicas.store.flush()
    replicas.clock.now += module.RENEW + 0.01
    await until(lambda: holding.lost)


async def test_a_grant_that_was_not_heard_is_found_by_asking_again(replicas: Replicas) -> None:
    holding = await took(replicas.leases[0])
    waiting = asyncio.create_task(took(replicas.leases[1]))
    await until(lambda: "1 wait" in repr(replicas.leases[1]))
    await asyncio.sleep(0)
    # It hears nothing: no message reaches it.
    await replicas.store.mail.unlisten("b")
    replicas.leases[0].give(holding)
    await replicas.settled()
    # As when its wait has passed, or the connection that was lost is back.
    replicas.leases[1]._missed()
    got = await asyncio.wait_for(waiting, 10)
    assert got.sure


async def test_a_grant_that_is_heard_before_the_answer_is_not_given_back(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the claim and the message come by different connections. A message about a
    claim that nobody seems to have made would be answered with a release, and whoever made it would
    stand at the end of the line."""
    a, b = replicas.leases
    holding = await took(a)
    claim = replicas.store.leases.claim
    answers = 0

    async def answered_late(*args: object, **words: object) -> object:
        nonlocal answers
        answer = await claim(*args, **words)  # type: ignore[arg-type]
        answers += 1
        if answers == 1:
            a.give(holding)
            await replicas.store.leases.claim("lane", "rival", node="r", length=LENGTH)
            for _ in range(20):
                await asyncio.sleep(0)
        return answer

    monkeypatch.setattr(replicas.store.leases, "claim", answered_late)
    got = await asyncio.wait_for(took(b), 10)
    assert got.sure


async def test_a_grant_for_who_has_gone_is_passed_on(replicas: Replicas) -> None:
    claimed = await replicas.store.leases.claim("lane", "x", node="x", length=LENGTH)
    assert claimed.state is Claim.GRANTED
    await replicas.store.leases.claim("lane", "a-gone", node="a", length=LENGTH)
    await replicas.store.leases.release("lane", "x", length=LENGTH)
    async with asyncio.timeout(10):
        while not await replicas.free():
            await asyncio.sleep(0.002)


async def test_a_young_store_makes_who_takes_wait_for_one_length(replicas: Replicas) -> None:
    replicas.store.flush()
    waiting = asyncio.create_task(took(replicas.leases[0]))
    await until(lambda: "1 wait" in repr(replicas.leases[0]))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    replicas.clock.now += LENGTH - 0.1
    replicas.leases[0]._missed()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    replicas.clock.now += 0.2
    replicas.leases[0]._missed()
    assert (await asyncio.wait_for(waiting, 10)).sure
