"""Workers are kept running, and none outlives its supervisor; they are scripts of a line here."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ccxt_mcp import supervising
from ccxt_mcp.cli import main
from ccxt_mcp.supervising import Supervisor, inherited

pytestmark = pytest.mark.skipif(os.name == "nt", reason="workers are not for Windows")

SERVES = "import os, sys; os.write(1, b'up\\n'); os.read(0, 1)"
DIES = "import os, sys; os.write(1, b'up\\n'); sys.exit(3)"
DEAF = "import os, time; os.write(1, b'up\\n'); time.sleep(60)"
LISTENS = (
    "import os, socket, sys; s = socket.socket(fileno=int(sys.argv[1]));"
    " s.setblocking(True); os.write(1, b'up\\n'); c, _ = s.accept(); c.sendall(b'hello'); c.close()"
)


def command(script: str, *more: str) -> list[str]:
    return [sys.executable, "-S", "-c", script, *more]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def supervising_it(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        supervisor._signalled()
        async with asyncio.timeout(10):
            await asyncio.wait([task])


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


async def test_all_are_started_told_once_and_ended(listener: socket.socket) -> None:
    told: list[int] = []
    supervisor = Supervisor(command(SERVES), 3, listener, started=lambda: told.append(1))
    async with supervising_it(supervisor) as running:
        await until(lambda: bool(told))
        assert len(supervisor._workers) == 3
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await running == 0
    assert told == [1]
    assert supervisor._workers == {}


async def test_one_that_dies_is_started_again_and_the_others_are_left_alone(
    listener: socket.socket,
) -> None:
    told: list[int] = []
    supervisor = Supervisor(command(SERVES), 2, listener, started=lambda: told.append(1))
    async with supervising_it(supervisor):
        await until(lambda: bool(told))
        first, second = (supervisor._workers[n].pid for n in (0, 1))
        os.kill(first, signal.SIGKILL)
        await until(lambda: 0 in supervisor._workers and supervisor._workers[0].pid != first)
        assert supervisor._workers[1].pid == second
    assert told == [1]


async def test_one_that_keeps_dying_is_started_again_ever_more_slowly(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without pauses, a worker that cannot live takes all of a core for trying."""
    monkeypatch.setattr(supervising, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervising, "_LONGEST_PAUSE", 0.03)
    supervisor = Supervisor(command(DIES), 1, listener)
    with caplog.at_level("WARNING", "ccxt_mcp.workers"):
        async with supervising_it(supervisor):
            await until(lambda: len(caplog.records) >= 5)
    fields = [record.__dict__["fields"] for record in caplog.records]
    assert [each["in_s"] for each in fields[:5]] == [0.0, 0.01, 0.02, 0.03, 0.03]
    assert fields[0]["ended"] == "exit code 3"


async def test_a_first_one_that_cannot_start_ends_the_command_with_its_exit_code(
    listener: socket.socket,
) -> None:
    told: list[int] = []
    script = "import sys; sys.exit(2)"
    supervisor = Supervisor(command(script), 3, listener, started=lambda: told.append(1))
    async with asyncio.timeout(10):
        assert await supervisor.run() == 2
    assert told == []


async def test_one_that_does_not_end_is_killed_in_the_end(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "_GRACE", 0.1)
    told: list[int] = []
    supervisor = Supervisor(command(DEAF), 2, listener, started=lambda: told.append(1))
    async with supervising_it(supervisor) as running:
        await until(lambda: bool(told))
        supervisor._signalled()
        async with asyncio.timeout(10):
            assert await running == 1


async def test_what_waits_to_be_accepted_is_not_lost_with_a_worker(
    listener: socket.socket,
) -> None:
    """With a socket each, connections that a dead one had not accepted are reset."""
    os.set_inheritable(listener.fileno(), True)
    told: list[int] = []
    listens = command(LISTENS, str(listener.fileno()))
    supervisor = Supervisor(listens, 1, listener, started=lambda: told.append(1))
    async with supervising_it(supervisor):
        await until(lambda: bool(told))
        os.kill(supervisor._workers[0].pid, signal.SIGSTOP)
        port = listener.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        os.kill(supervisor._workers[0].pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await reader.read() == b"hello"
        writer.close()


def test_a_listener_that_was_handed_down_is_handed_no_further(listener: socket.socket) -> None:
    os.set_inheritable(listener.fileno(), True)
    taken = inherited(os.dup(listener.fileno()))
    assert not taken.get_inheritable()
    assert taken.getsockname() == listener.getsockname()
    taken.close()


async def test_a_first_signal_reaches_no_worker_and_a_second_cuts_them_short(
    listener: socket.socket,
) -> None:
    """A service manager has signalled the workers too: one more would cut their calls short."""
    told: list[int] = []
    supervisor = Supervisor(command(DEAF), 2, listener, started=lambda: told.append(1))
    async with supervising_it(supervisor) as running:
        await until(lambda: bool(told))
        supervisor._signalled()
        assert not (await asyncio.wait([running], timeout=0.1))[0]
        assert len(supervisor._workers) == 2
        supervisor._signalled()
        async with asyncio.timeout(10):
            assert await running == 0


async def test_a_worker_ends_when_its_supervisor_is_gone() -> None:
    """However it went: the pipe's end needs nobody to say anything."""
    script = (
        "import asyncio, sys; from ccxt_mcp.supervising import told_to_end\n"
        "async def main(): await told_to_end().wait()\n"
        "asyncio.run(main()); sys.exit(7)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), stdin=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(20):
        assert await process.wait() == 7


@pytest.mark.parametrize("number", ["0", "-1", "257", "two", "1.5"])
def test_the_number_of_workers_is_checked(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", f"--workers={number}"])
    assert ended.value.code == 2
    assert "is not a number from 1 to 256" in capsys.readouterr().err


def test_workers_need_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CCXT_MCP_STORE_URL", raising=False)
    assert main(["serve", "--port", "0", "--workers", "2"]) == 2
    said = capsys.readouterr().err
    assert "--workers needs a store" in said
    assert "store_url" in said
