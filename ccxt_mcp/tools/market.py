"""Tools that read prices: ticker, order book, candles. No account is involved.

Owns: their arguments, words, schemas and bodies, and the spelling of symbols. Refuses: finding
exchanges and markets (``catalogue.py``), and everything that an account owns (``account.py``).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls import projection, values
from ccxt_mcp.calls.bounds import CUT_SCHEMA, Answer, page
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.tools.arguments import Arguments, Exchange, Since, Symbol, did_you_mean
from ccxt_mcp.tools.tool import ANSWERED_BY, Tool, result_schema

__all__ = ["MARKET_TOOLS", "find_symbol"]


async def find_symbol(lease: Lease, symbol: str) -> str:
    """The exchange's spelling of a symbol, whatever its case; asks the exchange about a new one.

    Raises:
        Failure: ``unknown_symbol`` with the nearest names.
    """
    asked = symbol.strip()
    found = _listed(lease, asked)
    if found is None and await lease.look_again(asked):
        found = _listed(lease, asked)
    # What is refused is what the caller wrote, not what it would be in capitals.
    return found or str(lease.market(asked)["symbol"])


def _listed(lease: Lease, asked: str) -> str | None:
    markets = lease.markets()
    found = markets.get(asked) or markets.get(asked.upper())
    return None if found is None else str(found["symbol"])


class _OneSymbol(Arguments):
    symbol: Symbol
    exchange: Exchange | None = None


async def _get_ticker(call: Call, args: _OneSymbol) -> Answer:
    async with call.public(args.exchange, "fetch_ticker") as lease:
        symbol = await find_symbol(lease, args.symbol)
        raw = await call.fetch(lease, "fetch_ticker", symbol)
        return Answer({"exchange": lease.exchange, "ticker": projection.ticker(raw, symbol)})


class _Book(Arguments):
    symbol: Symbol
    exchange: Exchange | None = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Price levels per side.")] = 20


async def _get_orderbook(call: Call, args: _Book) -> Answer:
    async with call.public(args.exchange, "fetch_order_book") as lease:
        symbol = await find_symbol(lease, args.symbol)
        raw = await call.fetch(lease, "fetch_order_book", symbol, args.limit)
        data: dict[str, Any] = {
            "exchange": lease.exchange,
            "symbol": symbol,
            "bids": projection.levels(raw.get("bids"), args.limit),
            "asks": projection.levels(raw.get("asks"), args.limit),
        }
        for key in ("timestamp", "nonce"):
            value = values.integer(raw.get(key))
            if value is not None:
                data[key] = value
        return Answer(data, ("bids", "asks"), "What is left out is farther from the price.")


class _Candles(Arguments):
    symbol: Symbol
    exchange: Exchange | None = None
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


async def _get_ohlcv(call: Call, args: _Candles) -> Answer:
    async with call.public(args.exchange, "fetch_ohlcv") as lease:
        symbol = await find_symbol(lease, args.symbol)
        known = tuple(lease.timeframes)
        if known and args.timeframe not in known:
            raise Failure(
                Code.INVALID_ARGUMENT,
                f"`timeframe` must be one of {', '.join(known)} on {lease.exchange}"
                f"{did_you_mean(args.timeframe, known)}.",
                exchange=lease.exchange,
                details={"timeframes": list(known)},
            )
        raw = await call.fetch(lease, "fetch_ohlcv", symbol, args.timeframe, args.since, args.limit)
        forward = args.since is not None
        # Some exchanges send more than was asked for.
        rows = projection.candles(raw[: args.limit] if forward else raw[-args.limit :])
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
            exchange=lease.exchange,
            symbol=symbol,
            timeframe=args.timeframe,
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
        arguments=_OneSymbol,
        output=result_schema(
            ("exchange", "ticker"), exchange=ANSWERED_BY, ticker=projection.TICKER.schema()
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
            ("exchange", "symbol", "bids", "asks"),
            exchange=ANSWERED_BY,
            symbol={"type": "string"},
            bids=_SIDE,
            asks=_SIDE,
            timestamp={"type": "integer", "description": "Milliseconds since 1970, UTC."},
            nonce={"type": "integer", "description": "The exchange's version of the book."},
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
            ("exchange", "symbol", "timeframe", "candles", "total", "truncated"),
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
            **CUT_SCHEMA,
        ),
        run=_get_ohlcv,
    ),
)
"""In the order in which they are listed."""
