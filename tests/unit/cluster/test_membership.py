"""Who is on the list of replicas, and who is not any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ccxt_mcp.cluster import membership
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.cluster.membership import TTL, Status
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.store.memory import MemoryStore


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def store(time: Time) -> MemoryStore:
    return MemoryStore(time)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def listed(store: MemoryStore) -> list[str]:
    return sorted(await store.nodes.all())


async def test_a_replica_is_listed_with_what_it_says_until_it_ends(store: MemoryStore) -> None:
    cluster = Cluster(store, "one")
    cluster.membership.address = "10.0.0.5:3000"
    cluster.membership.introduce({"version": "9"}, lambda: {"calls": 3})
    await cluster.start()
    await until(lambda: cluster.trips.reached)
    (said,) = await cluster.membership.all()
    assert said["id"] == "one"
    assert (said["address"], said["version"], said["load"]) == ("10.0.0.5:3000", "9", {"calls": 3})
    assert said["status"] == "starting"
    await cluster.stop()
    assert await listed(store) == []


async def test_a_change_of_status_is_told_at_once(store: MemoryStore) -> None:
    cluster = Cluster(store, "one")
    await cluster.start()
    await until(lambda: cluster.membership.known == 1)
    cluster.membership.turn(Status.DRAINING)
    async with asyncio.timeout(2):
        while (await cluster.membership.all())[0]["status"] != "draining":
            await asyncio.sleep(0.001)
    await cluster.stop()


async def test_one_whose_signs_of_life_end_is_forgotten(store: MemoryStore, time: Time) -> None:
    """One that was killed says no goodbye."""
    killed, living = Cluster(store, "killed"), Cluster(store, "living")
    await killed.start()
    await living.start()
    await until(lambda: killed.membership.known is not None)
    assert await listed(store) == ["killed", "living"]
    task = killed.membership._task
    assert task is not None
    task.cancel()
    time.now += TTL - 1
    living.membership.turn(Status.RUNNING)
    async with asyncio.timeout(2):
        while (await living.membership.all())[-1]["status"] != "running":
            await asyncio.sleep(0.001)
    time.now += 2
    assert await listed(store) == ["living"]
    await living.stop()


async def test_it_goes_on_the_list_when_the_store_comes_back(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "_AGAIN", 0.01)

    async def away() -> None:
        raise Failure(Code.STORE_UNAVAILABLE, "away", retry_after=1.0)

    store.trouble = away
    cluster = Cluster(store, "one")
    await cluster.start()
    await until(lambda: cluster.trips.failed.get("nodes.beat", 0) > 1)
    assert (cluster.trips.up, cluster.trips.reached) == (False, False)
    assert cluster.trips.away > 0
    store.trouble = None
    await until(lambda: cluster.membership.known == 1)
    assert (cluster.trips.up, cluster.trips.away) == (True, 0.0)
    await cluster.stop()


async def test_what_another_version_says_in_another_form_is_left_out(store: MemoryStore) -> None:
    cluster = Cluster(store, "one")
    await cluster.start()
    await until(lambda: cluster.membership.known == 1)
    for number, info in enumerate((b"", b"[]", b"\xff", b'{"startedAt":1}')):
        await store.nodes.beat(f"other{number}", info, ttl=60)
    assert [each["id"] for each in await cluster.membership.all()] == ["other3", "one"]
    await cluster.stop()
