"""A last look at what CCXT made of an answer.

Owns: the least that the result of a unified method must say. CCXT makes an order, a level or a
candle of anything that it finds in a list, and a ticker of nothing at all; such a result is a wrong
answer in good shape, on whatever exchange. Refuses: whether values are plausible, and every field
that an exchange may leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ccxt_mcp.exchanges.truth import Untrue

__all__ = ["CHECKS", "check_result"]


def check_result(method: str, result: Any) -> None:
    """Raise ``Untrue`` for the result of a unified method that says nothing."""
    if result is None:
        raise Untrue("the answer held nothing that could be read")
    check = CHECKS.get(method)
    if check is not None:
        check(result)


_NUMBERS = (
    *("last", "bid", "ask", "close", "open", "high", "low", "markPrice", "indexPrice", "average"),
    *("vwap", "previousClose", "baseVolume", "quoteVolume"),
)


def _ticker(result: Any) -> None:
    if not _says_a_number(result):
        raise Untrue("the answer has no price in it")


def _tickers(result: Any) -> None:
    # A market without a trade may have none; if none of them has any, the answer was misread: of an
    # object without fields, CCXT makes no tickers.
    if not isinstance(result, Mapping) or not any(map(_says_a_number, result.values())):
        raise Untrue("the answer has no price in it")


def _says_a_number(ticker: Any) -> bool:
    return isinstance(ticker, Mapping) and any(ticker.get(key) is not None for key in _NUMBERS)


def _order(result: Any) -> None:
    if not _has_id(result):
        raise Untrue("the answer has an order without an id")


def _orders(result: Any) -> None:
    if not isinstance(result, list) or not all(map(_has_id, result)):
        raise Untrue("the answer has an order without an id")


def _has_id(order: Any) -> bool:
    return isinstance(order, Mapping) and bool(order.get("id") or order.get("clientOrderId"))


def _trades(result: Any) -> None:
    if not isinstance(result, list) or not all(map(_says_how_much, result)):
        raise Untrue("the answer has a trade without a price or an amount")


def _says_how_much(trade: Any) -> bool:
    return (
        isinstance(trade, Mapping)
        and trade.get("price") is not None
        and (trade.get("amount") is not None or trade.get("cost") is not None)
    )


def _book(result: Any) -> None:
    if not isinstance(result, Mapping):
        raise Untrue("the answer is no order book")
    for side in ("bids", "asks"):
        levels = result.get(side)
        if not isinstance(levels, list) or not all(map(_is_level, levels)):
            raise Untrue("the answer has a level of the book without a price or an amount")


def _is_level(level: Any) -> bool:
    return (
        isinstance(level, (list, tuple))
        and len(level) >= 2
        and level[0] is not None
        and level[1] is not None
    )


def _candles(result: Any) -> None:
    if not isinstance(result, list) or not all(
        isinstance(row, (list, tuple)) and row and row[0] is not None for row in result
    ):
        raise Untrue("the answer has a candle without a time")


_AMOUNTS = ("free", "used", "total", "debt")


def _balance(result: Any) -> None:
    totals = result.get("total") if isinstance(result, Mapping) else None
    if not isinstance(totals, Mapping):
        raise Untrue("the answer is no balance")
    rows = [row for currency in totals if isinstance(row := result.get(currency), Mapping)]
    # One currency may come without amounts; all of them only if they were not where CCXT looks.
    if rows and not any(row.get(key) is not None for row in rows for key in _AMOUNTS):
        raise Untrue("the answer has no amount of any currency in it")


def _positions(result: Any) -> None:
    if not isinstance(result, list) or not all(
        isinstance(row, Mapping) and row.get("symbol") for row in result
    ):
        raise Untrue("the answer has a position without a symbol")


def _funding(result: Any) -> None:
    if not isinstance(result, Mapping) or result.get("fundingRate") is None:
        raise Untrue("the answer has no funding rate in it")


def _fundings(result: Any) -> None:
    # A market that has just been listed may have none yet; if none of them has, it was misread.
    if not isinstance(result, Mapping) or not any(
        isinstance(row, Mapping) and row.get("fundingRate") is not None for row in result.values()
    ):
        raise Untrue("the answer has no funding rate in it")


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "fetch_ticker": _ticker,
    "fetch_tickers": _tickers,
    "fetch_bids_asks": _tickers,
    "fetch_order": _order,
    "fetch_open_orders": _orders,
    "fetch_orders": _orders,
    "fetch_closed_orders": _orders,
    "fetch_canceled_orders": _orders,
    "fetch_canceled_and_closed_orders": _orders,
    "fetch_my_trades": _trades,
    "fetch_trades": _trades,
    "fetch_order_book": _book,
    "fetch_ohlcv": _candles,
    "fetch_balance": _balance,
    "fetch_positions": _positions,
    "fetch_funding_rate": _funding,
    "fetch_funding_rates": _fundings,
    "fetch_closed_order": _order,
    "fetch_open_order": _order,
    "fetch_order_with_client_order_id": _order,
    "fetch_orders_by_status": _orders,
    "fetch_order_trades": _trades,
    "fetch_l2_order_book": _book,
    "fetch_index_ohlcv": _candles,
    "fetch_mark_ohlcv": _candles,
    "fetch_premium_index_ohlcv": _candles,
    "fetch_mark_price": _ticker,
    "fetch_mark_prices": _tickers,
}
"""Unified method by its Python name → check. Others are held to "not None" alone."""
