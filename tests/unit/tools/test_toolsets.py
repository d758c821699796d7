"""A node that serves some tool sets says so everywhere, and refuses the rest in words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from ccxt_mcp.api.document import openapi
from ccxt_mcp.model import Toolset
from ccxt_mcp.settings import load_settings
from ccxt_mcp.tools.boundary import Boundary
from ccxt_mcp.tools.server import TOOLS
from tests.unit.tools.world import make_world

COMMON = {
    "list_exchanges",
    "get_exchange_info",
    "describe_method",
    "call_read_method",
    "server_status",
}
OF = {
    Toolset.MARKET: {
        "get_markets",
        "get_ticker",
        "batch_get_tickers",
        "get_orderbook",
        "get_ohlcv",
        "get_trades",
        "get_funding_rates",
    },
    Toolset.ACCOUNT: {
        "list_accounts",
        "account_balance",
        "get_positions",
        "get_open_orders",
        "get_order",
        "get_order_history",
        "get_my_trades",
    },
}
PROMPTS = {Toolset.MARKET: ["market_brief"], Toolset.ACCOUNT: []}
RESOURCES = {
    Toolset.MARKET: ["ccxt://exchanges"],
    Toolset.ACCOUNT: ["ccxt://exchanges", "ccxt://accounts"],
}
TEMPLATES = {
    Toolset.MARKET: ["exchange", "ticker"],
    Toolset.ACCOUNT: ["exchange", "open-orders"],
}
BTC = {"exchange": "paper", "symbol": "BTC/USDT"}


def test_every_tool_is_in_one_set_or_in_all() -> None:
    assert {tool.name for tool in TOOLS} == COMMON.union(*OF.values())
    for tool in TOOLS:
        expected = next((s for s, names in OF.items() if tool.name in names), None)
        assert tool.toolset is expected, tool.name


def test_a_list_of_no_tool_sets_is_refused() -> None:
    with pytest.raises(Exception, match="toolsets"):
        load_settings(None, {"CCXT_MCP_TOOLSETS": "[]"})
    found = load_settings(None, {"CCXT_MCP_TOOLSETS": "market"})
    assert found.toolsets == (Toolset.MARKET,)


@pytest.mark.parametrize("served", list(Toolset))
async def test_a_node_shows_and_serves_its_own_tool_sets_only(
    tmp_path: Path, served: Toolset
) -> None:
    other = Toolset.ACCOUNT if served is Toolset.MARKET else Toolset.MARKET
    async with (
        make_world(tmp_path, toolsets=[served.value]) as world,
        asyncio.timeout(20),
        Client(world.server) as client,
    ):
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert listed == COMMON | OF[served]
        boundary = Boundary(world.calls, TOOLS)
        document: dict[str, Any] = openapi(boundary.documented, version="1", tokens_required=False)
        described = {path.removeprefix("/api/tools/") for path in document["paths"]}
        assert listed <= described
        assert not described & OF[other]
        assert [each.name for each in (await client.list_prompts()).prompts] == PROMPTS[served]
        resources = [str(each.uri) for each in (await client.list_resources()).resources]
        assert resources == RESOURCES[served]

        templates = (await client.list_resource_templates()).resource_templates
        assert [each.name for each in templates] == TEMPLATES[served]

        own, theirs = ("get_ticker", BTC), ("account_balance", {"exchange": "paper"})
        methods = (
            {"method": "fetchTime", "exchange": "paper"},
            {"method": "fetchLedger", "exchange": "paper"},
        )
        if served is Toolset.ACCOUNT:
            own, theirs = theirs, own
            methods = methods[::-1]
        assert not (await world.call(*own)).is_error
        refused = (await world.call(*theirs)).failure
        assert refused["code"] == "unknown_tool"
        assert f"not served by this node, whose tool sets are: {served}." in refused["message"]
        assert "Mcp-Name" in refused["hint"]
        elsewhere = (await world.call("call_read_method", methods[1])).failure
        assert elsewhere["code"] == "not_supported"
        assert "not called by this node" in elsewhere["message"]
        reached = (await world.call("call_read_method", methods[0])).failure
        assert "node" not in reached.get("message", "")
