"""docs/CLIENT.md: its programs run as they stand, and its tables are true."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from ccxt_mcp.client import PoolStats
from tests.e2e.conftest import Stack

PAGE = (Path(__file__).parents[2] / "docs" / "CLIENT.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHOWN = (["unknown_symbol False"], ["buy", "currencies"], ["PoolStats(size=3", "healthy"])


def test_the_programs_were_found() -> None:
    assert len(BLOCKS) == len(SHOWN)


@pytest.mark.parametrize("number", range(len(SHOWN)))
async def test_a_program_runs_and_shows_what_it_says(stack: Stack, number: int) -> None:
    program = BLOCKS[number].replace("http://127.0.0.1:3000", stack.url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", program),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    for word in SHOWN[number]:
        assert word in out.decode()
    assert [each for each in await stack.sessions() if each["sessionId"].startswith("wf-")] == []


def test_the_counts_of_a_pool_are_all_named() -> None:
    (listed,) = re.findall(r"`stats\(\)` has (.*?)\.$", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", listed) == [each.name for each in fields(PoolStats)]


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / target).exists(), target
