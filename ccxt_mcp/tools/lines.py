"""The log line of every call.

Owns: its fields, and when it is written. On a quiet server that is when its call ends. Under load
the lines of reads that went well wait for each other, a moment at most, and are written one after
the other: written between two calls, each would first have to bring the machinery of a log line
back into the processor's caches, which costs as much as a quick call itself. A line about a write,
or about anything that did not go well, waits for nothing, and those before it go first. Refuses:
the form of a line and what must not be in it (the process's logging handlers).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextvars import Context, copy_context

from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import Effect
from ccxt_mcp.model import Caller
from ccxt_mcp.telemetry import OK

__all__ = ["PAUSE", "Lines"]

PAUSE = 0.02
"""Seconds that a line waits at most."""

_MOST = 256
"""Lines that wait at most."""

_log = logging.getLogger("ccxt_mcp.calls")

_Waiting = tuple[float, Context, Call, Caller, str, float, str]


class Lines:
    """Lines of one server's calls, in the order in which the calls ended.

    Mutable: ``_waiting``, and ``_timer``, which runs for as long as lines may have to wait.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Call, caller: Caller, name: str, elapsed: float, outcome: str) -> None:
        """A call has ended.

        Args:
            call: what is known of it.
            caller: whose it was.
            name: the tool's, fit to be shown.
            elapsed: how long it took, in ms.
            outcome: ``OK`` or a code.
        """
        if not _log.isEnabledFor(logging.INFO):
            return
        # Handlers may look for the trace that a line belongs to.
        context = copy_context()
        self._waiting.append((time.time(), context, call, caller, name, elapsed, outcome))
        if self._timer is None:
            self.write()
            self._timer = asyncio.get_running_loop().call_later(
                PAUSE, self._pause_ends, context=Context()
            )
        elif outcome != OK or call.effect is not Effect.READ or len(self._waiting) >= _MOST:
            self.write()

    def write(self) -> None:
        """Write what waits."""
        while self._waiting:
            at, context, call, caller, name, elapsed, outcome = self._waiting.popleft()
            context.run(_write, at, call, caller, name, elapsed, outcome)

    def finish(self) -> None:
        """Write what waits, and let the loop go; more lines may come."""
        self.write()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause_ends(self) -> None:
        self._timer = None
        if self._waiting:
            self.write()
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._pause_ends)


def _write(at: float, call: Call, caller: Caller, name: str, elapsed: float, outcome: str) -> None:
    # ``-`` stands where there is nothing to say. Times are in ms.
    fields = {
        "session": caller.session,
        "caller": caller.principal.name or "-",
        "tool": name,
        "exchange": call.exchange or "-",
        "account": call.account or "-",
        "ms": round(elapsed, 1),
        "queued_ms": round(caller.queued_ms, 1),
        "outcome": outcome,
    }
    record = _log.makeRecord(
        _log.name, logging.INFO, __file__, 0, "call", (), None, extra={"fields": fields}
    )
    late = record.created - at
    record.created = at
    record.msecs = at % 1 * 1000 // 1
    record.relativeCreated -= late * 1000
    _log.handle(record)
