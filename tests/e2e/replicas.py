"""Several replicas of the whole stack in one process, over one venue and one store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from ccxt_mcp.app import create_app
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.product import Product, assemble
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig, demo_venue
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.protocol import Store
from tests.e2e.conftest import Stack, paper_settings


@dataclass
class Replicas:
    """Running replicas, their clusters, and what they share."""

    sim: SimulatedExchange
    stacks: list[Stack]
    products: list[Product]
    clusters: list[Cluster]
    store: MemoryStore

    def asked(self, route: str) -> int:
        """Requests that the venue has seen."""
        return self.sim.counters.by_route[route]


@asynccontextmanager
async def running_replicas(
    *each: dict[str, Any],
    load_apart: bool = False,
    of_its_own: Callable[[], Store] | None = None,
) -> AsyncIterator[Replicas]:
    """A replica for each of the settings; ``of_its_own`` makes what each has of a common store that
    is elsewhere, instead of one in memory."""
    venue, accounts = demo_venue(seed=7, linear_symbols=4)
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(
            SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue)
        )
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
        stacks: list[Stack] = []
        products: list[Product] = []
        clusters: list[Cluster] = []
        for number, more in enumerate(each):
            cluster = Cluster(of_its_own() if of_its_own else store, f"node{number}")
            product = assemble(
                paper_settings(sim, accounts, **more),
                environ={},
                keep_on_disk=False,
                load_apart=load_apart,
                cluster=cluster,
            )
            app = create_app(product=product)
            url = await stack.enter_async_context(
                serving(app, bind("127.0.0.1", 0), app.state.connections)
            )
            stacks.append(Stack(sim, accounts, url, http, app))
            products.append(product)
            clusters.append(cluster)
        yield Replicas(sim, stacks, products, clusters, store)
