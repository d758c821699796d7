"""The order of requests under one API key, where an exchange demands one.

Owns: the lanes and which number is next. Refuses: the rules of exchanges (``nonce_rules``), clocks
other than the machine's (CCXT proposes the number, in whatever unit), pacing (``limits``), and
choosing which requests are signed (``pacing``).

Some exchanges take a request only if its nonce is greater than that of the last one *that arrived*.
A unique number is not enough: two requests on two connections overtake each other. So a key has a
lane, and a request holds it from before its signature until its answer has been read.

**A request that is abandoned** (cancelled, timed out) gives the lane back as soon as CCXT has
closed its connection. The exchange may still receive it, even after the next one. That hurts nobody
who is left: the next request carries a higher nonce, so it is accepted whichever comes first, and
the abandoned one is then either processed or refused, with nobody waiting for the answer. Holding
the lane any longer would make the living wait for the dead.

**The number** is ``max(what CCXT proposes, last + 1)``, so it rises even when the clock is set
back, and its unit is CCXT's. Marks on disk (``nonce_marks``) carry it over restarts and kills. They
are reserved two seconds ahead of use: seldom enough to cost nothing, and so little that another
program with the same key is not locked out after a crash.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.nonce_marks import KeyIds, Mark, MarkFile, marks_of
from ccxt_mcp.exchanges.nonce_rules import OPTIONAL, ORDERED, STRIDE, UNIQUE
from ccxt_mcp.mechanisms.turns import Turns

__all__ = ["NonceLane", "NonceLanes"]

AHEAD = 2.0
"""Seconds by which a mark on disk is ahead of use."""

_LEAST_AHEAD = 10
_RETRY_WRITE = 60.0
_log = logging.getLogger("ccxt_mcp.nonces")


class NonceLanes:
    """All lanes of the process. One authority: two profiles with the same key share a lane.

    Args:
        data_dir: where marks are kept; ``None`` for memory alone.
        now: Unix time in seconds; the clock that proposals are compared with.

    Mutable: ``_lanes`` (one per key in use; never removed, since a mark may not be forgotten).
    """

    def __init__(self, data_dir: Path | None, *, now: Callable[[], float] = time.time) -> None:
        self.keys = KeyIds(data_dir)
        self._now = now
        self._lanes: dict[tuple[str, str], NonceLane] = {}
        if self.keys.problem is not None:
            _log.warning(
                "nonces cannot be kept on disk (%s): they are right until this process ends, and"
                " after a restart as long as the clock was not set back",
                self.keys.problem,
            )
        if self.keys.estranged:
            _log.warning(
                "the salt in %s was missing or damaged: keys continue above the highest nonce of"
                " any key of their exchange",
                self.keys.folder,
            )

    def __repr__(self) -> str:
        return f"<NonceLanes {list(self._lanes.values())}>"

    def key_id(self, exchange: str, sandbox: bool, credentials: Mapping[str, str]) -> str:
        """A name for an account's key that says nothing about it."""
        return self.keys.of(exchange, sandbox, credentials)

    def lane(
        self, exchange_id: str, key_id: str, options: Mapping[str, Any] | None = None
    ) -> NonceLane | None:
        """The lane of a key; ``None`` where the exchange demands nothing of nonces.

        Args:
            exchange_id: CCXT's id.
            key_id: the key's name, from ``key_id``.
            options: CCXT's options of the profile; two exchanges can be told not to mind.
        """
        if exchange_id in UNIQUE:
            ordered = False
        elif exchange_id in ORDERED:
            ordered = True
            if exchange_id in OPTIONAL and not OPTIONAL[exchange_id](options or {}):
                return None
        else:
            return None
        found = self._lanes.get((exchange_id, key_id))
        if found is None:
            file = self.keys.file(exchange_id, key_id)
            floor = 0
            if self.keys.estranged and self.keys.folder is not None:
                floor = marks_of(self.keys.folder, exchange_id)
            found = NonceLane(exchange_id, file, ordered=ordered, floor=floor, now=self._now)
            self._lanes[exchange_id, key_id] = found
        return found

    def snapshot(self) -> dict[str, Any]:
        """Per exchange: keys in use, requests waiting, as JSON values."""
        out: dict[str, Any] = {}
        for (exchange, _), lane in self._lanes.items():
            row = out.setdefault(exchange, {"keys": 0, "waiting": 0, "onDisk": True})
            row["keys"] += 1
            row["waiting"] += lane.waiting
            row["onDisk"] = row["onDisk"] and lane.on_disk
        return out

    async def close(self) -> None:
        """Store the numbers really used, so that a clean restart skips none."""
        lanes = list(self._lanes.values())
        await asyncio.to_thread(_settle, lanes)


class NonceLane:
    """Turns and numbers of one key.

    Invariants: ``_last`` never falls; ``_stored`` is what is on disk, and while the disk works at
    least ``_last``. ``_lock`` guards the file and ``_stored`` against the threads that write.
    """

    __slots__ = (
        *("_exchange", "_file", "_last", "_lead", "_lock", "_now", "_ordered", "_refused_until"),
        *("_stored", "_stride", "_turns", "_unknown", "_writing"),
    )

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
        return f"<NonceLane {self._exchange} {state} waiting={self.waiting}>"

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
        unit = _unit(proposed)
        if self._unknown:
            # The lost mark was at most this: it was written then, that much ahead of the clock.
            self._last = max(self._last, int(self._unknown * unit) + _ahead(unit))
            self._unknown = 0.0
        number = max(proposed, self._last + 1)
        self._last = number + self._stride - 1
        self._lead = proposed - int(self._now() * unit)
        if self._file is not None and self._last > self._stored:
            self._store(self._last + _ahead(unit))
        return number

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
        unit = _unit(self._last)
        ahead = _ahead(unit)
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

    def turn(self) -> _Turn:
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


def _unit(nonce: int) -> int:
    """Steps per second of the unit that a clock reading is in."""
    for limit, unit in ((10**11, 1), (10**14, 1_000), (10**17, 1_000_000)):
        if nonce < limit:
            return unit
    return 1_000_000_000


def _settle(lanes: Iterable[NonceLane]) -> None:
    for lane in lanes:
        lane.settle()


def _ahead(unit: int) -> int:
    return max(round(AHEAD * unit), _LEAST_AHEAD)
