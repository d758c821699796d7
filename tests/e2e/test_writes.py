"""What is marked as a write runs to its end, whoever leaves, and keeps its session's lane.

No tool of this server writes yet. One is made here of a private read, so that the venue shows
whether its request was cut off or finished.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from ccxt_mcp.calls.bounds import Answer
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import OPERATIONS, Effect
from ccxt_mcp.simulation import Fault
from ccxt_mcp.tools.arguments import Arguments
from ccxt_mcp.tools.server import TOOLS
from ccxt_mcp.tools.tool import Tool, result_schema
from tests.e2e.conftest import Stack, running_stack

ROUTE = "GET /api/v3/openOrders"


class _Nothing(Arguments):
    """No arguments."""


async def _send(call: Call, _: Any) -> Answer:
    async with call.private(None, None, "fetch_open_orders") as lease:
        await call.fetch(lease, "fetch_open_orders", "BTC/USDT")
    return Answer({"sent": True})


@pytest.fixture(params=[Effect.READ, Effect.WRITE], ids=str)
def effect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Effect:
    """The effect of the tool `send`: the same tests show what a read does in the same place."""
    marked: Effect = request.param
    entry = replace(OPERATIONS["fetch_open_orders"], effect=marked)
    monkeypatch.setitem(OPERATIONS, "fetch_open_orders", entry)
    return marked


@pytest.fixture
async def stack(effect: Effect) -> AsyncIterator[Stack]:
    tool = Tool("send", "Send", "Sends.", _Nothing, result_schema(()), _send, effect=effect)
    async with running_stack(tools=(*TOOLS, tool)) as running:
        await running.call("get_ticker", {"symbol": "BTC/USDT"})
        running.sim.faults.add(Fault(kind="latency", route=ROUTE, milliseconds=400))
        yield running


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def _sent(stack: Stack, *headers: str, meta: str = "{}") -> asyncio.StreamWriter:
    """A client that has called `send`, whose request has reached the venue."""
    body = (
        '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":'
        '{"name":"send","arguments":{},"_meta":' + meta + "}}"
    )
    lines = [
        *("POST /mcp HTTP/1.1", "Host: localhost", "Content-Type: application/json"),
        *(f"Content-Length: {len(body)}", *headers),
    ]
    before = stack.sim.counters.by_route[ROUTE]
    _, writer = await asyncio.open_connection("127.0.0.1", int(stack.url.rsplit(":", 1)[1]))
    writer.write("\r\n".join([*lines, "", body]).encode())
    await _until(lambda: stack.sim.counters.by_route[ROUTE] > before)
    return writer


async def _cancelled(stack: Stack) -> None:
    writer = await _sent(stack, "Mcp-Session-Id: w")
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    told = await stack.http.post(f"{stack.url}/mcp", headers={"Mcp-Session-Id": "w"}, json=body)
    assert told.status_code == 202
    writer.close()


async def _left(stack: Stack) -> None:
    (await _sent(stack, "Mcp-Session-Id: w")).close()


async def _deleted(stack: Stack) -> None:
    writer = await _sent(stack, "Mcp-Session-Id: w")
    ended = await stack.http.delete(f"{stack.url}/mcp", headers={"Mcp-Session-Id": "w"})
    assert ended.status_code == 204
    writer.close()


MODERN = ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: send")
META = json.dumps(
    {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "ccxt-mcp/workflow": "w",
    }
)


async def _left_modern(stack: Stack) -> None:
    (await _sent(stack, *MODERN, meta=META)).close()


async def _deleted_modern(stack: Stack) -> None:
    """Before, the end of a workflow ended none of its calls."""
    writer = await _sent(stack, *MODERN, meta=META)
    ended = await stack.http.delete(f"{stack.url}/mcp", headers={"Mcp-Session-Id": "w"})
    assert ended.status_code == 204
    writer.close()


@pytest.mark.parametrize("end", [_cancelled, _left, _deleted, _left_modern, _deleted_modern])
async def test_a_read_is_cut_and_a_write_finishes(
    stack: Stack,
    effect: Effect,
    end: Callable[[Stack], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without the shield a write ends like the read: sent perhaps, and nobody knows what of it."""
    caplog.set_level(logging.INFO, "ccxt_mcp.calls")
    before = stack.sim.counters.answers.copy()
    await end(stack)
    await _until(lambda: not stack.sim.counters.in_flight)
    answers = stack.sim.counters.answers - before
    assert answers == ({"none": 1} if effect is Effect.READ else {"200": 1})
    await _until(lambda: any(_fields(record)["tool"] == "send" for record in caplog.records))
    (outcome,) = [
        _fields(record)["outcome"] for record in caplog.records if _fields(record)["tool"] == "send"
    ]
    assert outcome == ("cancelled" if effect is Effect.READ else "ok")


@pytest.mark.parametrize("end", [_left, _deleted, _left_modern, _deleted_modern])
async def test_a_write_that_nobody_waits_for_keeps_its_lane(
    stack: Stack, effect: Effect, end: Callable[[Stack], Awaitable[None]]
) -> None:
    """A second order must not overtake one of its session that is still on its way. A session that
    was ended and opened anew had a lane of its own, and the second order went first."""
    await end(stack)
    await stack.call("account_balance", session="w")
    still = stack.sim.counters.answers["none"]
    assert still == (1 if effect is Effect.READ else 0)
    assert stack.sim.counters.in_flight == 0


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {"tool": ""})
    return fields
