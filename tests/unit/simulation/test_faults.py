"""Every scripted fault, as CCXT or a bare socket meets it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import aiohttp
import ccxt
import pytest

from ccxt_mcp.simulation import (
    DemoAccount,
    Fault,
    FaultKind,
    FaultPlan,
    SimulatedExchange,
    SimulationConfig,
    demo_venue,
)
from tests.unit.simulation.conftest import NOW, Connect

PING = "GET /api/v3/ping"
ACCOUNT = "GET /api/v3/account"


async def raw(sim: SimulatedExchange, path: str = "/api/v3/time") -> bytes:
    """All bytes the server sends for one request, until it closes."""
    address = urlsplit(sim.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(2):
            return await reader.read()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def until_idle(sim: SimulatedExchange) -> None:
    """Bounded wait for the server to notice that a client has left."""
    async with asyncio.timeout(2):
        while sim.counters.in_flight:
            await asyncio.sleep(0.001)


async def test_a_hanging_request_times_out_at_the_client_and_is_then_forgotten(
    sim: SimulatedExchange, connect: Connect
) -> None:
    sim.faults.add(Fault(kind="hang", route=PING, times=1))
    exchange = connect()
    exchange.timeout = 50
    with pytest.raises(ccxt.RequestTimeout):
        await exchange.publicGetPing()
    await until_idle(sim)
    assert sim.counters.snapshot().answers == {"none": 1}
    assert await exchange.publicGetPing() == {}


async def test_a_dripping_answer_comes_byte_by_byte(sim: SimulatedExchange) -> None:
    sim.faults.add(Fault(kind="drip", interval_ms=0.1))
    whole = await raw(sim)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body.startswith(b'{"serverTime":')
    assert body.endswith(b"}")


async def test_a_slow_drip_outlasts_the_patience_of_the_client(
    sim: SimulatedExchange, connect: Connect
) -> None:
    sim.faults.add(Fault(kind="drip", interval_ms=10))
    exchange = connect()
    exchange.timeout = 50
    with pytest.raises(ccxt.RequestTimeout):
        await exchange.publicGetTime()
    await until_idle(sim)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ccxt.AuthenticationError),
        (500, ccxt.OperationFailed),
        (502, ccxt.ExchangeNotAvailable),
        (503, ccxt.ExchangeNotAvailable),
        (504, ccxt.RequestTimeout),
        (418, ccxt.DDoSProtection),
        (429, ccxt.DDoSProtection),
    ],
)
async def test_a_status_is_worded_as_the_venue_would(
    sim: SimulatedExchange, connect: Connect, status: int, error: type[Exception]
) -> None:
    sim.faults.add(Fault(kind="status", status=status))
    with pytest.raises(error):
        await connect().publicGetPing()
    assert sim.counters.snapshot().answers == {str(status): 1}


async def test_a_status_carries_the_body_and_headers_of_the_script(sim: SimulatedExchange) -> None:
    sim.faults.add(
        Fault(kind="status", status=429, body={"code": -1015}, headers={"Retry-After": "7"})
    )
    head, _, body = (await raw(sim)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After: 7" in head
    assert body == b'{"code":-1015}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [(None, {}), ([], []), ({"balances": 3}, {"balances": 3}), ("null", "null")],
)
async def test_malformed_json_is_valid_but_of_another_shape(
    sim: SimulatedExchange, connect: Connect, body: Any, expected: Any
) -> None:
    sim.faults.add(Fault(kind="malformed", body=body))
    assert await connect().publicGetTime() == expected


async def test_a_short_truncation_declares_the_length_of_the_half(sim: SimulatedExchange) -> None:
    sim.faults.add(Fault(kind="truncated"))
    head, _, body = (await raw(sim)).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body.startswith(b'{"serverT')
    assert not body.endswith(b"}")


async def test_a_long_truncation_declares_the_whole_and_closes_early(
    sim: SimulatedExchange, connect: Connect
) -> None:
    sim.faults.add(Fault(kind="truncated", variant="long"))
    head, _, body = (await raw(sim)).partition(b"\r\n\r\n")
    assert b"Content-Length: 28" in head
    assert len(body) == 14
    with pytest.raises(ccxt.BaseError) as caught:
        await connect().publicGetTime()
    assert isinstance(caught.value.__cause__, aiohttp.ClientPayloadError)


async def test_a_page_comes_instead_of_json(sim: SimulatedExchange, connect: Connect) -> None:
    sim.faults.add(Fault(kind="html"))
    assert (await connect().publicGetTime()).startswith("<!DOCTYPE html>")


async def test_an_empty_answer_has_no_body(sim: SimulatedExchange) -> None:
    sim.faults.add(Fault(kind="empty"))
    head, _, body = (await raw(sim)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Length: 0" in head
    assert body == b""


async def test_a_reset_is_a_tcp_reset_and_nothing_is_executed(
    sim: SimulatedExchange, connect: Connect
) -> None:
    sim.faults.add(Fault(kind="reset", route="/api/v3/time"))
    with pytest.raises(ConnectionResetError):
        await raw(sim)
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await connect().publicGetTime()
    await until_idle(sim)
    assert sim.binance.limits["/api/"].spend("127.0.0.1", 0, sim.venue.now()).used == 0


async def test_a_lost_reply_was_executed_before_the_reset() -> None:
    venue, _ = demo_venue(7, clock=lambda: NOW)
    async with SimulatedExchange(venue=venue) as sim:
        sim.faults.add(Fault(kind="reply_lost", route="/api/v3/depth"))
        with pytest.raises(ConnectionResetError):
            await raw(sim, "/api/v3/depth?symbol=BTCUSDT")
        await until_idle(sim)
        assert sim.binance.limits["/api/"].spend("127.0.0.1", 0, NOW).used == 5


async def test_latency_can_be_put_on_one_route_only(
    sim: SimulatedExchange, connect: Connect
) -> None:
    fault = sim.faults.add(Fault(kind="latency", route="*/time", milliseconds=3_600_000))
    exchange, loop = connect(), asyncio.get_running_loop()
    slow = asyncio.ensure_future(exchange.publicGetTime())
    async with asyncio.timeout(2):
        while sim.counters.in_flight == 0:
            await asyncio.sleep(0.001)
        assert await exchange.publicGetPing() == {}
    assert not slow.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    sim.faults.clear(fault)
    sim.faults.add(Fault(kind="latency", route="*/time", milliseconds=20))
    started = loop.time()
    assert (await exchange.publicGetTime())["serverTime"]
    assert loop.time() - started >= 0.019


async def test_a_fault_for_one_key_leaves_the_other_alone(
    sim: SimulatedExchange, connect: Connect, accounts: tuple[DemoAccount, ...]
) -> None:
    sim.faults.add(Fault(kind="status", route=ACCOUNT, api_key=accounts[0].api_key))
    with pytest.raises(ccxt.OperationFailed):
        await connect(accounts[0]).privateGetAccount()
    assert (await connect(accounts[1]).privateGetAccount())["balances"]


async def test_one_hanging_request_does_not_hold_up_others(
    sim: SimulatedExchange, connect: Connect
) -> None:
    sim.faults.add(Fault(kind="hang", route=PING))
    exchange = connect()
    stuck = asyncio.ensure_future(exchange.publicGetPing())
    try:
        answers = await asyncio.gather(*(exchange.publicGetTime() for _ in range(20)))
        assert len(answers) == 20
        assert sim.counters.in_flight == 1
        assert not stuck.done()
    finally:
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
    await until_idle(sim)


async def test_stopping_does_not_wait_for_hanging_or_dripping_requests() -> None:
    async with asyncio.timeout(5):
        async with SimulatedExchange(venue=demo_venue(7)[0]) as sim:
            sim.faults.add(Fault(kind="hang", route=PING))
            sim.faults.add(Fault(kind="drip", route="*/time", interval_ms=60_000))
            calls = [
                asyncio.ensure_future(raw(sim, f"/api/v3/{path}"))
                for path in ("ping", "time", "ping", "time")
            ]
            while sim.counters.in_flight < 4:
                await asyncio.sleep(0.001)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 1.0
        await asyncio.gather(*calls, return_exceptions=True)
    counted = sim.counters.snapshot()
    assert (counted.in_flight, counted.connections_open) == (0, 0)


def test_a_fault_strikes_after_the_skipped_ones_and_then_as_often_as_told() -> None:
    plan = FaultPlan()
    plan.add(Fault(kind="empty", route="GET /a", skip=1, times=2))
    struck = [plan.take("GET /a", "/a", None) is not None for _ in range(5)]
    assert struck == [False, True, True, False, False]
    assert plan.describe() == []


def test_clearing_removes_one_fault_or_all_of_them() -> None:
    plan = FaultPlan()
    first = plan.add(Fault(kind="hang"))
    plan.add(Fault(kind="empty"))
    plan.add(Fault(kind="html"))
    assert plan.clear(first) == 1
    assert plan.clear(first) == 0
    assert repr(plan) == "<FaultPlan ['empty', 'html']>"
    assert plan.clear() == 2
    assert plan.take("GET /a", "/a", None) is None


@pytest.mark.parametrize(
    "wrong",
    [{"times": 0}, {"skip": -1}, {"status": 99}, {"interval_ms": -1}, {"variant": "middle"}],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fault(kind="hang", **wrong)


async def test_a_busy_port_is_an_os_error_and_the_exchange_can_start_elsewhere(
    sim: SimulatedExchange,
) -> None:
    port = urlsplit(sim.base_url).port
    assert port is not None
    second = SimulatedExchange(SimulationConfig(port=port))
    with pytest.raises(OSError, match="address"):
        await second.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = second.base_url


def test_every_kind_of_fault_and_every_field_is_documented() -> None:
    """The page names all that can be scripted, and no kind that does not exist."""
    page = (Path(__file__).parents[3] / "docs" / "SIMULATION.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page.partition("| Kind |")[2], re.MULTILINE)
    assert {kind for row in rows for kind in re.findall(r"\w+", row)} == set(get_args(FaultKind))
    for field in fields(Fault):
        assert f"`{field.name}`" in page
