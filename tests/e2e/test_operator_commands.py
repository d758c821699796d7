"""`init`, `doctor` and `completion` as a user types them."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema
import pytest

from ccxt_mcp.cli import parser
from ccxt_mcp.settings import load_settings
from ccxt_mcp.simulation import Fault, SimulatedExchange, SimulationConfig, demo_venue
from tests.e2e.commands import clean, run, run_beside, run_here
from tests.e2e.setups import SCHEMA, has_no_secret, written

ESCAPE = "\x1b"
COMMANDS = ["serve", "demo", "simulate", "init", "doctor", "completion"]


@pytest.fixture
async def sim() -> AsyncIterator[SimulatedExchange]:
    venue, _ = demo_venue(seed=7)
    async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue) as running:
        yield running


# --- init ---


def test_init_writes_a_file_that_loads_and_says_what_is_next(tmp_path: Path) -> None:
    done = run("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ccxt-mcp doctor" in done.stderr
    assert "ccxt-mcp serve" in done.stderr
    file = tmp_path / "ccxt-mcp.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    settings = load_settings(file, {})
    assert settings.model_dump(exclude={"data_dir"}) == load_settings(None, {}).model_dump(
        exclude={"data_dir"}
    )


def test_init_replaces_nothing_unless_it_is_told_to(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("port = 1\n")
    file.chmod(0o644)
    refused = run_here("init", "--file", "mine.toml", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert file.read_text() == "port = 1\n"
    done = run_here("init", "--file", "mine.toml", "--force", cwd=tmp_path)
    assert done.returncode == 0
    assert "--config mine.toml" in done.stderr
    assert "port = 3000" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    kept = tmp_path / "mine.toml.bak"
    assert kept.read_text() == "port = 1\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "mine.toml.bak" in done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine.toml", "mine.toml.bak"]


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    done = run_here("init", "--file", "no/such/place.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "no/such/place.toml cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["there", "..", ".", "/"])
def test_init_takes_no_directory_for_a_file_and_leaves_nothing_behind(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "there").mkdir()
    done = run_here("init", "--force", "--file", name, cwd=tmp_path)
    assert done.returncode == 2
    assert "is a directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert [each.name for each in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["new", "force"])
def test_an_init_that_cannot_write_it_all_leaves_nothing_behind(
    tmp_path: Path, force: list[str]
) -> None:
    """Without the cure there is half a file, which loads, or one with a name nobody knows."""
    command = 'ulimit -f 1; trap "" XFSZ; exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", sys.executable, "-m", "ccxt_mcp", "init", *force],
        cwd=tmp_path,
        env=clean(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_replaces_what_a_link_names_and_shows_names_that_can_be_typed(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("port = 2\n")
    link = tmp_path / "my\x1b[31m file.toml"
    link.symlink_to("real.toml")
    done = run_here("init", "--force", "--file", link.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert link.is_symlink()
    assert (tmp_path / "real.toml.bak").read_text() == "port = 2\n"
    assert ESCAPE not in done.stderr
    assert "--config 'my?[31m file.toml'" in done.stderr


# --- doctor ---


async def test_doctor_on_a_healthy_set_up_prints_json_and_exits_0(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    """With helper processes and from the directory's own file, as a user would."""
    written(tmp_path, sim)
    done = await run_beside("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    jsonschema.validate(told, SCHEMA)
    assert told["outcome"] == "ok"
    assert told["counts"]["failed"] == 0
    assert done.stderr == ""
    has_no_secret(done.stdout)


async def test_doctor_shows_a_table_with_the_remedies_below_and_exits_1(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    wrong = "w" * 64
    written(tmp_path, sim, account={"secret": wrong})
    done = await run_beside("doctor", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    table, _, remedies = done.stdout.partition("What to do")
    assert re.search(r"^credentials +main +failed +the exchange knows the key", table, re.M)
    assert re.search(r"^connection +paper +ok ", table, re.M)
    assert "credentials main: Copy the account's `secret` again" in remedies
    assert "1 failed" in remedies
    assert wrong not in done.stdout + done.stderr
    has_no_secret(done.stdout + done.stderr)


def test_doctor_exits_2_when_nothing_can_be_read(tmp_path: Path) -> None:
    done = run_here("doctor", "--json", "--config", "no-such.toml", cwd=tmp_path)
    assert done.returncode == 2
    told = json.loads(done.stdout)
    jsonschema.validate(told, SCHEMA)
    assert "does not exist" in told["findings"][0]["found"]
    assert "ccxt-mcp init" in told["findings"][0]["remedy"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_time_that_is_none_is_wrong_usage(tmp_path: Path, seconds: str) -> None:
    done = run_here("doctor", f"--timeout={seconds}", cwd=tmp_path)
    assert done.returncode == 2
    assert "usage:" in done.stderr


async def test_ctrl_c_ends_a_doctor_at_once_and_without_a_traceback(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    sim.faults.add(Fault(kind="hang"))
    written(tmp_path, sim)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ccxt_mcp", "doctor"),
        cwd=tmp_path,
        env=clean(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            while not sim.counters.faults["hang"]:
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130, error
    assert out == b""
    assert error.startswith(b"stopped before the end")
    assert b"Traceback" not in error


# --- Colours ---


def on_a_terminal(*arguments: str, cwd: Path, **environ: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "w") as terminal:
            done = run_here(*arguments, cwd=cwd, out=terminal, **environ)
        assert done.returncode == 0, done.stderr
        printed = b""
        # Less than a terminal's buffer, so that the command never waited for this.
        while piece := _read(ours):
            printed += piece
    finally:
        os.close(ours)
    return printed.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""  # How Linux says that nobody has the other end any more.


def test_colours_are_for_terminals_alone_and_respect_no_color(tmp_path: Path) -> None:
    arguments = ("doctor", "--offline")
    assert ESCAPE in on_a_terminal(*arguments, cwd=tmp_path)
    assert ESCAPE not in on_a_terminal(*arguments, cwd=tmp_path, NO_COLOR="1")
    piped = run_here(*arguments, cwd=tmp_path)
    assert "versions" in piped.stdout
    assert ESCAPE not in piped.stdout + piped.stderr


# --- Help and completion ---


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_examples_that_parse(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line of the examples that is a command of ours is one that the parser takes."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    lines = re.findall(
        rf"(?<!: )\bccxt-mcp ({command}[^|>&\n]*?)(?:  .*)?(?: [|>].*)?$", shown, re.M
    )
    assert lines, shown
    for line in lines:
        parser().parse_args(line.strip().split())


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script_that_knows_every_command(tmp_path: Path, shell: str) -> None:
    done = run_here("completion", shell, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in (*COMMANDS, "--offline", "--force"):
        assert word in done.stdout
    interpreter = shutil.which(shell)
    if interpreter is None:
        pytest.skip(f"{shell} is not installed: its syntax was not checked")
    checked = subprocess.run(
        [interpreter, "-n"], input=done.stdout, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    script = run_here("completion", "bash", cwd=tmp_path).stdout
    (tmp_path / "completion.bash").write_text(script)
    asked = """
        source ./completion.bash
        complete_at() {
            COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
            "$(complete -p ccxt-mcp | sed 's/.*-F \\([^ ]*\\).*/\\1/')" ccxt-mcp "${@: -1}" ""
            echo "${COMPREPLY[@]}"
        }
        complete_at ccxt-mcp doc
        complete_at ccxt-mcp doctor --off
    """
    done = subprocess.run(
        ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["doctor", "--offline"], done.stderr
