"""Public answers of several replicas over one store in memory; the exchange is a counter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ccxt_mcp.calls import common_reads
from ccxt_mcp.calls.common_reads import CommonReads
from ccxt_mcp.calls.projection import market_data
from ccxt_mcp.calls.public_reads import Found, PublicReads, Read
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.admission import Admission, Slot
from ccxt_mcp.store.memory import MemoryStore

QUESTION = ("paper", "fetchTicker", (market_data.ticker, b'[["BTC/USDT"],{}]'))


class Time:
    """Seconds that a test lets pass, for the store."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """One process's public reads, and the exchange as it asks it."""

    def __init__(self, cluster: Cluster, exchange: Exchange, identity: str = "same") -> None:
        self.cluster = cluster
        self.reads = PublicReads(CommonReads(cluster.sharing, lambda _: identity))
        self.exchange = exchange
        self.admission = Admission(total=100, per_exchange=100, per_key=100, queue=100)

    def slot(self) -> Slot:
        return self.admission.slot("paper", None, ("test",))

    async def get(self, max_age: float = 60.0, *, keep: float = 60.0) -> Read:
        async def ask() -> Any:
            return await self.exchange.answer(self)

        # The store's time stands still: who waits for nobody would do so for ever.
        async with asyncio.timeout(10):
            return await self.reads.get(QUESTION, max_age, ask, self.slot(), keep=keep)


class Exchange:
    """Counts who asks it; ``answer`` may be replaced."""

    def __init__(self) -> None:
        self.asked: list[Replica] = []
        self.does: Callable[[], Awaitable[Any]] = self.at_once

    async def at_once(self) -> Any:
        return {"last": len(self.asked)}

    async def answer(self, replica: Replica) -> Any:
        self.asked.append(replica)
        return await self.does()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def store(time: Time) -> MemoryStore:
    return MemoryStore(time)


@pytest.fixture
async def three(store: MemoryStore) -> AsyncIterator[list[Replica]]:
    exchange = Exchange()
    async with AsyncExitStack() as stack:
        replicas = []
        for number in range(3):
            cluster = Cluster(store, f"node{number}")
            await cluster.start()
            stack.push_async_callback(cluster.stop)
            replicas.append(Replica(cluster, exchange))
        yield replicas


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


async def test_one_asks_and_the_others_have_its_answer(three: list[Replica]) -> None:
    reads = [await replica.get() for replica in three]
    assert [read.found for read in reads] == [Found.NEW, Found.COMMON, Found.COMMON]
    assert [read.value for read in reads] == [{"last": 1}] * 3
    assert [read.freshness["cached"] for read in reads] == [False, True, True]
    assert abs(reads[0].fetched_at - reads[2].fetched_at) < 1000


async def test_what_is_kept_here_costs_no_round_trip(three: list[Replica]) -> None:
    await three[0].get()
    await three[1].get()
    before = three[1].cluster.trips.total
    assert (await three[1].get()).found is Found.KEPT
    assert three[1].cluster.trips.total == before


async def test_those_who_come_while_one_asks_wait_for_its_answer(three: list[Replica]) -> None:
    let_go = asyncio.Event()

    async def slowly() -> Any:
        await let_go.wait()
        return {"last": 7}

    three[0].exchange.does = slowly
    asking = [asyncio.create_task(replica.get()) for replica in three * 20]
    await until(lambda: bool(three[0].exchange.asked))
    let_go.set()
    reads = await asyncio.gather(*asking)
    assert len(three[0].exchange.asked) == 1
    assert {read.value["last"] for read in reads} == {7}


async def test_an_answer_is_as_old_as_the_store_says(three: list[Replica], time: Time) -> None:
    """By the time of its arrival here, an answer of 50 s would be good for another 60."""
    await three[0].get()
    time.now += 50
    read = await three[1].get()
    assert read.found is Found.COMMON
    assert abs(read.fetched_at / 1000 - (await three[0].get()).fetched_at / 1000 + 50) < 1
    # Young enough for nobody who wants it younger, here as elsewhere.
    assert (await three[1].get(40.0)).found is Found.NEW
    time.now += 50
    assert (await three[2].get(60.0)).found is Found.COMMON


async def test_who_joins_here_is_given_nothing_older_than_it_asked_for(
    three: list[Replica], time: Time, store: MemoryStore
) -> None:
    """The first caller accepts 50 s, the second, who joins its question under way, only 10: by the
    beginning of that question alone it would be given the answer of 50 s ago."""
    await three[0].get()
    time.now += 50
    let_go = asyncio.Event()
    store.trouble = let_go.wait  # type: ignore[assignment]
    patient = asyncio.create_task(three[1].get(60.0))
    await asyncio.sleep(0)
    strict = asyncio.create_task(three[1].get(10.0))
    await asyncio.sleep(0)
    let_go.set()
    assert (await patient).value == {"last": 1}
    assert (await strict).value == {"last": 2}


