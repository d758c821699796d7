"""Kraken's public answers: general endpoints and market data, serialised and cached.

Owns the cache of one second: market data moves once a second, so an answer is made once and kept
until the second ends. Refuses routes and limits (`kraken`) and JSON shapes (`kraken_wire`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

import orjson

from ccxt_mcp.simulation import kraken_wire as wire
from ccxt_mcp.simulation.book import INTERVALS, Book, Candle
from ccxt_mcp.simulation.kraken_checks import Params, Rejected, listed, moment, whole
from ccxt_mcp.simulation.kraken_names import Names, Pair, asset_altname, asset_id
from ccxt_mcp.simulation.venue import Venue

__all__ = ["PublicAnswers"]

_MAX_CACHED_BYTES = 64 * 1024 * 1024
_MAX_CANDLES = 720

# minutes: (interval of the book, how many of them make one candle)
_INTERVALS: Final[dict[int, tuple[str, int]]] = {
    1: ("1m", 1),
    5: ("5m", 1),
    15: ("15m", 1),
    30: ("30m", 1),
    60: ("1h", 1),
    240: ("4h", 1),
    1_440: ("1d", 1),
    10_080: ("1w", 1),
    21_600: ("1d", 15),
}


class PublicAnswers:
    """Each public method takes the parameters and returns the JSON of the `result`, or raises
    `Rejected`."""

    def __init__(self, venue: Venue, names: Names) -> None:
        self._venue = venue
        self._names = names
        self._second = 0
        self._fresh: dict[object, bytes] = {}
        self._fresh_bytes = 0
        self._assets = {asset_id(a): wire.asset(a) for a in venue.assets}
        self._asset_ids = {asset_altname(a): asset_id(a) for a in venue.assets}
        self._pairs = {pair.id: wire.asset_pair(pair) for pair in names.pairs.values()}
        self._all_pairs = orjson.dumps(self._pairs)

    # General

    def time(self, params: Params) -> bytes:
        second = self._venue.now() // 1000
        text = format_datetime(datetime.fromtimestamp(second, UTC))
        return orjson.dumps({"unixtime": second, "rfc1123": text})

    def system_status(self, params: Params) -> bytes:
        moment_ = datetime.fromtimestamp(self._venue.now() // 1000, UTC)
        return orjson.dumps({"status": "online", "timestamp": f"{moment_:%Y-%m-%dT%H:%M:%SZ}"})

    def assets(self, params: Params) -> bytes:
        if "asset" not in params:
            return orjson.dumps(self._assets)
        wanted = [self._asset_ids.get(name, name) for name in params["asset"].split(",")]
        if any(name not in self._assets for name in wanted):
            raise Rejected("EQuery:Unknown asset")
        return orjson.dumps({name: self._assets[name] for name in wanted})

    def asset_pairs(self, params: Params) -> bytes:
        if "pair" not in params:
            return self._all_pairs
        return orjson.dumps({pair.id: self._pairs[pair.id] for pair in self._chosen(params)})

    # Market data

    def tickers(self, params: Params) -> bytes:
        parts = [
            b'"%s":%s' % (pair.id.encode(), self._cached(("ticker", pair.id), pair, wire.ticker))
            for pair in self._chosen(params)
        ]
        return b"{" + b",".join(parts) + b"}"

    def depth(self, params: Params) -> bytes:
        pair = listed(self._names, params)
        count = whole(params, "count", 100, low=1, high=500)
        return self._cached(
            ("depth", pair.id, count),
            pair,
            lambda book, at: {pair.id: wire.depth(book, at, count)},
        )

    def candles(self, params: Params) -> bytes:
        """The last 720 candles later than `since`, the running one among them whatever `since`."""
        pair = listed(self._names, params)
        found = _INTERVALS.get(whole(params, "interval", 1, high=10**6))
        if found is None:
            raise Rejected("EGeneral:Invalid arguments:interval")
        since = moment(params, "since") or 0

        def rows(book: Book, at: int) -> dict[str, object]:
            made = _candles(book, at, *found)
            kept = [row for row in made[:-1] if row[0] * 10**6 > since] + made[-1:]
            committed = made[-2] if len(made) > 1 else made[-1]
            shaped = [wire.candle(pair.market, row) for row in kept]
            return {pair.id: shaped, "last": committed[0] // 1000}

        return self._cached(("candles", pair.id, found, since), pair, rows)

    def trades(self, params: Params) -> bytes:
        """The first trades later than `since` (seconds, or nanoseconds as told in `last`), without
        it the newest ones."""
        pair = listed(self._names, params)
        count = whole(params, "count", 1_000, low=1, high=1_000)
        since = moment(params, "since")
        if since is not None and since > 10**26:
            since //= 10**9  # it was told in nanoseconds already

        def rows(book: Book, at: int) -> dict[str, object]:
            last = book.last_trade_id(at)
            first = last - count + 1
            if since is not None:
                first = max(0, book.last_trade_id(since // 10**6) + 1)
            found = book.trades(first, count, at)
            end = found[-1][1] * 10**6 if found else since or 0
            shaped = [wire.trade(pair.market, row) for row in found]
            return {pair.id: shaped, "last": str(end)}

        return self._cached(("trades", pair.id, since, count), pair, rows)

    # Helpers

    def _chosen(self, params: Params) -> list[Pair]:
        """The pairs named by `pair` (several with commas), or all of them."""
        if "pair" not in params:
            return [*self._names.pairs.values()]
        return [listed(self._names, {"pair": name}) for name in params["pair"].split(",")]

    def _cached(self, key: object, pair: Pair, make: Callable[[Book, int], object]) -> bytes:
        second = self._venue.now() // 1000
        if second != self._second or self._fresh_bytes > _MAX_CACHED_BYTES:
            self._second = second
            self._fresh.clear()
            self._fresh_bytes = 0
        body = self._fresh.get(key)
        if body is None:
            made = make(self._venue.book(pair.market), second * 1000)
            body = self._fresh[key] = orjson.dumps(made)
            self._fresh_bytes += len(body)
        return body


def _candles(book: Book, at: int, interval: str, together: int) -> list[Candle]:
    rows = book.candles(interval, at, None, None, _MAX_CANDLES * together)
    if together == 1:
        return rows
    length = together * INTERVALS[interval][0]
    groups: dict[int, list[Candle]] = {}
    for row in rows:
        groups.setdefault(row[0] // length * length, []).append(row)
    return [wire.joined(opened, group) for opened, group in groups.items()][-_MAX_CANDLES:]
