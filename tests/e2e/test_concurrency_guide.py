"""docs/CONCURRENCY.md: every example of the guide runs as it stands, against the demo's accounts.

Those in JavaScript need Node.js: `make test-clients` runs them.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack

PAGE = (Path(__file__).parents[2] / "docs" / "CONCURRENCY.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
RUN = {
    "python": (sys.executable, "-c"),
    "sh": ("bash", "-euo", "pipefail", "-c"),
    "js": ("node", "--input-type=module", "-e"),
}


def blocks(*languages: str) -> list[object]:
    found = [each for each in BLOCKS if each[0] in languages]
    return [pytest.param(*each, id=f"{each[0]}-{n}") for n, each in enumerate(found, 1)]


def test_the_examples_were_found_and_each_is_run_or_a_drawing() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "": 2,
        "python": 4,
        "js": 2,
        "sh": 2,
    }


async def output(stack: Stack, kind: str, text: str) -> str:
    program = shutil.which(RUN[kind][0])
    assert program is not None, f"{RUN[kind][0]} is not installed"
    process = await asyncio.create_subprocess_exec(
        *(program, *RUN[kind][1:], text.replace("http://127.0.0.1:3000", stack.url)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize(("kind", "text"), blocks("python", "sh"))
async def test_an_example_runs_and_shows_something(stack: Stack, kind: str, text: str) -> None:
    shown = await output(stack, kind, text)
    assert shown.strip()
    assert '"isError"' not in shown
    assert ("unknown_symbol" in shown) is ("CallFailed" in text)


@pytest.mark.clients
@pytest.mark.parametrize(("kind", "text"), blocks("js"))
async def test_an_example_in_javascript_runs_too(stack: Stack, kind: str, text: str) -> None:
    shown = await output(stack, kind, text)
    assert "open orders" in shown or "BTC/USDT" in shown
