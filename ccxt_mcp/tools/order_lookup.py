"""One order of an account, by the exchange's id or the client's: the tool, and the search.

Owns: the ways in which exchanges find an order by the client's id, and that the order found is the
one asked for. Refuses: lists (``orders.py``), and every write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import Answer
from ccxt_mcp.calls.history import place
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection.orders import ORDER, order
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.habits import ClientId, client_ids
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Account, Arguments, Exchange
from ccxt_mcp.tools.of_account import WHOSE, OrderId, naming_the_symbol, same_id
from ccxt_mcp.tools.past import UNIFIED, past_method
from ccxt_mcp.tools.tool import Tool, result_schema

__all__ = ["ORDER_TOOL"]


class _GetOrder(Arguments):
    orderId: Annotated[OrderId, Field(description="The exchange's id of the order.")] | None = None
    clientOrderId: (
        Annotated[OrderId, Field(description="Or the id given by whoever placed it.")] | None
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
            _check(lease, "id", args.orderId, found, "")
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
        return Answer({"exchange": lease.exchange, "account": call.account, "order": order(found)})


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
        _check(lease, "clientOrderId", wanted, found, way.prefix)
        return found
    past = past_method(call, lease)
    methods = [each for each in ("fetch_open_orders", past) if lease.has(UNIFIED[each])]
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
        matching = [row for row in rows if same_id(row.get("clientOrderId"), wanted, way.prefix)]
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


def _check(lease: Lease, key: str, wanted: str, found: Mapping[str, Any], prefix: str) -> None:
    if not same_id(found.get(key), wanted, prefix):
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


ORDER_TOOL = Tool(
    name="get_order",
    title="Get one order",
    description=(
        "One order of an account, open or past, by `orderId` or `clientOrderId`. Prices and "
        "amounts are exact decimal strings. For its single fills use get_my_trades."
    ),
    arguments=_GetOrder,
    output=result_schema(("exchange", "account", "order"), **WHOSE, order=ORDER.schema()),
    run=_get_order,
    toolset=Toolset.ACCOUNT,
)
