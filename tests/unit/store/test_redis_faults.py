"""What becomes of a call when the store's server is away, slow, full or not itself.

Each of them is refused in the words of ``store_unavailable`` within its bound, and all goes on by
itself when the cause is gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Claim, Claimed, Store
from ccxt_mcp.store.redis.keys import Keys
from tests.redis_server import RedisServer
from tests.unit.store.world import opened, until

TIMEOUT = 0.4


@pytest.fixture
async def store(own_redis: RedisServer, prefix: str) -> AsyncIterator[Store]:
    """On a server that may be disturbed."""
    own_redis.come_of_age(prefix)
    async with opened(own_redis.url, prefix, TIMEOUT, 1) as (store,):
        yield store


async def claim(store: Store, token: str = "t", length: float = 6) -> Claimed:
    return await store.leases.claim("lane", token, node="a", length=length)


async def refused(store: Store) -> Failure:
    began = time.monotonic()
    with pytest.raises(Failure) as caught:
        await claim(store)
    assert time.monotonic() - began < 2 * TIMEOUT + 2
    assert caught.value.code is Code.STORE_UNAVAILABLE
    assert caught.value.retryable
    assert caught.value.retry_after
    return caught.value


async def granted(store: Store) -> None:
    """Whatever was in the way goes away by itself."""
    async with asyncio.timeout(20):
        while True:
            try:
                if (await claim(store, length=0.2)).state is Claim.GRANTED:
                    return
            except Failure:
                pass
            await asyncio.sleep(0.02)


async def test_a_server_that_is_down_at_start_is_waited_for(
    own_redis: RedisServer, prefix: str
) -> None:
    own_redis.stop()
    store = store_at(own_redis.url, prefix=prefix, timeout=TIMEOUT)
    heard: list[str] = []
    try:
        await store.open()
        await store.mail.listen("a", heard.append)
        assert "cannot be reached" in str(await refused(store))
        with pytest.raises(Failure):
            await store.ping()
        own_redis.start()
        await granted(store)
        await until(lambda: heard == [""])
        assert await store.mail.tell("a", "hello")
        await until(lambda: heard == ["", "hello"])
    finally:
        await store.close()


async def test_a_server_that_answers_nothing_is_given_up_in_time(
    store: Store, own_redis: RedisServer
) -> None:
    await granted(store)
    own_redis.pause()
    assert "in time" in str(await refused(store))
    # Many at once neither wait for one another nor use up the connections.
    began = time.monotonic()
    outcomes = await asyncio.gather(
        *(claim(store, f"t{i}") for i in range(100)), return_exceptions=True
    )
    assert time.monotonic() - began < 2 * TIMEOUT + 2
    assert all(isinstance(each, Failure) for each in outcomes)
    own_redis.resume()
    await granted(store)


async def test_a_reply_that_came_too_late_is_nobody_elses(
    store: Store, own_redis: RedisServer
) -> None:
    """A connection given back with a reply still on its way would answer the next question with
    it."""
    for number in range(5):
        await store.records.open(f"key{number}", f"{number}".encode(), node="n", ttl=60)
    for _ in range(3):
        own_redis.pause()
        asked = [asyncio.create_task(store.records.read(f"key{i}")) for i in range(5)]
        await asyncio.sleep(0.05)
        for task in asked[::2]:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        own_redis.resume()
        for number in range(5):
            async with asyncio.timeout(10):
                found = await store.records.read(f"key{number}")
            assert found is not None
            assert found.data == b"%d" % number


async def test_a_server_restarted_empty_grants_nothing_for_one_length(
    store: Store, own_redis: RedisServer
) -> None:
    assert (await claim(store, "t1")).state is Claim.GRANTED
    own_redis.stop()
    assert "reached" in str(await refused(store))
    own_redis.start()
    assert (await claim(store, "t2")).state is Claim.YOUNG


async def test_a_server_that_came_back_with_old_data_grants_nothing_for_one_length(
    store: Store, own_redis: RedisServer
) -> None:
    """So comes back a server that saves every now and then, and a replica that was promoted before
    it had heard all. Its data looks as if nothing had been lost: the lease that was granted last
    would be granted again at once."""
    with own_redis.client() as client:
        client.save()
    assert (await claim(store, "t1")).state is Claim.GRANTED
    own_redis.stop()
    own_redis.start()
    with own_redis.client() as client:
        assert client.dbsize() == 64
    assert (await claim(store, "t2")).state is Claim.YOUNG
    assert not await store.leases.renew("lane", "t1", length=6)


async def test_a_clock_that_was_set_back_stops_a_lane_for_one_length_only(
    store: Store, own_redis: RedisServer, prefix: str
) -> None:
    """Without that a lease of an hour ahead would hold its lane for an hour, and a store that seems
    to have been found empty in an hour would grant nothing until then."""
    assert (await claim(store, "t1", length=0.2)).state is Claim.GRANTED
    leases = Keys(prefix).leases("lane")
    hour = 3_600_000_000
    with own_redis.client() as client:
        for field in (b"=lane", b"born"):
            packed: Any = client.hget(leases, field)
            parts = packed.split(b" ")
            places = (1, 4) if field == b"=lane" else (0,)
            for place in places:
                now: Any = client.time()
                parts[place] = b"%d" % (now[0] * 1_000_000 + hour)
            client.hset(leases, field, b" ".join(parts))
    young = await claim(store, "t2", length=0.2)
    assert young.state is Claim.YOUNG
    assert young.wait < 0.21
    await granted(store)


async def test_what_is_evicted_is_not_granted_again_at_once(
    store: Store, own_redis: RedisServer, prefix: str
) -> None:
    """A server with a policy of its own may take any key away: with a key for each lease another
    replica would get the lease at once."""
    assert (await claim(store, "t1")).state is Claim.GRANTED
    with own_redis.client() as client:
        for key in client.scan_iter(f"{{{prefix}:*"):
            if client.ttl(key) == -1:
                client.delete(key)
    assert (await claim(store, "t2")).state is Claim.YOUNG
    with own_redis.client() as client:
        for key in client.scan_iter(f"{{{prefix}:*"):
            assert client.ttl(key) > 0 or key.endswith(b"leases")


async def test_a_server_keeps_little_of_those_who_have_gone(
    store: Store, own_redis: RedisServer, prefix: str
) -> None:
    """Without that a lease that is held for hours would remember every claim of every replica that
    was killed, and a shard every lease that was not given up."""
    keys = Keys(prefix)
    await claim(store, "holder")
    await claim(store, "first")
    for number in range(200):
        await claim(store, f"gone{number}", length=0.002)
    names = [name for name in (f"n{i}" for i in range(20_000)) if keys.shard(name) == 5][:300]
    for name in names:
        await store.leases.claim(name, "gone", node="a", length=0.002)
    with own_redis.client() as client:
        [line, waiting] = keys.of("lane", "line", "waiting")
        assert client.zcard(line) == client.hlen(waiting) < 150
        assert client.hlen(keys.leases(names[0])) < 200
        assert 0 < client.pttl(line) <= 12_000


async def test_scripts_that_the_server_forgot_are_told_again(
    store: Store, own_redis: RedisServer
) -> None:
    await granted(store)
    for _ in range(3):
        with own_redis.client() as client:
            client.script_flush()
        await claim(store)
        with own_redis.client() as client:
            client.script_flush()
        names = [f"s{number}" for number in range(100)]
        assert await store.records.touch(names, ttl=60) == [False] * 100


async def test_connections_that_were_cut_are_made_again_unseen(
    store: Store, own_redis: RedisServer
) -> None:
    for _ in range(3):
        await asyncio.gather(*(claim(store, f"t{i}") for i in range(20)))
        with own_redis.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.gather(*(claim(store, f"t{i}") for i in range(20)))


async def test_a_store_that_can_only_be_read_says_so(store: Store, own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            assert "only be read" in str(await refused(store))
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")
    await granted(store)


async def test_a_full_store_says_so_and_still_takes_leases_back(
    store: Store, own_redis: RedisServer
) -> None:
    assert (await claim(store, "t1")).state is Claim.GRANTED
    assert (await claim(store, "t2")).state is Claim.WAITING
    with own_redis.client() as client:
        client.config_set("maxmemory", "100kb")
        assert "full" in str(await refused(store))
        await store.leases.release("lane", "t1", length=6)
        # It is the next one's, who keeps it.
        assert await store.leases.renew("lane", "t2", length=6)
        client.config_set("maxmemory", "0")
    assert (await claim(store, "t2")).state is Claim.GRANTED
    await store.leases.release("lane", "t2", length=6)
    await granted(store)


async def test_a_store_that_does_a_part_of_what_is_asked_is_complained_of_once(
    store: Store,
    own_redis: RedisServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full store still answers what only reads. Each such answer was taken for its return: under
    load the log had hundreds of lines a second."""
    caplog.set_level(logging.WARNING, "ccxt_mcp.store")
    with own_redis.client() as client:
        client.config_set("maxmemory", "100kb")
        for _ in range(5):
            await refused(store)
            await store.records.read("lane")
        client.config_set("maxmemory", "0")
    assert len(caplog.messages) == 1
    monkeypatch.setattr("ccxt_mcp.store.redis.wire._WELL", 0.05)
    async with asyncio.timeout(10):
        while caplog.messages[1:] != ["the store is back"]:
            await store.records.read("lane")
            await asyncio.sleep(0.02)


