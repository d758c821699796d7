"""Market tables of several replicas over one store in memory; loading them is a counter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges import common_tables
from ccxt_mcp.exchanges.common_tables import CommonTables
from ccxt_mcp.exchanges.snapshots import write
from ccxt_mcp.exchanges.sources import Policy, Source
from ccxt_mcp.exchanges.tables import Tables
from ccxt_mcp.store.memory import MemoryStore

PRINT = "f" * 64


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """One process's door to common tables; it loads as a helper does, or as this process does."""

    def __init__(self, cluster: Cluster, frames: bool) -> None:
        self.common = CommonTables(cluster.sharing, keep=100.0, progress=self.said)
        self.frames = frames
        self.loads = 0
        self.words: list[str] = []
        self.failure: Failure | None = None
        self.value: Any = "1"

    def said(self, words: str) -> None:
        self.words.append(words)

    async def load(self, frames: list[bytes]) -> Tables:
        self.loads += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        markets = {f"C{n}/USDT": {"symbol": f"C{n}/USDT", "x": self.value} for n in range(500)}
        made = Tables({"markets": markets}, {"a": 1}, ("b",), time.time() - 5, "helper", 500, 2)
        if self.frames:
            frames.extend(write(made, PRINT))
        return made

    async def get(self, max_age: float = 50.0, fingerprint: str = PRINT) -> Tables:
        # The store's time stands still: who waits for nobody would do so for ever.
        async with asyncio.timeout(10):
            return await self.common.get("binance", fingerprint, max_age, self.load)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def store(clock: Time) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture(params=[True, False], ids=["apart", "here"])
async def three(store: MemoryStore, request: pytest.FixtureRequest) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        replicas = []
        for number in range(3):
            cluster = Cluster(store, f"node{number}")
            await cluster.start()
            stack.push_async_callback(cluster.stop)
            replicas.append(Replica(cluster, request.param))
        yield replicas


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


def loads(replicas: list[Replica]) -> int:
    return sum(replica.loads for replica in replicas)


async def test_one_loads_and_all_have_the_same(three: list[Replica], clock: Time) -> None:
    found = await asyncio.gather(*(replica.get() for replica in three))
    assert loads(three) == 1
    assert sorted(each.origin for each in found) == ["helper", "replica", "replica"]
    for each in found:
        assert each.attributes == found[0].attributes
        assert (each.options, each.gone, each.markets) == ({"a": 1}, ("b",), 500)
    (words,) = {tuple(replica.words) for replica in three if replica.words}
    assert words == ("binance: 500 markets, loaded by another replica",)


async def test_tables_are_as_old_as_the_store_says(
    three: list[Replica], clock: Time, store: MemoryStore
) -> None:
    """The loader's own clock may be an hour ahead: its tables would never be loaded again."""
    await three[0].get()
    await until(lambda: bool(store.values._values.live()))
    clock.now += 40
    found = await three[1].get()
    assert 39 < time.time() - found.fetched_at < 42
    assert (await three[2].get(30.0)).origin == "helper"
    assert loads(three) == 2


async def test_a_load_that_fails_is_its_own_and_another_loads(three: list[Replica]) -> None:
    three[0].failure = Failure(Code.EXCHANGE_UNAVAILABLE, "down")
    with pytest.raises(Failure, match="down"):
        await three[0].get()
    assert (await three[1].get()).origin == "helper"


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: b"",
        lambda kept: kept[:-1],
        lambda kept: kept[:40] + b"\x00" + kept[41:],
        lambda kept: b"p" + b"\x00\x00\x00\x05E{}",
        lambda kept: b"p" + b"\xff" * 50,
    ],
    ids=["empty", "cut", "changed", "no end", "no frames"],
)
async def test_what_is_damaged_is_not_used_and_not_left_for_others(
    three: list[Replica], store: MemoryStore, damage: Callable[[bytes], bytes]
) -> None:
    """A price's precision read from half a table would be an order of the wrong size."""
    await three[0].get()
    await until(lambda: bool(store.values._values.live()))
    (name,) = store.values._values.live()
    kept = (await store.values.consult(name, "t", node="n", max_age=50.0, patience=9.0)).value
    assert kept is not None
    assert (await store.values.consult(name, "t", node="n", max_age=-1.0, patience=9.0)).mine
    await store.values.deposit(name, "t", damage(kept), ttl=60.0)
    assert (await three[1].get()).origin == "helper"
    await until(lambda: not store.values._values.live())


