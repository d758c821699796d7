"""The long tail: every other reading method of CCXT's, through one tool.

Owns: which instance a method runs on, and the form of its result. Refuses: any method that
``method_search.py`` does not know, before anything else is looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls import generic
from ccxt_mcp.calls.bounds import MAX_BYTES, PAGED_SCHEMA, Answer, paged
from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.methods import Method
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Account, Arguments, Cursor, Exchange, MaxAge
from ccxt_mcp.tools.method_arguments import arguments_of, ordered
from ccxt_mcp.tools.method_search import known
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["CALL_READ_METHOD_TOOL"]


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
    includeInfo: Annotated[
        bool, Field(description="Also what the exchange sent, as CCXT's `info`.")
    ] = False
    limit: Annotated[int, Field(ge=1, le=1000, description="Rows to show.")] = 100
    cursor: Cursor | None = None
    maxAgeMs: MaxAge | None = None


async def _call_read_method(call: Call, args: _CallRead) -> Answer:
    method = known(args.method)
    problems: list[str] = []
    given = arguments_of(method, args.arguments, problems)
    name = call.choose_exchange(args.exchange) if args.exchange or not args.account else None
    if args.account is not None:
        # Whatever the method needs: a name that is wrong is told, not ignored.
        call.accounts.resolve(name, args.account, default_exchange=call.settings.default_exchange)
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
    private = method.private_on(ccxt_id)
    if (Toolset.ACCOUNT if private else Toolset.MARKET) not in call.settings.toolsets:
        raise _elsewhere(name, method, call.settings.toolsets)
    if private:
        async with call.private(name, args.account, method.python) as lease:
            await _resolve(given, lease.find)
            raw = await call.fetch(lease, method.python, *ordered(method, given))
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


def _elsewhere(name: str, method: Method, served: Iterable[Toolset]) -> Failure:
    return Failure(
        Code.NOT_SUPPORTED,
        f"{method.name} is not called by this node, whose tool sets are: {', '.join(served)}.",
        hint="Call it at a node that serves the other tool set, or widen `toolsets` in this one's"
        " configuration.",
        exchange=name,
        operation=method.name,
    )


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


CALL_READ_METHOD_TOOL = Tool(
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
)
