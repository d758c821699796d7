"""The examples for Node and for LangGraph, as their readers would run them.

They need what `make test-clients` installs.
"""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.e2e.conftest import StackFactory

EXAMPLES = Path(__file__).parents[2] / "examples"
LANGGRAPH = os.environ.get("LANGGRAPH_PYTHON", f"{sys.prefix}/langgraph/bin/python")
TOKEN = "a-token-of-the-desk-0123456789"

pytestmark = pytest.mark.clients


async def _run(stack_of: StackFactory, *command: str, cwd: Path = EXAMPLES) -> str:
    """What an example prints; in front of a server with a token, whose sessions it has ended."""
    stack = await stack_of(tokens={"desk": {"token": TOKEN, "scopes": ["read", "ops"]}})
    async with asyncio.timeout(90):
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            stdout=PIPE,
            stderr=PIPE,
            env={
                "PATH": os.environ["PATH"],
                "HOME": os.environ["HOME"],
                "CCXT_MCP_URL": stack.url,
                "CCXT_MCP_TOKEN": TOKEN,
            },
        )
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    health = await stack.http.get(
        f"{stack.url}/health", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert health.json()["sessions"] == []
    return out.decode()


async def test_fetch_reads_two_workflows(make_stack: StackFactory) -> None:
    out = await _run(make_stack, "node", "two_workflows.mjs")
    assert re.search(r"^open orders: \d+$", out, re.M)
    assert re.search(r"^USDT: [\d.]+$", out, re.M)
    assert "as expected: unknown_symbol, retryable: false" in out


async def test_the_typescript_sdk_reads_two_workflows(make_stack: StackFactory) -> None:
    """Compiled first: its types are checked."""
    out = await _run(make_stack, "npm", "start", "--silent", cwd=EXAMPLES / "typescript")
    assert re.search(r"^open orders: \d+$", out, re.M)
    assert re.search(r"^USDT: [\d.]+$", out, re.M)
    assert "as expected: unknown_symbol, retryable: false" in out


async def test_langgraph_agents_list_and_call_tools_over_langchains_adapter(
    make_stack: StackFactory,
) -> None:
    out = await _run(make_stack, LANGGRAPH, str(EXAMPLES / "langgraph" / "agent.py"))
    assert re.search(r"^prices: \d\d tools$", out, re.M)
    assert re.search(r"^prices: get_ticker: success: .*BTC/USDT", out, re.M)
    assert re.search(r"^prices: get_ticker: error: .*unknown_symbol", out, re.M)
    assert re.search(r"^holdings: account_balance: success: .*balances", out, re.M)
