"""A store whose keys are divided among several servers: one is lost, slots are moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from ccxt_mcp.errors import Failure
from ccxt_mcp.store.protocol import Claim, Store
from ccxt_mcp.store.redis.keys import Keys
from tests.redis_groups import Shards, running_shards
from tests.redis_server import RedisServer
from tests.unit.store.at_work import LANES, at_work
from tests.unit.store.world import opened, until

TIMEOUT = 1.0


@pytest.fixture
def own_shards(redis_there: None, tmp_path: Path) -> Iterator[Shards]:
    """A cluster of the test's own."""
    with running_shards(tmp_path) as shards:
        yield shards


def of_age(shards: Shards, prefix: str) -> AbstractAsyncContextManager[list[Store]]:
    """The store of two replicas, which is old enough to grant."""
    shards.come_of_age(prefix)
    return opened(shards.url, prefix, TIMEOUT)


def names_of(shards: Shards, prefix: str, server: RedisServer, count: int = 8) -> list[str]:
    """Names that this server has, each in a shard of its own."""
    keys = Keys(prefix)
    found: dict[int, str] = {}
    for number in range(1000):
        name = f"name{number}"
        shard = keys.shard(name)
        if shard and shard not in found and shards.owner(keys.leases(name)) is server:
            found[shard] = name
            if len(found) == count:
                break
    return list(found.values())


async def claims(store: Store, names: list[str], token: str) -> list[Claim | str]:
    """What becomes of a claim on each, all at once: its state, or why it was refused."""

    async def claim(name: str) -> Claim | str:
        try:
            return (await store.leases.claim(name, token, node="a", length=0.2)).state
        except Failure as failure:
            return str(failure)

    return list(await asyncio.gather(*(claim(name) for name in names)))


@pytest.mark.parametrize("how", ["killed", pytest.param("hanging", marks=pytest.mark.servers)])
async def test_without_one_server_only_what_it_has_is_refused(
    own_shards: Shards, prefix: str, how: str
) -> None:
    """What is asked of one that hangs waits for as long as it may; nothing else may wait for that,
    nor be cut off when it is given up."""
    keys = Keys(prefix)
    mail = own_shards.owner(keys.mail)
    lost = next(each for each in own_shards.nodes if each is not mail)
    theirs = names_of(own_shards, prefix, lost)
    others = [
        name
        for each in own_shards.nodes
        if each is not lost
        for name in names_of(own_shards, prefix, each)
    ]
    async with of_age(own_shards, prefix) as stores:
        store = stores[0]
        heard: list[str] = []
        await store.mail.listen("a", heard.append)
        assert set(await claims(store, [*theirs, *others], "t")) == {Claim.GRANTED}
        if how == "killed":
            lost.stop()
        else:
            lost.pause()
        end = time.monotonic() + 3 * TIMEOUT
        slowest = 0.0
        refused: list[Claim | str] = []

        async def ask_for_theirs() -> None:
            while time.monotonic() < end:
                refused.extend(await claims(store, theirs * 8, "u"))
                await asyncio.sleep(0.01)

        asking = asyncio.create_task(ask_for_theirs())
        number = 0
        while time.monotonic() < end:
            began = time.monotonic()
            assert set(await claims(store, others, "t")) == {Claim.GRANTED}
            slowest = max(slowest, time.monotonic() - began)
            number += 1
            assert await stores[1].mail.tell("a", f"{number}")
            await asyncio.sleep(0.01)
        await asking
        assert refused
        assert all(isinstance(each, str) for each in refused)
        await until(lambda: heard == [f"{each + 1}" for each in range(number)])
        assert slowest < TIMEOUT
        if how == "hanging":
            lost.resume()
            async with asyncio.timeout(20):
                while set(await claims(store, theirs, "v")) != {Claim.GRANTED}:
                    await asyncio.sleep(0.05)


@pytest.mark.servers
async def test_slots_that_are_moved_under_work_are_followed(
    own_shards: Shards, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a slot is on its way, its keys are at either end, and scripts that want several of them
    are refused by both; what has arrived is found at the new place, with its turns and numbers."""
    keys = Keys(prefix)
    async with of_age(own_shards, prefix) as stores, at_work(stores, monkeypatch) as work:
        await until(lambda: work.goes_on(0))
        for name in ("lane0", "nonce/venue/key", "lane1"):
            key = keys.leases(name)
            source = own_shards.owner(key)
            to = next(each for each in own_shards.nodes if each is not source)
            await asyncio.to_thread(own_shards.begin_to_move, key, to)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own_shards.finish_move, key, to)
            moved = time.monotonic()
            assert own_shards.owner(key) is to
            await until(lambda moved=moved: work.goes_on(moved), 30)  # type: ignore[misc]
    work.check()


@pytest.mark.servers
async def test_who_listens_is_found_where_the_mail_has_been_moved_to(
    own_shards: Shards, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that had the mail goes on to pass on what is said. But the one that has it now
    knows of nobody who listens, and replicas that ask each other do not wait for an answer."""
    monkeypatch.setattr("ccxt_mcp.store.redis.mail._ROUND", 0.1)
    mail = Keys(prefix).mail
    async with of_age(own_shards, prefix) as stores:
        heard: list[str] = []
        await stores[0].mail.listen("a", heard.append)
        assert await stores[1].mail.tell("a", "before")
        source = own_shards.owner(mail)
        to = next(each for each in own_shards.nodes if each is not source)
        own_shards.begin_to_move(mail, to)
        own_shards.finish_move(mail, to)
        async with asyncio.timeout(10):
            while not await stores[1].mail.tell("a", "after"):
                await asyncio.sleep(0.02)
        await until(lambda: heard[-1] == "after")
        assert heard[0] == "before"


@pytest.mark.servers
async def test_what_is_granted_by_one_server_is_heard_of_by_way_of_another(
    own_shards: Shards, prefix: str
) -> None:
    async with of_age(own_shards, prefix) as stores:
        heard: list[str] = []
        await stores[0].mail.listen("a", heard.append)
        names = [
            name for each in own_shards.nodes for name in names_of(own_shards, prefix, each, 1)
        ]
        for name in names:
            for token in ("t1", "t2"):
                await stores[1].leases.claim(name, token, node="a", length=60)
            await stores[1].leases.release(name, "t1", length=60)
        await until(lambda: sorted(heard) == sorted(f"granted {name} t2" for name in names))


@pytest.mark.servers
async def test_a_follower_takes_the_place_of_a_primary_that_is_killed(
    redis_there: None, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with sentinels: what it has not heard of may still be held."""
    keys = Keys(prefix)
    with running_shards(tmp_path, followers=3) as shards:
        async with of_age(shards, prefix) as stores, at_work(stores, monkeypatch) as work:
            await until(lambda: work.goes_on(0))
            lost = shards.owner(keys.leases("lane0"))
            before = {lane: shards.owner(keys.leases(lane)) for lane in LANES}
            lost.stop()
            killed = time.monotonic()
            await until(lambda: work.goes_on(killed + 0.4), 30)
            after = {lane: shards.owner(keys.leases(lane)) for lane in LANES}
        moved = {lane: after[lane] for lane in LANES if after[lane] is not before[lane]}
        assert "lane0" in moved
        work.check(forgotten=2)
        work.check_age(prefix, moved, killed + 0.4)
