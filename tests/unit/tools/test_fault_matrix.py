"""Every fault of an exchange with every tool that asks it: the code, the requests, and what comes
after."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from ccxt_mcp.simulation import Fault
from tests.unit.tools.world import Outcome, World, make_world

SYMBOL = {"symbol": "BTC/USDT"}
ASKED = SYMBOL | {"maxAgeMs": 0}
READS: dict[str, tuple[dict[str, Any], str]] = {
    "get_ticker": (ASKED, "GET /api/v3/ticker/24hr"),
    "get_orderbook": (ASKED, "GET /api/v3/depth"),
    "get_ohlcv": (ASKED, "GET /api/v3/klines"),
    "get_trades": (ASKED, "GET /api/v3/aggTrades"),
    "batch_get_tickers": ({"maxAgeMs": 0}, "GET /api/v3/ticker/24hr"),
    "get_funding_rates": ({"maxAgeMs": 0}, "GET /fapi/v1/premiumIndex"),
    "account_balance": ({}, "GET /api/v3/account"),
    "get_open_orders": ({}, "GET /api/v3/openOrders"),
    "get_order": (SYMBOL | {"clientOrderId": "main-000021"}, "GET /api/v3/order"),
    "get_my_trades": (SYMBOL, "GET /api/v3/myTrades"),
    "get_order_history": (SYMBOL, "GET /api/v3/allOrders"),
}
"""Tool → arguments and the one request that it needs."""
LISTED = {"linear_symbols": 2}


def _said(status: int, code: int) -> Fault:
    return Fault(kind="status", status=status, body={"code": code, "msg": "no"})


MATRIX: dict[str, tuple[Fault, str, int]] = {
    "silence": (Fault(kind="hang"), "timeout", 1),
    "drip": (Fault(kind="drip", interval_ms=50), "timeout", 1),
    "reset": (Fault(kind="reset"), "exchange_unavailable", 3),
    "reply lost": (Fault(kind="reply_lost"), "exchange_unavailable", 3),
    "truncated": (Fault(kind="truncated"), "bad_response", 2),
    "broken off": (Fault(kind="truncated", variant="long"), "bad_response", 2),
    "page": (Fault(kind="html"), "bad_response", 2),
    "nothing": (Fault(kind="empty"), "bad_response", 2),
    "object without fields": (Fault(kind="malformed"), "bad_response", 2),
    "null": (Fault(kind="malformed", body="null"), "bad_response", 2),
    "number": (Fault(kind="malformed", body=17), "bad_response", 2),
    "rows of null": (Fault(kind="malformed", body=[None]), "bad_response", 2),
    "redirect": (Fault(kind="status", status=302), "bad_response", 2),
    "400": (_said(400, -1100), "invalid_argument", 1),
    "401": (_said(401, -2015), "authentication_failed", 1),
    "404": (Fault(kind="status", status=404, body="<html>"), "exchange_error", 1),
    "418": (Fault(kind="status", status=418), "rate_limited", 1),
    "429": (Fault(kind="status", status=429), "rate_limited", 1),
    "500": (Fault(kind="status", status=500), "exchange_unavailable", 3),
    "502": (Fault(kind="status", status=502, body="<html>"), "exchange_unavailable", 3),
    "503": (Fault(kind="status", status=503), "exchange_unavailable", 3),
    "504": (Fault(kind="status", status=504, body="<html>"), "timeout", 3),
    "507": (Fault(kind="status", status=507, body={}), "exchange_unavailable", 3),
    "late": (Fault(kind="latency", milliseconds=20), "ok", 1),
}
"""What happens → the fault, the failure's code, the requests that the exchange sees."""


def asked(world: World) -> int:
    """Requests that the exchange has seen, but for those about its clock."""
    counted = world.sim.counters.snapshot()
    return counted.total - counted.by_route.get("GET /api/v3/time", 0)


