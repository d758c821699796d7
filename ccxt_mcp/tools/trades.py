"""Public trades: the tool, and how they are read on from a time without losing or doubling one.

Owns: the way through an exchange's pages of trades and its end. Refuses: the requests' bounds
(``of_market.py``).

Several trades can share a millisecond, and an exchange is asked by time. So a page is asked for
from the millisecond of the last trade on, and what is at or before that trade is left out.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer, page
from ccxt_mcp.calls.cursors import Paging, Position, foreign, of_form
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import market_rows
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Cursor, Since
from ccxt_mcp.tools.of_market import Enough, OfMarket, Walk, together
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["TRADES_TOOL"]

_MOST = 1_000
_SPARE = 50
"""Trades asked for beyond those wanted: some of the first are known already."""
_HOUR = 3_600_000
_WINDOWS = {
    **dict.fromkeys(("binance", "binanceus", "binanceusdm", "binancecoinm"), _HOUR),
}
"""Exchanges at which CCXT asks for a window from `since`, by id, and its length in ms: that nothing
is in it does not mean that nothing is after it."""


class _Trades(OfMarket):
    since: Since | None = None
    limit: Annotated[
        int, Field(ge=1, le=_MOST, description="Trades; about 500 fit into one result.")
    ] = 100
    cursor: Cursor | None = None


class _Onward:
    """Trades from a place on.

    Args:
        walk: asks for them.
        symbol: unified.
        after: the place of the last one that is known.
        cap: the most that one request brings.
        window: as in ``_WINDOWS``; 0 where a request looks at all that came after.

    Mutable: ``rows`` and their ``places``, found so far, oldest first; ``last``, the place up to
    which everything is known; ``crowded``, the milliseconds that held more than a request brings.
    """

    def __init__(self, walk: Walk, symbol: str, after: Position, cap: int, window: int) -> None:
        self._walk = walk
        self._symbol = symbol
        self._cap = cap
        self._window = window
        self.last = after
        self.rows: list[dict[str, Any]] = []
        self.places: list[Position] = []
        self.crowded: list[int] = []

    async def read(self, most: int) -> bool:
        """At least ``most`` trades if there are so many; whether there may be more."""
        largest, asked = 0, min(self._cap, most + _SPARE)
        while len(self.rows) < most:
            if self.rows:
                await self._walk.told(len(self.rows), most, "trades")
            at = int(self.last[0])
            found = await self._walk.ask(self._symbol, at, asked)
            placed = zip(market_rows.places(found), found, strict=True)
            fresh = [each for each in placed if each[0] > self.last]
            full = len(found) >= asked
            reaches_now = at + self._window > self._walk.reads[-1].fetched_at
            if fresh:
                self.places += [place for place, _ in fresh]
                self.rows += [row for _, row in fresh]
                self.last = self.places[-1]
                # An exchange whose pages are smaller than was asked for sends one like the other.
                if not full and (reaches_now if self._window else len(found) < largest):
                    return False
                largest = max(largest, len(found))
            elif full and asked < self._cap:
                asked = self._cap
            elif full:
                self.crowded.append(at)
                self.last = _start_of(at + 1)
            elif self._window and not reaches_now:
                self.last = _start_of(at + self._window)
            else:
                return False
        return True


def _start_of(at: int) -> Position:
    """The place before every trade of a millisecond."""
    return (at, 0, "")


async def _get_trades(call: Call, args: _Trades) -> Answer:
    listing = await call.listing(args.exchange, "fetch_trades")
    symbol = await call.symbol(listing, args.symbol)
    walk = Walk(
        call,
        listing.exchange,
        "fetch_trades",
        market_rows.trades_by_time,
        lambda: args.max_age,
    )
    head: dict[str, Any] = {"exchange": listing.exchange, "symbol": symbol}
    question = {"trades": listing.exchange, "symbol": symbol, "since": args.since}
    cap = min(listing.most(symbol, "fetchTrades") or _MOST, _MOST)
    if args.since is None:
        if args.cursor is not None:
            raise foreign()
        found = await walk.ask(symbol, None, min(args.limit, cap))
        newest = found[: -args.limit - 1 : -1]
        return page(
            "trades",
            newest,
            len(newest),
            # Before the latest there are others; no exchange tells all of them at once.
            maybe_more=bool(newest),
            more="These are the latest; older ones are found with `since`.",
            **head,
            **together(walk.reads),
        )
    by_row: dict[int, Position] = {}
    paging = Paging(question, lambda row: by_row[id(row)], args.cursor)
    after = _start_of(args.since)
    if paging.after is not None:
        after = of_form(paging.after, int, int, str)
    window = _WINDOWS.get(call.gateway.profile(listing.exchange).exchange, 0)
    onward = _Onward(walk, symbol, after, cap, window)
    try:
        more = await onward.read(args.limit)
    except Enough:
        more = True
    shown = onward.rows[: args.limit]
    # Rows are told apart by what they are in memory; the answer keeps them there.
    by_row.update((id(row), place) for row, place in zip(onward.rows, onward.places, strict=True))
    more = more or len(onward.rows) > len(shown)
    data: dict[str, Any] = {
        **head,
        **together(walk.reads),
        "trades": shown,
        "total": len(shown),
        "truncated": more,
    }
    notice = [
        f"More trades at {at} than the exchange tells at once: some of that millisecond are "
        "missing."
        for at in onward.crowded[:3]
    ]
    if more:
        all_shown = len(shown) == len(onward.rows)
        end: Any = {"place": onward.last}
        by_row[id(end)] = onward.last
        data["nextCursor"] = paging.cursor(end if all_shown else shown[-1])
        notice.append(walk.shown(len(shown), "trades"))
        notice.append(_GO_ON)
    if notice:
        data["notice"] = " ".join(notice)
    return Answer(data, ("trades",), " ".join([*notice[: len(onward.crowded)], _GO_ON]), paging)


_GO_ON = "Pass `nextCursor` as `cursor` for the next ones."


TRADES_TOOL = Tool(
    name="get_trades",
    title="Get public trades",
    description=(
        "Trades of one symbol by anybody: the latest, newest first; with `since`, from then on, "
        "oldest first, as far back as the exchange tells. For long history use get_ohlcv."
    ),
    arguments=_Trades,
    output=result_schema(
        ("exchange", "symbol", "trades", "total", "truncated", *FRESHNESS),
        exchange=ANSWERED_BY,
        symbol={"type": "string"},
        trades={"type": "array", "items": market_rows.TRADE.schema()},
        **FRESHNESS,
        **PAGED_SCHEMA,
    ),
    run=_get_trades,
    toolset=Toolset.MARKET,
)
