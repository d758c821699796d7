"""Replicas whose store's primary is killed: as their clients see it, and by the figures that
docs/SCALING.md names."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ccxt_mcp.settings import Settings
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.redis.keys import Keys
from tests.cluster.conftest import Place, placed
from tests.cluster.replicas import replicas
from tests.redis_groups import running_shards, running_watched
from tests.redis_server import RedisServer
from tests.unit.transport.toy import INITIALIZE, Toy, call

pytestmark = pytest.mark.servers

SESSIONS = 6


class Group:
    """Servers that make up a store, and the one whose loss is felt."""

    def __init__(self, url: str, prefix: str, lose: Callable[[], RedisServer]) -> None:
        self.url = url
        self.prefix = prefix
        self.lose = lose


@pytest.fixture(params=["sentinels", "shards"])
def group(redis_there: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    prefix = secrets.token_hex(6)
    if request.param == "sentinels":
        with running_watched(tmp_path) as watched:
            [primary] = {watched.primary()}
            assert primary is not None
            primary.come_of_age(prefix)
            yield Group(watched.url, prefix, lambda: primary)
    else:
        with running_shards(tmp_path, followers=3) as shards:
            shards.come_of_age(prefix)
            yield Group(shards.url, prefix, lambda: shards.owner(Keys(prefix).mail))


class Overlapping(Toy):
    """Notes when a session has two calls at once."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def wait(self, value: str) -> None:
        self.under_way[value] += 1
        self.most[value] = max(self.most[value], self.under_way[value])
        await asyncio.sleep(0.02)
        self.under_way[value] -= 1


@asynccontextmanager
async def three(group: Group, toy: Toy) -> AsyncIterator[Place]:
    settings = Settings.model_validate({})
    router = replicas(
        settings, toy.server(), store=lambda: store_at(group.url, prefix=group.prefix, timeout=1)
    )
    async with placed(router, toy) as place:
        yield place


async def test_sessions_live_on_and_no_two_calls_of_one_overlap(group: Group) -> None:
    toy = Overlapping()
    ended: list[tuple[float, float, str]] = []
    refused: Counter[str] = Counter()
    async with three(group, toy) as place:
        names = []
        for number in range(SESSIONS):
            answer = await place.at(number % 3).post("/mcp", json=INITIALIZE)
            names.append(answer.headers["mcp-session-id"])
        place.at(None)
        stop = asyncio.Event()

        async def use(name: str) -> None:
            while not stop.is_set():
                began = time.monotonic()
                answer = await place.client.post(
                    "/mcp", json=call("echo", name), headers={"Mcp-Session-Id": name}
                )
                if answer.status_code == 200 and '"isError":true' not in answer.text:
                    ended.append((began, time.monotonic(), name))
                else:
                    refused[said(answer)] += 1
                    await asyncio.sleep(0.05)

        async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
            for name in names * 2:
                tasks.create_task(use(name))
            while len(ended) < 100:
                await asyncio.sleep(0.02)
            lost = await asyncio.to_thread(group.lose)
            lost.stop()
            killed = time.monotonic()
            while {name for began, _, name in ended if began > killed} < set(names):
                await asyncio.sleep(0.02)
            whole = time.monotonic() - killed
            stop.set()
    first = min(end for began, end, _ in ended if began > killed) - killed
    print(f"first call {first:.1f} s after, all sessions {whole:.1f} s; refused: {dict(refused)}")
    # Every session was served, and none was lost: nothing else was said than to try again.
    assert set(toy.most) == set(names)
    assert set(toy.most.values()) == {1}
    assert set(refused) <= {"503 store_unavailable", "200 store_unavailable"}


def said(answer: httpx.Response) -> str:
    body = answer.json()
    found = body.get("error", {}).get("data") or body["result"]["_meta"]["ccxt-mcp/failure"]
    return f"{answer.status_code} {found['code']}"
