"""A dropped stream is read on by clients in the field: no event is lost, and none comes twice.

The events are those of the product's own loading of markets, told more often than usual.
"""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.calls import progress
from ccxt_mcp.simulation import Fault
from ccxt_mcp.tools import server
from tests.e2e.conftest import Stack, running_stack
from tests.e2e.relay import relayed

HERE = Path(__file__).parent
ASKED = {"name": "get_ticker", "arguments": {"symbol": "BTC/USDT"}}
CALL = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "tools/call",
    "params": {**ASKED, "_meta": {"progressToken": "loading"}},
}

pytestmark = pytest.mark.clients


@asynccontextmanager
async def talkative(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> AsyncIterator[tuple[Stack, list[float]]]:
    """A server whose first call at an exchange takes so long, and what it has told meanwhile."""
    monkeypatch.setattr(progress, "FIRST", 0.05)
    monkeypatch.setattr(progress, "EVERY", 0.1)
    told: list[float] = []

    class Noted(progress.Progress):
        def __init__(self, report: progress.Report) -> None:
            async def noting(value: float, total: float | None, message: str | None) -> None:
                told.append(value)
                await report(value, total, message)

            super().__init__(noting)

    monkeypatch.setattr(server, "Progress", Noted)
    async with running_stack() as stack, asyncio.timeout(60):
        wait = Fault(kind="latency", route="*exchangeInfo", milliseconds=round(seconds * 1000))
        stack.sim.faults.add(wait)
        yield stack, told


def check(events: list[dict[str, Any]], told: list[float]) -> None:
    """The events of one call: numbered without a gap, all that was told, then the reply."""
    numbers = [int(event["id"].rpartition("-")[2], 16) for event in events]
    # The first of the session is the one without data that a stream begins with.
    assert numbers == list(range(2, 2 + len(events)))
    *seen, reply = [event["message"] for event in events]
    assert [message["params"]["progress"] for message in seen] == told
    assert len(told) >= 8
    assert reply["id"] == 7
    assert reply["result"]["structuredContent"]["ticker"]["symbol"] == "BTC/USDT"


async def test_fetch_reads_on_a_stream_that_is_cut_after_every_few_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with talkative(monkeypatch, 1.5) as (stack, told):
        process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "fetch_resumes.mjs"), stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        plan = {"url": f"{stack.url}/mcp", "call": CALL, "every": 3}
        out, errors = await process.communicate(json.dumps(plan).encode())
        assert process.returncode == 0, errors.decode()
        seen = json.loads(out)
        check(seen["events"], told)
        assert seen["connections"] >= 4
        assert await stack.sessions() == []


async def test_curl_reads_on_a_stream_that_is_cut_after_every_few_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with talkative(monkeypatch, 1.5) as (stack, told):
        url = f"{stack.url}/mcp"
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "curl", "version": "1"},
        }
        opened = await curl(
            url, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}, "-i"
        )
        (session,) = [
            line for line in opened.splitlines() if line.lower().startswith("mcp-session-id: ")
        ]
        events: list[dict[str, Any]] = []
        last = await some_events(events, 3, "-H", session, "--data", json.dumps(CALL), url)
        cuts = 0
        while not events or "result" not in events[-1]["message"]:
            cuts += 1
            read_on = f"Last-Event-ID: {last}"
            last = await some_events(events, 3, "-H", session, "-H", read_on, url)
        check(events, told)
        assert cuts >= 3
        ended = await curl(url, None, "-X", "DELETE", "-H", session, "-w", "%{http_code}")
        assert ended == "204"
        gone = await curl(url, None, "-H", session, "-w", "%{http_code}", "-o", "/dev/null")
        assert gone == "404"


async def test_the_newer_typescript_sdk_resumes_by_itself_when_the_network_drops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with talkative(monkeypatch, 3) as (stack, told), relayed(stack.url) as relay:
        process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "typescript_sdk_v2_resumes.mjs"), stdin=PIPE, stdout=PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        plan = {"url": f"{relay.url}/mcp", "call": ASKED}
        process.stdin.write(json.dumps(plan).encode())
        process.stdin.close()
        lines: list[dict[str, Any]] = []
        cuts = 0
        async for line in process.stdout:
            lines.append(json.loads(line))
            seen = sum("progress" in each for each in lines)
            # Well apart: the client waits a second before it comes back.
            if seen == (3, 14)[min(cuts, 1)] and cuts < 2:
                relay.cut()
                cuts += 1
        assert await process.wait() == 0
        assert [line["progress"] for line in lines if "progress" in line] == told
        ids = [line["id"] for line in lines if "id" in line]
        assert len(set(ids)) == len(ids)
        # One for the beginning, one for each that was told, one for the reply.
        assert len(ids) == len(told) + 2
        assert cuts == 2
        assert lines[-1] == {"isError": False}


async def curl(url: str, body: dict[str, Any] | None, *more: str) -> str:
    """What a whole answer says."""
    data = [] if body is None else ["--data", json.dumps(body)]
    process = await asyncio.create_subprocess_exec(*COMMAND, *data, *more, url, stdout=PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


COMMAND = (
    *("curl", "--silent", "--no-buffer", "--max-time", "30"),
    *("-H", "Content-Type: application/json"),
    *("-H", "Accept: application/json, text/event-stream"),
)


async def some_events(events: list[dict[str, Any]], most: int, *command: str) -> str:
    """Read so many events, or up to the reply, then end curl; the last event's id."""
    process = await asyncio.create_subprocess_exec(*COMMAND, *command, stdout=PIPE)
    assert process.stdout is not None
    last, seen = "", 0
    try:
        async for raw in process.stdout:
            name, _, value = raw.decode().rstrip("\n").partition(":")
            match name, value.strip():
                case "id", event_id:
                    last, seen = event_id, seen + 1
                case "data", data if data:
                    message = json.loads(data)
                    events.append({"id": last, "message": message})
                    if "result" in message:
                        break
                case "", "" if seen == most:
                    break
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return last
