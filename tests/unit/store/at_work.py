"""Replicas that take turns, numbers and units of one store for as long as they work, and what they
were given and when, by one clock."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ccxt_mcp.cluster import holding as module
from ccxt_mcp.cluster.holding import Leaseholder
from ccxt_mcp.cluster.limiter import SharedLimiter
from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Failure
from ccxt_mcp.exchanges.shared_nonces import SharedNonceLane
from ccxt_mcp.mechanisms.ledger import Rules, Window
from ccxt_mcp.store.protocol import Store
from ccxt_mcp.store.redis.keys import Keys
from tests.redis_server import RedisServer
from tests.unit.store.world import until

__all__ = ["LANES", "LENGTH", "Work", "at_work"]

LENGTH = 1.0
"""Seconds of a lease of replicas at work."""
LANES = ("lane0", "lane1", "lane2")
_RULES = Rules(20.0, 10.0, (Window(30.0, 2.0),), transit=1.0)


class Work:
    """What replicas did.

    Attributes:
        turns: of a lane: when it was had, when it was surely had last, and by whom.
        numbers: in the order in which they were used: when, and which.
        units: when each was granted.
        refused: when something was refused.
    """

    def __init__(self) -> None:
        self.turns: dict[str, list[tuple[float, float, str]]] = {name: [] for name in LANES}
        self.numbers: list[tuple[float, int]] = []
        self.units: list[float] = []
        self.refused: list[float] = []

    def after(self, when: float) -> tuple[int, int, int]:
        """How many turns began, and numbers and units were had, since."""
        turns = sum(turn[0] > when for each in self.turns.values() for turn in each)
        return turns, sum(at > when for at, _ in self.numbers), sum(at > when for at in self.units)

    def goes_on(self, when: float) -> bool:
        """Whether every lane, the numbers and the units have been had since."""
        lanes = all(any(turn[0] > when for turn in each) for each in self.turns.values())
        return lanes and all(count > 10 for count in self.after(when))

    def check_age(self, prefix: str, lanes: Mapping[str, RedisServer], since: float) -> None:
        """That each of these servers, to which the lane has come since then (steady seconds), has
        given no turn of it in its first length."""
        offset = time.time() - time.monotonic()
        for lane, server in lanes.items():
            with server.client() as client:
                info: Any = client.info("server")
                packed: Any = client.hget(Keys(prefix).leases(lane), "born")
            when, run = packed.split()
            assert run.decode() == info["run_id"]
            first = min(began for began, _, _ in self.turns[lane] if began > since)
            assert first + offset >= int(when) / 1e6 + LENGTH

    def check(self, forgotten: int = 0) -> None:
        """No turn of a lane overlaps another, no number comes twice or out of order, and no window
        has more than its limit.

        Args:
            forgotten: units that the store may have lost: one that fails takes with it what it has
                not told its follower.
        """
        for lane, turns in self.turns.items():
            turns.sort()
            for (_, sure, one), (began, _, other) in itertools.pairwise(turns):
                assert sure <= began, f"{one} and {other} had {lane} at once"
        numbers = [number for _, number in self.numbers]
        assert numbers == sorted(set(numbers))
        [window] = _RULES.windows
        for at in self.units:
            count = sum(at <= other < at + window.seconds for other in self.units)
            assert count <= window.limit + forgotten


@asynccontextmanager
async def at_work(stores: Sequence[Store], patch: pytest.MonkeyPatch) -> AsyncIterator[Work]:
    """Replicas that work, one on each of these stores, which are open."""
    for name, seconds in (("LENGTH", LENGTH), ("RENEW", 0.3), ("MARGIN", 0.1), ("_LOOK", 0.02)):
        patch.setattr(module, name, seconds)
    work = Work()
    nodes = [Node(store, f"n{number}") for number, store in enumerate(stores)]
    holders = [Leaseholder(node) for node in nodes]
    for node, holder in zip(nodes, holders, strict=True):
        await node.start()
        await holder.start()
    limiters = [
        SharedLimiter(node, "venue", "weight", _RULES, name="venue weight") for node in nodes
    ]
    tasks = [
        asyncio.create_task(_again(work, each, random.Random(number)))
        for node, holder, limiter in zip(nodes, holders, limiters, strict=True)
        for number, each in enumerate(_duties(work, node, holder, limiter))
    ]
    try:
        yield work
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A limiter says what is unsaid until it has been heard.
        await until(lambda: not any(each._talking or each._budget.unsaid for each in limiters))
        for node, holder in zip(nodes, holders, strict=True):
            await holder.stop()
            await node.stop()
    # What went wrong in any other way than being refused.
    assert all(task.cancelled() for task in tasks)


def _duties(work: Work, node: Node, holder: Leaseholder, limiter: SharedLimiter) -> list[_Duty]:
    numbers = SharedNonceLane("venue", None, holder, "nonce/venue/key")
    turns = [_Turn(work, node, holder, lane) for lane in (*LANES, LANES[0])]
    return [*turns, _Number(work, numbers), _Unit(work, limiter)]


class _Duty:
    async def do(self, chance: random.Random) -> None:
        raise NotImplementedError


class _Turn(_Duty):
    def __init__(self, work: Work, node: Node, holder: Leaseholder, lane: str) -> None:
        self._work, self._node, self._holder, self._lane = work, node, holder, lane

    async def do(self, chance: random.Random) -> None:
        held = await self._holder.take(self._lane)
        assert held is not None
        began = sure = time.monotonic()
        # Some are kept for longer than a lease lasts.
        end = began + chance.choice((0.005, 0.005, 0.02, 0.1, 1.3 * LENGTH))
        try:
            while time.monotonic() < end:
                await asyncio.sleep(0.005)
                held.check()
                sure = time.monotonic()
        finally:
            self._work.turns[self._lane].append((began, sure, self._node.id))
            self._holder.give(held)


class _Number(_Duty):
    def __init__(self, work: Work, lane: SharedNonceLane) -> None:
        self._work, self._lane = work, lane

    async def do(self, chance: random.Random) -> None:
        turn = self._lane.turn()
        async with turn:
            await turn.ready()
            number = self._lane.next(time.time_ns() // 1_000_000)
            self._work.numbers.append((time.monotonic(), number))
            await asyncio.sleep(0.01)


class _Unit(_Duty):
    def __init__(self, work: Work, limiter: SharedLimiter) -> None:
        self._work, self._limiter = work, limiter

    async def do(self, chance: random.Random) -> None:
        charge = await self._limiter.acquire(1.0)
        self._limiter.sent(charge)
        self._work.units.append(time.monotonic())
        await asyncio.sleep(0.005)
        self._limiter.settle(charge)


async def _again(work: Work, duty: _Duty, chance: random.Random) -> None:
    while True:
        try:
            await duty.do(chance)
        except Failure:
            work.refused.append(time.monotonic())
            await asyncio.sleep(0.02)
        await asyncio.sleep(chance.random() * 0.01)
