"""Resources: the contents are those of the tools, in both eras."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from ccxt_mcp.model import CALLER, Caller, Principal, Scope
from ccxt_mcp.tools.resources import RESOURCES, TEMPLATES
from tests.unit.tools.test_tools import ERAS
from tests.unit.tools.world import World

BEHIND: dict[str, tuple[str, dict[str, Any]]] = {
    "ccxt://exchanges": ("list_exchanges", {"limit": 200}),
    "ccxt://accounts": ("list_accounts", {}),
    "ccxt://exchange/kraken": ("get_exchange_info", {"exchange": "kraken"}),
    "ccxt://exchange/kr%61ken": ("get_exchange_info", {"exchange": "kraken"}),
}


async def test_they_are_listed_in_both_eras_and_may_be_kept(world: World) -> None:
    for mode in ERAS:
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            listed = await client.list_resources()
            assert [each.uri for each in listed.resources] == [each.uri for each in RESOURCES]
            templates = await client.list_resource_templates()
            assert [each.uri_template for each in templates.resource_templates] == [
                each.uri_template for each in TEMPLATES
            ]
            if mode != "legacy":
                assert (listed.ttl_ms, listed.cache_scope) == (3_600_000, "public")


@pytest.mark.parametrize("uri", BEHIND)
async def test_a_resource_shows_what_its_tool_answers(world: World, uri: str) -> None:
    tool, arguments = BEHIND[uri]
    expected = (await world.call(tool, arguments)).data
    assert expected
    for mode in ERAS:
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            (content,) = (await client.read_resource(uri)).contents
        assert content.mime_type == "application/json"
        assert content.uri == uri
        assert json.loads(content.text) == expected  # type: ignore[union-attr]


PRICE = "ccxt://markets/paper/{}/ticker"


@pytest.mark.parametrize(
    "symbol", ["BTC%2FUSDT", "BTC/USDT", "btcusdt", "BTC%2FUSDT%3AUSDT", "BTC/USDT:USDT"]
)
async def test_a_price_is_read_by_its_symbol_encoded_or_not(world: World, symbol: str) -> None:
    """Around a symbol everything is fixed, so that its slash cannot be mistaken for another."""
    swap = "USDT:USDT" if symbol.endswith((":USDT", "%3AUSDT")) else "USDT"
    for mode in ERAS:
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            read = await client.read_resource(PRICE.format(symbol))
        data = json.loads(read.contents[0].text)  # type: ignore[union-attr]
        assert (data["exchange"], data["ticker"]["symbol"]) == ("paper", f"BTC/{swap}")
        if mode != "legacy":
            assert (read.ttl_ms, read.cache_scope) == (0, "private")


async def test_an_accounts_open_orders_are_read(world: World) -> None:
    expected = (await world.call("get_open_orders", {"account": "main"})).data
    assert expected["orders"]
    for mode in ERAS:
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            read = await client.read_resource("ccxt://accounts/main/open-orders")
        assert json.loads(read.contents[0].text) == expected  # type: ignore[union-attr]
        if mode != "legacy":
            assert (read.ttl_ms, read.cache_scope) == (0, "private")


async def test_names_in_addresses_are_completed(world: World) -> None:
    async with asyncio.timeout(10), Client(world.server) as client:
        for template in TEMPLATES:
            uri = template.uri_template
            name = "account" if "{account}" in uri else "exchange" if "{exchange}" in uri else "id"
            reference = {"type": "ref/resource", "uri": uri}
            begun = {"name": name, "value": "ma" if name == "account" else "pap"}
            found = await client.complete(reference, begun)  # type: ignore[arg-type]
            assert found.completion.values == ["main" if name == "account" else "paper"]


async def test_a_server_without_a_transport_promises_no_subscriptions(world: World) -> None:
    """What pushes is the transport's; without it nothing would ever come."""
    for mode in ERAS:
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            capabilities = client.server_capabilities
            assert capabilities.resources is not None
            assert not capabilities.resources.subscribe


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ccxt://markets/paper/NOPE/ticker", "unknown_symbol: "),
        ("ccxt://accounts/nobody/open-orders", "unknown_account: "),
        ("ccxt://markets/paper/BTC%2FUSDT/tickers", "There is no resource"),
        ("ccxt://markets/BTC%2FUSDT/ticker", "There is no resource"),
        ("ccxt://exchange/krakn", "unknown_exchange: "),
        ("ccxt://account", "did you mean `ccxt://accounts`?"),
        ("ccxt://exchange/", "There is no resource"),
        ("file:///etc/passwd", "There is no resource"),
    ],
)
async def test_what_cannot_be_read_is_refused_in_words(world: World, uri: str, words: str) -> None:
    for mode in ERAS:
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            with pytest.raises(MCPError) as refused:
                await client.read_resource(uri)
        assert words in str(refused.value)
        assert refused.value.error.code == -32602
        assert refused.value.error.data["uri"] == uri


@pytest.mark.parametrize("uri", ["ccxt://" + "x" * 501, "ccxt://exchange/" + "9f3b71c2" * 8])
async def test_neither_a_long_address_nor_a_pasted_key_is_repeated(world: World, uri: str) -> None:
    async with asyncio.timeout(10), Client(world.server) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
    assert uri not in refused.value.error.model_dump_json()
    assert "uri" not in (refused.value.error.data or {})


async def test_a_caller_that_may_not_read_reads_no_resource(world: World) -> None:
    """The scope is that of the tools behind."""
    token = CALLER.set(Caller(Principal("watcher", frozenset({Scope.OPS}))))
    try:
        async with asyncio.timeout(10), Client(world.server) as client:
            with pytest.raises(MCPError, match="permission_denied"):
                await client.read_resource("ccxt://accounts")
            reference = {"type": "ref/prompt", "name": "portfolio_overview"}
            found = await client.complete(reference, {"name": "account", "value": ""})  # type: ignore[arg-type]
            assert found.completion.values == []
    finally:
        CALLER.reset(token)
