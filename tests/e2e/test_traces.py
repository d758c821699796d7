"""Spans of real calls: the SDK's for the message, ours for what the call waited for and sent."""

from __future__ import annotations

import asyncio
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from ccxt_mcp.ops.traces import ENDPOINTS
from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import Stack, StackFactory
from tests.tracing import Spans

OPEN_ORDERS = "GET /api/v3/openOrders"


def tree(spans: Spans, span: ReadableSpan) -> dict[str, Any]:
    """The names below a span."""
    return {child.name: tree(spans, child) for child in spans.children(span)}


async def test_the_request_to_the_exchange_hangs_under_the_sdks_span(
    stack: Stack, spans: Spans
) -> None:
    """On our own legacy path, which drives the SDK's kernel by `serve_one`."""
    spans.clear()
    await stack.call("get_open_orders")
    (server,) = spans.named("tools/call get_open_orders")
    assert server.kind is SpanKind.SERVER
    assert server.parent is None
    assert tree(spans, server) == {"request": {}}
    (request,) = spans.named("request")
    assert request.kind is SpanKind.CLIENT
    assert request.attributes == {
        "ccxt_mcp.exchange": "paper",
        "ccxt_mcp.api": "private",
        "ccxt_mcp.path": "openOrders",
        "ccxt_mcp.method": "GET",
        "ccxt_mcp.status": 200,
    }


async def test_a_callers_trace_goes_on_in_the_server(stack: Stack, spans: Spans) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    await stack.http.post(
        f"{stack.url}/mcp",
        headers={"Mcp-Session-Id": "wf"},
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "account_balance",
                "_meta": {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"},
            },
        },
    )
    (server,) = spans.named("tools/call account_balance")
    assert f"{server.context.trace_id:032x}" == trace_id
    assert set(tree(spans, server)) == {"request"}


async def test_a_modern_request_has_the_same_spans(stack: Stack, spans: Spans) -> None:
    """It is served by the SDK's own manager, in a task of that."""
    spans.clear()
    prefix = "io.modelcontextprotocol/"
    response = await stack.http.post(
        f"{stack.url}/mcp",
        headers={
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": "get_open_orders",
        },
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "get_open_orders",
                "arguments": {},
                "_meta": {
                    f"{prefix}protocolVersion": "2026-07-28",
                    f"{prefix}clientInfo": {"name": "test", "version": "1"},
                    f"{prefix}clientCapabilities": {},
                },
            },
        },
    )
    assert response.status_code == 200, response.text
    (server,) = spans.named("tools/call get_open_orders")
    assert tree(spans, server) == {"request": {}}


async def test_waits_are_spans_of_the_call_that_waits(
    make_stack: StackFactory, spans: Spans
) -> None:
    """Two calls of a session: the second waits in the lane for the first, and nothing of one is
    under the other."""
    stack = await make_stack()
    await stack.call("get_ticker", {"symbol": "BTC/USDT"})
    spans.clear()
    stack.sim.set_latency(50)
    calls = [
        asyncio.create_task(stack.call(tool, session="one"))
        for tool in ("get_open_orders", "account_balance", "account_balance")
    ]
    await asyncio.gather(*calls)
    servers = [span for span in spans.all() if span.parent is None]
    assert len(servers) == 3
    trees = sorted(sorted(tree(spans, server)) for server in servers)
    assert trees == [["lane", "request"], ["lane", "request"], ["request"]]


@pytest.mark.parametrize("apart", [True, False])
async def test_background_loads_are_in_no_calls_trace(
    make_stack: StackFactory, spans: Spans, apart: bool
) -> None:
    """The first call waits for the tables and has a span for that; the load, which goes on for
    everybody even if that call ends, has none. Its requests would otherwise be children of a span
    that may have ended before them."""
    stack = await make_stack(load_apart=apart)
    await stack.call("get_ticker", {"symbol": "BTC/USDT"})
    (server,) = spans.named("tools/call get_ticker")
    assert tree(spans, server) == {"markets": {}, "request": {}}
    assert stack.sim.counters.snapshot().total > len(spans.named("request"))
    ours = {span.name for span in spans.all()}
    assert ours == {"tools/call get_ticker", "markets", "request"}


async def test_no_secret_is_in_the_spans(stack: Stack, spans: Spans) -> None:
    """Private calls that succeed and that fail in several ways, and a key pasted where a name
    belongs."""
    secret = stack.accounts[0].secret
    await stack.call("get_open_orders")
    stack.sim.faults.add(Fault(kind="status", route=OPEN_ORDERS, status=401, times=1))
    await stack.call("get_open_orders")
    stack.sim.faults.add(Fault(kind="reset", route=OPEN_ORDERS, times=3))
    await stack.call("get_open_orders")
    for tool, arguments in (
        (secret, {}),
        ("get_ticker", {"symbol": secret}),
        ("get_ticker", {"symbol": "BTC/USDT", "exchange": secret}),
        ("account_balance", {"account": secret}),
    ):
        await stack.call(tool, arguments)
    for malformed in ({"name": secret, "arguments": "x"}, {"name": 5}):
        await stack.http.post(
            f"{stack.url}/mcp",
            headers={"Mcp-Session-Id": "wf"},
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": malformed},
        )
    text = "".join(span.to_json() for span in spans.all())
    assert {"tools/call unknown", "tools/call malformed"} <= {span.name for span in spans.all()}
    assert '"error.type": "exchange_unavailable"' in text
    for account in stack.accounts:
        for word in (account.api_key, account.secret, account.name):
            assert word[:16] not in text
    for word in ("signature", "BTC", "timestamp=", "http://"):
        assert word not in text, word


class _Collector(BaseHTTPRequestHandler):
    """Takes what an exporter posts."""

    received: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append((self.path, body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


def _environment(home: Path, **more: str) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CCXT_MCP", "OTEL")) and not name.endswith(("_API_KEY", "_SECRET"))
    }
    return inherited | {"HOME": str(home)} | more


async def test_serve_exports_to_a_collector_and_flushes_when_it_stops(tmp_path: Path) -> None:
    """The real exporter, as a user gets it with the extra `otel`. It sends every five seconds; the
    server ends before, so that without the flush nothing would arrive."""
    _Collector.received = []
    collector = HTTPServer(("127.0.0.1", 0), _Collector)
    Thread(target=collector.serve_forever, daemon=True).start()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ccxt_mcp", "serve", "--port", "0"),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(tmp_path, **{ENDPOINTS[1]: f"http://127.0.0.1:{collector.server_port}"}),
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(40), httpx.AsyncClient(trust_env=False) as http:
            line = ""
            while "serving MCP at" not in line:
                line = (await process.stderr.readline()).decode()
            await http.post(
                line.split()[-1],
                headers={"Mcp-Session-Id": "wf"},
                json={
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "tools/call",
                    "params": {"name": "list_accounts"},
                },
            )
            process.terminate()
            said = (await process.stderr.read()).decode()
            assert await process.wait() == 0, said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        collector.shutdown()
        collector.server_close()
    assert [path for path, _ in _Collector.received] == ["/v1/traces"]
    ((_, body),) = _Collector.received
    assert b"tools/call list_accounts" in body
    assert b"ccxt-mcp" in body
    assert "warning: " not in said
