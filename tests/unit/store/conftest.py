"""Both stores under the same tests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Store
from tests.redis_groups import Shards, running_shards
from tests.redis_server import RedisServer
from tests.unit.store.world import World

MakeWorld = Callable[[], Awaitable[World]]


class MemoryWorld(World):
    def __init__(self) -> None:
        self._now = 1000.0
        self._store = MemoryStore(clock=lambda: self._now)
        super().__init__(self._store, self._store)

    async def pass_time(self, seconds: float) -> None:
        self._now += seconds

    async def flush(self) -> None:
        self._store.flush()


class RedisWorld(World):
    def __init__(
        self, store: Store, other: Store, server: RedisServer | Shards, prefix: str
    ) -> None:
        super().__init__(store, other)
        self._server = server
        self._prefix = prefix

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def flush(self) -> None:
        self._server.forget(self._prefix)


@pytest.fixture
def prefix() -> str:
    """Of a store that no other test uses."""
    return secrets.token_hex(6)


@pytest.fixture(scope="session")
def shards(redis_there: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shards]:
    """A cluster, one for all tests of a process, as ``redis_server`` is."""
    with running_shards(tmp_path_factory.mktemp("shards")) as shards:
        yield shards


@pytest.fixture(params=["memory", "redis", pytest.param("shards", marks=pytest.mark.servers)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A store as two replicas see it."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    shared = "shards" if request.param == "shards" else "redis_server"
    server: RedisServer | Shards = request.getfixturevalue(shared)
    prefix = secrets.token_hex(6)
    server.come_of_age(prefix)
    stores = [store_at(server.url, prefix=prefix, timeout=3) for _ in range(2)]
    for each in stores:
        await each.open()
    try:
        yield RedisWorld(stores[0], stores[1], server, prefix)
    finally:
        for each in stores:
            await each.close()
