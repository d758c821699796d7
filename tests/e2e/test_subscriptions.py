"""Resources that change, over real HTTP: what subscribers hear, what it costs, what is left."""

import asyncio
import json
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPDeprecationWarning

from ccxt_mcp.simulation import demo_venue
from tests.e2e.conftest import Stack, running_stack
from tests.unit.transport.toy import INITIALIZE

TICKER = "ccxt://markets/paper/BTC%2FUSDT/ticker"
ORDERS = "ccxt://accounts/main/open-orders"
ROUTE = "GET /api/v3/ticker/24hr"
SSE = {"Accept": "text/event-stream"}
MODERN = {
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "subscriptions/listen",
    "Accept": "application/json, text/event-stream",
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Prices:
    """A venue's time, which moves its prices, and stands still until it is moved."""

    def __init__(self) -> None:
        # Its own time beside ours would be a reason to refuse signed requests.
        self.now = time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return self.now

    def move(self) -> None:
        self.now += 1_000


@asynccontextmanager
async def polled_stack(interval: float = 0.05, **more: Any) -> AsyncIterator[tuple[Stack, Prices]]:
    """A stack whose prices move when the test says so."""
    prices = Prices()
    place = demo_venue(seed=7, linear_symbols=4, clock=prices)
    more |= {"ticker_poll_interval": interval, "orders_poll_interval": interval}
    async with running_stack(place=place, **more) as stack:
        if "tokens" not in more:
            # What a first call starts, stays.
            await stack.call("get_ticker", {"symbol": "BTC/USDT"})
            await stack.call("get_open_orders")
        yield stack, prices


async def numbers(stack: Stack) -> dict[str, int]:
    """What is going on, as the server counts it."""
    health = (await stack.http.get(f"{stack.url}/health")).json()
    return {name: health[name] for name in ("subscriptions", "polled", "tasks")}


async def until_nothing_is_left(stack: Stack, tasks: int) -> None:
    """No subscription, no poller, no request upstream, and no more tasks than before."""
    async with asyncio.timeout(10):
        while (now := await numbers(stack))["polled"] or now["subscriptions"]:
            await asyncio.sleep(0.01)
        while (await numbers(stack))["tasks"] > tasks:
            await asyncio.sleep(0.01)
        while stack.sim.counters.snapshot().in_flight:
            await asyncio.sleep(0.01)


def change_an_order(stack: Stack) -> None:
    account = stack.sim.venue.accounts[stack.accounts[0].api_key]
    account.put(replace(account.resting()[0], status="CANCELED"))


async def test_the_sdks_client_of_the_older_era_hears_of_changes() -> None:
    async with polled_stack() as (stack, prices):
        tasks = (await numbers(stack))["tasks"]
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def hear(message: Any) -> None:
            heard.put_nowait(message.params.uri)

        async with (
            asyncio.timeout(20),
            Client(f"{stack.url}/mcp", mode="legacy", message_handler=hear) as client,
        ):
            assert client.server_capabilities.resources is not None
            assert client.server_capabilities.resources.subscribe
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MCPDeprecationWarning)
                await client.subscribe_resource(TICKER)
                await client.subscribe_resource(ORDERS)
                before = (await client.read_resource(TICKER)).contents[0]
                prices.move()
                assert await heard.get() == TICKER
                assert (await client.read_resource(TICKER)).contents[0] != before
                change_an_order(stack)
                assert await heard.get() == ORDERS
                await client.unsubscribe_resource(TICKER)
                assert (await numbers(stack))["polled"] == 1
                prices.move()
                change_an_order(stack)
                assert await heard.get() == ORDERS
            assert heard.empty()
        await until_nothing_is_left(stack, tasks)


async def test_the_sdks_client_of_the_newer_era_hears_of_changes() -> None:
    async with polled_stack() as (stack, prices):
        tasks = (await numbers(stack))["tasks"]
        async with asyncio.timeout(20), Client(f"{stack.url}/mcp", mode="auto") as client:
            capabilities = client.server_capabilities
            assert capabilities.resources is not None
            assert capabilities.resources.subscribe
            # Lists never change while a server runs, so nothing is promised about them.
            assert not capabilities.resources.list_changed
            async with client.listen(
                tools_list_changed=True, resource_subscriptions=[TICKER, ORDERS, "ccxt://accounts"]
            ) as subscription:
                assert subscription.honored.resource_subscriptions == [TICKER, ORDERS]
                assert not subscription.honored.tools_list_changed
                prices.move()
                assert (await anext(subscription)).uri == TICKER  # type: ignore[union-attr]
                change_an_order(stack)
                assert (await anext(subscription)).uri == ORDERS  # type: ignore[union-attr]
        await until_nothing_is_left(stack, tasks)


class Subscriber:
    """A subscriber by plain HTTP, whose stream is read only when the test asks for it."""

    def __init__(self, stream: httpx.Response) -> None:
        self._lines = stream.aiter_lines()

    async def hears(self, method: str = "notifications/resources/updated") -> dict[str, Any]:
        """The next message on its stream."""
        async for line in self._lines:
            if line.startswith("data: {"):
                message: dict[str, Any] = json.loads(line.removeprefix("data: "))
                assert message["method"] == method
                return message
        raise AssertionError("the stream has ended")


