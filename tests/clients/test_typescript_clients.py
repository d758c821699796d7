"""TypeScript clients against the running product. Needs Node.js: run by `make test-clients`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import running_stack
from tests.e2e.test_python_clients import FAILURES, SUCCESSES

HERE = Path(__file__).parent


@pytest.mark.clients
async def test_the_older_typescript_sdk_calls_every_tool_and_never_throws_on_a_failure() -> None:
    async with running_stack() as stack, asyncio.timeout(120):
        process = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "typescript_sdk_v1.mjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        plan = {"url": f"{stack.url}/mcp", "successes": SUCCESSES, "failures": FAILURES}
        out, err = await process.communicate(json.dumps(plan).encode())
        assert process.returncode == 0, err.decode()
        assert json.loads(out) == {"tools": len(SUCCESSES), "calls": 2 * len(SUCCESSES)}
        assert await stack.sessions() == []


@pytest.mark.clients
@pytest.mark.parametrize(
    ("mode", "version"),
    [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ({"pin": "2026-07-28"}, "2026-07-28")],
)
async def test_the_newer_typescript_sdk_calls_every_tool_in_both_eras(
    mode: Any, version: str
) -> None:
    """The third one with a header for the exchange, which it has to send to be answered."""
    successes = SUCCESSES | {"get_ticker": {"symbol": "BTC/USDT", "exchange": "paper"}}
    plan = {"mode": mode, "successes": successes, "failures": FAILURES}
    mirrored = isinstance(mode, dict)
    async with running_stack(mirror_exchange=mirrored) as stack, asyncio.timeout(120):
        process = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "typescript_sdk_v2.mjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        given = json.dumps({"url": f"{stack.url}/mcp", **plan}).encode()
        out, err = await process.communicate(given)
        assert process.returncode == 0, err.decode()
        assert json.loads(out) == {
            "version": version,
            "tools": len(SUCCESSES),
            "calls": 2 * len(SUCCESSES),
            "contents": 1,
            "prompts": True,
            "session": version != "2026-07-28",
        }
        assert await stack.sessions() == []
