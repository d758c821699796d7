"""A key's numbers in several replicas: always rising, whatever happens to clocks and processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.nonces import NonceLanes
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.protocol import Claimed
from tests.unit.exchanges.conftest import until
from tests.unit.exchanges.test_nonces import NOW, SetClock


class Replica:
    """The lanes of one replica, whose clock is what a test says."""

    def __init__(self, store: MemoryStore, skew: float = 0.0, data_dir: Path | None = None) -> None:
        self.clock = SetClock()
        self.clock.seconds += skew
        self.cluster = Cluster(store, prefix="test")
        self.lanes = NonceLanes(data_dir, now=self.clock, cluster=self.cluster)

    def propose(self) -> int:
        return self.clock.ms

    def lane(self, exchange: str = "kraken") -> Any:
        key_id = self.lanes.key_id(exchange, False, {"apiKey": "k"})
        return self.lanes.lane(exchange, key_id, {}, self.propose)

    async def number(self, exchange: str = "kraken") -> int:
        async with asyncio.timeout(20):
            lane = await self.lane(exchange).prepared()
            turn = lane.turn()
            async with turn:
                await turn.ready()
                found = lane.next(self.propose())
        assert isinstance(found, int)
        return found


@asynccontextmanager
async def some(
    *skews: float, store: MemoryStore | None = None, data_dir: Path | None = None
) -> AsyncIterator[list[Replica]]:
    store = store or MemoryStore()
    async with AsyncExitStack() as stack:
        found = []
        for number, skew in enumerate(skews):
            folder = None if data_dir is None else data_dir / str(number)
            found.append(Replica(store, skew, folder))
            await found[-1].cluster.start()
            stack.push_async_callback(found[-1].cluster.stop)
        yield found


async def test_numbers_rise_over_replicas_whose_clocks_are_hours_apart() -> None:
    async with some(0.0, 3600.0, -7200.0) as found:
        used = []
        for number in range(12):
            replica = found[number % 3]
            replica.clock.seconds += 0.5
            used.append(await replica.number())
        assert used == sorted(set(used))
        # What was reserved and not used was given back: nobody else's clock is left behind by it.
        assert used[-1] < (NOW + 3600 + 10) * 1000


async def test_numbers_follow_the_clock_where_all_agree() -> None:
    async with some(0.0, 0.0) as found:
        for number in range(6):
            for each in found:
                each.clock.seconds += 1
            replica = found[number % 2]
            assert await replica.number() == replica.clock.ms


async def test_a_dead_holders_numbers_are_skipped() -> None:
    """It had reserved two seconds of its clock, which was ahead, and gave nothing back."""
    now = 0.0
    async with some(3600.0, 0.0, store=MemoryStore(lambda: 1000.0 + now)) as (dead, alive):
        lane = dead.lane()
        turn = lane.turn()
        await turn.__aenter__()
        await turn.ready()
        used = [lane.next(dead.propose()) for _ in range(5)]
        now = 6.1
        assert await alive.number() > used[-1]


async def test_after_a_store_that_was_emptied_nothing_is_granted_until_leases_have_ended(
    tmp_path: Path,
) -> None:
    """Then the marks on disk are what is left of a clock that was ahead."""
    now = 0.0
    store = MemoryStore(lambda: 1000.0 + now)
    async with some(3600.0, store=store, data_dir=tmp_path) as (one,):
        used = await one.number()
        store.flush()
        waiting = asyncio.create_task(one.number())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        one.clock.seconds -= 3600
        now = 6.1
        one.cluster.leases._missed()
        assert await waiting > used


async def test_a_replica_that_joins_with_marks_of_its_own_begins_above_them(tmp_path: Path) -> None:
    """They are under another name there: that of the data directory's salt."""
    clock = SetClock()
    clock.seconds += 3600
    lanes = NonceLanes(tmp_path / "0", now=clock)
    alone = lanes.lane("kraken", lanes.key_id("kraken", False, {"apiKey": "k"}))
    assert alone is not None
    used = alone.next(clock.ms)
    async with some(0.0, data_dir=tmp_path) as (one,):
        assert await one.number() > used


