"""The commands as a user types them: what they print, how they end, what they refuse."""

import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.e2e.commands import run, run_here


def test_demo_once_shows_what_two_workflows_read(tmp_path: Path) -> None:
    """Also with exchange keys in the environment and a configuration file that cannot work, which
    the demo does not read."""
    (tmp_path / "ccxt-mcp.toml").write_text('default_exchange = "kraken"\nprot = 1\n')
    done = run("demo", "--once", cwd=tmp_path, BINANCE_API_KEY="k" * 64, CCXT_MCP_PORT="x")
    assert done.returncode == 0, done.stderr
    assert "workflow-orders-monitoring: get_open_orders" in done.stdout
    assert "workflow-balance-monitoring: account_balance" in done.stdout
    assert "USDT" in done.stdout
    assert "market" in done.stderr
    assert "kkkk" not in done.stdout + done.stderr


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
    done = run_here("serve", "--port", "0", cwd=tmp_path)
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
    done = run_here("serve", "--port", "0", cwd=tmp_path)
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


@pytest.mark.parametrize("command", ["serve", "demo", "simulate"])
def test_a_port_in_use_is_named_with_a_way_out(tmp_path: Path, command: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        # `serve` sets up the process's logging before it listens.
        done = (run if command == "serve" else run_here)(command, "--port", port, cwd=tmp_path)
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
    done = run_here(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "usage:" in done.stderr