async def test_every_fault_is_told_by_every_tool_and_costs_what_the_table_says(
    tmp_path: Path,
) -> None:
    """Before: one request whatever happened; and, for the malformed answers, an empty balance or no
    orders, as a success."""
    found: dict[str, Any] = {}
    async with make_world(tmp_path, deadline=2.0, ccxt_timeout=0.4, listed=LISTED) as world:
        async with world.gateway.public("paper"):
            """Market tables, which may take longer than this deadline."""
        async with asyncio.timeout(90), Client(world.server) as client:
            for name, (fault, code, requests) in MATRIX.items():
                for tool, (arguments, _) in READS.items():
                    before = asked(world)
                    fault_id = world.sim.faults.add(fault)
                    told = Outcome(await client.call_tool(tool, arguments))
                    world.sim.faults.clear(fault_id)
                    seen = asked(world) - before
                    after = Outcome(await client.call_tool(tool, arguments))
                    outcome = (told.failure.get("code", "ok"), seen, after.is_error)
                    if outcome != (code, requests, False):
                        found[f"{name}, {tool}"] = outcome, told, after
    assert found == {}


@pytest.mark.parametrize("tool", READS)
async def test_a_fault_that_passes_is_not_noticed(tmp_path: Path, tool: str) -> None:
    """Before: each of these was the caller's failure."""
    arguments, route = READS[tool]
    async with make_world(tmp_path, listed=LISTED) as world:
        await world.call("get_ticker", SYMBOL)
        for fault in (
            Fault(kind="reset", route=route, times=2),
            Fault(kind="status", status=503, route=route, times=2),
            Fault(kind="truncated", route=route, times=1),
            Fault(kind="html", route=route, times=1),
        ):
            world.sim.counters.reset()
            world.sim.faults.add(fault)
            outcome = await world.call(tool, arguments)
            assert not outcome.is_error, outcome
            assert world.sim.counters.snapshot().by_route[route] == (fault.times or 0) + 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="reset", route="*/exchangeInfo", times=2),
        Fault(kind="truncated", route="*/exchangeInfo", times=1),
    ],
    ids=lambda fault: fault.kind,
)
async def test_a_first_call_gets_over_a_fault_of_the_market_load(
    tmp_path: Path, fault: Fault
) -> None:
    """Before: whoever came first to a cold exchange got the failure of the load."""
    # A load starts a process, and only what leaves a whole CCXT timeout is tried again.
    async with make_world(tmp_path, deadline=60.0, load_apart=True) as world:
        world.sim.faults.add(fault)
        assert not (await world.call("get_open_orders")).is_error
        seen = world.sim.counters.snapshot().by_route["GET /api/v3/exchangeInfo"]
        assert seen == (fault.times or 0) + 1


async def test_nothing_is_tried_again_once_the_deadline_is_near(tmp_path: Path) -> None:
    """A reset so late that what is left is less than one CCXT timeout."""
    async with make_world(tmp_path, deadline=5.0, ccxt_timeout=4.9) as world:
        async with world.gateway.public("paper"):
            """Market tables."""
        world.sim.set_latency(150)
        world.sim.faults.add(Fault(kind="reset"))
        before = asked(world)
        outcome = await world.call("get_open_orders")
        assert outcome.failure["code"] == "exchange_unavailable"
        assert asked(world) - before == 1


async def test_what_an_exchange_does_not_have_is_asked_for_once_and_refused(tmp_path: Path) -> None:
    """CCXT takes status 404 for an outage: without the cure the caller was told to try again in a
    while, after three requests."""
    async with make_world(tmp_path, listed=LISTED) as world:
        await world.call("get_markets", {"limit": 1})
        before = asked(world)
        outcome = await world.call("get_open_orders", {"symbol": "BTC/USDT:USDT"})
        assert asked(world) - before == 1
        assert outcome.failure["code"] == "exchange_error"
        assert outcome.failure["retryable"] is False
        assert "nothing at the address asked (HTTP 404)" in outcome.failure["message"]
        assert "simulated exchanges" in outcome.failure["hint"]
