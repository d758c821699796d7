"""The Dockerfile without a container engine: every path and command in it is real, and its steps,
run in a plain environment, give a program that starts with a token alone."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def lines(instruction: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return re.findall(rf"^{instruction} (.*)$", joined, re.MULTILINE)


def test_the_base_is_pinned_and_slim_and_the_last_stage_has_no_root() -> None:
    bases = lines("FROM")
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+( AS \w+)?", base) for base in bases)
    assert lines("USER") == ["10001"]


def test_every_copied_path_is_in_the_repository() -> None:
    for copy in lines("COPY"):
        if copy.startswith("--from="):
            continue
        *sources, _ = copy.split()
        for source in sources:
            assert (ROOT / source).exists(), source


def test_the_health_check_asks_a_route_that_is_open() -> None:
    (check,) = lines("HEALTHCHECK")
    assert "http://127.0.0.1:3000/live" in check


def test_the_image_can_speak_to_a_common_store() -> None:
    """`store_url` needs the extra `redis`; the image installs by the lock alone."""
    assert any("-r requirements.lock" in run for run in lines("RUN"))
    locked = (ROOT / "requirements.lock").read_text()
    assert re.search(r"^redis==\d", locked, re.MULTILINE)
    assert re.search(r"^hiredis==\d", locked, re.MULTILINE)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build stage makes: the package as a wheel, over this environment's dependencies.

    The dependencies are those of the same lock that the image installs; only their download is
    left out.
    """
    root = tmp_path_factory.mktemp("image")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "ccxt_mcp", root / "ccxt_mcp")
    target = root / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(target), "."],
        cwd=root, check=True, timeout=120,
    )  # fmt: skip
    return target


def environment(installed: Path, **more: str) -> dict[str, str]:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    for line in lines("ENV"):
        for name, value in re.findall(r"(\w+)=(\S+)", line):
            if name.startswith(("CCXT_MCP", "PYTHON")):
                variables[name] = value
    return variables | more


def command(installed: Path) -> list[str]:
    (words,) = [line for line in lines("CMD") if "serve" in line]
    program, *arguments = re.findall(r'"([^"]+)"', words)
    assert (installed / "bin" / program).exists()
    return [sys.executable, str(installed / "bin" / program), *arguments]


def test_without_a_token_the_image_refuses_to_start(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(installed), env=environment(installed, HOME=str(tmp_path)), cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "CCXT_MCP_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_a_token_it_serves_and_stops_cleanly(installed: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = environment(
        installed,
        HOME=str(tmp_path),
        CCXT_MCP_TOKEN="a-token-for-this-test-only",
        CCXT_MCP_HOST="127.0.0.1",
        CCXT_MCP_PORT=str(port),
    )
    process = subprocess.Popen(
        command(installed), env=variables, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, process.communicate()[1]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=2) as live:
                    assert live.status == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "a-token-for-this-test-only" not in errors
    finally:
        process.kill()
        process.wait()
