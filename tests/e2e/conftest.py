"""The whole stack over real HTTP: simulated exchange, product, uvicorn, client; all on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from ccxt_mcp.app import create_app
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.product import assemble
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.settings import Settings
from ccxt_mcp.simulation import DemoAccount, SimulatedExchange, SimulationConfig, Venue, demo_venue
from ccxt_mcp.tools.server import TOOLS
from ccxt_mcp.tools.tool import Tool
from tests.cluster.replicas import Replicas, behind_router


@dataclass
class Stack:
    """A running server in front of a running venue, and a plain HTTP client of it."""

    sim: SimulatedExchange
    accounts: tuple[DemoAccount, ...]
    url: str
    http: httpx.AsyncClient
    app: Starlette

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any] | None = None,
        *,
        session: str = "workflow-test",
        request_id: int | str = 1,
    ) -> dict[str, Any]:
        """One tool call by plain HTTP; the JSON-RPC `result` object."""
        response = await self.http.post(
            f"{self.url}/mcp",
            headers={"Mcp-Session-Id": session},
            json={
                "jsonrpc": "2.0",
                "id": request_id,
                "method": "tools/call",
                "params": {"name": tool, "arguments": arguments or {}},
            },
        )
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["id"] == request_id
        result = answer["result"]
        assert isinstance(result, dict)
        return result

    async def sessions(self) -> list[dict[str, Any]]:
        """The sessions as `/health` lists them."""
        listed = (await self.http.get(f"{self.url}/health")).json()["sessions"]
        assert isinstance(listed, list)
        return listed


def paper_settings(
    sim: SimulatedExchange,
    accounts: tuple[DemoAccount, ...],
    profile: dict[str, Any] | None = None,
    **more: Any,
) -> Settings:
    """Settings with the venue as the profile `paper`, changed by `profile`, and its accounts."""
    return Settings.model_validate(
        {
            "default_exchange": "paper",
            "exchange_keys_from_env": False,
            "exchanges": {
                "paper": {
                    "exchange": "binance",
                    "base_url": sim.base_url,
                    "options": {"fetchMarkets": {"types": ["spot", "linear"]}},
                    "default_account": accounts[0].name,
                    "rate_limit": "off",
                    **(profile or {}),
                }
            },
            "accounts": {
                a.name: {"exchange": "paper", "api_key": a.api_key, "secret": a.secret}
                for a in accounts
            },
            **more,
        }
    )


@asynccontextmanager
async def running_stack(
    *,
    place: tuple[Venue, tuple[DemoAccount, ...]] | None = None,
    tools: Sequence[Tool] = TOOLS,
    load_apart: bool = False,
    **more: Any,
) -> AsyncIterator[Stack]:
    """Venue, server and client for one test; `more` are settings.

    `place` is a venue with accounts instead of the demo's.

    Market tables are loaded by the server itself unless a test is about the process that does it
    otherwise: starting that takes fifteen times as long as all the rest of a stack.
    """
    venue, accounts = place or demo_venue(seed=7, linear_symbols=4)
    async with AsyncExitStack() as stack:
        config = SimulationConfig(rate_limit=None)
        sim = await stack.enter_async_context(SimulatedExchange(config, venue=venue))
        settings = paper_settings(sim, accounts, **more)

        def made(cluster: Cluster | None) -> Starlette:
            product = assemble(
                settings, environ={}, tools=tools, load_apart=load_apart, cluster=cluster
            )
            return create_app(product=product)

        app = behind_router(made)
        url = await stack.enter_async_context(
            serving(app, bind("127.0.0.1", 0), app.state.connections)
        )
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
        stack_ = Stack(sim, accounts, url, http, app)
        if isinstance(app, Replicas):
            await _warmed(stack_, app)
        yield stack_


async def _warmed(stack: Stack, router: Replicas) -> None:
    """Tests warm one server up: here each replica gets what that one would have."""
    ticker = {"name": "get_ticker", "arguments": {"symbol": "BTC/USDT"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ticker}
    for router.only in range(len(router.apps)):
        # Where the settings let nobody in, there is nothing to warm.
        await stack.http.post(
            f"{stack.url}/mcp", headers={"Mcp-Session-Id": "warm-replicas"}, json=body
        )
    router.only = None
    stack.sim.counters.reset()


StackFactory = Callable[..., Awaitable[Stack]]


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """A stack with default settings and warm market tables."""
    async with running_stack() as running:
        warm = await running.call("get_ticker", {"symbol": "BTC/USDT"}, session="warm-up")
        assert not warm.get("isError"), warm
        yield running


@pytest.fixture
async def make_stack() -> AsyncIterator[StackFactory]:
    """A function that starts a stack with the settings it is given."""
    async with AsyncExitStack() as exits:

        async def make(**more: Any) -> Stack:
            return await exits.enter_async_context(running_stack(**more))

        yield make
