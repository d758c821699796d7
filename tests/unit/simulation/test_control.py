"""Counters, and steering the exchange from another process."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from ccxt_mcp.simulation import (
    DemoAccount,
    SimulatedExchange,
    SimulationConfig,
    demo_accounts,
    run_simulation,
)
from tests.unit.simulation.conftest import Connect

Accounts = tuple[DemoAccount, ...]


async def ask(
    sim: SimulatedExchange, method: str, path: str, body: object = None, data: bytes | None = None
) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(sim.base_url) as session,
        session.request(method, f"/_sim/{path}", json=body, data=data) as answer,
    ):
        return answer.status, await answer.json()


async def test_requests_are_counted_per_route_and_per_key(
    sim: SimulatedExchange, connect: Connect, accounts: Accounts
) -> None:
    await connect(accounts[0]).privateGetAccount()
    await connect(accounts[1]).privateGetAccount()
    await connect(accounts[1]).privateGetOpenOrders()
    await connect().publicGetPing()
    seen = sim.counters.snapshot()
    assert seen.total == 4
    assert seen.by_route == {
        "GET /api/v3/account": 2,
        "GET /api/v3/openOrders": 1,
        "GET /api/v3/ping": 1,
    }
    assert seen.by_key == {
        accounts[0].api_key: {"GET /api/v3/account": 1},
        accounts[1].api_key: {"GET /api/v3/account": 1, "GET /api/v3/openOrders": 1},
    }
    assert seen.answers == {"200": 4}
    assert seen.connections_opened == seen.connections_open == 4


async def test_keys_without_an_account_are_counted_together(
    sim: SimulatedExchange, connect: Connect
) -> None:
    for letter in "XYZ":
        exchange = connect(DemoAccount("none", letter * 64, "secret"))
        with pytest.raises(Exception, match="-2015"):
            await exchange.privateGetAccount()
    assert sim.counters.snapshot().by_key == {"(unknown)": {"GET /api/v3/account": 3}}


async def test_the_most_requests_in_flight_at_once_are_remembered(
    sim: SimulatedExchange, connect: Connect
) -> None:
    exchange = connect()
    sim.set_latency(20)
    await asyncio.gather(*(exchange.publicGetPing() for _ in range(15)))
    seen = sim.counters.snapshot()
    assert (seen.in_flight, seen.max_in_flight) == (0, 15)
    sim.counters.reset()
    assert sim.counters.snapshot().total == 0
    assert sim.counters.snapshot().connections_open == 15


async def test_counters_can_be_read_and_reset_over_http_without_counting_it(
    sim: SimulatedExchange, connect: Connect
) -> None:
    await connect().publicGetPing()
    status, seen = await ask(sim, "GET", "counters")
    assert status == 200
    assert seen["by_route"] == {"GET /api/v3/ping": 1}
    assert await ask(sim, "POST", "counters/reset") == (200, {"reset": True})
    assert (await ask(sim, "GET", "counters"))[1]["total"] == 0


async def test_faults_can_be_scripted_listed_and_cleared_over_http(
    sim: SimulatedExchange, connect: Connect
) -> None:
    status, made = await ask(sim, "POST", "faults", {"kind": "html", "route": "*/ping"})
    assert status == 201
    assert (await connect().publicGetPing()).startswith("<!DOCTYPE")
    listed = (await ask(sim, "GET", "faults"))[1]
    assert [(f["id"], f["kind"], f["struck"]) for f in listed] == [(made["id"], "html", 1)]
    assert await ask(sim, "DELETE", f"faults/{made['id']}") == (200, {"cleared": 1})
    assert await ask(sim, "DELETE", "faults") == (200, {"cleared": 0})
    assert await connect().publicGetPing() == {}


async def test_latency_and_clock_can_be_set_over_http(
    sim: SimulatedExchange, connect: Connect
) -> None:
    assert (await ask(sim, "POST", "latency", {"ms": 20, "jitter_ms": 1}))[0] == 200
    assert (await ask(sim, "POST", "clock", {"offset_ms": -60_000}))[0] == 200
    exchange, loop = connect(), asyncio.get_running_loop()
    started = loop.time()
    assert await exchange.fetch_time() < exchange.milliseconds() - 50_000
    assert loop.time() - started >= 0.019


async def test_accounts_are_listed_without_their_secrets(
    sim: SimulatedExchange, accounts: Accounts
) -> None:
    status, listed = await ask(sim, "GET", "accounts")
    assert status == 200
    assert listed == [{"name": a.name, "api_key": a.api_key} for a in accounts]
    assert accounts[0].secret not in repr(sim.venue.accounts)


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("POST", "faults", {}, "kind"),
        ("POST", "faults", [], "object"),
        ("POST", "faults", {"kind": "explode"}, "explode"),
        ("POST", "faults", {"kind": "hang", "colour": 1}, "colour"),
        ("POST", "faults", {"kind": "hang", "times": "two"}, "times"),
        ("POST", "faults", {"kind": "hang", "skip": True}, "skip"),
        ("POST", "faults", {"kind": "status", "headers": {"A": "b\r\nC: d"}}, "headers"),
        ("POST", "latency", {"ms": -1}, "negative"),
        ("POST", "latency", {"jitter_ms": 1}, "ms"),
        ("POST", "latency", {"ms": "slow"}, "number"),
        ("POST", "clock", {}, "offset_ms"),
        ("POST", "clock", {"offset_ms": -1e300}, "2018"),
        ("DELETE", "faults/first", None, "first"),
    ],
)
async def test_a_bad_control_request_is_told_what_is_wrong(
    sim: SimulatedExchange, method: str, path: str, body: object, said: str
) -> None:
    status, answer = await ask(sim, method, path, body)
    assert status == 400
    assert said in answer["error"]


async def test_control_answers_bodies_that_are_not_json_and_paths_it_does_not_have(
    sim: SimulatedExchange,
) -> None:
    status, answer = await ask(sim, "POST", "faults", data=b"{")
    assert (status, "JSON" in answer["error"]) == (400, True)
    assert (await ask(sim, "GET", "nothing"))[0] == 404


async def test_the_simulation_serves_until_cancelled() -> None:
    ready: asyncio.Future[SimulatedExchange] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(
        run_simulation("127.0.0.1", 0, 5, 0.0, 0.0, 6_000, ready.set_result)
    )
    async with asyncio.timeout(5):
        sim = await ready
        listed = (await ask(sim, "GET", "accounts"))[1]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [a["api_key"] for a in listed] == [a.api_key for a in demo_accounts(5)]
    assert repr(sim).startswith("<SimulatedExchange stopped")


async def test_the_exchange_can_be_started_again_after_a_stop() -> None:
    sim = SimulatedExchange(SimulationConfig())
    for _ in range(2):
        async with sim:
            assert (await ask(sim, "GET", "accounts")) == (200, [])
            with pytest.raises(RuntimeError, match="already"):
                await sim.start()
