"""Binance's public answers: general endpoints and market data, serialised and cached.

Owns the cache of one second: market data moves once a second, so an answer is made once and kept
until the second ends. Refuses routes and weights (`binance_routes`) and JSON shapes
(`binance_wire`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ccxt_mcp.simulation import binance_linear as linear
from ccxt_mcp.simulation import binance_wire as wire
from ccxt_mcp.simulation.binance_checks import (
    Params,
    Rejected,
    integer,
    listed,
    mandatory,
    symbol_list,
)
from ccxt_mcp.simulation.book import INTERVALS, Book
from ccxt_mcp.simulation.markets import Market, fixed8
from ccxt_mcp.simulation.venue import Venue

__all__ = ["PublicAnswers"]

_MAX_CACHED_BYTES = 64 * 1024 * 1024


class PublicAnswers:
    """Each public method takes checked-in parameters and returns the body of a 200, or raises
    `Rejected`. `rate_limit` is only told in exchangeInfo."""

    def __init__(self, venue: Venue, rate_limit: int | None) -> None:
        self._venue = venue
        self._limit = rate_limit
        self._second = 0
        self._fresh: dict[object, bytes] = {}
        self._fresh_bytes = 0
        self._info = self._describe(wire.spot_symbol, list(venue.markets.values()))
        self._linear = self._describe(wire.linear_symbol, list(venue.linear.values()))
        self._inverse = self._describe(wire.linear_symbol, [])

    # General

    def ping(self, params: Params) -> bytes:
        return b"{}"

    def time(self, params: Params) -> bytes:
        return b'{"serverTime":%d}' % self._venue.now()

    def exchange_info(self, params: Params) -> bytes:
        if "symbol" not in params and "symbols" not in params:
            return self._dated(self._info)
        chosen = self._chosen(params)
        return self._dated(self._describe(wire.spot_symbol, chosen))

    def linear_info(self, params: Params) -> bytes:
        return self._dated(self._linear)

    def inverse_info(self, params: Params) -> bytes:
        return self._dated(self._inverse)

    def system_status(self, params: Params) -> bytes:
        return b'{"status":0,"msg":"normal"}'

    # Market data

    def day_tickers(self, params: Params) -> bytes:
        kind = params.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise Rejected(-1130, "Data sent for parameter 'type' is not valid.")
        mini = kind == "MINI"
        return self._per_symbol(params, kind, lambda b, at: wire.day_ticker(b, at, mini))

    def book_tickers(self, params: Params) -> bytes:
        return self._per_symbol(params, "top", wire.book_ticker)

    def prices(self, params: Params) -> bytes:
        def price(book: Book, at: int) -> dict[str, Any]:
            return {"symbol": book.market.id, "price": fixed8(book.price(at))}

        return self._per_symbol(params, "price", price)

    def linear_tickers(self, params: Params) -> bytes:
        markets = self._venue.linear
        return self._per_symbol(params, "linear", linear.day_ticker, markets)

    def premium_index(self, params: Params) -> bytes:
        return self._per_symbol(params, "premium", linear.premium, self._venue.linear)

    def depth(self, params: Params) -> bytes:
        return self._depth(listed(self._venue.markets, params), params)

    def linear_depth(self, params: Params) -> bytes:
        return self._depth(listed(self._venue.linear, params), params)

    def _depth(self, market: Market, params: Params) -> bytes:
        limit = integer(params, "limit", low=1, high=5_000) or 100

        def levels(at: int) -> dict[str, Any]:
            bids, asks = self._venue.book(market).depth(at, limit)
            return {
                "lastUpdateId": at // 100,
                "bids": [[fixed8(p), fixed8(q)] for p, q in bids],
                "asks": [[fixed8(p), fixed8(q)] for p, q in asks],
            }

        return self._cached(("depth", market.kind, market.id, limit), levels)

    def klines(self, params: Params) -> bytes:
        return self._klines(listed(self._venue.markets, params), params)

    def linear_klines(self, params: Params) -> bytes:
        return self._klines(listed(self._venue.linear, params), params)

    def _klines(self, market: Market, params: Params) -> bytes:
        interval = mandatory(params, "interval")
        if interval not in INTERVALS:
            raise Rejected(-1120, "Invalid interval.")
        limit = integer(params, "limit", low=1, high=1_000) or 500
        start, end = integer(params, "startTime"), integer(params, "endTime")
        book, now = self._venue.book(market), self._at()
        key = ("klines", market.kind, market.id, interval, start, end, limit)
        return self._cached(key, lambda _: book.candles(interval, now, start, end, limit))

    def trades(self, params: Params) -> bytes:
        return self._trades(listed(self._venue.markets, params), params, wire.trade)

    def agg_trades(self, params: Params) -> bytes:
        return self._trades(listed(self._venue.markets, params), params, wire.agg_trade)

    def linear_agg_trades(self, params: Params) -> bytes:
        return self._trades(listed(self._venue.linear, params), params, wire.agg_trade)

    def _trades(
        self, market: Market, params: Params, shape: Callable[..., dict[str, Any]]
    ) -> bytes:
        limit = integer(params, "limit", low=1, high=1_000) or 500
        first, start = integer(params, "fromId"), integer(params, "startTime")
        end = integer(params, "endTime")
        if first is not None and (start is not None or end is not None):
            raise Rejected(-1128, "Combination of optional parameters invalid.")
        book, at = self._venue.book(market), self._at()
        last = book.last_trade_id(at if end is None else min(end, at))
        if start is not None:
            first = book.first_trade_id(start)
        elif first is None:
            first = last - limit + 1

        def rows(_: int) -> list[dict[str, Any]]:
            count = min(limit, last - first + 1)
            return [shape(row) for row in book.trades(first, count, at)]

        return self._cached((shape, market.kind, market.id, first, last, limit), rows)

    # Helpers

    def _chosen(self, params: Params) -> list[Market]:
        """The markets named by `symbol` or `symbols`, or all of them."""
        if "symbol" in params and "symbols" in params:
            raise Rejected(-1128, "Combination of optional parameters invalid.")
        if "symbols" not in params:
            return (
                [listed(self._venue.markets, params)]
                if "symbol" in params
                else [*self._venue.markets.values()]
            )
        names = symbol_list(params["symbols"])
        if any(name not in self._venue.markets for name in names):
            raise Rejected(-1121, "Invalid symbol.")
        return [self._venue.markets[name] for name in names]

    def _at(self) -> int:
        """The moment of this second's market data (ms); a new second empties the cache."""
        second = self._venue.now() // 1000
        if second != self._second or self._fresh_bytes > _MAX_CACHED_BYTES:
            self._second = second
            self._fresh.clear()
            self._fresh_bytes = 0
        return second * 1000

    def _cached(self, key: object, make: Callable[[int], object]) -> bytes:
        at = self._at()
        body = self._fresh.get(key)
        if body is None:
            body = self._fresh[key] = orjson.dumps(make(at))
            self._fresh_bytes += len(body)
        return body

    def _per_symbol(
        self,
        params: Params,
        kind: str,
        make: Callable[[Book, int], dict[str, Any]],
        markets: Mapping[str, Market] | None = None,
    ) -> bytes:
        """One object for `symbol=`, otherwise an array."""
        book = self._venue.book

        def one(market: Market) -> bytes:
            return self._cached((kind, market.id), lambda at: make(book(market), at))

        if markets is None:
            chosen = self._chosen(params)
        else:
            chosen = [listed(markets, params)] if "symbol" in params else [*markets.values()]
        parts = [one(market) for market in chosen]
        return parts[0] if "symbol" in params else b"[" + b",".join(parts) + b"]"

    def _describe(
        self,
        shape: Callable[[Market], dict[str, Any]],
        markets: list[Market],
    ) -> bytes:
        tail = {
            "rateLimits": wire.rate_limits(self._limit),
            "exchangeFilters": [],
            "symbols": [shape(m) for m in markets],
        }
        return orjson.dumps(tail)[1:]

    def _dated(self, tail: bytes) -> bytes:
        return b'{"timezone":"UTC","serverTime":%d,' % self._venue.now() + tail
