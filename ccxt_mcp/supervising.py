"""Several workers on one machine: ``ccxt-mcp serve --workers N``.

Owns: the workers' processes, their common listening socket, and that none outlives the command.
Refuses: to serve anything itself, and to know what the workers do.

A worker is a new interpreter, not a fork: nothing of a running loop, no thread and no node id is
inherited. It is given the listening socket as a descriptor, and a pipe as its standard input, whose
end tells it to end too, whether the supervisor closed it or is gone, however that came about; it
says on its standard output that it serves. One socket for all, and not one each with ``SO_REUSEPORT``: connections that wait to
be accepted are then nobody's, and are lost with nobody.

The pipe, and not a signal: a service manager signals all processes of a service, and a second
signal means to cut calls short. For the same reason workers are in sessions of their own: Ctrl-C in
a terminal reaches the supervisor alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

__all__ = ["UP", "Supervisor", "inherited", "told_to_end"]

_log = logging.getLogger("ccxt_mcp.workers")

UP = b"up\n"
"""What a worker says when it serves."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LIVED = 10.0
"""Seconds after which a worker's end is no failure to start."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_GRACE = 40.0
"""Seconds that workers get to end; longer than each gives its calls."""


class Supervisor:
    """The workers of one command.

    Args:
        command: runs a worker.
        number: how many.
        listener: bound and listening; its descriptor is handed to each worker.
        quiet: added to the command of all but the first, so that what is said is said once.
        started: told once, when all workers serve.

    Mutable: ``_workers`` (the running processes, by number), ``_stopping`` (set once), ``_killed``.
    """

    def __init__(
        self,
        command: Sequence[str],
        number: int,
        listener: socket.socket,
        *,
        quiet: Sequence[str] = (),
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self._command = tuple(command)
        self._number = number
        self._listener = listener
        self._quiet = tuple(quiet)
        self._started = started
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._killed = False

    def __repr__(self) -> str:
        return f"<Supervisor {len(self._workers)} of {self._number} workers>"

    async def run(self) -> int:
        """Have them run until SIGINT or SIGTERM; the exit code: 0 for a clean end, else that of a
        first worker that could not start."""
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            loop.add_signal_handler(each, self._signalled)
        try:
            # The first alone: what is wrong with the configuration is wrong for all.
            first = await self._start(0, self._command)
            if not await _serves(first):
                code = await first.wait()
                self._workers.pop(0, None)
                return 0 if self._stopping.is_set() else code if code > 0 else 1
            keeping = [asyncio.create_task(self._keep(0, first))]
            others = [asyncio.create_task(self._start_again(n)) for n in range(1, self._number)]
            for number, starting in enumerate(others, 1):
                worker = await starting
                if worker is not None:
                    keeping.append(asyncio.create_task(self._keep(number, worker)))
            if not self._stopping.is_set():
                self._started()
            await asyncio.gather(*keeping)
            return int(self._killed)
        finally:
            for each in _SIGNALS:
                loop.remove_signal_handler(each)
            self._send(signal.SIGKILL)

    def _signalled(self) -> None:
        if self._stopping.is_set():
            # A second one cuts the calls short, as in a server of one process.
            self._send(signal.SIGTERM)
            return
        self._stopping.set()
        asyncio.get_running_loop().call_later(_GRACE, self._kill)
        for worker in self._workers.values():
            _tell_to_end(worker)

    def _kill(self) -> None:
        self._killed = bool(self._workers)
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            # One that has just ended is about to be noticed.
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(number)

    async def _keep(self, number: int, worker: asyncio.subprocess.Process | None) -> None:
        """Start a worker again whenever it has ended."""
        pause = 0.0
        while worker is not None:
            began = time.monotonic()
            code = await worker.wait()
            self._workers.pop(number, None)
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _LIVED:
                pause = 0.0
            _log.warning(
                "a worker has ended and is started again",
                extra={"fields": {"worker": number + 1, "ended": _how(code), "in_s": pause}},
            )
            if pause:
                try:
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
                except TimeoutError:
                    pass
            pause = min(_LONGEST_PAUSE, pause * 2 or _FIRST_PAUSE)
            worker = await self._start_again(number)

    async def _start_again(self, number: int) -> asyncio.subprocess.Process | None:
        """A worker that serves, or has ended; None while all are to end."""
        if self._stopping.is_set():
            return None
        worker = await self._start(number, (*self._command, *self._quiet))
        await _serves(worker)
        return worker

    async def _start(self, number: int, command: Sequence[str]) -> asyncio.subprocess.Process:
        worker = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._listener.fileno(),),
            start_new_session=True,
            # The same modules, however this process came to find them.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )
        self._workers[number] = worker
        if self._stopping.is_set():
            _tell_to_end(worker)
        return worker


def _tell_to_end(worker: asyncio.subprocess.Process) -> None:
    assert worker.stdin is not None
    worker.stdin.close()


async def _serves(worker: asyncio.subprocess.Process) -> bool:
    """Wait until a worker serves, or has ended."""
    assert worker.stdout is not None
    return await worker.stdout.readline() == UP


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that a supervisor handed down."""
    listener = socket.socket(fileno=descriptor)
    # For this process alone: those that it starts have no business with it.
    listener.set_inheritable(False)
    return listener


def told_to_end() -> asyncio.Event:
    """Set when the supervisor says so, or is gone; in a worker, once, on its loop."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def watch() -> None:
        # Not by `sys.stdin`: its lock would be held when the interpreter ends.
        while os.read(0, 64):
            pass
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(told.set)

    threading.Thread(target=watch, name="supervisor", daemon=True).start()
    return told
