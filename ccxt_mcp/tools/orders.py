"""Tools that read an account's orders and fills. Each call runs on an instance of its own.

Owns: their arguments, words, schemas and bodies. Refuses: what an account holds (``account.py``),
how a past is read without gaps (``calls/history``), and every write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls import holdings, projection
from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer, page, paged
from ccxt_mcp.calls.cursors import Paging, Position, foreign
from ccxt_mcp.calls.history import Stretch, forward, place
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.habits import ORDER_OF_FILLS, ClientId, Habits, client_ids, habits
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.tools.arguments import Account, Arguments, Cursor, Exchange, Since
from ccxt_mcp.tools.tool import ANSWERED_BY, Tool, result_schema

__all__ = ["ORDER_TOOLS", "WHOSE", "naming_the_symbol", "remarked"]

MAX_ROWS = 500
"""Rows of one answer before its size is even looked at."""

_OnlySymbol = Annotated[
    str, Field(min_length=1, max_length=64, description="Only this symbol; default: all.")
]
_NeededSymbol = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="Only this symbol; many exchanges require one here.",
    ),
]
_OrderId = Annotated[str, Field(min_length=1, max_length=128)]


class _OpenOrders(Arguments):
    exchange: Exchange | None = None
    account: Account | None = None
    symbol: _OnlySymbol | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ROWS, description="At most this many orders.")] = 500
    cursor: Cursor | None = None


def _newest_first(row: Mapping[str, Any]) -> Position:
    at, name = place(row)
    return (-int(at), name, str(row.get("symbol") or ""))


async def _get_open_orders(call: Call, args: _OpenOrders) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_open_orders") as lease:
        symbol = None if args.symbol is None else await lease.find(args.symbol)
        question = {"openOrders": lease.exchange, "account": call.account, "symbol": symbol}
        paging = Paging(question, _newest_first, args.cursor)
        # Without a limit: of an answer that CCXT cut off the rest could not be gone on with.
        raw = await naming_the_symbol(call, lease, "fetch_open_orders", symbol, lists="open orders")
        answer = paged(
            "orders",
            raw,
            paging,
            args.limit,
            project=_order,
            exchange=lease.exchange,
            account=call.account,
        )
        if symbol is None and lease.id in _DEAR:
            answer = remarked(
                answer,
                f"Asking {lease.exchange} for all symbols costs it {_DEAR[lease.id]} as much of "
                "the rate limit as asking for one: pass `symbol` where one is enough.",
            )
        return answer


_DEAR = dict.fromkeys(("binance", "binanceus", "binanceusdm", "binancecoinm"), "13 to 40 times")
"""Exchanges that charge for a question about all symbols (CCXT's ``noSymbol`` costs)."""


def _order(row: Mapping[str, Any]) -> dict[str, Any]:
    return projection.orders((row,))[0]


class _GetOrder(Arguments):
    orderId: Annotated[_OrderId, Field(description="The exchange's id of the order.")] | None = None
    clientOrderId: (
        Annotated[_OrderId, Field(description="Or the id given by whoever placed it.")] | None
    ) = None
    symbol: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=64,
                description="The order's symbol; many exchanges require it.",
            ),
        ]
        | None
    ) = None
    exchange: Exchange | None = None
    account: Account | None = None


async def _get_order(call: Call, args: _GetOrder) -> Answer:
    if (args.orderId is None) == (args.clientOrderId is None):
        raise Failure(
            Code.INVALID_ARGUMENT,
            "Exactly one of `orderId` and `clientOrderId` is required.",
            hint="get_open_orders and get_order_history show both.",
        )
    async with call.private(args.exchange, args.account, "fetch_order") as lease:
        symbol = None if args.symbol is None else await lease.find(args.symbol)
        way = client_ids(lease.id)
        if args.orderId is not None:
            params = dict(way.params) or None
            found = await naming_the_symbol(
                call, lease, "fetch_order", symbol, before=(args.orderId,), params=params
            )
            _check_id(lease, "id", args.orderId, found, "")
        else:
            found = await _by_client_id(call, lease, way, args.clientOrderId or "", symbol)
        said = found.get("symbol")
        if symbol is not None and said is not None and said != symbol:
            raise Failure(
                Code.ORDER_NOT_FOUND,
                f"The order with this id is of {said}, not of {symbol}.",
                hint=f"Pass `symbol` {said}.",
                exchange=lease.exchange,
            )
        return Answer({"exchange": lease.exchange, "account": call.account, "order": _order(found)})