async def test_a_failure_is_nobodys_answer_and_the_next_asks_for_itself(
    three: list[Replica],
) -> None:
    """Kept, one bad moment of an exchange would be everybody's."""
    exchange, let_go = three[0].exchange, asyncio.Event()

    async def fails_at_first() -> Any:
        if len(exchange.asked) == 1:
            await let_go.wait()
            raise Failure(Code.EXCHANGE_UNAVAILABLE, "down")
        return {"last": 5}

    exchange.does = fails_at_first
    asking = [asyncio.create_task(three[0].get())]
    await until(lambda: bool(exchange.asked))
    asking += [asyncio.create_task(replica.get()) for replica in three[1:]]
    for _ in range(20):
        await asyncio.sleep(0)
    let_go.set()
    first, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, Failure)
    assert [each.value for each in others if isinstance(each, Read)] == [{"last": 5}] * 2
    assert len(exchange.asked) == 2


async def test_a_waiter_that_leaves_takes_nothing_from_the_others(three: list[Replica]) -> None:
    exchange, let_go = three[0].exchange, asyncio.Event()

    async def slowly() -> Any:
        await let_go.wait()
        return {"last": 3}

    exchange.does = slowly
    asking = asyncio.create_task(three[0].get())
    await until(lambda: bool(exchange.asked))
    leaving, staying = (asyncio.create_task(replica.get()) for replica in three[1:])
    for _ in range(20):
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    let_go.set()
    assert (await asking).value == (await staying).value == {"last": 3}
    assert len(exchange.asked) == 1


async def test_when_the_one_that_asks_is_cancelled_another_asks(three: list[Replica]) -> None:
    """Without the duty's end the others would wait for nobody, until their patience ends."""
    exchange = three[0].exchange

    async def hangs_at_first() -> Any:
        if len(exchange.asked) == 1:
            await asyncio.Event().wait()
        return {"last": 4}

    exchange.does = hangs_at_first
    asking = asyncio.create_task(three[0].get())
    await until(lambda: bool(exchange.asked))
    waiting = asyncio.create_task(three[1].get())
    for _ in range(20):
        await asyncio.sleep(0)
    asking.cancel()
    async with asyncio.timeout(2):
        assert (await waiting).value == {"last": 4}


async def test_a_replica_that_died_while_it_asked_is_replaced(
    three: list[Replica], time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common_reads, "_PATIENCE", 0.05)
    exchange = three[0].exchange

    async def hangs_at_first() -> Any:
        if len(exchange.asked) == 1:
            await asyncio.Event().wait()
        return {"last": 4}

    exchange.does = hangs_at_first
    dead = asyncio.create_task(three[0].get())
    await until(lambda: bool(exchange.asked))
    waiting = asyncio.create_task(three[1].get())
    for _ in range(20):
        await asyncio.sleep(0)
    time.now += 1
    async with asyncio.timeout(2):
        assert (await waiting).value == {"last": 4}
    dead.cancel()


async def test_without_the_store_each_replica_asks_for_itself(
    three: list[Replica], store: MemoryStore
) -> None:
    tried = 0

    async def away() -> None:
        nonlocal tried
        tried += 1
        raise Failure(Code.STORE_UNAVAILABLE, "away", retry_after=1.0)

    store.trouble = away
    assert [(await replica.get()).found for replica in three] == [Found.NEW] * 3
    # A store that is away is left alone for a moment, or each question would wait for it.
    tried = 0
    three[0].reads._kept.discard(QUESTION)
    assert (await three[0].get()).found is Found.NEW
    assert tried == 0
    store.trouble = None


async def test_who_wants_it_new_asks_whatever_others_do(three: list[Replica]) -> None:
    await three[0].get()
    assert (await three[1].get(0.0)).found is Found.NEW


async def test_replicas_with_another_exchange_under_the_name_share_nothing(
    three: list[Replica],
) -> None:
    """One has its profile pointed at a test network: its prices are not the others'."""
    other = Replica(three[0].cluster, three[0].exchange, "another base_url")
    await three[1].get()
    assert (await other.get()).found is Found.NEW


async def test_what_is_damaged_in_the_store_is_asked_anew_and_forgotten(
    three: list[Replica], store: MemoryStore
) -> None:
    await three[0].get()
    (name,) = store.values._values.live()
    for damaged in (b"", b"p{", b"znothing", b"q{}"):
        found = await store.values.consult(name, "t", node="n", max_age=-1.0, patience=9.0)
        assert found.mine
        await store.values.deposit(name, "t", damaged, ttl=60.0)
        three[1].reads._kept.discard(QUESTION)
        assert (await three[1].get()).found is Found.NEW
        await until(lambda: not store.values._values.live())


async def test_a_large_answer_is_kept_small_and_a_huge_one_not_at_all(
    three: list[Replica], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def large() -> Any:
        return [{"symbol": f"C{number}/USDT", "last": number} for number in range(4000)]

    three[0].exchange.does = large
    first = await three[0].get()
    second = await three[1].get()
    assert (second.found, second.value) == (Found.COMMON, first.value)
    ((kept, _),) = store.values._values.live().values()
    assert len(kept) < 60_000
    three[0].reads.discard(QUESTION)
    await until(lambda: not store.values._values.live())
    monkeypatch.setattr(common_reads, "MOST_PACKED", 1000)
    await three[0].get()
    assert (await three[2].get()).found is Found.NEW


async def test_what_was_forgotten_is_asked_anew(three: list[Replica], store: MemoryStore) -> None:
    await three[0].get()
    three[0].reads.discard(QUESTION)
    await until(lambda: not store.values._values.live())
    assert (await three[2].get()).found is Found.NEW
    assert (await three[0].get()).value == {"last": 2}
