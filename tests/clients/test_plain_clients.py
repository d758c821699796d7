"""curl and fetch as people use them, without an SDK: one request, one answer, in both eras."""

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import running_stack

HERE = Path(__file__).parent
MODERN = "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "plain", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}

pytestmark = pytest.mark.clients


async def curl(url: str, headers: dict[str, str], body: str) -> tuple[int, str]:
    named = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    out = await run(
        *("curl", "--silent", "--max-time", "30", "-w", "\n%{http_code}", *named),
        *("--data", body, url),
    )
    text, _, status = out.rpartition("\n")
    return int(status), text


async def fetch(url: str, headers: dict[str, str], body: str) -> tuple[int, str]:
    plan = json.dumps({"url": url, "headers": headers, "body": body})
    answer = json.loads(await run("node", str(HERE / "fetch_one.mjs"), given=plan))
    return answer["status"], answer["body"]


async def run(*command: str, given: str = "") -> str:
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, errors = await process.communicate(given.encode())
    assert process.returncode == 0, errors.decode()
    return out.decode()


@pytest.mark.parametrize("client", [curl, fetch])
async def test_a_plain_client_calls_in_both_eras(client: Any) -> None:
    async with running_stack() as stack, asyncio.timeout(60):

        async def call(
            headers: dict[str, str], tool: str, arguments: dict[str, Any], **more: Any
        ) -> tuple[int, dict[str, Any]]:
            params = {"name": tool, "arguments": arguments, **more}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            headers = {"Content-Type": "application/json", **headers}
            status, text = await client(f"{stack.url}/mcp", headers, json.dumps(body))
            return status, json.loads(text)

        symbol = {"symbol": "BTC/USDT"}
        named = {"Mcp-Session-Id": "plain-workflow"}
        modern = {
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": "tools/call",
            "Mcp-Name": "get_ticker",
            "Accept": "application/json, text/event-stream",
        }
        for status, answer in (
            await call(named, "get_ticker", symbol),
            await call(modern, "get_ticker", symbol, _meta=ENVELOPE),
        ):
            assert status == 200
            assert answer["result"]["structuredContent"]["ticker"]["symbol"] == "BTC/USDT"
        status, answer = await call(named, "get_ticker", {"symbol": "NO/PE"})
        assert (status, answer["result"]["isError"]) == (200, True)
        # What a proxy would route on must be what the body says.
        wrong = {**modern, "Mcp-Name": "account_balance"}
        status, answer = await call(wrong, "get_ticker", symbol, _meta=ENVELOPE)
        assert (status, answer["error"]["code"]) == (400, -32020)
        (session,) = await stack.sessions()
        assert session["sessionId"] == "plain-workflow"
