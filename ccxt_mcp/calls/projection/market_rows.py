"""Rows of market data as they are kept and passed on: tickers, trades, candles, funding rates.

Owns: which fields of each leave, and the order of rows that are read over several requests.
Refuses: fetching, and paging. What has thousands of rows is projected in slices, so that other
callers are served in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ccxt_mcp.calls.cursors import Position
from ccxt_mcp.calls.projection.market_data import TICKER, candles
from ccxt_mcp.calls.projection.structure import Structure, millis, number, text, unreadable

__all__ = [
    "COMPACT",
    "FUNDING",
    "TRADE",
    "all_fields",
    "candles_by_time",
    "compact",
    "funding_rate",
    "funding_rates",
    "places",
    "trades_by_time",
]

COMPACT = (
    *("symbol", "last", "bid", "ask", "percentage", "baseVolume", "quoteVolume", "timestamp"),
)
"""Fields of a ticker that are shown unless others are asked for."""

_COMPACT = Structure(tuple(each for each in TICKER.fields if each.name in COMPACT))

TRADE = Structure(
    (
        text("id"),
        millis("timestamp"),
        text("side", "The taker's."),
        number("price"),
        number("amount", "Base currency, or contracts."),
        number("cost"),
    ),
    required=("timestamp",),
)

FUNDING = Structure(
    (
        text("symbol"),
        number("fundingRate", "0.0001 is 0.01 % per interval."),
        millis("fundingTimestamp", "When it is paid, ms."),
        text("interval", "Such as 8h."),
        number("nextFundingRate"),
        millis("nextFundingTimestamp"),
        number("markPrice"),
        number("indexPrice"),
        millis("timestamp"),
    ),
    required=("symbol", "fundingRate"),
)

_SLICE = 250
"""Rows between two looks at what else there is to do: about 2 ms."""

Rows = dict[str, dict[str, Any]]


async def compact(raw: Any, *asked: Any) -> Rows:
    """Tickers by symbol with the fields of ``COMPACT``: 3,000 of them are half a megabyte."""
    return await _by_symbol(_COMPACT, raw)


async def all_fields(raw: Any, *asked: Any) -> Rows:
    """Tickers by symbol with everything that is known."""
    return await _by_symbol(TICKER, raw)


async def funding_rates(raw: Any, *asked: Any) -> Rows:
    """Funding rates by symbol; a market that has none yet is left out."""
    rows = await _by_symbol(FUNDING, raw)
    return {symbol: row for symbol, row in rows.items() if "fundingRate" in row}


def funding_rate(raw: Mapping[str, Any], symbol: str) -> dict[str, Any]:
    """The funding rate of ``symbol``. Raises ``Failure`` (``bad_response``) if it is another's."""
    about = raw.get("symbol")
    shown = {**FUNDING.project(raw), "symbol": symbol}
    if (about is not None and about != symbol) or "fundingRate" not in shown:
        raise unreadable(f"has no funding rate of {symbol} in it")
    return {"symbol": symbol, **shown}


async def _by_symbol(structure: Structure, raw: Any) -> Rows:
    found = raw.values() if isinstance(raw, Mapping) else raw
    rows: Rows = {}
    for count, each in enumerate(found, 1):
        shown = structure.project(each) if isinstance(each, Mapping) else {}
        # CCXT has a ticker without a price of a market that was never traded.
        if "symbol" in shown and any(isinstance(value, float | int) for value in shown.values()):
            rows[shown["symbol"]] = shown
        if count % _SLICE == 0:
            await asyncio.sleep(0)
    return rows


def trades_by_time(raw: Iterable[Mapping[str, Any]], *asked: Any) -> list[dict[str, Any]]:
    """Trades, oldest first, each once.

    Raises:
        Failure: ``bad_response`` when a trade has no time.
    """
    rows = [TRADE.project(trade) for trade in raw]
    if any("timestamp" not in row for row in rows):
        raise unreadable("has a trade without a time")
    placed = dict(zip(places(rows), rows, strict=True))
    return [placed[place] for place in sorted(placed)]


def places(rows: Sequence[Mapping[str, Any]]) -> list[Position]:
    """The place of each trade: its time, then its id, numbers in their order.

    Of trades without ids, those of one millisecond keep the order in which the exchange has them.
    """
    out: list[Position] = []
    nameless: dict[int, int] = {}
    for row in rows:
        at, name = row["timestamp"], row.get("id")
        if name is None:
            nameless[at] = nth = nameless.get(at, 0) + 1
            name = str(nth)
        out.append((at, len(name), name))
    return out


def candles_by_time(raw: Any, *asked: Any) -> list[list[Any]]:
    """Candles, oldest first, each once: of two that open at the same time the later one."""
    rows = {row[0]: row for row in candles(raw)}
    return [rows[at] for at in sorted(rows, key=lambda at: at or 0)]
