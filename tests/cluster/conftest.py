"""Replicas on both stores."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from ccxt_mcp.settings import Settings
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Store
from tests.cluster.replicas import Replicas, replicas
from tests.redis_server import RedisServer
from tests.unit.transport.toy import Toy


class Place:
    """Replicas of a server, and a client whose requests go to any of them, or to one (``at``)."""

    def __init__(self, toy: Toy, router: Replicas, client: httpx.AsyncClient) -> None:
        self.toy = toy
        self.router = router
        self.client = client

    def at(self, number: int | None) -> httpx.AsyncClient:
        """The client, whose next request goes to this replica."""
        self.router.only = number
        return self.client

    def trips(self) -> int:
        """Round trips of all replicas so far; those of the nodes' own life are left out."""
        return sum(
            sum(
                sum(counts)
                for name, counts in app.state.cluster.trips.counts.items()
                if not name.startswith(("nodes.", "ping"))
            )
            for app in self.router.apps
        )


MakePlace = Callable[..., Awaitable[Place]]


@contextlib.asynccontextmanager
async def placed(router: Replicas, toy: Toy) -> AsyncIterator[Place]:
    async with (
        router.router.lifespan_context(router),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(router, raise_app_exceptions=True),
            base_url="http://localhost:3000",
            timeout=10,
        ) as client,
    ):
        yield Place(toy, router, client)


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[tuple[Place, MemoryStore]]:
    """Three replicas on one store in memory, which tests let hang or be slow (``trouble``)."""
    toy, store = Toy(), MemoryStore()
    async with placed(replicas(Settings(), toy.server(), store=lambda: store), toy) as place:
        yield place, store


@pytest.fixture(params=["memory", "redis"])
def stores(request: pytest.FixtureRequest) -> Callable[[], Store]:
    """Makes what each replica has of one store."""
    if request.param == "memory":
        common = MemoryStore()
        return lambda: common
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = secrets.token_hex(6)
    server.come_of_age(prefix)
    return lambda: store_at(server.url, prefix=prefix, timeout=3)


@pytest.fixture
async def place(stores: Callable[[], Store]) -> AsyncIterator[MakePlace]:
    """A function that starts three replicas with the settings it is given."""
    stop = asyncio.Event()
    living: list[asyncio.Task[None]] = []

    async def make(toy: Toy | None = None, **settings: Any) -> Place:
        toy = toy or Toy()
        router = replicas(Settings.model_validate(settings), toy.server(), store=stores)
        made: asyncio.Future[Place] = asyncio.get_running_loop().create_future()

        async def live() -> None:
            # Begun and ended in one task, as the SDK wants it.
            async with placed(router, toy) as place:
                made.set_result(place)
                await stop.wait()

        living.append(asyncio.create_task(live()))
        return await made

    yield make
    stop.set()
    await asyncio.gather(*living)
