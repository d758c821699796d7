"""Child processes and what they use: start, ready, CPU, memory, end.

Owns: every process of a run; none outlives it. A child ends by itself when its standard input
closes, so that even a killed benchmark leaves nothing behind. Refuses: what the children do
(`roles.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

__all__ = ["ROOT", "BenchmarkError", "Child", "child", "cpu_seconds", "environment", "resident_mb"]

ROOT = Path(__file__).resolve().parent.parent
_LINUX = platform.system() == "Linux"
_READY = 60.0
_REPLY = 120.0


class BenchmarkError(Exception):
    """The run cannot go on; the text says why."""


def cpu_seconds(pid: int) -> float:
    """User and system CPU time of a process, all its threads.

    On Linux from the process's own CPU clock, in nanoseconds; elsewhere from the process table,
    which may count in ticks of 10 ms.
    """
    if _LINUX:
        # clock_getcpuclockid(3): the id of another process's clock is made of its pid.
        return time.clock_gettime((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def resident_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes), pages shared with other processes included."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def environment(home: Path) -> dict[str, str]:
    """This process's environment without settings of the product, and with caches in `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CCXT_MCP_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "XDG_CACHE_HOME": str(home / "cache")}


class Child:
    """A running role. `ready` is what it said when it was ready to be measured."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        self._process = process
        self._errors = errors

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu(self) -> float:
        return cpu_seconds(self.pid)

    @property
    def memory(self) -> float:
        return resident_mb(self.pid)

    @property
    def base(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", int(self.ready["port"])

    async def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send one command line and wait for its answer line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.answer(_REPLY)

    async def answer(self, within: float) -> dict[str, Any]:
        """The child's next line of output."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchmarkError(f"{self.name} did not answer in {within:g} s") from None
        if not line:
            tail = self._errors.read_text(errors="replace")[-2000:]
            raise BenchmarkError(f"{self.name} ended:\n{tail}")
        reply = json.loads(line)
        if not isinstance(reply, dict):
            raise BenchmarkError(f"{self.name} said {line!r}")
        return reply

    async def stop(self) -> None:
        """End it: by closing its input, then by force."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def child(role: str, home: Path, **arguments: Any) -> AsyncIterator[Child]:
    """Start `roles.py`'s role with arguments (JSON values), wait until it is ready, end it."""
    number = sum(1 for _ in home.glob("*.stderr"))
    errors = home / f"{role}-{number}.stderr"
    with errors.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.roles", role, json.dumps(arguments)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            cwd=ROOT,
            env=environment(home),
            limit=1 << 24,
        )
    running = Child(role, process, errors)
    try:
        running.ready = await running.answer(_READY)
        yield running
    finally:
        await asyncio.shield(running.stop())
