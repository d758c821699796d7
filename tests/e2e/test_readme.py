"""The README's own lines: what a newcomer copies is what runs here.

Shell blocks run in their order; a line that serves runs beside them until the end. Only the port is
changed, to a free one. Python blocks run against the served demo, JSON and TOML blocks are read.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", (ROOT / "README.md").read_text(), re.M | re.S)
SERVES = re.compile(r"^make (demo|serve)$")
DEFAULT_PORT = "3000"


def blocks(language: str) -> list[str]:
    found = []
    for indent, kind, text in BLOCKS:
        if kind == language:
            found.append("\n".join(line.removeprefix(indent) for line in text.splitlines()))
    return found


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    """The port of the demo, started as the README says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = str(probe.getsockname()[1])
    assert any(SERVES.match(block.strip()) for block in blocks("sh"))
    process = subprocess.Popen(
        ["make", "demo", f"ARGS=--port {free}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, process.communicate()[1].decode()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{free}/ready", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield free
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()


def test_every_shell_line_runs_and_shows_what_is_promised(port: str) -> None:
    outputs = []
    for block in blocks("sh"):
        if SERVES.match(block.strip()):
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace(f":{DEFAULT_PORT}", f":{port}")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, (block, done.stderr)
        outputs.append(done.stdout)
    curls = outputs[0]
    for word in ('"orders"', '"balances"', "workflow-orders-monitoring", '"activeSessions":2'):
        assert word in curls
    assert '"isError"' not in curls
    assert "workflow-balance-monitoring: account_balance" in outputs[1]


def test_the_python_example_prints_a_price(port: str) -> None:
    for block in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", block.replace(f":{DEFAULT_PORT}", f":{port}")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "BTC/USDT" in done.stdout


def test_json_and_toml_examples_can_be_read() -> None:
    from ccxt_mcp.settings import Settings

    assert len(blocks("json")) >= 2
    for block in blocks("json"):
        assert f"http://127.0.0.1:{DEFAULT_PORT}/mcp" in json.dumps(json.loads(block))
    assert len(blocks("toml")) >= 2
    for block in blocks("toml"):
        Settings.model_validate(tomllib.loads(block))


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