async def test_tables_of_another_kind_are_not_mistaken(three: list[Replica]) -> None:
    await three[0].get()
    assert (await three[1].get(fingerprint="e" * 64)).origin == "helper"


async def test_tables_too_large_for_the_store_are_loaded_by_each(
    three: list[Replica], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common_tables, "MOST_PACKED", 100)
    found = [await replica.get() for replica in three]
    assert [each.origin for each in found] == ["helper"] * 3
    assert not store.values._values.live()


async def test_without_the_store_each_loads_for_itself(
    three: list[Replica], store: MemoryStore
) -> None:
    async def away() -> None:
        raise Failure(Code.STORE_UNAVAILABLE, "away")

    store.trouble = away
    assert [(await replica.get()).origin for replica in three] == ["helper"] * 3
    store.trouble = None


async def test_tables_that_cannot_be_sent_are_loaded_by_each(
    three: list[Replica], store: MemoryStore
) -> None:
    for replica in three:
        replica.frames, replica.value = False, object()
    assert [(await replica.get()).origin for replica in three] == ["helper"] * 3
    assert not store.values._values.live()


class Asked:
    """A user of tables that notes how old another replica's may be."""

    def __init__(self, age: float) -> None:
        self.bounds: list[float] = []
        self.age = age

    async def fetch(self, max_age: float) -> Tables:
        self.bounds.append(max_age)
        return Tables({}, {}, (), time.time() - self.age, "replica", 1)

    def changed(self) -> None:
        pass


async def test_tables_of_others_are_young_enough_for_what_they_are_wanted_for() -> None:
    """At a start, whatever need not be loaded again soon; to look for a new symbol, what is newer
    than this replica's own, and than the pause between two looks; a refresh wants the half."""
    policy = Policy(max_age=1000.0, refresh_at=0.8, look_again_after=60.0)
    source = Source(PRINT, "x", policy, stored=lambda: None, replaced=lambda _: None)
    user = Asked(age=300.0)
    source.users[0] = user
    tables = await source.get()
    source._starts.clear()
    await source.look_again(tables)
    user.age = 20.0
    source._starts.clear()
    tables = await source.get()
    source._due = source._used = True
    source._refresh()
    await source._landed()
    source._starts.clear()
    assert source.tables is not None
    await source.look_again(source.tables)
    await source.close()
    cold, look, refresh, newer = user.bounds
    assert (cold, look) == (800.0, 60.0)
    assert 298 < refresh < 301
    assert 18 < newer < 20.5


@pytest.mark.parametrize("dies", [False, True])
async def test_one_that_loads_is_waited_for_exactly_while_it_lives(
    dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading is when a replica needs the most memory, and is killed: all others waited for it for
    a minute or two, and their calls with them."""
    monkeypatch.setattr(common_tables, "_PATIENCE", 0.3)
    store, end = MemoryStore(), asyncio.Event()
    async with AsyncExitStack() as stack:
        clusters = [Cluster(store, f"node{number}") for number in range(2)]
        for cluster in clusters:
            await cluster.start()
            stack.push_async_callback(cluster.stop)
        loading, waiting = (Replica(cluster, True) for cluster in clusters)
        made = loading.load

        async def lasting(frames: list[bytes]) -> Tables:
            loading.loads += 1
            await end.wait()
            return await made(frames)

        monkeypatch.setattr(loading, "load", lasting)
        first = asyncio.create_task(loading.get())
        await until(lambda: loading.loads == 1)
        second = asyncio.create_task(waiting.get())
        if dies:

            async def nothing(*_: object, **__: object) -> None:
                raise Failure(Code.STORE_UNAVAILABLE, "of a process that is no more")

            monkeypatch.setattr(clusters[0].store.values, "consult", nothing)
            await second
            assert waiting.loads == 1
        else:
            counts = clusters[0].trips.counts
            await until(lambda: sum(counts.get("values.consult", ())) > 6)
            assert waiting.loads == 0
        end.set()
        await first
        await second
        assert waiting.loads == dies
