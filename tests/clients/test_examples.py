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

from tests.e2e.conftest import running_stack

EXAMPLES = Path(__file__).parents[2] / "examples"
LANGGRAPH = os.environ.get("LANGGRAPH_PYTHON", f"{sys.prefix}/langgraph/bin/python")
TOKEN = "a-token-of-the-desk-0123456789"

pytestmark = pytest.mark.clients


async def _run(*command: str, cwd: Path = EXAMPLES) -> str:
    """What an example prints; in front of a server with a token, whose sessions it has ended."""
    desk = {"token": TOKEN, "scopes": ["read", "ops"]}
    async with running_stack(tokens={"desk": desk}) as stack, asyncio.timeout(90):
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "CCXT_MCP_URL": stack.url,
            "CCXT_MCP_TOKEN": TOKEN,
        }
        process = await asyncio.create_subprocess_exec(
            *command, cwd=cwd, stdout=PIPE, stderr=PIPE, env=environ
        )
        out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        authorized = {"Authorization": f"Bearer {TOKEN}"}
        health = await stack.http.get(f"{stack.url}/health", headers=authorized)
        assert health.json()["sessions"] == []
    return out.decode()


async def test_fetch_reads_two_workflows() -> None:
    out = await _run("node", "two_workflows.mjs")
    assert re.search(r"^open orders: \d+$", out, re.M)
    assert re.search(r"^USDT: [\d.]+$", out, re.M)
    assert "as expected: unknown_symbol, retryable: false" in out


async def test_the_typescript_sdk_reads_two_workflows() -> None:
    """Compiled first: its types are checked."""
    out = await _run("npm", "start", "--silent", cwd=EXAMPLES / "typescript")
    assert re.search(r"^open orders: \d+$", out, re.M)
    assert re.search(r"^USDT: [\d.]+$", out, re.M)
    assert "as expected: unknown_symbol, retryable: false" in out


async def test_langgraph_agents_list_and_call_tools_over_langchains_adapter() -> None:
    out = await _run(LANGGRAPH, str(EXAMPLES / "langgraph" / "agent.py"))
    assert re.search(r"^prices: \d\d tools$", out, re.M)
    assert re.search(r"^prices: get_ticker: success: .*BTC/USDT", out, re.M)
    assert re.search(r"^prices: get_ticker: error: .*unknown_symbol", out, re.M)
    assert re.search(r"^holdings: account_balance: success: .*balances", out, re.M)
