"""Several replicas' gateways on one store, in one process."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.limits import Limits
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.store.measured import Measured
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Store
from tests.redis_server import RedisServer

__all__ = ["Replica", "Stores", "in_memory", "memory_of", "on_redis", "replicas"]

Stores = Callable[[], Store]
"""Makes a replica's way to the store that all have in common."""


@dataclass
class Replica:
    cluster: Cluster
    gateway: Gateway

    async def quiet(self) -> None:
        """Let what nobody waits for arrive."""
        await self.cluster.node.stop()


def memory_of(cluster: Cluster) -> MemoryStore:
    """The store in memory that a cluster has."""
    measured = cluster.store
    assert isinstance(measured, Measured)
    assert isinstance(measured.store, MemoryStore)
    return measured.store


def in_memory(store: MemoryStore | None = None) -> Stores:
    common = store or MemoryStore()
    return lambda: common


def on_redis(server: RedisServer) -> Stores:
    prefix = secrets.token_hex(6)
    server.come_of_age(prefix)
    return lambda: store_at(server.url, prefix=prefix, timeout=3)


@asynccontextmanager
async def replicas(
    stores: Stores,
    profile: ExchangeProfile,
    *,
    count: int = 3,
    alone: bool = False,
    limits: Callable[[Cluster | None], Limits] = lambda cluster: Limits(cluster=cluster),
) -> AsyncIterator[list[Replica]]:
    """Replicas with one profile, market tables loaded; `alone`, they know nothing of each other."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            cluster = Cluster(stores(), prefix="test")
            await cluster.start()
            stack.push_async_callback(cluster.stop)
            common = None if alone else cluster
            gateway = Gateway(
                {profile.name: profile}, cluster=common, limits=limits(common), load_apart=False
            )
            stack.push_async_callback(gateway.close)
            async with gateway.public(profile.name):
                pass
            found.append(Replica(cluster, gateway))
        yield found
