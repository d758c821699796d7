"""docs/TOOLS.md on subscriptions: its programs run as they stand."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import running_stack

PAGE = (Path(__file__).parents[2] / "docs" / "TOOLS.md").read_text(encoding="utf-8")
PART = PAGE.partition("**Subscribing.**")[2].partition("| Prompt |")[0]
PYTHON = re.findall(r"^```python\n(.*?)^```$", PART, re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^```sh\n(.*?)^```$", PART, re.MULTILINE | re.DOTALL)
UPDATED = re.findall(r"^```json\n(.*?)^```$", PART, re.MULTILINE | re.DOTALL)


async def test_the_python_program_hears_of_a_change_and_reads_it() -> None:
    (program,) = PYTHON
    async with running_stack(ticker_poll_interval=0.2) as stack, asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c"),
            program.replace("http://127.0.0.1:3000", stack.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["ticker"]["symbol"] == "BTC/USDT"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("number", [0, 1], ids=["in-a-session", "2026-07-28"])
async def test_the_commands_hear_of_a_change(number: int) -> None:
    assert len(SHELL) == 2
    (shown,) = map(json.loads, UPDATED)
    async with running_stack(ticker_poll_interval=0.2) as stack, asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", SHELL[number].replace("http://127.0.0.1:3000", stack.url)),
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                if b"resources/updated" in line:
                    break
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the shell and curl
            await process.wait()
    told = json.loads(line.removeprefix(b"data: "))
    told["params"].pop("_meta", None)
    assert told == shown