async def older(
    stack: Stack, http: httpx.AsyncClient, exits: AsyncExitStack, uri: str, **headers: str
) -> Subscriber:
    """One with a session from a handshake."""
    url = f"{stack.url}/mcp"
    session = (await http.post(url, json=INITIALIZE, headers=headers)).headers["mcp-session-id"]
    named = {"Mcp-Session-Id": session, **headers}
    exits.push_async_callback(http.delete, url, headers=named)
    stream = await exits.enter_async_context(http.stream("GET", url, headers={**SSE, **named}))
    body = {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri}}
    answer = await http.post(url, json=body, headers=named)
    assert answer.json()["result"] == {}
    return Subscriber(stream)


def listen_to(*uris: str) -> dict[str, Any]:
    params = {"notifications": {"resourceSubscriptions": list(uris)}, "_meta": META}
    return {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}


async def newer(
    stack: Stack, http: httpx.AsyncClient, exits: AsyncExitStack, uri: str
) -> Subscriber:
    """One of 2026-07-28."""
    request = http.stream("POST", f"{stack.url}/mcp", headers=MODERN, json=listen_to(uri))
    subscriber = Subscriber(await exits.enter_async_context(request))
    await subscriber.hears("notifications/subscriptions/acknowledged")
    return subscriber


async def test_a_hundred_subscribers_of_one_price_cost_one_request_an_interval() -> None:
    """Of both eras, and one that never reads; when the last has gone, nothing is left."""
    interval = 0.2
    limits = httpx.Limits(max_connections=300)
    async with (
        asyncio.timeout(50),
        polled_stack(interval) as (stack, prices),
        httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as http,
    ):
        tasks = (await numbers(stack))["tasks"]
        before = stack.sim.counters.snapshot().by_route[ROUTE]
        began = time.monotonic()
        async with AsyncExitStack() as exits:
            subscribers = await asyncio.gather(
                *(older(stack, http, exits, TICKER) for _ in range(50)),
                *(newer(stack, http, exits, TICKER) for _ in range(50)),
            )
            await older(stack, http, exits, TICKER)
            now = await numbers(stack)
            assert (now["subscriptions"], now["polled"]) == (101, 1)
            for _ in range(2):
                prices.move()
                told = await asyncio.gather(*(each.hears() for each in subscribers))
                assert {each["params"]["uri"] for each in told} == {TICKER}
            asked = stack.sim.counters.snapshot().by_route[ROUTE] - before
            assert 2 <= asked <= (time.monotonic() - began) / interval + 1
        await until_nothing_is_left(stack, tasks)


async def test_a_caller_without_the_right_subscribes_to_nobodys_account() -> None:
    """By a token: what exists and what does not are refused in the same words, in both eras."""
    tokens = {
        "trader": {"token": "t" * 24, "scopes": ["read", "trade"]},
        "watcher": {"token": "w" * 24, "scopes": ["ops"]},
    }
    async with (
        asyncio.timeout(30),
        polled_stack(tokens=tokens) as (stack, _),
        AsyncExitStack() as exits,
    ):
        url = f"{stack.url}/mcp"
        trader = {"Authorization": "Bearer " + "t" * 24}
        watcher = {"Authorization": "Bearer " + "w" * 24}
        await older(stack, stack.http, exits, ORDERS, **trader)
        said: set[str] = set()
        for uri in (ORDERS, "ccxt://accounts/nobody/open-orders"):
            params = {"uri": uri}
            body = {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": params}
            named = {**watcher, "Mcp-Session-Id": "watching"}
            for headers, request in ((named, body), ({**watcher, **MODERN}, listen_to(uri))):
                answer = await stack.http.post(url, json=request, headers=headers)
                error = answer.json()["error"]
                assert error["data"]["uri"] == uri
                said.add(error["message"])
        (words,) = said
        assert words.startswith("permission_denied: ")
        health = await stack.http.get(f"{stack.url}/health", headers=watcher)
        assert health.json()["subscriptions"] == 1


async def test_a_session_that_lapses_takes_its_subscriptions_along() -> None:
    """While its stream is read it does not; a client that has left is not polled for."""
    async with (
        asyncio.timeout(30),
        polled_stack(session_idle_timeout=0.2) as (stack, prices),
    ):
        tasks = (await numbers(stack))["tasks"]
        async with AsyncExitStack() as exits:
            subscriber = await older(stack, stack.http, exits, TICKER)
            begun = time.monotonic()
            while time.monotonic() - begun < 0.5:
                prices.move()
                await subscriber.hears()
            assert (await numbers(stack))["polled"] == 1
        async with asyncio.timeout(5):
            while (await numbers(stack))["polled"]:
                await asyncio.sleep(0.01)
        await until_nothing_is_left(stack, tasks)


@pytest.mark.parametrize("era", [older, newer])
async def test_a_client_that_drops_its_connections_is_not_polled_for(era: Any) -> None:
    async with asyncio.timeout(30), polled_stack() as (stack, _):
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            exits = AsyncExitStack()
            subscriber = await era(stack, http, exits, ORDERS)
            change_an_order(stack)
            await subscriber.hears()
            assert (await numbers(stack))["polled"] == 1
        # Nobody has said goodbye.
        exits.pop_all()
        async with asyncio.timeout(5):
            while (await numbers(stack))["polled"]:
                await asyncio.sleep(0.01)
