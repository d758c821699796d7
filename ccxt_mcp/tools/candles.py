"""Candles: the tool, and which range of them is meant.

Owns: its arguments, words and schema, when a kept answer is too old, and where the next page goes
on. Refuses: how a range is put together (``candle_range.py``) and the requests' bounds
(``of_market.py``).
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer
from ccxt_mcp.calls.cursors import Paging, Position, foreign, of_form
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import market_data, market_rows
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Cursor, Since, did_you_mean
from ccxt_mcp.tools.candle_range import Range, length_of
from ccxt_mcp.tools.of_market import Enough, OfMarket, Walk, together
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["CANDLES_TOOL"]

_MOST = 1_000
"""Candles that are fetched for one answer; about 900 fit into it."""
_USUAL = 500
"""Candles of one request where CCXT does not know the exchange's limit."""
_DAY = 86_400_000


class _Candles(OfMarket):
    timeframe: Annotated[
        str,
        Field(
            min_length=1,
            max_length=16,
            description="Length of a candle: 1m, 5m, 1h, 1d…; get_exchange_info lists them.",
        ),
    ] = "1h"
    since: Since | None = None
    until: Annotated[
        Since | None, Field(description="Only candles that open before this time; as `since`.")
    ] = None
    limit: Annotated[
        int,
        Field(
            ge=1, le=5000, description="Candles; about 900 fit into a result, the rest into next."
        ),
    ] = 100
    cursor: Cursor | None = None


async def _get_ohlcv(call: Call, args: _Candles) -> Answer:
    listing = await call.listing(args.exchange, "fetch_ohlcv")
    symbol = await call.symbol(listing, args.symbol)
    _check_timeframe(listing, args.timeframe)
    length = length_of(args.timeframe)
    walk = Walk(
        call,
        listing.exchange,
        "fetch_ohlcv",
        market_rows.candles_by_time,
        lambda: _within_the_candle(length, args.max_age),
    )
    if args.since is not None and args.until is not None and args.since >= args.until:
        raise Failure(Code.INVALID_ARGUMENT, "`since` must be before `until`.")
    batch = min(listing.most(symbol, "fetchOHLCV") or _USUAL, _MOST)
    now = round(time.time() * 1000)
    found = Range(walk, symbol, args.timeframe, batch, now)
    question = {
        "candles": listing.exchange,
        "symbol": symbol,
        "timeframe": args.timeframe,
        "since": args.since,
        "until": args.until,
    }
    if args.since is None:
        # Nothing has been traded after now.
        before = args.until if args.until is not None and args.until < now else None
        return await _latest(found, walk, args, question, before)
    # A clock that is behind the exchange's must not hide the last candle.
    end = max(now, args.since) + _DAY if args.until is None else args.until
    return await _from(found, walk, args, question, end)


async def _from(
    found: Range,
    walk: Walk,
    args: _Candles,
    question: dict[str, Any],
    end: int,
) -> Answer:
    """The candles from ``since`` on; the cursor is the last one shown."""
    paging = Paging(question, lambda row: (row[0],), args.cursor)
    start = args.since or 0
    if paging.after is not None:
        (after,) = of_form(paging.after, int)
        start = max(start, after + 1)
    try:
        more = await found.forward(start, end, min(args.limit, _MOST))
    except Enough:
        more = True
    rows = found.rows
    data = _data(question, walk, rows)
    if more:
        edge = rows[-1] if rows and walk.stopped is None else [found.edge - 1]
        _say(data, walk, paging.cursor(edge))
    return Answer(data, ("candles",), "Pass `nextCursor` as `cursor` for the next ones.", paging)


async def _latest(
    found: Range,
    walk: Walk,
    args: _Candles,
    question: dict[str, Any],
    before: int | None,
) -> Answer:
    """The latest ``limit`` candles before ``until``; pages after the first have older ones.

    The cursor is the first one shown and how many are still wanted before it.
    """
    rows: list[list[Any]] = []
    wanted = args.limit

    def order(row: list[Any]) -> Position:
        newer = len(rows) - next((n for n, each in enumerate(rows) if each[0] == row[0]), 0)
        return (row[0], wanted - newer)

    paging = Paging(question, order, args.cursor)
    if paging.after is not None:
        before, wanted = of_form(paging.after, int, int)
        if wanted > 5000:
            raise foreign()
    try:
        older = await found.backward(before, min(wanted, _MOST))
    except Enough:
        older = True
    rows = found.rows[-min(wanted, _MOST) :]
    data = _data(question, walk, rows)
    if older and rows and len(rows) < wanted:
        _say(data, walk, paging.cursor(rows[0]))
    elif older and rows:
        data["truncated"] = True
        data["notice"] = f"{walk.shown(len(rows), 'candles')} {_OLDER}"
    more = "Pass `nextCursor` as `cursor` for the ones before."
    return Answer(data, ("candles",), more, paging, keep_end=True)


_OLDER = "As many as `limit` says: older ones are found with a larger `limit`, `until` or `since`."


def _data(question: dict[str, Any], walk: Walk, rows: list[list[Any]]) -> dict[str, Any]:
    return {
        "exchange": question["candles"],
        "symbol": question["symbol"],
        "timeframe": question["timeframe"],
        **together(walk.reads),
        "candles": rows,
        "total": len(rows),
        "truncated": False,
    }


def _say(data: dict[str, Any], walk: Walk, cursor: str) -> None:
    data["truncated"] = True
    data["nextCursor"] = cursor
    shown = walk.shown(len(data["candles"]), "candles")
    data["notice"] = f"{shown} Pass `nextCursor` as `cursor` to go on."


def _within_the_candle(length: int, max_age: float | None) -> float:
    """The oldest answer to accept: none from before the last candle was closed.

    Kept across that moment, the candle would look closed with a price that was not its last.
    """
    open_for = (time.time() * 1000) % min(length, _DAY) / 1000
    return open_for if max_age is None else min(open_for, max_age)


def _check_timeframe(listing: Listing, timeframe: str) -> None:
    known = tuple(listing.timeframes)
    if known and timeframe not in known:
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"`timeframe` must be one of {', '.join(known)} on {listing.exchange}"
            f"{did_you_mean(timeframe, known)}.",
            exchange=listing.exchange,
            details={"timeframes": list(known)},
        )


CANDLES_TOOL = Tool(
    name="get_ohlcv",
    title="Get candles",
    description=(
        "Candles of one symbol, oldest first; the last one may still be open. Without `since` the "
        "latest, and `nextCursor` leads to older ones; with it, from then on. For the price now "
        "use get_ticker."
    ),
    arguments=_Candles,
    output=result_schema(
        ("exchange", "symbol", "timeframe", "candles", "total", "truncated", *FRESHNESS),
        exchange=ANSWERED_BY,
        symbol={"type": "string"},
        timeframe={"type": "string"},
        candles={
            "type": "array",
            "description": f"[{', '.join(market_data.CANDLE_COLUMNS)}]; timestamp: ms, UTC.",
            "items": {
                "type": "array",
                "items": {"type": ["number", "null"]},
                "minItems": 6,
                "maxItems": 6,
            },
        },
        **FRESHNESS,
        **PAGED_SCHEMA,
    ),
    run=_get_ohlcv,
    toolset=Toolset.MARKET,
)
