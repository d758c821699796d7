"""The commands as a user types them: what they print, how they end, what they refuse."""

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CCXT_MCP") and not name.endswith(("_API_KEY", "_SECRET"))
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "ccxt_mcp", *arguments],
        cwd=cwd,
        env=inherited | {"HOME": str(cwd)} | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_demo_once_shows_what_two_workflows_read(tmp_path: Path) -> None:
    """Also with exchange keys in the environment, which the demo does not read."""
    done = run("demo", "--once", cwd=tmp_path, BINANCE_API_KEY="k" * 64, CCXT_MCP_PORT="x")
    assert done.returncode == 0, done.stderr
    assert "workflow-orders-monitoring: get_open_orders" in done.stdout
    assert "workflow-balance-monitoring: account_balance" in done.stdout
    assert "USDT" in done.stdout
    assert "market" in done.stderr
    assert "kkkk" not in done.stdout + done.stderr


def test_the_demo_ignores_a_configuration_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ccxt-mcp.toml").write_text('default_exchange = "kraken"\nprot = 1\n')
    assert run("demo", "--once", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("prot = 3001\n", ["prot", "port", "ccxt-mcp.toml"]),
        ("port = \n", ["line 1"]),
        ('max_sessions = "no"\n', ["max_sessions"]),
        ("[accounts.a]\nexchange='binance'\napi_key='kkkkkkkkkkkk'\n", ["accounts.a", "secret"]),
        ("[accounts.a]\nexchange='binance'\napi_key='env:NO_SUCH'\nsecret='s'\n", ["NO_SUCH"]),
        ("[accounts.a]\nexchange='binanse'\napi_key='kkkkkkkk'\nsecret='ssssssss'\n", ["binance"]),
        ("[exchanges.x]\nexchange='binanse'\n", ["binance"]),
        ("[tokens.t]\ntoken='short'\n", ["tokens.t"]),
        ('host = "0.0.0.0"\n', ["token", "insecure"]),
        ("tool_timeout = 5\n", ["ccxt_timeout"]),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_in_words(
    tmp_path: Path, toml: str, words: list[str]
) -> None:
    (tmp_path / "ccxt-mcp.toml").write_text(toml)
    done = run("serve", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert "kkkkkkk" not in done.stderr


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Exchanges, accounts and tokens are looked at by different rooms; their findings are one."""
    (tmp_path / "ccxt-mcp.toml").write_text(
        "default_exchange = 'binanc'\n"
        "[exchanges.x]\nexchange = 'krakn'\n"
        "[accounts.a]\nexchange = 'binance'\napi_key = 'kkkkkkkkkkkk'\n"
        "[tokens.t]\ntoken = 'short'\n"
    )
    done = run("serve", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2
    for words in ("4 things", "'binance'", "'kraken'", "accounts.a", "tokens.t"):
        assert words in done.stderr


def test_simulate_prints_a_configuration_for_serve(tmp_path: Path) -> None:
    from ccxt_mcp.settings import Settings

    process = subprocess.Popen(
        [sys.executable, "-m", "ccxt_mcp", "simulate", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "simulated exchange at" in process.stderr.readline()
        process.terminate()
        printed, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    settings = Settings.model_validate(tomllib.loads(printed))
    assert set(settings.exchanges) == {"paper", "paper-kraken"}
    assert len(settings.accounts) == 4


@pytest.mark.parametrize("command", [["serve"], ["demo"], ["simulate"]])
def test_a_port_in_use_is_named_with_a_way_out(tmp_path: Path, command: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(*command, "--port", port, cwd=tmp_path)
    assert done.returncode == 2
    assert port in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["serv"],
        ["serve", "--port", "99999"],
        ["demo", "-x"],
        ["simulate", "--latency", "-5"],
        ["simulate", "--jitter", "nan"],
        ["simulate", "--rate-limit", "0"],
    ],
)
def test_wrong_usage_is_explained(tmp_path: Path, arguments: list[str]) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "usage:" in done.stderr
