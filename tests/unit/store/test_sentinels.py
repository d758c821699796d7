"""A store whose primary is put in another's place by sentinels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as Disconnected

from ccxt_mcp.store.protocol import Claim
from ccxt_mcp.store.redis.sentinels import Sentinels
from tests.redis_groups import Watched, running_watched
from tests.redis_server import RedisServer
from tests.unit.store.at_work import LANES, at_work
from tests.unit.store.world import opened, until

TIMEOUT = 0.5


@pytest.fixture
def watched(redis_there: None, tmp_path: Path) -> Iterator[Watched]:
    with running_watched(tmp_path) as watched:
        yield watched


async def promoted(watched: Watched, other_than: RedisServer) -> RedisServer:
    """The server that all sentinels name instead."""
    async with asyncio.timeout(30):
        while True:
            primary = await asyncio.to_thread(watched.primary)
            if primary not in (None, other_than):
                assert primary is not None
                return primary
            await asyncio.sleep(0.02)


async def test_when_the_primary_is_killed_the_next_one_is_found_and_nothing_is_given_twice(
    watched: Watched, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one has not heard all that was granted: without its waiting for one length, turns
    that are held would be granted again."""
    primary = watched.primary()
    assert primary is not None
    primary.come_of_age(prefix)
    async with opened(watched.url, prefix, TIMEOUT) as stores:
        heard: list[str] = []
        await stores[0].mail.listen("listener", heard.append)
        session = await stores[0].records.open("session", b"data", node="a", ttl=60)
        async with at_work(stores, monkeypatch) as work:
            await until(lambda: work.goes_on(0))
            primary.stop()
            killed = time.monotonic()
            next_one = await promoted(watched, primary)
            await until(lambda: work.goes_on(killed + 0.4), 30)
        work.check_age(prefix, dict.fromkeys(LANES, next_one), killed + 0.4)
        work.check(forgotten=2)
        assert work.refused
        found = await stores[1].records.read("session")
        assert found is not None
        assert (found.data, found.version) == (b"data", session.record.version)
        assert await stores[1].mail.tell("listener", "hello")
        await until(lambda: heard[-1:] == ["hello"])
        assert "" in heard


@pytest.mark.servers
async def test_a_primary_that_has_been_away_is_asked_no_more_when_it_comes_back(
    watched: Watched, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It believes to be the primary until a sentinel tells it: for some ten seconds, all that was
    held when it went is to be had from it. A replica that had nothing to ask meanwhile still has
    connections to it."""
    monkeypatch.setattr("ccxt_mcp.store.redis.mail._ROUND", 0.1)
    primary = watched.primary()
    assert primary is not None
    primary.come_of_age(prefix)
    async with opened(watched.url, prefix, TIMEOUT, 3) as stores:
        *busy, quiet = stores
        heard: list[str] = []
        await quiet.mail.listen("quiet", heard.append)
        asked = [quiet.records.read(f"{number}") for number in range(10)]
        await asyncio.gather(*asked)
        async with at_work(busy, monkeypatch) as work:
            await until(lambda: work.goes_on(0))
            primary.pause()
            paused = time.monotonic()
            next_one = await promoted(watched, primary)
            await until(lambda: work.goes_on(paused + 0.4), 30)
            # It has heard of it by now, by its connection for mail.
            await until(lambda: heard[-1:] == [""])
            primary.resume()
            back = time.monotonic()
            async with asyncio.timeout(20):
                claims = await asyncio.gather(
                    *(
                        quiet.leases.claim(f"quiet{number}", "t", node="quiet", length=60)
                        for number in range(10)
                    )
                )
            # The one that was away has long been of age.
            assert {each.state for each in claims} == {Claim.YOUNG}
            await until(lambda: work.goes_on(back), 30)
        work.check(forgotten=2)
        work.check_age(prefix, dict.fromkeys(LANES, next_one), paused + 0.4)


@pytest.mark.servers
async def test_what_has_become_a_follower_leads_to_the_primary(
    watched: Watched, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections stay as they are, and every claim is refused as read-only."""
    primary = watched.primary()
    assert primary is not None
    [other] = [each for each in watched.servers if each is not primary]
    primary.come_of_age(prefix)
    async with opened(watched.url, prefix, TIMEOUT) as stores, at_work(stores, monkeypatch) as work:
        await until(lambda: work.goes_on(0))
        with other.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        for each in watched.sentinels:
            with each.client() as client:
                client.execute_command("SENTINEL", "REMOVE", "main")
                client.execute_command("SENTINEL", "MONITOR", "main", "127.0.0.1", other.port, 2)
        with primary.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", other.port)
            changed = time.monotonic()
            await until(lambda: work.goes_on(changed + 0.1), 30)
            # Nobody has cut what was open.
            assert client.info("replication")["role"] == "slave"
    work.check(forgotten=2)
    work.check_age(prefix, dict.fromkeys(LANES, other), changed + 0.1)


class _Sentinel:
    """Answers a moment later, or is away."""

    def __init__(self, there: bool) -> None:
        self.there = there

    async def sentinel_masters(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if not self.there:
            raise Disconnected("away")
        state = {"is_master": True, "is_sdown": False, "is_odown": False}
        return {"main": {**state, "num-other-sentinels": 2, "ip": "10.0.0.1", "port": 6379}}


async def test_no_sentinel_is_forgotten_when_many_look_for_the_primary_at_once() -> None:
    """The library swaps two of a list that others are going through: the first one, which is away,
    was never asked again, and another stood there twice."""
    sentinels = Sentinels([("a", 1), ("b", 2), ("c", 3)], {})
    every: list[Any] = [_Sentinel(False), _Sentinel(True), _Sentinel(True)]
    sentinels.sentinels = list(every)
    found = await asyncio.gather(*(sentinels.discover_master("main") for _ in range(5)))
    assert set(found) == {("10.0.0.1", 6379)}
    assert sentinels.sentinels == [every[1], every[0], every[2]]
    every[0].there, every[1].there, every[2].there = True, False, False
    assert await sentinels.discover_master("main") == ("10.0.0.1", 6379)
    every[0].there = False
    with pytest.raises(MasterNotFoundError, match="no primary of 'main': away; away; away"):
        await sentinels.discover_master("main")
    every[1].there = True
    with pytest.raises(MasterNotFoundError, match="does not know it"):
        await sentinels.discover_master("other")
