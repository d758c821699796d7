"""The seeded price of one market, and all that follows from it: depth, candles, public trades.

Owns a pure function of (seed, symbol, time): asking twice about the same moment gives the same
answer, in any process. Refuses state, clocks and wire formats; the caller brings the time (Unix
milliseconds) and gets integers in units of 1e-8 and strings with eight decimals.

The price is an anchor times one plus a sum of octaves: value noise on nested time lattices, linear
between lattice points. Linearity makes the extremes of any interval computable: up to a chosen
lattice the maximum is at a lattice point, and what is finer is bounded by its amplitudes. So a
candle's high and low are a true envelope, and the envelope of a coarse candle contains those of the
fine candles inside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from ccxt_mcp.simulation.markets import Market, fixed8

__all__ = ["INTERVALS", "LISTED_AT", "Book", "Candle", "Day", "PublicTrade", "candle_open"]

LISTED_AT: Final = 1_500_000_000_000
"""Nothing is known before this moment (ms); 14 July 2017, a multiple of every short interval."""

_S, _M, _H, _D = 1_000, 60_000, 3_600_000, 86_400_000
_MONDAY = 4 * _D  # the Unix epoch was a Thursday

_PERIODS = (64 * _D, 8 * _D, _D, 2 * _H, 30 * _M, 5 * _M, _M, 10 * _S, _S)
_AMPLITUDES = (0.15, 0.08, 0.03, 0.012, 0.005, 0.002, 0.0008, 0.0003, 0.0001)
_OCTAVES = len(_PERIODS)

# interval: (length in ms, index of the finest lattice its extremes are computed on)
INTERVALS: Final[dict[str, tuple[int, int]]] = {
    "1s": (_S, 8),
    "1m": (_M, 7),
    "3m": (3 * _M, 6),
    "5m": (5 * _M, 6),
    "15m": (15 * _M, 5),
    "30m": (30 * _M, 5),
    "1h": (_H, 5),
    "2h": (2 * _H, 4),
    "4h": (4 * _H, 4),
    "6h": (6 * _H, 3),
    "8h": (8 * _H, 3),
    "12h": (12 * _H, 3),
    "1d": (_D, 3),
    "3d": (3 * _D, 2),
    "1w": (7 * _D, 2),
    "1M": (30 * _D, 2),
}

_MASK = (1 << 64) - 1
_CACHED_CANDLES = 20_000
_CACHED_POINTS = 20_000
_REMEMBERED = 6  # octaves whose lattice points are asked for again and again

# open time, open, high, low, close, volume, close time, quote volume, trades, taker base, taker
# quote, unused: the shape every Binance-like kline has.
Candle = tuple[int, str, str, str, str, str, int, str, int, str, str, str]
# id, time (ms), price, quantity, quote quantity, whether the buyer was the maker
PublicTrade = tuple[int, int, str, str, str, bool]
# price (units of 1e-8), quantity (units of 1e-8)
Level = tuple[int, int]


def _mix(x: int) -> int:
    """A 64-bit finaliser (splitmix64): neighbouring inputs give unrelated outputs."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


