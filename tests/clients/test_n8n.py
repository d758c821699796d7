"""A real n8n imports and executes the example: `make test-n8n`.

n8n is large (2 GB), wants a newer Node.js than the rest and is nobody's dependency here, so it is
not installed by the target: `npm install n8n` somewhere, with the Node.js that it asks for on the
PATH, and `make test-n8n N8N=…/node_modules/.bin/n8n`. Telemetry, updates and templates are off: it
speaks to loopback only.
"""

import asyncio
import json
import os
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import running_stack

WORKFLOW = Path(__file__).parents[2] / "examples" / "n8n" / "workflow.json"

pytestmark = pytest.mark.n8n


class N8n:
    """n8n's command line, with everything that it keeps in one folder."""

    def __init__(self, folder: Path) -> None:
        program = os.environ.get("N8N") or shutil.which("n8n")
        assert program, "no n8n: see the docstring of tests/clients/test_n8n.py"
        self._program = program
        self._folder = folder

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and everything that it printed."""
        async with asyncio.timeout(240):
            process = await asyncio.create_subprocess_exec(
                self._program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self._folder),
                    "N8N_USER_FOLDER": str(self._folder),
                    "N8N_DIAGNOSTICS_ENABLED": "false",
                    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
                    "N8N_TEMPLATES_ENABLED": "false",
                    "N8N_PERSONALIZATION_ENABLED": "false",
                    "N8N_HIRING_BANNER_ENABLED": "false",
                    "N8N_LICENSE_AUTO_RENEW_ENABLED": "false",
                    "EXTERNAL_FRONTEND_HOOKS_URLS": "",
                    "N8N_RUNNERS_ENABLED": "false",
                },
            )
            out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()


def output_of(text: str) -> dict[str, Any]:
    """The run's data, which n8n prints after whatever else it has to say."""
    start = text.index("{\n")
    found, _ = json.JSONDecoder().raw_decode(text[start:])
    assert isinstance(found, dict)
    return found


async def test_n8n_executes_both_calls_at_the_same_time_and_fails_where_a_tool_fails(
    tmp_path: Path,
) -> None:
    async with running_stack() as stack:
        await stack.call("get_ticker", {"symbol": "BTC/USDT"}, session="warm-up")
        n8n = N8n(tmp_path)
        code, text = await n8n.run("--version")
        print(f"n8n {text.strip().splitlines()[-1]}")
        workflow = json.loads(WORKFLOW.read_text())
        copy = tmp_path / "workflow.json"
        copy.write_text(WORKFLOW.read_text().replace("http://127.0.0.1:3000", stack.url))
        code, text = await n8n.run("import:workflow", f"--input={copy}")
        assert code == 0, text

        stack.sim.faults.add(Fault(kind="latency", route="*", milliseconds=500))
        code, text = await n8n.run("execute", f"--id={workflow['id']}", "--rawOutput")
        assert code == 0, text
        run = output_of(text)["data"]["resultData"]["runData"]
        answers = [item["json"] for item in run["Answer"][0]["data"]["main"][0]]
        assert answers[0]["orders"]
        assert answers[1]["balances"]
        names = {f"wf-{workflow['id']}-orders", f"wf-{workflow['id']}-balance"}
        sessions = {each["sessionId"]: each for each in await stack.sessions()}
        assert names <= set(sessions)
        # One after the other they would take both latencies.
        spent = sum(sessions[name]["latencyMs"]["p50"] for name in names)
        assert run["Call ccxt-mcp"][0]["executionTime"] < spent

        stack.sim.faults.clear()
        stack.sim.faults.add(Fault(kind="status", status=500, route="GET /api/v3/openOrders"))
        code, text = await n8n.run("execute", f"--id={workflow['id']}")
        assert code != 0 or "exchange_unavailable" in text, text
        assert "exchange_unavailable" in text, text
