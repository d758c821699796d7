"""Tools that list an account's orders: those that rest on the book, and past ones.

Owns: their arguments, words, schemas and bodies. Refuses: one order by its id (``order_lookup.py``)
and how a past is read without gaps (``past.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer, paged, remarked
from ccxt_mcp.calls.cursors import Paging, Position
from ccxt_mcp.calls.history import place
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection.orders import order, orders
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Account, Arguments, Cursor, Exchange
from ccxt_mcp.tools.of_account import MAX_ROWS, listed, naming_the_symbol
from ccxt_mcp.tools.one_kind import of_one_kind
from ccxt_mcp.tools.past import BOTH_WAYS, PastArguments, past_answer, past_method
from ccxt_mcp.tools.tool import Tool

__all__ = ["OPEN_ORDERS_TOOL", "ORDER_HISTORY_TOOL"]

_OnlySymbol = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="Only this symbol; default: all of the default kind of market.",
    ),
]


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
            project=order,
            exchange=lease.exchange,
            account=call.account,
        )
        answer = of_one_kind(answer, lease.listing, symbol, "symbol")
        if symbol is None and lease.id in _DEAR:
            answer = remarked(
                answer,
                f"Asking {lease.exchange} for all symbols costs it {_DEAR[lease.id]} as much of "
                "the rate limit as asking for one: pass `symbol` where one is enough.",
            )
        return answer


_DEAR = dict.fromkeys(("binance", "binanceus", "binanceusdm", "binancecoinm"), "13 to 40 times")
"""Exchanges that charge for a question about all symbols (CCXT's ``noSymbol`` costs)."""

_MIXED_IN = 50
"""Open orders that may be among the past ones where the exchange lists both together."""


async def _get_order_history(call: Call, args: PastArguments) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_closed_orders") as lease:
        symbol = None if args.symbol is None else await lease.find(args.symbol)
        method = past_method(call, lease)

        def past(rows: list[Any]) -> list[dict[str, Any]]:
            return orders(row for row in rows if row.get("status") != "open")

        mixed = _MIXED_IN if method == "fetch_orders" else 0
        return await past_answer(
            call, lease, args, "orders", method, symbol, past, "past orders", mixed
        )


_PLAIN_ORDER = {"type": "object", "description": "As get_order describes it."}
"""One description of an order is enough for a list of tools that a model has to read."""

OPEN_ORDERS_TOOL = Tool(
    name="get_open_orders",
    title="Get open orders",
    description=(
        "Orders of an account that still rest on the book, newest first. Prices and amounts "
        "are exact decimal strings. Pass `symbol` where one is enough: all symbols cost much "
        "more of the rate limit on Binance and are refused by some exchanges. For filled or "
        "cancelled orders use get_order_history."
    ),
    arguments=_OpenOrders,
    output=listed("orders", _PLAIN_ORDER, "Newest first.", **PAGED_SCHEMA),
    run=_get_open_orders,
    toolset=Toolset.ACCOUNT,
)

ORDER_HISTORY_TOOL = Tool(
    name="get_order_history",
    title="Get past orders",
    description=(
        "Orders of an account that are no longer open (filled, cancelled, expired, rejected): "
        "the latest, newest first; with `since` all placed from then on, oldest first, in "
        "pages. For resting orders use get_open_orders."
    ),
    arguments=PastArguments,
    output=listed("orders", _PLAIN_ORDER, BOTH_WAYS, **PAGED_SCHEMA),
    run=_get_order_history,
    toolset=Toolset.ACCOUNT,
)