async def _by_client_id(
    call: Call, lease: Lease, way: ClientId, wanted: str, symbol: str | None
) -> Mapping[str, Any]:
    if way.fetch:
        asked = wanted if wanted.startswith(way.prefix) else way.prefix + wanted
        found: Mapping[str, Any] = await naming_the_symbol(
            call,
            lease,
            "fetch_order",
            symbol,
            before=("",),
            params={"clientOrderId": asked},
        )
        _check_id(lease, "clientOrderId", wanted, found, way.prefix)
        return found
    past = _past_method(call, lease)
    methods = [each for each in ("fetch_open_orders", past) if lease.has(_UNIFIED[each])]
    if not methods:
        raise Failure(
            Code.NOT_SUPPORTED,
            f"{lease.exchange} does not find orders by the client's id.",
            hint="Pass `orderId`.",
            exchange=lease.exchange,
        )
    params = {way.lists: wanted} if way.lists else None
    for method in methods:
        # Without a limit of ours the exchange's own holds, mostly some fifty to a thousand.
        rows = await naming_the_symbol(call, lease, method, symbol, params=params)
        matching = [row for row in rows if _same(row.get("clientOrderId"), wanted, way.prefix)]
        if matching:
            newest: Mapping[str, Any] = max(matching, key=place)
            return newest
        if way.lists and rows:
            raise _other(lease, "clientOrderId", wanted)
    raise Failure(
        Code.ORDER_NOT_FOUND,
        f"No order with the client's id {wanted!r} is among the open orders and the latest past "
        f"ones{f' of {symbol}' if symbol else ''}.",
        hint="An older order is found by `orderId`."
        if way.lists or symbol
        else "Pass the order's `symbol`: then more of the past is looked through.",
        exchange=lease.exchange,
        operation=call.operation,
    )


def _check_id(lease: Lease, key: str, wanted: str, found: Mapping[str, Any], prefix: str) -> None:
    if not _same(found.get(key), wanted, prefix):
        raise _other(lease, key, wanted)


def _other(lease: Lease, key: str, wanted: str) -> Failure:
    name = "orderId" if key == "id" else key
    return Failure(
        Code.BAD_RESPONSE,
        f"The answer is about another order than the one with `{name}` {wanted!r}; it was "
        "discarded.",
        exchange=lease.exchange,
        operation="fetchOrder",
    )


def _same(said: Any, wanted: str, prefix: str) -> bool:
    """Whether an id is the one asked for: written alike but for case, zeros before a number, and
    what the exchange puts before it."""

    def plain(name: str) -> str:
        name = name.strip().lower().removeprefix(prefix)
        return name.lstrip("0") if name.isdecimal() else name

    return said is not None and plain(str(said)) == plain(wanted)


class _History(Arguments):
    symbol: _NeededSymbol | None = None
    exchange: Exchange | None = None
    account: Account | None = None
    since: Since | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ROWS, description="Orders to show.")] = 50
    cursor: Cursor | None = None


# The widest first, each natively offered one before any that CCXT emulates: emulation asks the
# exchange for the same and drops rows. `fetch_orders` also returns open orders.
_PAST = {
    "fetch_canceled_and_closed_orders": "fetchCanceledAndClosedOrders",
    "fetch_orders": "fetchOrders",
    "fetch_closed_orders": "fetchClosedOrders",
}
_UNIFIED = {**_PAST, "fetch_open_orders": "fetchOpenOrders", "fetch_my_trades": "fetchMyTrades"}
_MIXED_IN = 50
"""Open orders that may be among the past ones where the exchange lists both together."""


def _past_method(call: Call, lease: Lease) -> str:
    has = call.gateway.facts(lease.exchange).has
    native = (method for method, name in _PAST.items() if has.get(name) is True)
    return next(native, "fetch_closed_orders")


async def _get_order_history(call: Call, args: _History) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_closed_orders") as lease:
        symbol = None if args.symbol is None else await lease.find(args.symbol)
        method = _past_method(call, lease)

        def past(rows: list[Any]) -> list[dict[str, Any]]:
            return projection.orders(row for row in rows if row.get("status") != "open")

        mixed = _MIXED_IN if method == "fetch_orders" else 0
        return await _told(call, lease, args, "orders", method, symbol, past, "past orders", mixed)


class _Trades(_History):
    limit: Annotated[int, Field(ge=1, le=MAX_ROWS, description="Fills to show.")] = 50
    orderId: Annotated[_OrderId, Field(description="Only fills of this order.")] | None = None


async def _get_my_trades(call: Call, args: _Trades) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_my_trades") as lease:
        symbol = None if args.symbol is None else await lease.find(args.symbol)

        def of_the_order(rows: list[Any]) -> list[dict[str, Any]]:
            wanted = args.orderId
            chosen = (r for r in rows if wanted is None or _same(r.get("order"), wanted, ""))
            return holdings.trades(chosen)

        return await _told(
            call, lease, args, "trades", "fetch_my_trades", symbol, of_the_order, "fills"
        )


