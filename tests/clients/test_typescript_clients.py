"""TypeScript clients against the running product. Needs Node.js: run by `make test-clients`."""

import asyncio
import json
from pathlib import Path

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