def candle_open(interval: str, at: int) -> int:
    """The open time (ms) of the candle that contains `at`; weeks open on Monday, months on the 1st.

    Raises `KeyError` for an unknown interval.
    """
    length, _ = INTERVALS[interval]
    if interval == "1M":
        day = datetime.fromtimestamp(at / 1000, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * 1000
    if interval == "1w":
        return (at - _MONDAY) // length * length + _MONDAY
    return at // length * length


def _next_open(interval: str, opened: int) -> int:
    if interval == "1M":
        return candle_open(interval, opened + 32 * _D)
    return opened + INTERVALS[interval][0]


class Day:
    """The last 24 hours of a market; prices and volumes in units of 1e-8."""

    __slots__ = ("close", "count", "high", "low", "open", "quote_volume", "volume")

    def __init__(self, prices: tuple[int, int, int, int], volumes: tuple[int, int, int]) -> None:
        self.open, self.high, self.low, self.close = prices
        self.volume, self.quote_volume, self.count = volumes


class Book:
    """One market's price process. Cheap to create; holds nothing but a bounded cache."""

    def __init__(self, seed: int, market: Market, burst: int = 1) -> None:
        digest = hashlib.sha256(f"{seed}:{market.kind}:{market.id}".encode()).digest()
        self.market = market
        self._burst = burst
        self._salt = int.from_bytes(digest[:8], "big")
        self._tick = int(market.tick * 10**8)
        self._step = int(market.step * 10**8)
        self._anchor = float(market.anchor / market.tick)
        # A trade is worth about 800 units of a currency-like quote, or the same in BTC.
        worth = 800.0 if market.min_notional >= 1 else 0.0085
        self._trade_qty = max(1, int(worth / float(market.anchor) * 10**8 / self._step))
        self._candles: dict[tuple[str, int], Candle] = {}
        self._points: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"<Book {self.market.id}>"

    def price(self, at: int) -> int:
        """Last price at `at` (ms), in units of 1e-8, a multiple of the tick."""
        return self._ticks(self._shift(at, _OCTAVES)) * self._tick

    def top(self, at: int) -> tuple[int, int]:
        """Best bid and best ask at `at`; the spread is one to three ticks and one is the last."""
        last, dice = self.price(at), self._dice(1, at // _S)
        spread = (1 + dice % 3) * self._tick
        return (last - spread, last) if dice & 64 and last > spread else (last, last + spread)

    def depth(self, at: int, limit: int) -> tuple[list[Level], list[Level]]:
        """Bids (falling) and asks (rising); fewer levels answer a prefix of more.

        Fewer than `limit` bids come back when the price would reach zero.
        """
        bid, ask = self.top(at)
        second, tick, qty = at // _S, self._tick, self._trade_qty * self._step
        bids: list[Level] = []
        asks: list[Level] = []
        for side, price, direction, out in ((2, bid, -tick, bids), (3, ask, tick, asks)):
            base = self._dice(side, second)
            level = price
            for i in range(limit):
                if level <= 0:
                    break
                dice = _mix(base + i)
                out.append((level, max(1, dice % 4096 * qty // 1024 // self._step) * self._step))
                level += (1 + (dice >> 20) % 2) * direction
        return bids, asks

    def day(self, at: int) -> Day:
        """Statistics over the 24 hours that end at `at`."""
        start = max(at - _D, LISTED_AT)
        low, high = self._extremes(start, at, 3)
        prices = (self.price(start), high, low, self.price(at))
        base = self._volume(start, at)
        count = (at - start) // _S * self._burst
        return Day(prices, (base, base * self._middle(prices) // 10**8, count))

    def candles(
        self, interval: str, now: int, start: int | None, end: int | None, limit: int
    ) -> list[Candle]:
        """At most `limit` candles with an open time in [start, end], oldest first.

        With `start` the first ones from there, otherwise the last ones before `end` or `now`. The
        running candle is included as it stands at `now`. Raises `KeyError` for a bad interval.
        """
        last = min(now, end) if end is not None else now
        opens: list[int] = []
        if start is None:
            opened = candle_open(interval, last)
            while len(opens) < limit and _next_open(interval, opened) > LISTED_AT:
                opens.append(opened)
                opened = candle_open(interval, opened - 1)
            opens.reverse()
        elif start <= last:
            opened = candle_open(interval, max(start, LISTED_AT))
            if opened < start:
                opened = _next_open(interval, opened)
            while len(opens) < limit and opened <= last:
                opens.append(opened)
                opened = _next_open(interval, opened)
        return [self.candle(interval, opened, now) for opened in opens]

    def candle(self, interval: str, opened: int, now: int) -> Candle:
        """The candle that opened at `opened`; once closed before `now` it never changes."""
        key = (interval, opened)
        row = self._candles.get(key)
        if row is not None:
            return row
        closes = _next_open(interval, opened)
        until = min(closes, now)
        low, high = self._extremes(opened, until, INTERVALS[interval][1])
        prices = (self.price(opened), high, low, self.price(until))
        volume = self._volume(opened, until)
        quote = volume * self._middle(prices) // 10**8
        o, h, lo, c = (fixed8(p) for p in prices)
        row = (
            opened,
            o,
            h,
            lo,
            c,
            fixed8(volume),
            closes - 1,
            fixed8(quote),
            (until - opened) // _S,
            fixed8(volume // 2),
            fixed8(quote // 2),
            "0",
        )
        if closes <= now:
            if len(self._candles) >= _CACHED_CANDLES:
                self._candles.clear()
            self._candles[key] = row
        return row

    def last_trade_id(self, now: int) -> int:
        """The newest public trade at `now`, numbered from the listing: `burst` of them come in the
        first millisecond of each second."""
        return ((now - LISTED_AT) // _S + 1) * self._burst - 1

    def first_trade_id(self, start: int) -> int:
        """The oldest public trade at or after `start`."""
        return -(-(start - LISTED_AT) // _S) * self._burst

    def trades(self, first_id: int, count: int, now: int) -> list[PublicTrade]:
        """Public trades by id, oldest first, none later than `now`."""
        last = min(first_id + count - 1, self.last_trade_id(now))
        return [self._trade(n) for n in range(max(first_id, 0), last + 1)]

    def _trade(self, number: int) -> PublicTrade:
        at = LISTED_AT + number // self._burst * _S
        price, dice = self.price(at), self._dice(4, number)
        qty = max(1, self._trade_qty * (dice % 1000) // 500) * self._step
        sold = self.top(at)[0] == price  # it hit the bid, so the buyer was the maker
        return number, at, fixed8(price), fixed8(qty), fixed8(price * qty // 10**8), sold

    def _dice(self, lane: int, n: int) -> int:
        return _mix((self._salt + lane * 0xD1342543DE82EF95 + n * 0x9E3779B97F4A7C15) & _MASK)

    def _shift(self, at: int, octaves: int) -> float:
        """The relative deviation from the anchor at `at`, counting the longest `octaves` only."""
        total = 0.0
        for lane in range(octaves):
            cell, rest = divmod(at, _PERIODS[lane])
            left = self._point(lane, cell)
            if rest:
                left += (self._point(lane, cell + 1) - left) * (rest / _PERIODS[lane])
            total += _AMPLITUDES[lane] * left
        return total

    def _point(self, lane: int, cell: int) -> float:
        """The noise of one octave at one of its lattice points, in [-1, 1)."""
        if lane >= _REMEMBERED:
            return self._dice(16 + lane, cell) / 2**63 - 1.0
        key = cell * _REMEMBERED + lane
        known = self._points.get(key)
        if known is None:
            if len(self._points) >= _CACHED_POINTS:
                self._points.clear()
            known = self._points[key] = self._dice(16 + lane, cell) / 2**63 - 1.0
        return known

    def _ticks(self, shift: float) -> int:
        return max(1, round(self._anchor * (1.0 + shift)))

    def _extremes(self, start: int, end: int, lattice: int) -> tuple[int, int]:
        """Lowest and highest price in [start, end], in units of 1e-8 (see the module's text)."""
        period, octaves = _PERIODS[lattice], lattice + 1
        slack = sum(_AMPLITUDES[octaves:])
        inner: Sequence[int] = range((start // period + 1) * period, end, period)
        shifts = [self._shift(at, octaves) for at in (start, *inner, end)]
        low, high = self._ticks(min(shifts) - slack), self._ticks(max(shifts) + slack)
        return low * self._tick, high * self._tick

    def _volume(self, start: int, end: int) -> int:
        """Base volume in units of 1e-8: grows with time, busier in some hours than in others."""
        seconds = max(0, end - start) // _S
        busy = 512 + self._dice(5, start // (2 * _H)) % 1024
        return seconds * self._trade_qty * busy // 1024 * self._step

    @staticmethod
    def _middle(prices: tuple[int, int, int, int]) -> int:
        return sum(prices) // 4
