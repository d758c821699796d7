"""Resources: the contents are those of the tools, in both eras."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from ccxt_mcp.model import CALLER, Caller, Principal, Scope
from ccxt_mcp.tools.resources import RESOURCES
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
            (template,) = templates.resource_templates
            assert template.uri_template == "ccxt://exchange/{id}"
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


@pytest.mark.parametrize(
    ("uri", "words"),
    [
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
