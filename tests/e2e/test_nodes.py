"""Replicas on the list of `/health`, whichever is asked; when each takes work."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from rich.console import Console

from ccxt_mcp.cli.status import page
from ccxt_mcp.client import health
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.ops import health as ops_health
from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import Stack
from tests.e2e.replicas import running_replicas

OPEN = "GET /api/v3/openOrders"


async def away() -> None:
    raise Failure(Code.STORE_UNAVAILABLE, "away", retry_after=1.0)


async def shown(stack: Stack) -> dict[str, Any]:
    body = (await stack.http.get(f"{stack.url}/health")).json()
    assert isinstance(body, dict)
    return body


async def ready(stack: Stack, query: str = "") -> int:
    return (await stack.http.get(f"{stack.url}/ready{query}")).status_code


async def test_every_replica_shows_all_until_they_end() -> None:
    first = {"toolsets": ["market"], "node_address": "10.0.0.5:3000", "max_calls": 7}
    async with running_replicas(first, {"port": 3001}) as running:
        one, two = running.stacks
        async with asyncio.timeout(5):
            while [each["status"] for each in (await shown(one))["nodes"]] != ["running"] * 2:
                await asyncio.sleep(0.01)
        told = [await shown(each) for each in (one, two)]
        assert [each["node"] for each in told] == ["node0", "node1"]
        assert told[0]["nodes"] == told[1]["nodes"]
        market, both = told[0]["nodes"]
        assert (market["id"], market["address"]) == ("node0", "10.0.0.5:3000")
        assert (market["toolsets"], market["max"]["calls"]) == (["market"], 7)
        assert market["load"] == {"calls": 0, "sessions": 0}
        assert both["address"] == "127.0.0.1:3001"
        assert both["toolsets"] == ["market", "account"]
        assert told[0]["store"]["up"] is True

        report = await health(one.url)
        assert report.nodes is not None
        assert [each.node_id for each in report.nodes] == ["node0", "node1"]
        assert (report.node, report.store_up) == ("node0", True)
        screen = io.StringIO()
        Console(width=150, file=screen).print(page(one.url, report))
        text = screen.getvalue()
        assert "node0 *" in text
        assert "10.0.0.5:3000" in text

        await two.app.state.drain(0.1)
        async with asyncio.timeout(5):
            while (await shown(one))["nodes"][1]["status"] != "draining":
                await asyncio.sleep(0.01)
    assert await running.store.nodes.all() == {}


async def test_a_replica_stays_ready_while_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unready, all replicas would leave their balancer at once, and clients would meet nobody."""
    async with running_replicas({}) as running:
        (stack,), (cluster,) = running.stacks, running.clusters
        async with asyncio.timeout(5):
            while await ready(stack) != 200:
                await asyncio.sleep(0.01)
        assert await ready(stack, "?store=required") == 200
        running.store.trouble = away
        body = await shown(stack)
        assert body["store"]["up"] is False
        assert [each["id"] for each in body["nodes"]] == ["node0"]
        monkeypatch.setattr(ops_health, "AWAY", 0.0)
        assert await ready(stack) == 200
        assert await ready(stack, "?store=required") == 503
        assert "ccxt_mcp_store_up 0.0" in (await stack.http.get(f"{stack.url}/metrics")).text
        running.store.trouble = None
        await cluster.membership.all()
        assert await ready(stack, "?store=required") == 200


async def test_a_replica_that_never_reached_the_store_is_not_ready() -> None:
    """With a wrong `store_url` it would take a share of the work and refuse it."""
    async with running_replicas({}) as running:
        (stack,), (cluster,) = running.stacks, running.clusters
        cluster.trips.reached = False
        running.store.trouble = away
        assert await ready(stack) == 503
        running.store.trouble = None
        await cluster.membership.all()
        assert await ready(stack) == 200


async def test_every_replica_shows_the_sessions_of_all_and_what_runs_in_them() -> None:
    """Of one replica alone, a call that hangs elsewhere would be seen by nobody who looks here."""
    async with running_replicas({}, {}) as running:
        one, two = running.stacks
        warm = await one.call("get_ticker", {"symbol": "ETH/USDT"}, session="wf-other")
        assert not warm.get("isError"), warm
        running.sim.faults.add(Fault(kind="latency", route=OPEN, milliseconds=600_000))
        calls = [
            asyncio.create_task(stack.call("get_open_orders", session="wf-shared"))
            for stack in (one, one, two)
        ]
        try:
            async with asyncio.timeout(10):
                for stack in (one, two):
                    while True:
                        body = await shown(stack)
                        by_name = {each["sessionId"]: each for each in body["sessions"]}
                        shared = by_name.get("wf-shared", {})
                        if (shared.get("inFlight"), shared.get("queued")) == (1, 2):
                            break
                        await asyncio.sleep(0.02)
                    assert set(by_name) == {"wf-shared", "wf-other"}
                    assert body["activeSessions"] == 2
                    assert by_name["wf-other"]["calls"] == 1
                    paged = await stack.http.get(f"{stack.url}/health?limit=1&offset=1")
                    assert [each["sessionId"] for each in paged.json()["sessions"]] == ["wf-shared"]
        finally:
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
