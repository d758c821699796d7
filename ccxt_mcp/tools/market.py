"""Tools that read prices: their order, and those of one request. No account is involved.

Owns: ticker and order book. Refuses: what takes several requests or symbols (``tickers.py``,
``candles.py``, ``trades.py``, ``funding.py``), finding markets (``catalogue.py``), and everything
that an account owns (``account.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls import values
from ccxt_mcp.calls.bounds import CUT_SCHEMA, Answer
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import market_data
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.candles import CANDLES_TOOL
from ccxt_mcp.tools.funding import FUNDING_TOOL
from ccxt_mcp.tools.of_market import OfMarket
from ccxt_mcp.tools.tickers import TICKERS_TOOL
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema
from ccxt_mcp.tools.trades import TRADES_TOOL

__all__ = ["MARKET_TOOLS"]


async def _get_ticker(call: Call, args: OfMarket) -> Answer:
    listing = await call.listing(args.exchange, "fetch_ticker")
    symbol = await call.symbol(listing, args.symbol)
    read = await call.read(
        listing.exchange, "fetch_ticker", symbol, project=market_data.ticker, max_age=args.max_age
    )
    return Answer({"exchange": listing.exchange, "ticker": read.value, **read.freshness})


class _Book(OfMarket):
    limit: Annotated[int, Field(ge=1, le=1000, description="Price levels per side.")] = 20


def _book(raw: Mapping[str, Any], symbol: str, limit: int) -> dict[str, Any]:
    data: dict[str, Any] = {
        "bids": market_data.levels(raw.get("bids"), limit),
        "asks": market_data.levels(raw.get("asks"), limit),
    }
    for key in ("timestamp", "nonce"):
        value = values.integer(raw.get(key))
        if value is not None:
            data[key] = value
    return data


async def _get_orderbook(call: Call, args: _Book) -> Answer:
    listing = await call.listing(args.exchange, "fetch_order_book")
    symbol = await call.symbol(listing, args.symbol)
    read = await call.read(
        listing.exchange,
        "fetch_order_book",
        symbol,
        args.limit,
        project=_book,
        max_age=args.max_age,
    )
    data = {"exchange": listing.exchange, "symbol": symbol, **read.value, **read.freshness}
    return Answer(data, ("bids", "asks"), "What is left out is farther from the price.")


_SIDE = {
    "type": "array",
    "description": "[price, amount] pairs, best first.",
    "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
}

MARKET_TOOLS = (
    Tool(
        name="get_ticker",
        title="Get a price",
        description=(
            "Last price, best bid and ask, and 24 h statistics of one symbol. For depth use "
            "get_orderbook; for history get_ohlcv; for many symbols batch_get_tickers."
        ),
        arguments=OfMarket,
        output=result_schema(
            ("exchange", "ticker", *FRESHNESS),
            exchange=ANSWERED_BY,
            ticker=market_data.TICKER.schema(),
            **FRESHNESS,
        ),
        run=_get_ticker,
        toolset=Toolset.MARKET,
    ),
    TICKERS_TOOL,
    Tool(
        name="get_orderbook",
        title="Get an order book",
        description=(
            "Resting amounts by price of one symbol: bids and asks, best first. Use it for depth "
            "or the cost of a large order; for the price alone get_ticker is smaller."
        ),
        arguments=_Book,
        output=result_schema(
            ("exchange", "symbol", "bids", "asks", *FRESHNESS),
            exchange=ANSWERED_BY,
            symbol={"type": "string"},
            bids=_SIDE,
            asks=_SIDE,
            timestamp={"type": "integer", "description": "Milliseconds since 1970, UTC."},
            nonce={"type": "integer", "description": "The exchange's version of the book."},
            **FRESHNESS,
            **CUT_SCHEMA,
        ),
        run=_get_orderbook,
        toolset=Toolset.MARKET,
    ),
    CANDLES_TOOL,
    TRADES_TOOL,
    FUNDING_TOOL,
)
"""In the order in which they are listed."""
