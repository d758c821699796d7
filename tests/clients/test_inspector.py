"""MCP Inspector's command line against the running product, in both eras.

It needs Node.js 22.19 or newer, which `make test-clients` installs beside it where there is one for
the platform. What it would write to its user's home goes to a directory of the test's own.
"""

import asyncio
import json
import os
import platform
import re
import shutil
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import running_stack
from tests.e2e.test_python_clients import SUCCESSES

HERE = Path(__file__).parent
INSPECTOR = (
    HERE / "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
).resolve()
FAILED_CALL = 5
"""Its exit code for a result with ``isError``."""

pytestmark = pytest.mark.clients


def node() -> str:
    """A Node.js that it runs on: the one installed beside it, or PATH's."""
    found = [str(path) for path in sorted(HERE.glob("node_modules/node-*/bin/node"))]
    found += [path for path in (shutil.which("node"),) if path is not None]
    for path in found:
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        match = re.match(r"v(\d+)\.(\d+)\.", version.stdout)
        if match and (int(match[1]), int(match[2])) >= (22, 19):
            return path
    pytest.fail(
        "MCP Inspector needs Node.js 22.19 or newer: `make test-clients` installs one with npm"
        f" where there is one for {platform.system()} on {platform.machine()}"
    )


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_lists_calls_and_reads(era: str, tmp_path: Path) -> None:
    binary = node()
    async with running_stack() as stack, asyncio.timeout(60):

        async def inspect(method: str, *more: str, exits: int = 0) -> dict[str, Any]:
            process = await asyncio.create_subprocess_exec(
                *(binary, str(INSPECTOR), "--cli", f"{stack.url}/mcp", "--transport", "http"),
                *("--protocol-era", era, "--format", "json", "--method", method, *more),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                cwd=tmp_path,
                env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            )
            out, errors = await process.communicate()
            assert process.returncode == exits, errors.decode()
            answer: dict[str, Any] = json.loads(out)["result"]
            return answer

        # Strictly: it finds no fault with a schema that a client could refuse.
        tools = (await inspect("tools/list", "--strict"))["tools"]
        assert {tool["name"] for tool in tools} == set(SUCCESSES)
        call = ("tools/call", "--tool-name", "get_ticker", "--tool-arg")
        result = await inspect(*call, "symbol=BTC/USDT")
        assert result["structuredContent"]["ticker"]["symbol"] == "BTC/USDT"
        assert ("io.modelcontextprotocol/serverInfo" in result.get("_meta", {})) == (
            era == "modern"
        )
        failed = await inspect(*call, "symbol=NO/PE", exits=FAILED_CALL)
        assert failed["_meta"]["ccxt-mcp/failure"]["code"] == "unknown_symbol"
        read = await inspect("resources/read", "--uri", "ccxt://exchanges")
        assert read["contents"][0]["uri"] == "ccxt://exchanges"
        assert (await inspect("prompts/get", "--prompt-name", "portfolio_overview"))["messages"]
        # A legacy one does not end its sessions; a modern one has none.
        assert bool(await stack.sessions()) == (era == "legacy")
