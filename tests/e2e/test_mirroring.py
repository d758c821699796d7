"""A proxy that routes on the exchange: its name in a header that must agree with the body, or not
at all."""

from typing import Any, Literal

import httpx
import pytest
from mcp.client import Client
from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map

from ccxt_mcp.client import CallFailed, Workflow
from ccxt_mcp.client.wire import MODERN
from tests.e2e.conftest import Stack, StackFactory

HEADER = "Mcp-Param-Exchange"
MISMATCH = -32020
SYMBOL = {"symbol": "BTC/USDT"}


async def ask(
    stack: Stack, arguments: dict[str, Any], *headers: tuple[str, str], tool: str = "get_ticker"
) -> httpx.Response:
    """One modern call as its client writes it by hand."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    routing = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "tools/call"), ("Mcp-Name", tool)]
    return await stack.http.post(
        f"{stack.url}/mcp",
        headers=[*routing, *headers],
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
    )


async def test_nothing_is_mirrored_unless_a_deployment_asks_for_it(stack: Stack) -> None:
    """Whoever writes requests by hand would be refused for want of a header."""
    async with Client(f"{stack.url}/mcp", mode="auto") as client:
        for tool in (await client.list_tools()).tools:
            assert x_mcp_header_map(tool.input_schema) == {}
    paper = SYMBOL | {"exchange": "paper"}
    assert (await ask(stack, paper)).status_code == 200
    # A header that nothing here declares is nobody's concern.
    assert (await ask(stack, paper, (HEADER, "kraken"))).status_code == 200


async def test_where_it_is_asked_for_every_tool_with_an_exchange_marks_it(
    make_stack: StackFactory,
) -> None:
    stack = await make_stack(mirror_exchange=True)
    async with Client(f"{stack.url}/mcp", mode="auto") as client:
        tools = (await client.list_tools()).tools
    marked = 0
    for tool in tools:
        # An invalid one has clients drop the tool.
        assert find_invalid_x_mcp_header(tool.input_schema) is None
        mirrored = x_mcp_header_map(tool.input_schema)
        has_one = "exchange" in tool.input_schema["properties"]
        assert mirrored == ({("exchange",): "Exchange"} if has_one else {}), tool.name
        marked += has_one
    assert 10 < marked < len(tools)
    # Plain HTTP has no such headers, and its documents do not speak of them.
    described = await stack.http.get(f"{stack.url}/api/openapi.json")
    assert "x-mcp-header" not in described.text


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_clients_that_know_it_need_not_do_anything(
    make_stack: StackFactory, mode: Literal["legacy", "auto"]
) -> None:
    stack = await make_stack(mirror_exchange=True)
    async with Client(f"{stack.url}/mcp", mode=mode) as client:
        await client.list_tools()
        for exchange in ({"exchange": "paper"}, {"exchange": "PAPER"}, {}):
            result = await client.call_tool("get_ticker", SYMBOL | exchange)
            assert not result.is_error, result
            assert result.structured_content is not None
            assert result.structured_content["exchange"] == "paper"


async def test_our_own_client_sends_it_without_having_listed_anything(
    make_stack: StackFactory,
) -> None:
    stack = await make_stack(mirror_exchange=True)
    async with Workflow("orders", stack.url, era=MODERN) as workflow:
        for arguments in (SYMBOL | {"exchange": "paper"}, SYMBOL):
            result = await workflow.call("get_ticker", arguments)
            assert result["exchange"] == "paper"
        for unknown in ("nowhere", "nirgendwö"):
            with pytest.raises(CallFailed) as failure:
                await workflow.call("get_ticker", SYMBOL | {"exchange": unknown})
            assert failure.value.code == "unknown_exchange"


PAPER = {**SYMBOL, "exchange": "paper"}


CASES: list[tuple[dict[str, Any], list[tuple[str, str]], str | None]] = [
    (PAPER, [(HEADER, "paper")], None),
    (PAPER, [(HEADER.lower(), "=?base64?cGFwZXI=?=")], None),
    (SYMBOL, [], None),
    ({**SYMBOL, "exchange": None}, [], None),
    (PAPER, [], "missing"),
    (PAPER, [(HEADER, "kraken")], "does not match"),
    (PAPER, [(HEADER, "Paper")], "does not match"),
    (PAPER, [(HEADER, "paper"), (HEADER, "paper")], "more than once"),
    (PAPER, [(HEADER, "=?base64?%?=")], "malformed"),
    (SYMBOL, [(HEADER, "paper")], "absent"),
]


async def test_header_and_body_agree_or_the_call_is_refused(make_stack: StackFactory) -> None:
    """A proxy would have sent it elsewhere than it belongs."""
    stack = await make_stack(mirror_exchange=True)
    for arguments, headers, words in CASES:
        answer = await ask(stack, arguments, *headers)
        if words is None:
            assert answer.status_code == 200, answer.text
            assert answer.json()["result"]["structuredContent"]["exchange"] == "paper"
            continue
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["code"] == MISMATCH
        assert words in error["message"]
        assert HEADER in error["message"]
    # A tool that has none asks for none.
    assert "result" in (await ask(stack, {}, tool="list_accounts")).json()
