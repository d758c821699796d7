"""Nonces: always rising, whatever happens to the clock, the disk and the process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.nonce_marks import KeyIds, MarkFile
from ccxt_mcp.exchanges.nonces import NonceLane, NonceLanes
from ccxt_mcp.mechanisms.deadline import DEADLINE
from tests.unit.exchanges.conftest import ROOT

NOW = 1_763_700_000
"""Unix seconds at which these tests take place."""


class SetClock:
    """A clock that goes only when told to."""

    def __init__(self) -> None:
        self.seconds = float(NOW)

    def __call__(self) -> float:
        return self.seconds

    @property
    def ms(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def kraken(data_dir: Path | None, clock: SetClock, key: str = "k") -> NonceLane:
    lanes = NonceLanes(data_dir, now=clock)
    lane = lanes.lane("kraken", lanes.key_id("kraken", False, {"apiKey": key}))
    assert lane is not None
    return lane


def marks(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "nonces").glob("*.mark"))


def test_a_nonce_is_what_ccxt_proposes_unless_that_is_used() -> None:
    lane = NonceLane("kraken", None)
    assert [lane.next(n) for n in (1000, 1000, 1000, 2000, 1500)] == [1000, 1001, 1002, 2000, 2001]


@pytest.mark.parametrize("proposed", [NOW, NOW * 1000, NOW * 10**6, NOW * 10**9])
def test_any_unit_will_do(tmp_path: Path, proposed: int) -> None:
    """The rule works on the number; a restart skips two seconds of it, or ten steps."""
    file = MarkFile(tmp_path / "key.mark")
    lane = NonceLane("p2b", file, now=lambda: float(NOW))
    assert [lane.next(proposed) for _ in range(30)] == list(range(proposed, proposed + 30))
    again = NonceLane("p2b", file).next(proposed)
    assert proposed + 30 <= again <= proposed + 30 + 1 + max(2 * proposed // NOW, 10)


def test_a_clock_that_is_set_back_changes_nothing(clock: SetClock) -> None:
    """Before: the nonce followed the clock back, and every request was refused until it was due."""
    lane = kraken(None, clock)
    first = lane.next(clock.ms)
    clock.seconds -= 3600
    assert lane.next(clock.ms) == first + 1


def test_after_a_restart_nonces_go_on_above_the_last(tmp_path: Path, clock: SetClock) -> None:
    """Also when the clock was set back meanwhile; before, `lastNonce` went with its instance."""
    used = [kraken(tmp_path, clock).next(clock.ms) for _ in range(3)]
    clock.seconds -= 3600
    used += [kraken(tmp_path, clock).next(clock.ms) for _ in range(3)]
    assert used == sorted(set(used))


async def test_a_clean_restart_skips_no_number(tmp_path: Path, clock: SetClock) -> None:
    lanes = NonceLanes(tmp_path, now=clock)
    lane = lanes.lane("kraken", "id")
    assert lane is not None
    last = [lane.next(clock.ms) for _ in range(5)][-1]
    await lanes.close()
    again = NonceLanes(tmp_path, now=clock).lane("kraken", "id")
    assert again is not None
    assert again.next(clock.ms) == last + 1


def test_after_a_kill_nonces_go_on_above_the_last(tmp_path: Path) -> None:
    """A process that is killed while it takes nonces as fast as it can; three times over."""
    source = (
        "import sys, time; from pathlib import Path\n"
        "from ccxt_mcp.exchanges.nonces import NonceLanes\n"
        "lanes = NonceLanes(Path(sys.argv[1]))\n"
        "lane = lanes.lane('kraken', lanes.key_id('kraken', False, {'apiKey': 'k'}))\n"
        "while True: print(lane.next(int(time.time() * 1000)), flush=True)\n"
    )
    used: list[int] = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", source, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if len(lines) == 3000:
                process.send_signal(signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
        used += [int(line) for line in lines if line.endswith("\n")]
    assert len(used) >= 9_000
    assert used == sorted(set(used))
    assert [path.suffix for path in marks(tmp_path)] == [".mark"]


def test_keys_and_exchanges_have_numbers_of_their_own(clock: SetClock) -> None:
    lanes = NonceLanes(None, now=clock)
    a, b = (lanes.key_id("kraken", False, {"apiKey": key}) for key in "ab")
    first, second = lanes.lane("kraken", a), lanes.lane("kraken", b)
    assert first is not None
    assert second is not None
    assert first is not second
    assert lanes.lane("kraken", a) is first
    assert first.next(5000) == second.next(5000) == 5000
    assert lanes.key_id("kraken", True, {"apiKey": "a"}) != a


def test_exchanges_without_such_a_rule_are_not_hindered(clock: SetClock) -> None:
    lanes = NonceLanes(None, now=clock)
    assert lanes.lane("binance", "id") is None
    assert lanes.lane("bitbank", "id") is None
    assert lanes.lane("bitbank", "id", {"authMethod": "nonce"}) is not None
    assert lanes.lane("whitebit", "id") is not None
    assert lanes.lane("whitebit", "id", {"nonceWindow": True}) is None


def test_a_batch_gets_as_many_numbers_as_it_may_count(clock: SetClock) -> None:
    lane = NonceLanes(None, now=clock).lane("hibachi", "id")
    assert lane is not None
    assert lane.next(clock.ms) + 64 == lane.next(clock.ms)


def test_files_are_their_owners_alone_and_name_no_key(tmp_path: Path, clock: SetClock) -> None:
    kraken(tmp_path, clock, key="KRAKENKEY").next(clock.ms)
    folder = tmp_path / "nonces"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.iterdir())) == 2
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "KRAKENKEY" not in path.name + path.read_text()


@pytest.mark.parametrize("content", [b"", b"17637", b"\xff\xfe", b"1763700000000 00000000\n"])
def test_a_damaged_file_is_said_and_gives_no_lower_nonce(
    tmp_path: Path, clock: SetClock, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """Torn after "17637" it would be a lower number. What is known is when it was written."""
    last = kraken(tmp_path, clock).next(clock.ms)
    (path,) = marks(tmp_path)
    path.write_bytes(content)
    os.utime(path, (NOW, NOW))
    clock.seconds -= 3600
    with caplog.at_level(logging.WARNING, "ccxt_mcp.nonces"):
        assert kraken(tmp_path, clock).next(clock.ms) > last
    assert "cannot be read (damaged)" in caplog.text
    assert kraken(tmp_path, clock).next(clock.ms) > last


def test_a_lost_salt_is_said_and_gives_no_lower_nonce(
    tmp_path: Path, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it no key finds its own file; the highest mark of the exchange is above all."""
    last = kraken(tmp_path, clock).next(clock.ms)
    (tmp_path / "nonces" / "salt").write_text("zz")
    clock.seconds -= 3600
    with caplog.at_level(logging.WARNING, "ccxt_mcp.nonces"):
        assert kraken(tmp_path, clock).next(clock.ms) > last
    assert "salt" in caplog.text