@pytest.mark.parametrize("exchange", ["hyperliquid", "hibachi"])
async def test_where_order_does_not_matter_every_number_is_taken_once(exchange: str) -> None:
    """CCXT takes them where nobody can wait, so an instance gets its own before the call."""
    async with some(0.0, 0.0, 0.0) as found:
        used = await asyncio.gather(*(found[n % 3].number(exchange) for n in range(60)))
        stride = found[0].lane(exchange)._stride
        assert all(b - a >= stride for a, b in zip(sorted(used), sorted(used)[1:], strict=False))
        assert max(used) < (NOW + 60) * 1000


async def test_an_instance_has_a_number_for_each_of_its_requests() -> None:
    async with some(0.0) as (one,):
        numbers = await one.lane("hyperliquid").prepared()
        used = []
        for _ in range(10):
            async with numbers.turn():
                used.append(numbers.next(one.propose()))
        assert used == sorted(set(used))


async def test_the_turn_goes_from_hand_to_hand_but_not_for_ever() -> None:
    """One claim serves ten callers of a replica; then whoever waits in another one is first."""
    store = MemoryStore()
    claims: list[str] = []
    claim = store.leases.claim

    async def noted(name: str, token: str, **more: Any) -> Claimed:
        claims.append(str(more["node"]))
        return await claim(name, token, **more)

    store.leases.claim = noted  # type: ignore[method-assign]
    order: list[int] = []
    async with some(0.0, 0.0, store=store) as found:

        async def call(number: int) -> None:
            await found[number].number()
            order.append(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(30):
                group.create_task(call(0))
            await asyncio.sleep(0)
            group.create_task(call(1))
        assert order.index(1) <= 20
        assert claims.count(found[0].cluster.node.id) <= 7


async def test_a_turn_that_waits_for_a_limit_does_not_keep_other_replicas_waiting() -> None:
    """The lease is taken last of all, and one kept for the next caller is let go soon."""
    async with some(0.0, 0.0) as (one, two):
        lane = one.lane()
        first, second = lane.turn(), lane.turn()
        await first.__aenter__()
        await first.ready()
        entering = asyncio.create_task(second.__aenter__())
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)
        await entering
        assert await two.number() > 0
        await second.ready()
        assert lane.next(one.propose()) > 0
        await second.__aexit__(None, None, None)


async def test_a_turn_that_cannot_be_had_in_time_is_refused_and_leaves_no_claim() -> None:
    async with some(0.0, 0.0) as (one, two):
        turn = one.lane().turn()
        async with turn:
            await turn.ready()
            token = DEADLINE.set(asyncio.get_running_loop().time() + 0.2)
            try:
                with pytest.raises(Failure) as refused:
                    await two.number()
            finally:
                DEADLINE.reset(token)
            assert refused.value.code is Code.RATE_LIMITED
        await until(lambda: not len(one.cluster.leases))
        assert await one.number() > 0


async def test_a_number_is_never_given_without_the_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with some(0.0) as (one,):
        lane = one.lane()
        with pytest.raises(Failure, match="no number is reserved"):
            lane.next(one.propose())
        turn = lane.turn()
        async with turn:
            await turn.ready()
            # The process sleeps: somebody else may have the turn by now.
            slept: Callable[[], float] = lambda: 1e12  # noqa: E731
            with monkeypatch.context() as patch:
                patch.setattr("ccxt_mcp.cluster.holding._now", slept)
                with pytest.raises(Failure, match="could not keep its turn"):
                    lane.next(one.propose())


async def test_all_replicas_have_the_same_name_for_a_key_and_it_does_not_say_which() -> None:
    async with some(0.0, 0.0) as (one, two):
        names = {each.lanes.key_id("kraken", False, {"apiKey": "k"}) for each in (one, two)}
        assert len(names) == 1
        other = NonceLanes(None, cluster=Cluster(MemoryStore(), prefix="another"))
        assert other.key_id("kraken", False, {"apiKey": "k"}) not in names
