"""How far an exchange's clock is from ours.

Owns: measuring the difference, keeping it fresh, and putting it where CCXT looks for it. Refuses:
exchanges whose class has no place for it, and those whose numbers only have to rise (their nonces
are counted, ``nonces``); setting any clock.

Exchanges refuse a signed request whose timestamp is off by seconds (Binance: -1021, more than 1 s
ahead or ``recvWindow`` behind). CCXT can correct for that (``options['timeDifference']``), but
measures only while it loads markets, which instances here never do. So the difference is measured
once for everybody: when a profile comes to life, every ten minutes while it is used with keys, when
the machine's clock was stepped, and as soon as the exchange complains; a few times a minute at
most. A call waits for it only while it is not known at all or in doubt, and then not for long: to
an exchange that does not tell its time, requests go with ours.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ccxt_mcp.errors import Failure
from ccxt_mcp.exchanges.nonce_rules import ORDERED
from ccxt_mcp.telemetry import apart

__all__ = ["Clock", "Reading", "adjusts", "measured", "reading_of"]

FRESH = 600.0
"""Seconds for which a measurement is good."""

PATIENCE = 2.0
"""Seconds that a call waits for a measurement it cannot do without."""

PER_MINUTE = 4
"""Measurements at most, whatever happens."""

STEP = 0.5
"""Seconds by which the machine's clock has to jump to be noticed."""

_SAMPLES = 3
_GOOD_ENOUGH = 200.0
"""Milliseconds of round trip below which one sample will do, if it was not of a whole second."""


def adjusts(exchange: str, options: Mapping[str, Any], has: Mapping[str, Any]) -> bool:
    """Whether a CCXT class corrects its timestamps by a difference, and can be asked the time.

    A test finds by reading CCXT's source that exactly the classes with this option use it.
    """
    return "timeDifference" in options and bool(has.get("fetchTime")) and exchange not in ORDERED


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement. Milliseconds; ``difference`` is ours minus the exchange's, as in CCXT."""

    difference: int
    round_trip: float
    at: float


class Clock:
    """The clock of one profile's exchange.

    Args:
        ask: gets the exchange's time, Unix milliseconds; raises ``Failure``.
        wall: our own time, Unix seconds.
        steady: seconds since some point, never stepped, running on while the machine sleeps.

    Mutable: ``_reading`` (replaced as a whole), ``_task`` (at most one measurement at a time),
    ``_doubted`` (the exchange complained after the reading), ``_started`` (times of the latest
    measurements, at most ``PER_MINUTE`` a minute).
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Any]],
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self._ask = ask
        self._wall = wall
        self._steady = steady or _steady
        self._reading: Reading | None = None
        self._lead = self._wall() - self._steady()
        self._task: asyncio.Task[None] | None = None
        self._doubted = False
        self._started: deque[float] = deque(maxlen=PER_MINUTE)
        self._closed = False

    def __repr__(self) -> str:
        state = "unknown" if self._reading is None else f"{self._reading.difference} ms"
        return f"<Clock {state}{' measuring' if self._task else ''}>"

    @property
    def difference(self) -> int:
        """Milliseconds that our clock is ahead of the exchange's; 0 while unknown."""
        return 0 if self._reading is None else self._reading.difference

    def begin(self) -> None:
        """Start measuring unless the reading is good. Returns at once."""
        if self._task is None and not self._good():
            self._measure()

    def complained(self) -> None:
        """The exchange found a timestamp wrong: measure again, now."""
        self._doubted = True
        if self._task is None:
            self._measure()

    async def settled(self) -> None:
        """Wait for a measurement under way, until ``PATIENCE`` seconds after its start."""
        if self._task is not None:
            patience = PATIENCE - (self._steady() - self._started[-1])
            await asyncio.wait([self._task], timeout=max(patience, 0))

    async def correct(self, options: dict[str, Any]) -> None:
        """Write the difference into an instance's options, before it signs a request."""
        if not self._good():
            self.begin()
            if self._task is not None and (self._reading is None or self._doubted):
                await self.settled()
        options["timeDifference"] = self.difference

    def snapshot(self) -> dict[str, Any] | None:
        """The offset as JSON values; positive when the exchange's clock is ahead of ours."""
        if self._reading is None:
            return None
        return {
            "offsetMs": -self._reading.difference,
            "roundTripMs": round(self._reading.round_trip, 1),
            "ageSeconds": round(self._steady() - self._reading.at, 1),
        }

    async def close(self) -> None:
        """Stop measuring, for good."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _good(self) -> bool:
        if self._reading is None or self._doubted:
            return False
        now = self._steady()
        if abs(self._wall() - now - self._lead) > STEP:
            self._doubted = True
            return False
        return now - self._reading.at < FRESH

    def _measure(self) -> None:
        now = self._steady()
        if self._closed or (len(self._started) == PER_MINUTE and now - self._started[0] < 60):
            return
        self._started.append(now)
        # Of nobody's call: it has no deadline but CCXT's own, and no wire record.
        self._task = asyncio.get_running_loop().create_task(
            self._sample(), name="measure clock", context=apart()
        )
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()

    async def _sample(self) -> None:
        lead = self._wall() - self._steady()
        try:
            best = await measured(self._ask, wall=self._wall, steady=self._steady)
        except Failure:
            # An exchange that does not answer has no calls to correct either; the next one asks
            # again.
            return
        if best is not None:
            self._reading, self._lead, self._doubted = best, lead, False


async def measured(
    ask: Callable[[], Awaitable[Any]],
    *,
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] | None = None,
) -> Reading | None:
    """The best of a few readings; ``None`` for an answer that is no time.

    Raises:
        Failure: the first question was not answered.
    """
    steady = steady or _steady
    best: Reading | None = None
    sharpest = 0.0
    for _ in range(_SAMPLES):
        before, started = wall(), steady()
        try:
            theirs = await ask()
        except Failure:
            if best is None:
                raise
            break
        if not isinstance(theirs, int) or theirs <= 0:
            break
        trip = (steady() - started) * 1000
        # By how much the reading may be wrong: a clock that tells whole seconds is a poor one.
        blur = trip + _grain(theirs)
        if best is None or blur < sharpest:
            sharpest = blur
            best = reading_of(before, trip, theirs, at=started)
        if trip <= _GOOD_ENOUGH and theirs % 1000:
            break
    return best


def reading_of(before: float, trip: float, theirs: int, *, at: float = 0.0) -> Reading:
    """A measurement from when we asked (Unix seconds), how long it took and what they said
    (milliseconds). ``at`` is the steady clock's time of asking."""
    return Reading(_between(before * 1000, trip, theirs), trip, at)


def _between(before: float, trip: float, theirs: int) -> int:
    """Our clock minus theirs, from when we asked, how long it took and what they said.

    They read their clock some time during the trip, and may have cut off the fraction of a second.
    If that leaves no difference possible, there is none: our clock is believed until it is
    contradicted, so that a slow answer does not spoil a good clock.
    """
    low = before - theirs - _grain(theirs)
    high = before + trip - theirs
    return 0 if low <= 0 <= high else round((low + high) / 2)


def _grain(theirs: int) -> int:
    """Milliseconds that a clock may have cut off."""
    return 1 if theirs % 1000 else 1000


def _steady() -> float:
    # Elsewhere than on Linux the plain one has to do; after a sleep it costs one measurement.
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)
