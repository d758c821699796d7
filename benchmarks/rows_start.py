"""How long the server takes to start, against importing the same modules and nothing else."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Connection, list_tools, tool_call
from benchmarks.processes import ROOT, BenchmarkError, cpu_seconds, environment
from benchmarks.report import Rounds, Row, measurement
from benchmarks.roles import SYMBOL
from benchmarks.stage import Stage, alternate, free_port

__all__: list[str] = []

_DEADLINE = 60.0

# Ends with its parent, whatever ends that.
_WATCH = """
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
"""

# What `python -m ccxt_mcp` does.
_SERVING = (
    _WATCH
    + """
from ccxt_mcp.cli import main
sys.exit(main(sys.argv[1:]))
"""
)

# The same, and it says, once it has been stopped, what had been imported.
_LISTING = (
    _WATCH
    + """
import json
from ccxt_mcp.cli import main
main(sys.argv[2:])
with open(sys.argv[1], "w") as out:
    json.dump([name for name in sys.modules if name != "__main__"], out)
"""
)

# In the order in which the server imported them, with the same lazy package stubs in place.
_IMPORTING = """
import importlib, json, sys
with open(sys.argv[1]) as listed:
    names = json.load(listed)
if any(name.startswith("ccxt.") for name in names):
    from ccxt_mcp.exchanges.loading import install_lazy_ccxt
    install_lazy_ccxt()
for name in names:
    if name not in sys.modules:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
print("done", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class _Start:
    """Seconds from the start of the process; CPU seconds of it by then."""

    wall: float
    cpu: float


@contextmanager
def _process(home: Path, script: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


def _request(port: int, message: dict[str, Any]) -> bytes:
    headers = {"Mcp-Session-Id": "start", "Connection": "close"}
    return Connection(("127.0.0.1", port)).request("POST", "/mcp", message, headers)


def _first_answer(port: int, request: bytes, process: subprocess.Popen[bytes]) -> bytes:
    """Try to connect until it succeeds; the answer. The listener queues us before it can answer."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE) as connection:
                connection.sendall(request)
                parts = []
                while part := connection.recv(1 << 16):
                    parts.append(part)
                answer = b"".join(parts)
        except ConnectionRefusedError:
            time.sleep(0.001)
            continue
        if not answer.startswith(b"HTTP/1.1 200") or b'"isError":true' in answer:
            raise BenchmarkError(f"the first answer was {answer[:600]!r}")
        return answer
    raise BenchmarkError("the server did not start")


def _serve(home: Path, config: Path, message: dict[str, Any]) -> _Start:
    port = free_port()
    request = _request(port, message)
    options = ("--config", str(config), "--port", str(port))
    started = time.perf_counter()
    with _process(home, _SERVING, "serve", *options) as process:
        _first_answer(port, request, process)
        return _Start(time.perf_counter() - started, cpu_seconds(process.pid))


def _modules(home: Path, config: Path, message: dict[str, Any], found: Path) -> int:
    """Write the names of the modules that a server has imported when it has answered."""
    port = free_port()
    options = ("serve", "--config", str(config), "--port", str(port))
    with _process(home, _LISTING, str(found), *options) as process:
        _first_answer(port, _request(port, message), process)
    return len(json.loads(found.read_text()))


def _importing(home: Path, found: Path) -> _Start:
    started = time.perf_counter()
    with _process(home, _IMPORTING, str(found)) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"done\n":
            raise BenchmarkError("importing the modules failed")
        return _Start(time.perf_counter() - started, cpu_seconds(process.pid))


async def _row(stage: Stage, what: str, message: dict[str, Any], rounds: int, target: float) -> Row:
    config = await stage.config()
    found = stage.home / f"modules-{message['method'].replace('/', '-')}.json"
    count = await asyncio.to_thread(_modules, stage.home, config, message, found)

    def threaded(work: Callable[..., _Start], *arguments: Any) -> Callable[[], Any]:
        return lambda: asyncio.to_thread(work, stage.home, *arguments)

    mine, theirs = await alternate(
        rounds,
        threaded(_serve, config, message),
        threaded(_importing, found),
    )
    wall = Rounds.of([each.wall for each in mine])
    reference = Rounds.of([each.wall for each in theirs])
    ratio = wall.over(reference)
    cpu = Rounds.of([each.cpu for each in mine]).over(Rounds.of([each.cpu for each in theirs]))
    return Row(
        what=what,
        ours=wall.show("s"),
        reference=reference.show("s"),
        ratio=ratio.show(),
        target=f"≤ {target:g} x",
        reached=ratio.median <= target,
        note=f"reference: importing the same {count} modules bare; CPU time {cpu.show()} x",
        data={
            "ours_s": wall.values,
            "reference_s": reference.values,
            "ratio": ratio.values,
            "cpu_ratio": cpu.values,
            "modules": count,
        },
    )


@measurement("start")
async def start(stage: Stage) -> list[Row]:
    """From the start of `ccxt-mcp serve` to its first answered `tools/list`.

    Reference: a bare interpreter that imports the modules that the server had imported by then, in
    the same order, the same byte code warm. Alternating.
    """
    what = "start to first tools/list"
    return [await _row(stage, what, list_tools(), stage.scale.rounds(7), 1.4)]


@measurement("start-to-ticker")
async def start_to_ticker(stage: Stage) -> list[Row]:
    """From the start of `ccxt-mcp serve` to the first answer of a tool that needs market tables.

    The tool is `get_ticker`. Two fresh servers have run over the same data directory before, so
    that tables are warm on disk if the server keeps any there; the row says whether it does.
    """
    config = await stage.config()
    read = tool_call("get_ticker", symbol=SYMBOL)
    venue = await stage.venue()
    await asyncio.to_thread(_serve, stage.home, config, read)
    before = (await venue.counters())["by_route"]
    await asyncio.to_thread(_serve, stage.home, config, read)
    after = (await venue.counters())["by_route"]
    route = "GET /api/v3/exchangeInfo"
    warm = after.get(route, 0) == before.get(route, 0)
    state = "warm tables on disk" if warm else "tables NOT kept on disk yet, loaded from the venue"
    what = f"start to first get_ticker ({state})"
    return [await _row(stage, what, read, stage.scale.rounds(3, quick=1), 1.4)]
