"""How a range of candles is put together from an exchange's pages.

Owns: when a range is at its end, and that no candle comes twice or is left out. Refuses: which
range is meant (``candles.py``), and the requests' bounds (``of_market.py``).

A candle belongs to a range by the time at which it opens: ``since`` is in, ``until`` is not. An
exchange may send fewer candles than it was asked for because its pages are smaller, or none because
nobody traded; neither means that there are no more. So a range is walked by time, never by number.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.tools.of_market import Walk

__all__ = ["Range", "length_of"]

_DAY = 86_400_000
_UNITS = {
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": _DAY,
    "w": 7 * _DAY,
    # The shortest: a step that is too long would leave candles out.
    "M": 28 * _DAY,
    "y": 365 * _DAY,
}
_WIDER = (1, 2, 4)
"""How far to look back for an older candle, in pages, before there is none."""


@lru_cache(maxsize=64)
def length_of(timeframe: str) -> int:
    """Milliseconds of a unified timeframe (``5m``), of months and years the shortest.

    Raises:
        Failure: ``invalid_argument`` for what is none.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhdwMy])", timeframe, re.ASCII)
    if match is None:
        raise Failure(
            Code.INVALID_ARGUMENT, "`timeframe` must be a number with s, m, h, d, w, M or y."
        )
    return int(match[1]) * _UNITS[match[2]]


class Range:
    """The candles of one market, walked in either direction.

    Args:
        walk: asks for them.
        symbol: unified.
        timeframe: unified.
        batch: the most that one request brings.
        now: milliseconds since 1970.

    Mutable: ``rows``, found so far, oldest first, without a gap; ``edge``, the time up to which a
    walk forward has looked.
    """

    def __init__(self, walk: Walk, symbol: str, timeframe: str, batch: int, now: int) -> None:
        self._walk = walk
        self._key = (symbol, timeframe)
        self._length = length_of(timeframe)
        self._batch = batch
        self._now = now
        self.rows: list[list[Any]] = []
        self.edge = 0

    async def forward(self, start: int, end: int, most: int, *, tell: bool = True) -> bool:
        """The oldest candles that open in [start, end); whether there may be more of them."""
        self.edge, looked = start, False
        while self.edge < end and len(self.rows) < most:
            if tell and self.rows:
                await self._walk.told(len(self.rows), most, "candles")
            asked = min(self._batch, most - len(self.rows))
            found = await self._walk.ask(*self._key, self.edge, asked)
            fresh = [row for row in found if self.edge <= row[0] < end]
            if fresh:
                over = len(self.rows) + len(fresh) > most
                self.rows += fresh[: most - len(self.rows)]
                self.edge = self.rows[-1][0] + 1
                if not over and (found[-1][0] + self._length >= end or self._is_open(found[-1])):
                    return False
            elif found and found[-1][0] >= end:
                return False
            else:
                # Nothing from here on, or nothing for a while: an exchange that looks at a window
                # from `since` says the same to both.
                beyond = self.edge + asked * self._length
                if beyond < end and not looked:
                    latest = await self._walk.ask(*self._key, None, asked)
                    if not latest or latest[-1][0] < self.edge:
                        return False
                    looked = True
                self.edge = beyond
        return self.edge < end

    def _is_open(self, row: list[Any]) -> bool:
        """Whether a candle is not closed yet: after it there is none."""
        return bool(row[0] + self._length > self._now)

    async def backward(self, end: int | None, most: int) -> bool:
        """The latest candles that open before ``end``; whether there may be older ones."""
        if end is None:
            found = await self._walk.ask(*self._key, None, min(self._batch, most))
            self.rows = found[-most:]
            if not self.rows:
                return False
            end = self.rows[0][0]
        while len(self.rows) < most and end > 0:
            await self._walk.told(len(self.rows), most, "candles")
            page = min(self._batch, most - len(self.rows)) * self._length
            for wider in _WIDER:
                older = Range(self._walk, *self._key, self._batch, self._now)
                start = max(0, end - wider * page)
                await older.forward(start, end, most * wider + wider, tell=False)
                end = start
                if older.rows:
                    self.rows = older.rows + self.rows
                    break
            else:
                return False
        self.rows = self.rows[-most:]
        return True