async def test_mail_that_may_have_been_missed_is_said_so(
    store: Store, own_redis: RedisServer
) -> None:
    heard: list[str] = []
    await store.mail.listen("a", heard.append)
    await store.mail.tell("a", "one")
    await until(lambda: heard == ["one"])
    with own_redis.client() as client:
        client.client_kill_filter(_type="pubsub")
    await until(lambda: heard == ["one", ""])
    assert await store.mail.tell("a", "two")
    await until(lambda: heard == ["one", "", "two"])
    second: list[str] = []
    await store.mail.listen("b", second.append)
    assert await store.mail.tell("b", "three")
    await until(lambda: second == ["three"])
    assert heard == ["one", "", "two"]


async def test_a_connection_for_mail_that_has_silently_died_is_found_out(
    store: Store, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes on it, as if nobody had said anything; only an answer that is missing tells."""
    monkeypatch.setattr("ccxt_mcp.store.redis.mail._ROUND", 0.05)
    heard: list[str] = []
    await store.mail.listen("a", heard.append)
    own_redis.pause()
    await asyncio.sleep(3 * TIMEOUT)
    own_redis.resume()
    await until(lambda: heard == [""])


async def test_nothing_that_is_said_has_the_password_in_it(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = own_redis.url.replace("redis://", "redis://someone:s3cr3t-pa55@")
    store = store_at(url, prefix="p", timeout=TIMEOUT)
    await store.open()
    try:
        await store.mail.listen("a", lambda _: None)
        failure = await refused(store)
        assert "let this server in" in str(failure)
        own_redis.stop()
        shown = [repr(store), repr(store.mail), str(await refused(store)), str(failure)]
        assert not any("s3cr3t" in each for each in [*shown, caplog.text])
    finally:
        await store.close()


async def test_a_closed_store_refuses(store: Store) -> None:
    await store.close()
    assert "leaving" in str(await refused(store))


async def test_a_removal_whose_answer_was_lost_is_told_again_to_whom_it_is_to_be_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeated, it would find nothing: the client would hear that there was no such session, and
    the other replicas would go on with their parts of it."""
    link: Any = store._wire._link  # type: ignore[attr-defined]
    execute, lost = link.execute, list[Any]()

    async def lose(commands: Any, *, large: bool = False) -> Any:
        replies = await execute(commands, large=large)
        if not lost:
            lost.append(replies)
            raise RedisConnectionError("cut")
        return replies

    for node in ("a", "b"):
        await store.records.open("name", b"data", node=node, ttl=60)
    # So that the server knows the script.
    await store.records.remove("other")
    monkeypatch.setattr(link, "execute", lose)
    assert await store.records.remove("name") == frozenset(("a", "b"))
    assert lost
    assert await store.records.remove("name") is None
