"""What the server says of itself, and that nothing in it asks for a credential."""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
from mcp.client import Client
from mcp_types import SERVER_INFO_META_KEY

from ccxt_mcp.calls.policy import OPERATIONS, Effect
from ccxt_mcp.model import Scope
from ccxt_mcp.tools.arguments import schema
from ccxt_mcp.tools.boundary import Boundary
from ccxt_mcp.tools.identity import DESCRIPTION, ICON, TITLE
from ccxt_mcp.tools.server import INSTRUCTIONS, TOOLS
from ccxt_mcp.tools.tool import Tool
from tests.unit.tools.world import World


async def test_the_instructions_reach_the_client_in_both_eras(world: World) -> None:
    """The conventions are told once, at the start of a connection."""
    for mode in ("legacy", "auto"):
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            assert client.instructions == INSTRUCTIONS
            assert client.server_info is not None
            assert client.server_info.name == "ccxt-mcp"
    assert len(INSTRUCTIONS) <= 1_800


async def test_hosts_of_both_eras_are_shown_a_title_a_sentence_and_an_icon(world: World) -> None:
    for mode in ("legacy", "auto"):
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            shown = client.server_info
            assert shown is not None
            assert (shown.title, shown.description) == (TITLE, DESCRIPTION)
            assert shown.icons == [ICON]
            assert all(tool.title for tool in (await client.list_tools()).tools)
            assert all(each.title for each in (await client.list_prompts()).prompts)
            assert all(each.title for each in (await client.list_resources()).resources)
    kind, _, data = ICON.src.partition(";base64,")
    assert kind == "data:image/svg+xml"
    assert ElementTree.fromstring(b64decode(data)).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(ICON.src) <= 600


async def test_the_icon_is_told_once_and_not_with_every_answer(world: World) -> None:
    """The SDK signs each modern result with all that a server says of itself: with the icon, that
    was more than many answers are long."""
    async with asyncio.timeout(10), Client(world.server) as client:
        for result in (await client.list_tools(), await client.call_tool("list_accounts", {})):
            assert result.meta is not None
            assert result.meta[SERVER_INFO_META_KEY] == {
                "name": "ccxt-mcp",
                "title": TITLE,
                "version": world.server.version,
            }


async def test_a_modern_client_may_keep_the_list_for_an_hour(world: World) -> None:
    """The list cannot change while the server runs, and it is the same for everybody."""
    async with asyncio.timeout(10), Client(world.server) as client:
        listed = await client.list_tools()
    assert listed.ttl_ms == 3_600_000
    assert listed.cache_scope == "public"


def test_the_whole_list_is_what_a_model_can_take(world: World) -> None:
    """As sent: every byte of it stands in the context of every model that uses the server."""
    boundary = Boundary(world.calls, TOOLS)
    sizes = {tool["name"]: len(orjson.dumps(tool)) for tool in boundary.listing["tools"]}
    assert len(orjson.dumps(boundary.listing)) <= 30_000, sizes
    again = Boundary(world.calls, TOOLS).listing
    assert orjson.dumps(boundary.listing) == orjson.dumps(again)


def test_the_list_says_how_to_ask_and_changes_no_type(world: World) -> None:
    """Words about the fields of answers would be a quarter of the list. Without them, the pattern
    of decimals and the lengths of texts, the schemas are those of the tools."""

    def bare(schema: Any, *dropped: str) -> Any:
        out = {}
        for key, value in schema.items():
            if key == "properties":
                out[key] = {each: bare(spec, *dropped) for each, spec in value.items()}
            elif isinstance(value, dict):
                out[key] = bare(value, *dropped)
            elif key not in dropped and value != []:
                out[key] = value
        return out

    for tool, entry in zip(TOOLS, Boundary(world.calls, TOOLS).listing["tools"], strict=True):
        assert entry["inputSchema"] == bare(schema(tool.arguments), "minLength", "maxLength")
        for name, spec in entry["inputSchema"]["properties"].items():
            assert spec["description"], name
        assert entry["description"] == tool.description
        assert entry["outputSchema"] == bare(tool.output, "description", "pattern")


def test_the_schema_hook_knows_every_tool(world: World) -> None:
    """Without the hook the SDK runs the list handler for each modern call with arguments."""
    lookup = world.server.get_tool_input_schema
    assert lookup is not None
    for tool in TOOLS:
        assert lookup(tool.name) == schema(tool.arguments)
    assert lookup("nothing") is None


def test_no_tool_has_an_argument_for_a_credential() -> None:
    """Keys live in the server's configuration; a tool that took one would put it in transcripts."""
    shaped = re.compile(r"key|secret|passw|passphrase|token|credential|mnemonic", re.IGNORECASE)
    names = {name for tool in TOOLS for name in tool.arguments.model_fields}
    assert not [name for name in names if shaped.search(name)]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_description_sends_to_the_neighbouring_tool(tool: Tool) -> None:
    """Each says when to use it and names at least one tool for the other cases, which exists."""
    known = {each.name for each in TOOLS}
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", tool.description))
    assert named & known
    assert named <= known


def test_everything_on_the_list_only_reads() -> None:
    """The scope of every tool is `read`, and no allowed method writes."""
    assert {tool.scope for tool in TOOLS} == {Scope.READ}
    assert {operation.effect for operation in OPERATIONS.values()} == {Effect.READ}
