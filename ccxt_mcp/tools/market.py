"""Tools that read prices: ticker, order book, candles. No account is involved.

Owns: their arguments, words, schemas and bodies, and the spelling of symbols. Refuses: finding
exchanges and markets (``catalogue.py``), and everything that an account owns (``account.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls import projection, values
from ccxt_mcp.calls.bounds import CUT_SCHEMA, Answer, page
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.tools.arguments import Arguments, Exchange, MaxAge, Since, Symbol, did_you_mean
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["MARKET_TOOLS"]


class _OfMarket(Arguments):
    """What every question about one market takes."""

    symbol: Symbol
    exchange: Exchange | None = None
    maxAgeMs: MaxAge | None = None

    @property
    def max_age(self) -> float | None:
        """The oldest answer to accept, in seconds."""
        return None if self.maxAgeMs is None else self.maxAgeMs / 1000


async def _get_ticker(call: Call, args: _OfMarket) -> Answer:
    listing = await call.listing(args.exchange, "fetch_ticker")
    symbol = await call.symbol(listing, args.symbol)
    read = await call.read(
        listing.exchange, "fetch_ticker", symbol, project=projection.ticker, max_age=args.max_age
    )
    return Answer({"exchange": listing.exchange, "ticker": read.value, **read.freshness})


class _Book(_OfMarket):
    limit: Annotated[int, Field(ge=1, le=1000, description="Price levels per side.")] = 20


def _book(raw: Mapping[str, Any], symbol: str, limit: int) -> dict[str, Any]:
    data: dict[str, Any] = {
        "bids": projection.levels(raw.get("bids"), limit),
        "asks": projection.levels(raw.get("asks"), limit),
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


class _Candles(_OfMarket):
    timeframe: Annotated[
        str,
        Field(
            min_length=1,
            max_length=16,
            description="Length of a candle: 1m, 5m, 1h, 1d…; get_exchange_info lists them.",
        ),
    ] = "1h"
    since: Since | None = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Candles.")] = 100


def _candles(
    raw: list[Any], symbol: str, timeframe: str, since: int | None, limit: int
) -> list[list[Any]]:
    # Some exchanges send more than was asked for.
    return projection.candles(raw[:limit] if since is not None else raw[-limit:])


async def _get_ohlcv(call: Call, args: _Candles) -> Answer:
    listing = await call.listing(args.exchange, "fetch_ohlcv")
    symbol = await call.symbol(listing, args.symbol)
    known = tuple(listing.timeframes)
    if known and args.timeframe not in known:
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"`timeframe` must be one of {', '.join(known)} on {listing.exchange}"
            f"{did_you_mean(args.timeframe, known)}.",
            exchange=listing.exchange,
            details={"timeframes": list(known)},
        )
    read = await call.read(
        listing.exchange,
        "fetch_ohlcv",
        *(symbol, args.timeframe, args.since, args.limit),
        project=_candles,
        max_age=args.max_age,
    )
    rows, forward = read.value, args.since is not None
    return page(
        "candles",
        rows,
        len(rows),
        more="Ask again with `since` after the last candle shown."
        if forward
        else "For older candles, ask again with `since`.",
        # The latest are what was asked for; from `since` on, a full page is not the end.
        maybe_more=forward and len(rows) >= args.limit,
        keep_end=not forward,
        exchange=listing.exchange,
        symbol=symbol,
        timeframe=args.timeframe,
        **read.freshness,
    )


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
            "get_orderbook; for history get_ohlcv."
        ),
        arguments=_OfMarket,
        output=result_schema(
            ("exchange", "ticker", *FRESHNESS),
            exchange=ANSWERED_BY,
            ticker=projection.TICKER.schema(),
            **FRESHNESS,
        ),
        run=_get_ticker,
    ),
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
    ),
    Tool(
        name="get_ohlcv",
        title="Get candles",
        description=(
            "Candles of one symbol, oldest first. Without `since`, the latest ones; the last one "
            "may still be open. For the price now use get_ticker."
        ),
        arguments=_Candles,
        output=result_schema(
            ("exchange", "symbol", "timeframe", "candles", "total", "truncated", *FRESHNESS),
            exchange=ANSWERED_BY,
            symbol={"type": "string"},
            timeframe={"type": "string"},
            candles={
                "type": "array",
                "description": f"[{', '.join(projection.CANDLE_COLUMNS)}]; timestamp: ms, UTC.",
                "items": {
                    "type": "array",
                    "items": {"type": ["number", "null"]},
                    "minItems": 6,
                    "maxItems": 6,
                },
            },
            **FRESHNESS,
            **CUT_SCHEMA,
        ),
        run=_get_ohlcv,
    ),
)
"""In the order in which they are listed."""
