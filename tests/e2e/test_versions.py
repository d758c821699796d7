"""A result in the form of each protocol version, though its content is not copied for it."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Stack

CALL: dict[str, Any] = {"name": "get_ticker", "arguments": {"symbol": "BTC/USDT"}}


async def result(stack: Stack, version: str) -> dict[str, Any]:
    headers = {"Mcp-Session-Id": f"at-{version}", "MCP-Protocol-Version": version}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}
    response = await stack.http.post(f"{stack.url}/mcp", headers=headers, json=message)
    answer: dict[str, Any] = response.json()["result"]
    return answer


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_a_version_gets_what_it_knows_and_no_more(stack: Stack, version: str) -> None:
    """Filled in after the SDK has made the envelope: by what made the content, the handshake
    versions would get `resultType`, which is the modern one's."""
    answer = await result(stack, version)
    [content] = answer.pop("content")
    told = json.loads(content["text"])
    assert told["ticker"]["symbol"] == "BTC/USDT"
    assert answer == {"structuredContent": told}
