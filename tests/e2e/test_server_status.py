"""`server_status` tells a caller of itself, and of nobody else."""

from __future__ import annotations

import json
from typing import Any

from mcp.client import Client

from tests.e2e.conftest import Stack


async def status(stack: Stack, session: str) -> dict[str, Any]:
    result = await stack.call("server_status", session=session)
    data = result["structuredContent"]
    assert isinstance(data, dict)
    return data


async def test_a_session_is_told_of_its_own_calls_only(stack: Stack) -> None:
    """Before the call's own session was passed down, a tool could not know of any."""
    await stack.call("get_ticker", {"symbol": "BTC/USDT"}, session="other-workflow")
    await stack.call("get_ticker", {"symbol": "BTC/USDT"}, session="my-workflow")
    await stack.call("get_ticker", {"symbol": "NO/PE"}, session="my-workflow")
    told = await status(stack, "my-workflow")
    assert told["session"]["calls"] == 2
    assert told["session"]["errors"] == 1
    assert told["session"]["latencyMs"]["p50"] > 0
    assert told["caller"]["session"] == "my-workflow"
    assert told["caller"]["accounts"] == sorted(account.name for account in stack.accounts)
    paper = told["exchanges"][0]
    assert paper["name"] == "paper"
    assert paper["loaded"] is True
    assert paper["blockedMs"] == 0
    text = json.dumps(told)
    assert "other-workflow" not in text
    assert not any(account.secret in text or account.api_key in text for account in stack.accounts)


async def test_a_modern_caller_has_a_session_only_with_a_workflow(stack: Stack) -> None:
    async with Client(f"{stack.url}/mcp") as client:
        without = (await client.call_tool("server_status")).structured_content
        meta: Any = {"ccxt-mcp/workflow": "named-here"}
        named = (await client.call_tool("server_status", meta=meta)).structured_content
    assert without is not None
    assert "session" not in without
    assert without["caller"]["session"] == "-"
    assert named is not None
    assert named["session"]["kind"] == "workflow"
    assert named["caller"]["session"] == "named-here"


async def test_a_minted_session_is_shown_by_its_label(stack: Stack) -> None:
    """Its id is a secret of its client and never shown whole."""
    async with Client(f"{stack.url}/mcp", mode="legacy") as client:
        told = (await client.call_tool("server_status")).structured_content
    assert told is not None
    assert told["session"]["kind"] == "minted"
    assert told["caller"]["session"].startswith("#")
