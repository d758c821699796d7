"""One API key's lane: whose turn it is, and which number is next.

Owns: the turns and the numbers of one key, and having its mark on disk in time. Refuses: which
exchanges need one (``nonce_rules``), which key is whose (``nonces``), and what a mark looks like
(``nonce_marks``).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.nonce_marks import Mark, MarkFile
from ccxt_mcp.exchanges.nonce_rules import STRIDE
from ccxt_mcp.mechanisms.turns import Turns

__all__ = ["NonceLane", "ahead_in", "unit_of"]

AHEAD = 2.0
"""Seconds by which a mark on disk is ahead of use."""

_LEAST_AHEAD = 10
_RETRY_WRITE = 60.0
_log = logging.getLogger("ccxt_mcp.nonces")


class NonceLane:
    """Turns and numbers of one key.

    Invariants: ``_last`` never falls; ``_stored`` is what is on disk, and while the disk works at
    least ``_last``. ``_lock`` guards the file and ``_stored`` against the threads that write.
    """

    __slots__ = (
        *("_exchange", "_file", "_last", "_lead", "_lock", "_now", "_ordered", "_refused_until"),
        *("_stored", "_stride", "_turns", "_unknown", "_writing"),
    )
    common = False
    """Whether replicas share it: a turn is then made ``ready`` before its number is taken."""

    def __init__(
        self,
        exchange: str,
        file: MarkFile | None,
        *,
        ordered: bool = True,
        floor: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._exchange = exchange
        self._file = file
        self._ordered = ordered
        self._now = now
        self._stride = STRIDE.get(exchange, 1)
        self._turns = Turns(self._refusal)
        mark = Mark(0) if file is None else file.read()
        self._last = max(mark.value, floor)
        self._stored = mark.value
        self._lead: int | None = None
        self._unknown = mark.written if mark.problem is not None else 0.0
        self._lock = threading.Lock()
        self._writing: asyncio.Future[None] | None = None
        self._refused_until = 0.0
        if file is not None and mark.problem is not None:
            _log.warning(
                "%s: the nonces in %s cannot be read (%s); continuing above the clock, and above"
                " the time at which the file was written",
                *(exchange, file.path, mark.problem),
            )

    def __repr__(self) -> str:
        state = "held" if self._turns.busy else "free"
        return f"<{type(self).__name__} {self._exchange} {state} waiting={self.waiting}>"

    @property
    def busy(self) -> bool:
        """Whether a request that comes now has to wait for its turn."""
        return self._ordered and self._turns.busy

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._turns.waiting

    @property
    def on_disk(self) -> bool:
        """Whether the next restart will know the numbers used now."""
        return self._file is not None and self._refused_until == 0.0

    def next(self, proposed: int) -> int:
        """A nonce above all earlier ones of the key, and at least what CCXT proposes.

        Before it is returned, a mark at or above it is on disk (or the disk has been complained
        about).
        """
        unit = unit_of(proposed)
        if self._unknown:
            # The lost mark was at most this: it was written then, that much ahead of the clock.
            self._last = max(self._last, int(self._unknown * unit) + ahead_in(unit))
            self._unknown = 0.0
        number = max(proposed, self._last + 1)
        self._lead = proposed - int(self._now() * unit)
        self._used(number + self._stride - 1, unit)
        return number

    def _used(self, last: int, unit: int) -> None:
        """No number up to this one is used again, after a restart neither."""
        self._last = max(self._last, last)
        if self._file is not None and self._last > self._stored:
            self._store(self._last + ahead_in(unit))

    def settle(self) -> None:
        """Store the last number used, giving back what was reserved beyond it."""
        if self._lead is not None:
            self._store(self._last, final=True)

    def _store(self, mark: int, *, final: bool = False) -> None:
        """Put a mark on disk. Called on the loop and in threads; never lowers it, unless final."""
        if self._file is None:
            return
        with self._lock:
            if mark == self._stored or (mark < self._stored and not final):
                return
            if self._refusing() and not final:
                return
            try:
                self._file.write(mark)
            except OSError as error:
                if not self._refused_until:
                    _log.warning(
                        "%s: nonces cannot be stored in %s (%s); they are right until this process"
                        " ends, and after a restart as long as the clock was not set back",
                        *(self._exchange, self._file.path, error.strerror or type(error).__name__),
                    )
                self._refused_until = time.monotonic() + _RETRY_WRITE
            else:
                self._stored = mark
                self._refused_until = 0.0

    async def _reserve(self) -> None:
        """Have the mark written by a thread before the number is needed.

        Without this ``next`` would write on the event loop, which a slow disk would hold up.
        """
        if self._file is None or self._lead is None:
            return
        unit = unit_of(self._last)
        ahead = ahead_in(unit)
        due = max(int(self._now() * unit) + self._lead, self._last + 1) + self._stride - 1
        while due + ahead // 2 > self._stored and not self._refusing():
            if self._writing is None or self._writing.done():
                loop = asyncio.get_running_loop()
                self._writing = loop.run_in_executor(None, self._store, due + ahead)
            if due <= self._stored:
                return
            await asyncio.shield(self._writing)

    def _refusing(self) -> bool:
        """Whether the disk refused lately, so that trying again has to wait."""
        return bool(self._refused_until) and time.monotonic() < self._refused_until

    def turn(self) -> Any:
        """``async with`` around one request, from before its signature to its answer.

        First come, first served. Where order does not matter it only sees to the marks. Raises
        ``Failure`` (``rate_limited``, with the wait) at once if the turn cannot come, and end,
        before the deadline of the call as things stand, and shortly before the deadline if it did
        not come after all; the request then was not sent.
        """
        return _Turn(self)

    async def _enter(self) -> None:
        if self._ordered:
            await self._turns.take()
        try:
            await self._reserve()
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        if self._ordered:
            self._turns.give()

    def _refusal(self, others: int, wait: float) -> Failure:
        return Failure(
            Code.RATE_LIMITED,
            f"{self._exchange} takes one request at a time per API key; {others} others of this key"
            " are waiting and this one was not sent",
            hint="Wait `retryAfterMs`, send fewer calls of this account at once, or spread them"
            " over several API keys.",
            retry_after=max(wait, 0.1),
        )


class _Turn:
    __slots__ = ("_lane",)

    def __init__(self, lane: NonceLane) -> None:
        self._lane = lane

    async def __aenter__(self) -> None:
        await self._lane._enter()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lane._leave()


def unit_of(nonce: int) -> int:
    """Steps per second of the unit that a clock reading is in."""
    for limit, unit in ((10**11, 1), (10**14, 1_000), (10**17, 1_000_000)):
        if nonce < limit:
            return unit
    return 1_000_000_000


def ahead_in(unit: int) -> int:
    return max(round(AHEAD * unit), _LEAST_AHEAD)
