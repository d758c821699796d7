"""An account's past as an answer: the latest rows, or all from a time on, in pages.

Owns: the arguments of such a question, the method that tells most of it, and how a page says that
there is more, or that something may be missing. Refuses: how a past is read without gaps
(``calls/history.py``), and what its rows are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import Answer, page, paged, remarked
from ccxt_mcp.calls.cursors import Paging, of_form
from ccxt_mcp.calls.history import Stretch, forward, place
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.habits import ORDER_OF_FILLS, Habits, habits
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.tools.arguments import Account, Arguments, Cursor, Exchange, Since
from ccxt_mcp.tools.of_account import MAX_ROWS, naming_the_symbol
from ccxt_mcp.tools.one_kind import of_one_kind

__all__ = ["BOTH_WAYS", "UNIFIED", "PastArguments", "past_answer", "past_method"]

_NeededSymbol = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="Only this symbol; many exchanges require one here.",
    ),
]
BOTH_WAYS = "Newest first; with `since` oldest first."
"""What the schema says of the order of the rows."""

# The widest first, each natively offered one before any that CCXT emulates: emulation asks the
# exchange for the same and drops rows. `fetch_orders` also returns open orders.
_PAST = {
    "fetch_canceled_and_closed_orders": "fetchCanceledAndClosedOrders",
    "fetch_orders": "fetchOrders",
    "fetch_closed_orders": "fetchClosedOrders",
}
UNIFIED = {**_PAST, "fetch_open_orders": "fetchOpenOrders", "fetch_my_trades": "fetchMyTrades"}
"""Method → CCXT's name, of all methods that list an account's orders or fills."""


class PastArguments(Arguments):
    """What every question about an account's past takes."""

    symbol: _NeededSymbol | None = None
    exchange: Exchange | None = None
    account: Account | None = None
    since: Since | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ROWS, description="Orders to show.")] = 50
    cursor: Cursor | None = None


def past_method(call: Call, lease: Lease) -> str:
    """The method that tells most of the past orders at this exchange."""
    has = call.gateway.facts(lease.exchange).has
    native = (method for method, name in _PAST.items() if has.get(name) is True)
    return next(native, "fetch_closed_orders")


async def past_answer(
    call: Call,
    lease: Lease,
    args: PastArguments,
    key: str,
    method: str,
    symbol: str | None,
    shown: Callable[[list[Any]], list[dict[str, Any]]],
    lists: str,
    mixed_in: int = 0,
) -> Answer:
    """The latest rows, or, from ``since`` on, all of them in pages."""
    most = lease.feature(UNIFIED[method], "limit", symbol)
    how = habits(
        lease.id,
        UNIFIED[method],
        contract=symbol is not None and bool(lease.market(symbol).get("contract")),
        limit=most,
        days=lease.feature(UNIFIED[method], "untilDays", symbol),
    )
    upstream = None if how.whole else symbol

    def of_the_symbol(rows: list[Any]) -> list[Any]:
        if not how.whole or symbol is None:
            return rows
        return [row for row in rows if row.get("symbol") == symbol]

    head: dict[str, Any] = {"exchange": lease.exchange, "account": call.account}
    if args.since is None:
        if args.cursor is not None:
            raise Failure(
                Code.INVALID_ARGUMENT,
                "`cursor` goes on after a result with `since`; pass the same `since` with it.",
            )
        wanted = min(args.limit + mixed_in, most if isinstance(most, int) and most > 1 else 1000)
        order = getattr(args, "orderId", None)
        if how.whole or order is not None:
            wanted = how.page
        by_order = ORDER_OF_FILLS.get(lease.id) if order is not None else None
        raw = await naming_the_symbol(
            call,
            lease,
            method,
            upstream,
            None,
            wanted,
            lists=lists,
            params=None if by_order is None else {by_order: order},
        )
        rows = sorted(shown(of_the_symbol(raw)), key=place, reverse=True)
        full = len(raw) >= min(wanted, how.page)
        less = "For earlier ones pass `since`: they come oldest first, in pages."
        raisable = args.limit < min(MAX_ROWS, how.page) and not how.whole and order is None
        more = f"Raise `limit`. {less}" if raisable else less
        answer = page(
            key, rows[: args.limit], len(rows), more=more, less=less, maybe_more=full, **head
        )
        return of_one_kind(answer, lease.listing, symbol, "symbol")
    question = {
        "past": key,
        **head,
        "symbol": symbol,
        "since": args.since,
        "order": getattr(args, "orderId", None),
    }
    paging = Paging(question, place, args.cursor)

    after = paging.after
    if after is not None:
        of_form(after, int, str)

    async def ask(since: int, until: int | None) -> list[Any]:
        params = {**how.params, **({} if until is None else how.until(until))}
        rows: list[Any] = await naming_the_symbol(
            call, lease, method, upstream, since, how.page, lists=lists, params=params or None
        )
        return rows

    now = round(time.time() * 1000) + _AHEAD
    stretch = await forward(ask, how, since=args.since, after=after, now=now)
    rows = shown(of_the_symbol(stretch.rows))
    answer = _page_of(key, rows, stretch, paging, args.limit, how, head)
    return of_one_kind(answer, lease.listing, symbol, "symbol")


_AHEAD = 60_000
"""Milliseconds by which an exchange's clock may be ahead."""


def _page_of(
    key: str,
    rows: list[dict[str, Any]],
    stretch: Stretch,
    paging: Paging,
    limit: int,
    how: Habits,
    head: dict[str, Any],
) -> Answer:
    answer = paged(key, rows, paging, limit, more=stretch.more, **head)
    if not rows and (stretch.more or stretch.resume is not None):
        # The stretch held others' rows only, or nothing yet: the caller goes on after it.
        end = stretch.resume
        if end is None:
            end = max(row.get("timestamp") or 0 for row in stretch.rows) + 1
        answer.data["truncated"] = True
        answer.data["nextCursor"] = paging.cursor({"timestamp": end - 1, "id": _LAST})
        answer.data["notice"] = "None so far; pass `nextCursor` as `cursor` to look further."
    if stretch.crowded is not None:
        answer = remarked(
            answer,
            f"At {stretch.crowded} there are more than the {how.page} rows that one request to "
            "the exchange brings; the others are not shown.",
        )
    if stretch.gaps:
        answer = remarked(
            answer,
            "This exchange cannot be asked for a span of time: when it has more rows than one "
            "request brings, the earlier ones may be missing.",
        )
    return answer


_LAST = "\uffff"
"""An id after all others of its millisecond."""
