"""Tools that read an account: balances and orders. Each call runs on an instance of its own.

Owns: their arguments, words, schemas and bodies. Refuses: showing anything of an account but its
name, and every write.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls import projection, values
from ccxt_mcp.calls.bounds import CUT_SCHEMA, Answer, page
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.tools.arguments import Account, Arguments, Exchange, Since
from ccxt_mcp.tools.tool import ANSWERED_BY, Tool, result_schema

__all__ = ["ACCOUNT_TOOLS"]

MAX_ORDERS = 500
"""Orders of one answer before its size is even looked at."""


class _Accounts(Arguments):
    exchange: Exchange | None = None


async def _list_accounts(call: Call, args: _Accounts) -> Answer:
    accounts = call.accounts.all()
    if args.exchange is not None:
        accounts = call.accounts.for_exchange(call.choose_exchange(args.exchange))
    rows = [
        {
            "name": account.name,
            "exchange": account.exchange,
            "default": call.accounts.default_name(account.exchange) == account.name,
        }
        for account in accounts
    ]
    rows.sort(key=lambda row: (row["exchange"], row["name"]))
    return page("accounts", rows, len(rows), more="Narrow it with `exchange`.")


class _Balance(Arguments):
    exchange: Exchange | None = None
    account: Account | None = None
    includeZero: Annotated[
        bool, Field(description="Also list currencies of which there is nothing.")
    ] = False


async def _account_balance(call: Call, args: _Balance) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_balance") as lease:
        raw = await call.fetch(lease, "fetch_balance")
        rows = projection.balances(raw, include_zero=args.includeZero)
        head: dict[str, Any] = {"exchange": lease.exchange, "account": call.account}
        at = values.integer(raw.get("timestamp"))
        if at is not None:
            head["timestamp"] = at
        return page(
            "balances",
            rows,
            len(rows),
            more="Leave out `includeZero` to see what is there."
            if args.includeZero
            else "The account has more currencies than fit into one result.",
            **head,
        )


class _OpenOrders(Arguments):
    exchange: Exchange | None = None
    account: Account | None = None
    symbol: Annotated[
        str | None,
        Field(min_length=1, max_length=64, description="Only this symbol; default: all."),
    ] = None
    limit: Annotated[
        int | None, Field(ge=1, le=MAX_ORDERS, description="At most this many orders.")
    ] = None


async def _get_open_orders(call: Call, args: _OpenOrders) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_open_orders") as lease:
        symbol = None if args.symbol is None else await lease.find(args.symbol)
        raw = await _naming_the_symbol(
            call, lease, "fetch_open_orders", symbol, None, args.limit, lists="open orders"
        )
        full = args.limit is not None and len(raw) >= args.limit
        less = "Narrow it with `symbol`." if symbol is None else "The rest cannot be shown."
        raisable = full and args.limit != MAX_ORDERS
        more = "Narrow it with `symbol` or raise `limit`." if raisable else less
        return _orders(call, lease, raw, args.limit or MAX_ORDERS, more, less, maybe_more=full)


class _History(Arguments):
    symbol: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="Only this symbol; many exchanges require one here.",
        ),
    ] = None
    exchange: Exchange | None = None
    account: Account | None = None
    since: Since | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ORDERS, description="Orders to show.")] = 50


# The widest first, each natively offered one before any that CCXT emulates: emulation asks the
# exchange for the same and drops rows. `fetch_orders` also returns open orders.
_PAST = {
    "fetch_canceled_and_closed_orders": "fetchCanceledAndClosedOrders",
    "fetch_orders": "fetchOrders",
    "fetch_closed_orders": "fetchClosedOrders",
}
_MIXED_IN = 50
"""Open orders that may be among the past ones where the exchange lists both together."""


async def _get_order_history(call: Call, args: _History) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_closed_orders") as lease:
        symbol = None if args.symbol is None else await lease.find(args.symbol)
        has = call.gateway.facts(lease.exchange).has
        native = (method for method, name in _PAST.items() if has.get(name) is True)
        method = next(native, "fetch_closed_orders")
        wanted = args.limit + _MIXED_IN if method == "fetch_orders" else args.limit
        raw = await _naming_the_symbol(
            call, lease, method, symbol, args.since, wanted, lists="past orders"
        )
        past = [order for order in raw if order.get("status") != "open"]
        forward = args.since is not None
        if forward:
            more = less = "Go on with `since` after the newest order shown."
        else:
            less = "Ask for an earlier time with `since`."
            raisable = args.limit != MAX_ORDERS
            more = "Raise `limit`, or ask for an earlier time with `since`." if raisable else less
        return _orders(
            call,
            lease,
            past,
            args.limit,
            more,
            less,
            maybe_more=len(raw) >= wanted,
            oldest_first_kept=forward,
        )


async def _naming_the_symbol(
    call: Call, lease: Lease, method: str, symbol: str | None, *args: Any, lists: str
) -> Any:
    """Fetch, and say in our own words that the exchange wants a symbol, where it does."""
    try:
        return await call.fetch(lease, method, symbol, *args)
    except Failure as failure:
        asks_for_it = failure.code is Code.INVALID_ARGUMENT and "symbol" in failure.message
        if symbol is None and asks_for_it:
            raise Failure(
                Code.INVALID_ARGUMENT,
                f"`symbol` is required: {lease.exchange} lists {lists} of one symbol at a time.",
                hint="Pass `symbol`; `get_markets` finds it.",
                exchange=lease.exchange,
                operation=failure.operation,
            ) from None
        raise


def _orders(
    call: Call,
    lease: Lease,
    raw: Any,
    limit: int,
    more: str,
    less: str,
    *,
    maybe_more: bool,
    oldest_first_kept: bool = False,
) -> Answer:
    """Orders, newest first. Where not all are shown, the newest are, or, when the caller goes
    forward in time with `since`, the oldest: so that going on leaves no gap."""
    newest = sorted(raw, key=lambda order: order.get("timestamp") or 0, reverse=True)
    chosen = newest[-limit:] if oldest_first_kept else newest[:limit]
    return page(
        "orders",
        projection.orders(chosen),
        len(newest),
        more=more,
        less=less,
        maybe_more=maybe_more,
        keep_end=oldest_first_kept,
        exchange=lease.exchange,
        account=call.account,
    )


_WHOSE = {
    "exchange": ANSWERED_BY,
    "account": {"type": "string", "description": "Name of the account."},
}
_ORDERS = result_schema(
    ("exchange", "account", "orders", "total", "truncated"),
    **_WHOSE,
    orders={"type": "array", "items": projection.ORDER.schema(), "description": "Newest first."},
    **CUT_SCHEMA,
)

ACCOUNT_TOOLS = (
    Tool(
        name="list_accounts",
        title="List accounts",
        description=(
            "Names to pass as `account`, and the exchange of each. Keys are configured on the "
            "server and never shown. For what an account holds use account_balance."
        ),
        arguments=_Accounts,
        output=result_schema(
            ("accounts", "total", "truncated"),
            accounts={
                "type": "array",
                "items": result_schema(
                    ("name", "exchange", "default"),
                    name={"type": "string"},
                    exchange={"type": "string"},
                    default={
                        "type": "boolean",
                        "description": "Used when a call for this exchange names no account.",
                    },
                ),
            },
            **CUT_SCHEMA,
        ),
        run=_list_accounts,
    ),
    Tool(
        name="account_balance",
        title="Get balances",
        description=(
            "What an account holds, per currency: free, used in orders, total. Amounts are exact "
            "decimal strings. Empty currencies are left out unless `includeZero`. For orders use "
            "get_open_orders."
        ),
        arguments=_Balance,
        output=result_schema(
            ("exchange", "account", "balances", "total", "truncated"),
            **_WHOSE,
            balances={"type": "array", "items": projection.BALANCE.schema()},
            timestamp={"type": "integer", "description": "Milliseconds since 1970, UTC."},
            **CUT_SCHEMA,
        ),
        run=_account_balance,
    ),
    Tool(
        name="get_open_orders",
        title="Get open orders",
        description=(
            "Orders of an account that still rest on the book, newest first. Prices and amounts "
            "are exact decimal strings. For filled or cancelled orders use get_order_history."
        ),
        arguments=_OpenOrders,
        output=_ORDERS,
        run=_get_open_orders,
    ),
    Tool(
        name="get_order_history",
        title="Get past orders",
        description=(
            "Orders of an account that are no longer open (filled, cancelled, expired, rejected), "
            "newest first. For resting orders use get_open_orders."
        ),
        arguments=_History,
        output=_ORDERS,
        run=_get_order_history,
    ),
)
"""In the order in which they are listed."""
