"""Where log lines leave the process: a descriptor that somebody else may have stopped reading.

Owns: what happens then. A write that the descriptor takes at once is made at once, so in a crash
nothing is missing; what it does not take waits, bounded, for a thread; what is beyond the bound is
dropped and counted, and a line says how many where they are missing. Refuses: to let anybody wait,
and to make a descriptor non-blocking: that would do so for everybody who holds it.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from contextlib import suppress

__all__ = ["Outlet"]

_MOST = 2**20
"""Bytes that wait; beyond them a line waits only if it is alone."""
_PIECE = getattr(select, "PIPE_BUF", 512)
"""Bytes that a descriptor takes without waiting once it says that it takes any."""


class Outlet:
    """Writes lines to a descriptor, in their order, and never waits for its reader.

    ``_late`` are lines that the descriptor did not take at once; while there are any, a thread
    writes the first of them and every other line goes behind. ``_size`` are their bytes, ``_lost``
    the lines that were dropped after the last of them. The thread is a daemon and made when first
    needed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._late: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._ready = None
        # Without it (Windows) every line goes by the thread.
        if hasattr(select, "poll"):
            self._ready = select.poll()
            self._ready.register(descriptor, select.POLLOUT)

    def write(self, lines: bytes) -> None:
        """Write whole lines now, or soon, or never; from any thread."""
        with self._changed:
            if not self._late:
                lines = self._at_once(lines)
                if not lines:
                    return
            elif self._size + len(lines) > _MOST:
                self._lost += lines.count(b"\n")
                return
            self._missing()
            self._wait(lines)

    def drain(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until nothing waits; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._late, timeout)

    def _at_once(self, lines: bytes) -> bytes:
        """The rest that is not taken at once; nothing if nobody is there to take it ever."""
        if self._ready is None:
            return lines
        try:
            while lines and self._ready.poll(0):
                lines = lines[os.write(self._descriptor, lines[:_PIECE]) :]
        except BlockingIOError:
            return lines
        except OSError:
            return b""
        return lines

    def _wait(self, lines: bytes) -> None:
        self._late.append(lines)
        self._size += len(lines)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ccxt-mcp log", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _missing(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            words = f"{lost} log lines are missing here: nobody read them in time\n"
            self._wait(words.encode())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._late)
                rest = memoryview(self._late[0])
            # Nobody reads any more: what is left goes the same way, line by line.
            with suppress(OSError):
                while rest:
                    rest = rest[self._put(rest) :]
            with self._changed:
                self._size -= len(self._late.popleft())
                if not self._late:
                    self._missing()
                self._changed.notify_all()

    def _put(self, rest: memoryview) -> int:
        try:
            return os.write(self._descriptor, rest)
        except BlockingIOError:
            # Somebody else made it non-blocking.
            select.select([], [self._descriptor], [])
            return 0