def test_a_folder_that_cannot_be_made_is_said_and_nonces_still_rise(
    tmp_path: Path, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands where the folder belongs; a read-only disk fails at the same place."""
    (tmp_path / "nonces").write_text("")
    with caplog.at_level(logging.WARNING, "ccxt_mcp.nonces"):
        lane = kraken(tmp_path, clock)
    assert "cannot be kept on disk" in caplog.text
    assert [lane.next(clock.ms) for _ in range(3)] == list(range(clock.ms, clock.ms + 3))
    assert not lane.on_disk


def test_a_full_disk_is_said_once_and_nonces_still_rise(
    tmp_path: Path,
    clock: SetClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lane = kraken(tmp_path, clock)
    first = lane.next(clock.ms)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with caplog.at_level(logging.WARNING, "ccxt_mcp.nonces"):
        for _ in range(5):
            clock.seconds += 60
            assert lane.next(clock.ms) == clock.ms > first
    assert caplog.text.count("cannot be stored") == 1
    assert "No space left" in caplog.text
    states = [lane.on_disk]
    monkeypatch.undo()
    lane.settle()
    assert [*states, lane.on_disk] == [False, True]
    assert not list((tmp_path / "nonces").glob("*.new"))


async def test_marks_are_written_beside_the_loop_and_seldom(
    tmp_path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand requests in ten seconds: once on the loop, at the first, then by threads."""
    writers: list[bool] = []
    write = MarkFile.write

    def counting(self: MarkFile, mark: int) -> None:
        writers.append(threading.current_thread() is threading.main_thread())
        write(self, mark)

    monkeypatch.setattr(MarkFile, "write", counting)
    lane = kraken(tmp_path, clock)
    async with asyncio.timeout(20):
        for _ in range(1000):
            clock.seconds += 0.01
            async with lane.turn():
                assert lane.next(clock.ms) == clock.ms
                assert MarkFile(marks(tmp_path)[0].absolute()).read().value >= clock.ms
    assert writers[0]
    assert not any(writers[1:])
    assert len(writers) <= 12


async def test_a_cancellation_while_the_mark_is_written_gives_the_turn_back(
    tmp_path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = kraken(tmp_path, clock)
    lane.next(clock.ms)
    clock.seconds += 100
    slow = threading.Event()
    write = MarkFile.write

    def waiting(self: MarkFile, mark: int) -> None:
        assert slow.wait(5)
        write(self, mark)

    monkeypatch.setattr(MarkFile, "write", waiting)

    async def request() -> int:
        async with lane.turn():
            return lane.next(clock.ms)

    first, second = (asyncio.create_task(request()) for _ in range(2))
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first], timeout=5)
    slow.set()
    async with asyncio.timeout(5):
        assert await second == clock.ms
    assert first.cancelled()
    assert repr(lane) == "<NonceLane kraken free waiting=0>"


async def test_the_refusal_says_why_and_when(clock: SetClock) -> None:
    lane = kraken(None, clock)
    lane._turns._took.extend([3.0, 3.0])
    async with lane.turn():
        token = DEADLINE.set(asyncio.get_running_loop().time() + 5)
        try:
            with pytest.raises(Failure) as caught:
                async with lane.turn():
                    raise AssertionError("a turn that cannot end in time")
        finally:
            DEADLINE.reset(token)
    assert caught.value.code is Code.RATE_LIMITED
    assert caught.value.message == (
        "kraken takes one request at a time per API key; 0 others of this key are waiting and this"
        " one was not sent"
    )
    assert caught.value.retry_after == pytest.approx(3, abs=0.1)


def test_two_processes_that_start_at_once_agree_on_the_salt(tmp_path: Path) -> None:
    assert KeyIds(tmp_path).of("kraken", False, {"apiKey": "k"}) == KeyIds(tmp_path).of(
        "kraken", False, {"apiKey": "k"}
    )
