"""docs/HTTP.md: its lines run as they stand, and show what the page says."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from tests.e2e.conftest import Stack

PAGE = (Path(__file__).parents[2] / "docs" / "HTTP.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


async def test_every_shell_line_runs_and_the_failure_is_the_one_shown(stack: Stack) -> None:
    outputs = []
    for kind, block in BLOCKS:
        if kind != "sh":
            continue
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", block.replace("http://127.0.0.1:3000", stack.url)),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
        assert process.returncode == 0, block
        outputs.append(out.decode())
    calls, failure, workflows, tokens = outputs
    for word in ('"ticker"', '"accounts"'):
        assert word in calls
    (shown,) = [json.loads(block) for kind, block in BLOCKS if kind == "json"]
    assert json.loads(failure) == shown
    for word in ('"orders"', '"balances"', '"workflow-orders"', '"workflow-balance"'):
        assert word in workflows
    assert '"error"' not in calls + workflows + tokens
    assert '"tools"' in tokens