async def _told(
    call: Call,
    lease: Lease,
    args: _History,
    key: str,
    method: str,
    symbol: str | None,
    shown: Callable[[list[Any]], list[dict[str, Any]]],
    lists: str,
    mixed_in: int = 0,
) -> Answer:
    """The latest rows, or, from ``since`` on, all of them in pages."""
    most = lease.feature(_UNIFIED[method], "limit", symbol)
    how = habits(
        lease.id,
        _UNIFIED[method],
        contract=symbol is not None and bool(lease.market(symbol).get("contract")),
        limit=most,
        days=lease.feature(_UNIFIED[method], "untilDays", symbol),
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
        return page(
            key, rows[: args.limit], len(rows), more=more, less=less, maybe_more=full, **head
        )
    question = {
        "past": key,
        **head,
        "symbol": symbol,
        "since": args.since,
        "order": getattr(args, "orderId", None),
    }
    paging = Paging(question, place, args.cursor)

    after = paging.after
    if after is not None and [type(part) for part in after] != [int, str]:
        raise foreign()

    async def ask(since: int, until: int | None) -> list[Any]:
        params = {**how.params, **({} if until is None else how.until(until))}
        rows: list[Any] = await naming_the_symbol(
            call, lease, method, upstream, since, how.page, lists=lists, params=params or None
        )
        return rows

    now = round(time.time() * 1000) + _AHEAD
    stretch = await forward(ask, how, since=args.since, after=after, now=now)
    rows = shown(of_the_symbol(stretch.rows))
    return _page_of(key, rows, stretch, paging, args.limit, how, head)


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


def remarked(answer: Answer, words: str) -> Answer:
    """With more in the notice, also in the one that a cut may make later."""
    told = answer.data.get("notice")
    data = {**answer.data, "notice": f"{told} {words}" if told else words}
    return replace(answer, data=data, more=f"{answer.more} {words}".strip())


async def naming_the_symbol(
    call: Call,
    lease: Lease,
    method: str,
    symbol: str | list[str] | None,
    *args: Any,
    lists: str = "orders",
    before: tuple[Any, ...] = (),
    params: Mapping[str, Any] | None = None,
) -> Any:
    """Fetch, and say in our own words that the exchange wants a symbol, where it does."""
    try:
        return await call.fetch(lease, method, *before, symbol, *args, params=params)
    except Failure as failure:
        words = failure.message.lower()
        asks_for_it = failure.code is Code.INVALID_ARGUMENT and "symbol" in words
        # Some of CCXT's classes look for the market of no symbol.
        asks_for_it = asks_for_it or failure.code is Code.UNKNOWN_SYMBOL
        if symbol is None and asks_for_it:
            said = "finds an order" if before else f"lists {lists}"
            raise Failure(
                Code.INVALID_ARGUMENT,
                f"`symbol` is required: {lease.exchange} {said} of one symbol at a time.",
                hint="Pass `symbol`; `get_markets` finds it.",
                exchange=lease.exchange,
                operation=failure.operation,
            ) from None
        raise


WHOSE = {
    "exchange": ANSWERED_BY,
    "account": {"type": "string", "description": "Name of the account."},
}
_ORDER = projection.ORDER.schema()


def _listed(key: str, row: dict[str, Any], order: str, **more: Any) -> dict[str, Any]:
    return result_schema(
        ("exchange", "account", key, "total", "truncated"),
        **WHOSE,
        **{key: {"type": "array", "items": row, "description": order}},
        **more,
    )


_PLAIN_ORDER = {"type": "object", "description": "As get_order describes it."}
"""One description of an order is enough for a list of tools that a model has to read."""
_BOTH_WAYS = "Newest first; with `since` oldest first."

ORDER_TOOLS = (
    Tool(
        name="get_open_orders",
        title="Get open orders",
        description=(
            "Orders of an account that still rest on the book, newest first. Prices and amounts "
            "are exact decimal strings. Pass `symbol` where one is enough: all symbols cost much "
            "more of the rate limit on Binance and are refused by some exchanges. For filled or "
            "cancelled orders use get_order_history."
        ),
        arguments=_OpenOrders,
        output=_listed("orders", _PLAIN_ORDER, "Newest first.", **PAGED_SCHEMA),
        run=_get_open_orders,
    ),
    Tool(
        name="get_order",
        title="Get one order",
        description=(
            "One order of an account, open or past, by `orderId` or `clientOrderId`. Prices and "
            "amounts are exact decimal strings. For its single fills use get_my_trades."
        ),
        arguments=_GetOrder,
        output=result_schema(("exchange", "account", "order"), **WHOSE, order=_ORDER),
        run=_get_order,
    ),
    Tool(
        name="get_order_history",
        title="Get past orders",
        description=(
            "Orders of an account that are no longer open (filled, cancelled, expired, rejected): "
            "the latest, newest first; with `since` all placed from then on, oldest first, in "
            "pages. For resting orders use get_open_orders."
        ),
        arguments=_History,
        output=_listed("orders", _PLAIN_ORDER, _BOTH_WAYS, **PAGED_SCHEMA),
        run=_get_order_history,
    ),
    Tool(
        name="get_my_trades",
        title="Get fills",
        description=(
            "Fills of an account with price, amount and fee as exact decimal strings: the latest, "
            "newest first; with `since` all from then on, oldest first, in pages. For what was "
            "ordered use get_order_history; for everybody's trades get_trades."
        ),
        arguments=_Trades,
        output=_listed("trades", holdings.TRADE.schema(), _BOTH_WAYS, **PAGED_SCHEMA),
        run=_get_my_trades,
    ),
)
"""In the order in which they are listed."""
