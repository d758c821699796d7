"""The market data of Binance's linear contracts where it differs from spot: pure functions.

Owns field names and number formats. Refuses routes, checks and caching. Source: USD-M futures
documentation, "24hr Ticker Price Change Statistics" (which has no best bid and ask) and "Mark
Price".
"""

from __future__ import annotations

from typing import Any

from ccxt_mcp.simulation import binance_wire as wire
from ccxt_mcp.simulation.book import Book
from ccxt_mcp.simulation.markets import fixed8

__all__ = ["FUNDING_INTERVAL", "day_ticker", "premium"]

FUNDING_INTERVAL = 8 * 3_600_000
"""Milliseconds between two settlements."""

_NOT_LINEAR = ("prevClosePrice", "bidPrice", "bidQty", "askPrice", "askQty")


def day_ticker(book: Book, at: int) -> dict[str, Any]:
    spot = wire.day_ticker(book, at)
    return {key: value for key, value in spot.items() if key not in _NOT_LINEAR}


def premium(book: Book, at: int) -> dict[str, Any]:
    """The index follows the price by a minute, and the rate the difference between the two."""
    mark, index = book.price(at), book.price(at - 60_000)
    rate = max(-0.02, min(0.02, (mark - index) / index))
    return {
        "symbol": book.market.id,
        "markPrice": fixed8(mark),
        "indexPrice": fixed8(index),
        "estimatedSettlePrice": fixed8((mark + index) // 2),
        "lastFundingRate": f"{rate:.8f}",
        "interestRate": "0.00010000",
        "nextFundingTime": (at // FUNDING_INTERVAL + 1) * FUNDING_INTERVAL,
        "time": at,
    }
