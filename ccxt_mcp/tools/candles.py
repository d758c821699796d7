"""Candles: the tool, and how a range of them is put together from an exchange's pages.

Owns: which range is meant, when it is at its end, and that no candle comes twice or is left out.
Refuses: the requests' bounds (``of_market.py``).

A candle belongs to a range by the time at which it opens: ``since`` is in, ``until`` is not. An
exchange may send fewer candles than it was asked for because its pages are smaller, or none because
nobody traded; neither means that there are no more. So a range is walked by time, never by number.
"""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer
from ccxt_mcp.calls.cursors import Paging, Position, foreign
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import market_data, market_rows
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.tools.arguments import Cursor, Since, did_you_mean
from ccxt_mcp.tools.of_market import Enough, OfMarket, Walk, together
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["CANDLES_TOOL", "length_of"]

_MOST = 1_000
"""Candles that are fetched for one answer; about 900 fit into it."""
_USUAL = 500
"""Candles of one request where CCXT does not know the exchange's limit."""
_DAY = 86_400_000
_UNITS = {
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": _DAY,
    "w": 7 * _DAY,
    # The shortest: a step that is too long would leave candles out.
    "M": 28 * _DAY,
    "y": 365 * _DAY,
}
_WIDER = (1, 2, 4)
"""How far to look back for an older candle, in pages, before there is none."""


def length_of(timeframe: str) -> int:
    """Milliseconds of a unified timeframe (``5m``), of months and years the shortest.

    Raises:
        Failure: ``invalid_argument`` for what is none.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhdwMy])", timeframe, re.ASCII)
    if match is None:
        raise Failure(
            Code.INVALID_ARGUMENT, "`timeframe` must be a number with s, m, h, d, w, M or y."
        )
    return int(match[1]) * _UNITS[match[2]]


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


class _Range:
    """The candles of one market, walked in either direction.

    Args:
        walk: asks for them.
        symbol: unified.
        timeframe: unified.
        batch: the most that one request brings.
        now: milliseconds since 1970.

    Mutable: ``rows``, found so far, oldest first, without a gap; ``edge``, the time up to which a
    walk forward has looked.
    """

    def __init__(self, walk: Walk, symbol: str, timeframe: str, batch: int, now: int) -> None:
        self._walk = walk
        self._key = (symbol, timeframe)
        self._length = length_of(timeframe)
        self._batch = batch
        self._now = now
        self.rows: list[list[Any]] = []
        self.edge = 0

    async def forward(self, start: int, end: int, most: int, *, tell: bool = True) -> bool:
        """The oldest candles that open in [start, end); whether there may be more of them."""
        self.edge, looked = start, False
        while self.edge < end and len(self.rows) < most:
            if tell and self.rows:
                await self._walk.told(len(self.rows), most, "candles")
            asked = min(self._batch, most - len(self.rows))
            found = await self._walk.ask(*self._key, self.edge, asked)
            fresh = [row for row in found if self.edge <= row[0] < end]
            if fresh:
                over = len(self.rows) + len(fresh) > most
                self.rows += fresh[: most - len(self.rows)]
                self.edge = self.rows[-1][0] + 1
                if not over and (found[-1][0] + self._length >= end or self._is_open(found[-1])):
                    return False
            elif found and found[-1][0] >= end:
                return False
            else:
                # Nothing from here on, or nothing for a while: an exchange that looks at a window
                # from `since` says the same to both.
                beyond = self.edge + asked * self._length
                if beyond < end and not looked:
                    latest = await self._walk.ask(*self._key, None, asked)
                    if not latest or latest[-1][0] < self.edge:
                        return False
                    looked = True
                self.edge = beyond
        return self.edge < end

    def _is_open(self, row: list[Any]) -> bool:
        """Whether a candle is not closed yet: after it there is none."""
        return bool(row[0] + self._length > self._now)

    async def backward(self, end: int | None, most: int) -> bool:
        """The latest candles that open before ``end``; whether there may be older ones."""
        if end is None:
            found = await self._walk.ask(*self._key, None, min(self._batch, most))
            self.rows = found[-most:]
            if not self.rows:
                return False
            end = self.rows[0][0]
        while len(self.rows) < most and end > 0:
            await self._walk.told(len(self.rows), most, "candles")
            page = min(self._batch, most - len(self.rows)) * self._length
            for wider in _WIDER:
                older = _Range(self._walk, *self._key, self._batch, self._now)
                start = max(0, end - wider * page)
                await older.forward(start, end, most * wider + wider, tell=False)
                end = start
                if older.rows:
                    self.rows = older.rows + self.rows
                    break
            else:
                return False
        self.rows = self.rows[-most:]
        return True


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
    found = _Range(walk, symbol, args.timeframe, batch, now)
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
    found: _Range,
    walk: Walk,
    args: _Candles,
    question: dict[str, Any],
    end: int,
) -> Answer:
    """The candles from ``since`` on; the cursor is the last one shown."""
    paging = Paging(question, lambda row: (row[0],), args.cursor)
    start = args.since or 0
    if paging.after is not None:
        (after,) = _whole(paging.after, 1)
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
    found: _Range,
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
        before, wanted = _whole(paging.after, 2)
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
    more = "Pass `nextCursor` as `cursor` for the ones before."
    return Answer(data, ("candles",), more, paging, keep_end=True)


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
    why = f", since {walk.stopped}" if walk.stopped is not None else ""
    data["truncated"] = True
    data["nextCursor"] = cursor
    data["notice"] = (
        f"Shown: {len(data['candles'])} candles{why}; there may be more. "
        "Pass `nextCursor` as `cursor` to go on."
    )


def _whole(position: Position, count: int) -> tuple[int, ...]:
    """The numbers of a cursor, which anybody can have written."""
    numbers = tuple(part for part in position if type(part) is int and 0 <= part < 2**53)
    if len(numbers) != count or len(position) != count:
        raise foreign()
    return numbers


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
)
