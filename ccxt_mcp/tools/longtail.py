"""The long tail: every other reading method of CCXT's, through two tools.

Owns: which instance a method runs on, the form of its result, and the search for a method.
Refuses: any name that is not in the
reviewed table (``exchanges/methods.py``), before anything else is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls import generic
from ccxt_mcp.calls.bounds import MAX_BYTES, PAGED_SCHEMA, Answer, paged
from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import OPERATIONS
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.methods import REFUSED, Argument, Method, methods, upstream_limits
from ccxt_mcp.tools.arguments import (
    Account,
    Arguments,
    Cursor,
    Exchange,
    MaxAge,
    did_you_mean,
    shown_name,
)
from ccxt_mcp.tools.method_arguments import arguments_of, extras_of, ordered
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["LONG_TAIL_TOOLS", "TOOL_FOR"]

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


class _CallRead(Arguments):
    method: Annotated[
        str,
        Field(min_length=1, max_length=64, description="CCXT's name, e.g. fetchOpenInterest."),
    ]
    exchange: Exchange | None = None
    account: Account | None = None
    arguments: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description="The method's arguments by name, as describe_method lists them.",
        ),
    ]
    params: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description="Further parameters of the exchange's own API; up to 20 scalars.",
        ),
    ]
    includeInfo: Annotated[
        bool, Field(description="Also what the exchange sent, as CCXT's `info`.")
    ] = False
    limit: Annotated[int, Field(ge=1, le=1000, description="Rows to show.")] = 100
    cursor: Cursor | None = None
    maxAgeMs: MaxAge | None = None


def _known(asked: str) -> Method:
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


async def _call_read_method(call: Call, args: _CallRead) -> Answer:
    method = _known(args.method)
    problems: list[str] = []
    given = arguments_of(method, args.arguments, problems)
    params = extras_of(args.params, problems)
    name = call.choose_exchange(args.exchange) if args.exchange or not args.account else None
    if problems:
        takes = ", ".join(each.name for each in method.arguments) or "no arguments"
        raise Failure(
            Code.INVALID_ARGUMENT,
            "; ".join(problems[:20]) + ".",
            hint=f"{method.name} takes {takes}; describe_method tells more.",
            details={"violations": problems[:20]},
        )
    if name is None:
        name = call.choose_account(None, args.account).exchange
    ccxt_id = call.gateway.profile(name).exchange
    if not call.gateway.facts(name).has.get(method.name):
        raise _not_offered(name, ccxt_id, method)
    head: dict[str, Any] = {"exchange": name, "method": method.name}
    if method.private_on(ccxt_id):
        async with call.private(name, args.account, method.python) as lease:
            await _resolve(given, lease.find)
            own = {key: list(v) if isinstance(v, tuple) else v for key, v in params.items()}
            raw = await call.fetch(lease, method.python, *ordered(method, given), params=own)
            value = generic.plain(raw, exact=True, info=args.includeInfo)
        head["account"] = call.account
    else:
        listing = await call.listing(name, method.python)
        await _resolve(given, partial(call.symbol, listing))
        project = generic.market_value_with_info if args.includeInfo else generic.market_value
        read = await call.read(
            name,
            method.python,
            *(tuple(v) if isinstance(v, list) else v for v in ordered(method, given)),
            project=project,
            max_age=None if args.maxAgeMs is None else args.maxAgeMs / 1000,
            params=params,
        )
        value, head = read.value, {**head, **read.freshness}
    return _shown(call, args, value, head)


async def _resolve(given: dict[str, Any], find: Callable[[str], Awaitable[str]]) -> None:
    """Put unified symbols in the place of the names that the caller wrote."""
    if "symbol" in given:
        given["symbol"] = await find(given["symbol"])
    if "symbols" in given:
        given["symbols"] = [await find(each) for each in given["symbols"]]


def _shown(call: Call, args: _CallRead, value: Any, head: dict[str, Any]) -> Answer:
    rows = generic.rows_of(value)
    if rows is None:
        if args.cursor is not None:
            raise Failure(
                Code.INVALID_ARGUMENT, "`cursor` is for results with rows; this one has none."
            )
        shown, cut = generic.bounded(generic.redacted(value, call.redact), MAX_BYTES - 5_000)
        data = {**head, "value": shown, "truncated": cut}
        if cut:
            data["notice"] = "Too large for one result: lists and texts in it are cut short."
        return Answer(data)
    question = args.model_dump(exclude={"limit", "cursor", "maxAgeMs"})
    order = generic.places(rows)
    whole = [{"at": at, "row": row} for at, row in zip(order, rows, strict=True)]
    positions: dict[int, tuple[str | int | float, ...]] = {}
    paging = Paging(
        {"long tail": question, "exchange": head["exchange"], "account": head.get("account")},
        lambda row: positions.get(id(row)) or row["at"],
        args.cursor,
    )
    cut = False

    def project(wrapped: Mapping[str, Any]) -> Any:
        nonlocal cut
        row, short = generic.bounded(generic.redacted(wrapped["row"], call.redact))
        cut = cut or short
        # A row of its own, so that it can be told by identity.
        row = dict(row) if isinstance(row, dict) else list(row) if isinstance(row, list) else [row]
        positions[id(row)] = wrapped["at"]
        return row

    answer = paged("rows", whole, paging, args.limit, project=project, **head)
    if cut:
        answer.data["rowsCut"] = True
    return answer


def _not_offered(name: str, ccxt_id: str, method: Method) -> Failure:
    near = [
        each
        for each in catalog().exchanges
        if catalog().exchanges[each].has.get(method.name) and not catalog().exchanges[each].alias
    ]
    return Failure(
        Code.NOT_SUPPORTED,
        f"{name} does not offer {method.name}.",
        hint=f"describe_method tells what {ccxt_id} offers; {len(near)} exchanges offer this.",
        exchange=name,
        operation=method.name,
    )


class _Describe(Arguments):
    search: Annotated[
        str | None,
        Field(max_length=64, description="Words of its name: `open interest`, `deposit`."),
    ] = None
    method: Annotated[
        str | None, Field(min_length=1, max_length=64, description="One method by its name.")
    ] = None
    exchange: Exchange | None = None
    limit: Annotated[int, Field(ge=1, le=100, description="Methods to show.")] = 20
    cursor: Cursor | None = None


async def _describe_method(call: Call, args: _Describe) -> Answer:
    exchange = call.choose_exchange(args.exchange) if args.exchange else None
    if args.method is not None:
        found = [_known(args.method)]
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

LONG_TAIL_TOOLS = (
    Tool(
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
    ),
    Tool(
        name="call_read_method",
        title="Call a reading method",
        description=(
            "Calls one of CCXT's other reading methods (open interest, ledger, deposits, fees, "
            "leverage…). Find it and its arguments with describe_method. Where a tool exists for "
            "it, such as get_ticker, use that one. It cannot change anything at an exchange."
        ),
        arguments=_CallRead,
        output=result_schema(
            ("exchange", "method", "truncated"),
            exchange=ANSWERED_BY,
            method={"type": "string"},
            account={"type": "string"},
            rows={"type": "array", "description": "{key, value} where CCXT answers by key."},
            value={"description": "The result where it has no rows."},
            rowsCut={"type": "boolean", "description": "A row was too large: cut short."},
            **FRESHNESS,
            **PAGED_SCHEMA,
        ),
        run=_call_read_method,
    ),
)
"""In the order in which they are listed."""
