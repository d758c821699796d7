"""CCXT's reading methods by name or by words: the tool that describes them, and the one lookup.

Owns: which method a name means, why another is not called, and what is told of a method. Refuses:
any name that is not in the reviewed table (``exchanges/methods.py``), and asking an exchange.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer, paged
from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import OPERATIONS
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.methods import REFUSED, Argument, Method, methods, upstream_limits
from ccxt_mcp.tools.arguments import Arguments, Cursor, Exchange, did_you_mean, shown_name
from ccxt_mcp.tools.tool import Tool, result_schema

__all__ = ["DESCRIBE_METHOD_TOOL", "TOOL_FOR", "known"]

TOOL_FOR: Mapping[str, str] = {
    "fetchTicker": "get_ticker",
    "fetchTickers": "batch_get_tickers",
    "fetchOrderBook": "get_orderbook",
    "fetchL2OrderBook": "get_orderbook",
    "fetchOHLCV": "get_ohlcv",
    "fetchTrades": "get_trades",
    "fetchFundingRate": "get_funding_rates",
    "fetchFundingRates": "get_funding_rates",
    "fetchMarkets": "get_markets",
    "fetchBalance": "account_balance",
    "fetchOpenOrders": "get_open_orders",
    "fetchOrder": "get_order",
    "fetchOrders": "get_order_history",
    "fetchClosedOrders": "get_order_history",
    "fetchCanceledAndClosedOrders": "get_order_history",
    "fetchMyTrades": "get_my_trades",
    "fetchPositions": "get_positions",
}
"""CCXT's method → the tool that answers the same better."""


def known(asked: str) -> Method:
    """The allowed method of this name.

    Raises:
        Failure: ``invalid_argument`` for every other name, with why and what instead.
    """
    found = methods().get(asked) or _by_python_name().get(asked)
    if found is not None:
        return found
    reason = REFUSED.get(asked)
    if reason is not None:
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"`method` {asked} is not called by this server: {reason}.",
            hint="describe_method finds the methods that are.",
        )
    guess = did_you_mean(asked, tuple(methods()))
    raise Failure(
        Code.INVALID_ARGUMENT,
        f"`method` must be one of CCXT's reading methods, not `{shown_name(asked)}`{guess}.",
        hint="describe_method finds them; this tool calls nothing else.",
    )


def _by_python_name() -> dict[str, Method]:
    return {each.python: each for each in methods().values()}


class _Describe(Arguments):
    search: Annotated[
        str | None,
        Field(max_length=64, description="Words of its name: `open interest`, `deposit`."),
    ] = None
    method: Annotated[
        str | None, Field(min_length=1, max_length=64, description="Or one method by its name.")
    ] = None
    exchange: Exchange | None = None
    limit: Annotated[int, Field(ge=1, le=100, description="Methods to show.")] = 20
    cursor: Cursor | None = None


async def _describe_method(call: Call, args: _Describe) -> Answer:
    if args.method is not None and (args.search or "").strip():
        raise Failure(
            Code.INVALID_ARGUMENT,
            "`method` and `search` cannot be given together.",
            hint="Pass `method` for one method by its name, or `search` for all with these words.",
        )
    exchange = call.choose_exchange(args.exchange) if args.exchange else None
    if args.method is not None:
        found = [known(args.method)]
    else:
        words = re.findall(r"[a-z0-9]+", (args.search or "").lower())
        found = [
            each
            for each in methods().values()
            if all(word in f"{each.name} {each.python}".lower() for word in words)
        ]
    rows = [_described(call, each, exchange) for each in found]
    if args.method is not None and exchange is None:
        rows[0]["exchanges"] = [
            each for each, facts in catalog().exchanges.items() if facts.has.get(found[0].name)
        ]
    paging = Paging(
        {"methods": args.search or "", "one": args.method, "exchange": exchange},
        lambda row: (row["method"],),
        args.cursor,
    )
    head: dict[str, Any] = {} if exchange is None else {"exchange": exchange}
    return paged("methods", rows, paging, args.limit, **head)


def _described(call: Call, method: Method, exchange: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": method.name,
        "private": method.private,
        "arguments": [_argument(each) for each in method.arguments],
        "offeredBy": sum(1 for facts in catalog().exchanges.values() if facts.has.get(method.name)),
    }
    fresh = OPERATIONS[method.python].fresh
    if fresh:
        row["freshMs"] = round(fresh * 1000)
    if method.name in TOOL_FOR:
        row["tool"] = TOOL_FOR[method.name]
    if exchange is not None:
        ccxt_id = call.gateway.profile(exchange).exchange
        has = call.gateway.facts(exchange).has.get(method.name, False)
        row["offered"] = {True: "yes", "emulated": "emulated", False: "no"}[has]
        row["private"] = method.private_on(ccxt_id)
        limits = upstream_limits(ccxt_id, method.name)
        if has and limits:
            row["limits"] = dict(limits)
    return row


def _argument(argument: Argument) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": argument.name,
        "type": _TYPES.get(argument.kind, argument.kind),
        "required": argument.required,
    }
    if argument.default is not None:
        row["default"] = argument.default
    return row


_TYPES = {"strings": "array of strings", "time": "time (ISO 8601 or ms)"}

DESCRIBE_METHOD_TOOL = Tool(
    name="describe_method",
    title="Find a method",
    description=(
        "Finds CCXT's reading methods for call_read_method: arguments, whether an account is "
        "needed, who offers it, the exchange's limits. Asks no exchange. `tool` names the tool "
        "to prefer."
    ),
    arguments=_Describe,
    output=result_schema(
        ("methods", "total", "truncated"),
        exchange={"type": "string"},
        methods={
            "type": "array",
            "items": {"type": "object"},
            "description": "offeredBy: number of exchanges; private: needs an account; limits: "
            "by kind of market; tool: use that instead.",
        },
        **PAGED_SCHEMA,
    ),
    run=_describe_method,
)
