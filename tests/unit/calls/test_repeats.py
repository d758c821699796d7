"""Answers that are given again as they were written: when, and when not.

That one is given again is seen by its identity: an answer made anew is another object. Freshness
itself is held by ``test_public_reads.py``, whose callers get repeated answers as well.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.calls.public_reads import PublicReads
from ccxt_mcp.calls.repeats import Repeats, spelled
from ccxt_mcp.mechanisms.freshness import Reading
from ccxt_mcp.model import CALLER, Caller, Principal, Scope
from ccxt_mcp.ops.metrics import Metrics
from ccxt_mcp.telemetry import RECORDER
from ccxt_mcp.tools import candles
from ccxt_mcp.tools.boundary import FAILURE_META, Boundary
from ccxt_mcp.tools.server import TOOLS
from tests.unit.tools.world import World, make_world

BTC = {"symbol": "BTC/USDT"}
HELD = Reading(1000.0, 1_800_000_000.0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world in which no answer gets older."""
    async with make_world(tmp_path) as made:
        await made.call("get_ticker", {"symbol": "ETH/USDT"})
        made.calls.reads = PublicReads(clock=lambda: HELD)
        yield made


async def ask(world: World, tool: str = "get_ticker", **arguments: Any) -> dict[str, Any]:
    result = await world.boundary.call(tool, BTC | arguments)
    assert not result.get("isError"), result
    data: dict[str, Any] = result["structuredContent"]
    return data


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("get_ticker", {}), ("get_orderbook", {"limit": 5}), ("get_ohlcv", {"limit": 5})],
)
async def test_the_same_call_gets_the_same_answer_again(
    world: World, tool: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given again says what an answer made anew says, `cached` included."""
    # Never at the moment at which a candle ends.
    monkeypatch.setattr(candles, "_within_the_candle", lambda length, max_age: 1.0)
    first = await ask(world, tool, **arguments)
    second = await ask(world, tool, **arguments)
    third = await ask(world, tool, **arguments)
    assert (first["cached"], second["cached"]) == (False, True)
    assert third is second
    assert third | {"cached": False} == first


async def test_other_arguments_are_another_call(world: World) -> None:
    """To Python, 1 and true are the same; as arguments one is right and one is wrong."""
    for _ in range(3):
        assert len((await ask(world, "get_orderbook", limit=1))["bids"]) == 1
    refused = await world.boundary.call("get_orderbook", BTC | {"limit": True})
    assert refused["_meta"][FAILURE_META]["code"] == "invalid_argument"
    assert spelled("get_orderbook", {"limit": 1}) != spelled("get_orderbook", {"limit": 1.0})
    assert spelled("get_ticker", BTC) != spelled("get_orderbook", BTC)


async def test_what_cannot_be_spelled_is_refused_as_ever(world: World) -> None:
    assert spelled("get_ticker", {"symbol": 2**70}) is None
    refused = await world.boundary.call("get_ticker", {"symbol": 2**70})
    assert refused["_meta"][FAILURE_META]["code"] == "invalid_argument"


async def test_nobody_gets_an_older_answer_than_was_given_before(world: World) -> None:
    """The older one is still within its bound, but somebody has asked anew since."""
    await ask(world)
    older = await ask(world)
    assert await ask(world) is older
    newer = await ask(world, maxAgeMs=0)
    assert not newer["cached"]
    again = await ask(world)
    assert again is not older
    assert await ask(world) is again


async def test_other_markets_make_another_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A symbol is looked up again in tables that were loaded since: it may mean another market."""
    await ask(world)
    before = await ask(world)
    listing = world.gateway.listing("paper")
    loaded = copy.copy(listing)
    monkeypatch.setattr(world.gateway, "listing", lambda name: loaded)
    after = await ask(world)
    assert after is not before
    assert await ask(world) is after


async def test_a_caller_who_may_not_read_gets_no_answer_of_others(world: World) -> None:
    for _ in range(3):
        await ask(world)
    token = CALLER.set(Caller(Principal("bot", frozenset({Scope.TRADE}))))
    try:
        refused = await world.boundary.call("get_ticker", BTC)
    finally:
        CALLER.reset(token)
    assert refused["_meta"][FAILURE_META]["code"] == "permission_denied"


async def test_no_candle_that_was_open_is_given_after_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Young enough, but the last candle has been closed since, by another price perhaps."""
    open_for = 1.0
    monkeypatch.setattr(candles, "_within_the_candle", lambda length, max_age: open_for)
    await ask(world, "get_ohlcv", limit=5)
    before = await ask(world, "get_ohlcv", limit=5)
    assert await ask(world, "get_ohlcv", limit=5) is before
    open_for = 0.0
    assert not (await ask(world, "get_ohlcv", limit=5))["cached"]


@pytest.mark.parametrize("further", [{"since": "2026-01-01"}, {"until": "2026-01-02"}])
async def test_candles_of_a_range_are_put_together_for_each_call(
    world: World, further: dict[str, Any]
) -> None:
    """How many requests they take, and where they end, depends on when they are asked for."""
    answers = [await ask(world, "get_ohlcv", limit=5, **further) for _ in range(4)]
    assert len({id(each) for each in answers}) == 4


async def test_a_repeated_answer_is_counted_and_logged_like_any_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ccxt_mcp.calls")
    metrics = Metrics(("get_ticker",), ("paper",))
    token = RECORDER.set(metrics)
    try:
        for _ in range(5):
            await ask(world)
    finally:
        RECORDER.reset(token)
    world.boundary.lines.finish()

    def count(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    hits = {"method": "fetchTicker", "outcome": "hit"}
    assert count("ccxt_mcp_cache_requests_total", **hits) == 4
    ended = {"tool": "get_ticker", "exchange": "paper", "outcome": "ok"}
    assert count("ccxt_mcp_calls_total", **ended) == 5
    assert count("ccxt_mcp_call_duration_seconds_count", tool="get_ticker") == 5
    lines = [record.__dict__["fields"] for record in caplog.records]
    assert [(line["tool"], line["exchange"], line["outcome"]) for line in lines] == [
        ("get_ticker", "paper", "ok")
    ] * 5


async def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many sorts of arguments as somebody likes to send; the key counts like the answer."""
    monkeypatch.setattr("ccxt_mcp.calls.repeats._BYTES", 10_000)
    world.boundary = Boundary(world.calls, TOOLS)
    for age in range(1, 60):
        for _ in range(2):
            await ask(world, maxAgeMs=age)
    repeats: Repeats = world.boundary._repeats
    assert 0 < repeats.size <= 10_000
