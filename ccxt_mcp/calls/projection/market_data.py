"""Market data as results: tickers, markets, order books and candles.

Owns: their fields, and which of them say too little to be passed on. Refuses: many of them in the
order of several requests (``market_rows.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccxt_mcp.calls import values
from ccxt_mcp.calls.projection.structure import (
    AT,
    Structure,
    boolean,
    millis,
    nested,
    number,
    text,
    unreadable,
)

__all__ = ["CANDLE_COLUMNS", "MARKET", "TICKER", "candles", "levels", "ticker"]

TICKER = Structure(
    (
        text("symbol"),
        *AT,
        number("last"),
        number("bid"),
        number("bidVolume"),
        number("ask"),
        number("askVolume"),
        number("open"),
        number("high"),
        number("low"),
        number("close"),
        number("previousClose"),
        number("change", "Since `open`, in quote currency."),
        number("percentage", "Since `open`, in percent."),
        number("average"),
        number("vwap"),
        number("baseVolume", "24 h, in base currency."),
        number("quoteVolume", "24 h, in quote currency."),
        number("markPrice"),
        number("indexPrice"),
    ),
    required=("symbol",),
)

_RANGE = Structure((number("min"), number("max")))

MARKET = Structure(
    (
        text("symbol"),
        text("id", "The exchange's own name."),
        text("type", "spot, margin, swap, future or option."),
        text("base"),
        text("quote"),
        text("settle"),
        boolean("active"),
        boolean("margin"),
        boolean("linear"),
        boolean("inverse"),
        number("contractSize"),
        millis("expiry"),
        text("expiryDatetime"),
        number("strike"),
        text("optionType"),
        number("maker", "Fee rate; 0.001 is 0.1 %."),
        number("taker", "Fee rate; 0.001 is 0.1 %."),
        nested(
            "precision",
            Structure((number("amount"), number("price"), number("cost"))),
            "Step sizes, or numbers of decimals where the exchange counts so.",
        ),
        nested(
            "limits",
            Structure(
                (
                    nested("amount", _RANGE),
                    nested("price", _RANGE),
                    nested("cost", _RANGE),
                    nested("leverage", _RANGE),
                )
            ),
        ),
    ),
    required=("symbol",),
)

_SHORT = (None,) * 6
_PRICES = frozenset(each.name for each in TICKER.fields if each.admit is values.number)

CANDLE_COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
"""The positions of a candle; ``timestamp`` is the start of the candle in ms, UTC."""


def ticker(source: Mapping[str, Any], symbol: str) -> dict[str, Any]:
    """The ticker of ``symbol``.

    Raises:
        Failure: ``bad_response`` when it is another symbol's, or has no number in it at all.
    """
    about = source.get("symbol")
    if about is not None and about != symbol:
        raise unreadable(f"is about {values.text(about)} instead of {symbol}")
    shown = {**TICKER.project(source), "symbol": symbol}
    if _PRICES.isdisjoint(shown):
        raise unreadable(f"has no price of {symbol} in it")
    return {"symbol": symbol, **shown}


def levels(source: Any, limit: int) -> list[list[int | float]]:
    """``[price, amount]`` pairs of one side of a book, best first, at most ``limit``.

    Raises:
        Failure: ``bad_response`` when a price or an amount is no number: the book would look
            thinner than it is.
    """
    rows = []
    for level in (source or ())[:limit]:
        price, amount = values.number(level[0]), values.number(level[1])
        if price is None or amount is None:
            raise unreadable("has a level of the book without a price or an amount")
        rows.append([price, amount])
    return rows


def candles(source: Any) -> list[list[int | float | None]]:
    """Candles as rows of ``CANDLE_COLUMNS``, oldest first; an unknown value is null.

    Raises:
        Failure: ``bad_response`` when a candle has no time.
    """
    rows: list[list[int | float | None]] = []
    for row in source or ():
        at, *rest = (*row, *_SHORT)[:6]
        rows.append([values.integer(at), *map(values.number, rest)])
    if any(row[0] is None for row in rows):
        raise unreadable("has a candle without a time")
    return rows
