"""Tools about accounts themselves: which there are, and what each holds of each currency.

Owns: their arguments, words, schemas and bodies. Refuses: showing anything of an account but its
name, positions and orders (files of their own), what a balance is worth (``valuing.py``), and every
write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ccxt_mcp.calls import values
from ccxt_mcp.calls.bounds import CUT_SCHEMA, PAGED_SCHEMA, Answer, page, paged
from ccxt_mcp.calls.cursors import Paging, Position
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import holdings
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.habits import WALLETS
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Account, Arguments, Cursor, Exchange
from ccxt_mcp.tools.of_account import WHOSE
from ccxt_mcp.tools.tool import Tool, result_schema
from ccxt_mcp.tools.valuing import traded_currency, valued

__all__ = ["ACCOUNT_TOOLS"]

MAX_CURRENCIES = 500
"""Currencies of one answer before its size is even looked at."""


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
    valueIn: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=20,
                description="Estimate what each is worth in this currency: USDT, EUR, BTC…",
            ),
        ]
        | None
    ) = None
    type: (
        Annotated[
            Literal["spot", "margin", "swap", "future", "option", "funding"],
            Field(description="Which wallet, where the exchange keeps several."),
        ]
        | None
    ) = None
    limit: Annotated[int, Field(ge=1, le=MAX_CURRENCIES, description="Currencies to show.")] = (
        MAX_CURRENCIES
    )
    cursor: Cursor | None = None


def _by_currency(row: Mapping[str, Any]) -> Position:
    return (str(row["currency"]),)


async def _account_balance(call: Call, args: _Balance) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_balance") as lease:
        if args.type is not None and lease.id not in WALLETS:
            raise Failure(
                Code.NOT_SUPPORTED,
                f"{lease.exchange} cannot be asked for one wallet by `type`.",
                hint="Leave `type` out.",
                exchange=lease.exchange,
            )
        target = None if args.valueIn is None else traded_currency(lease.listing, args.valueIn)
        listing = lease.listing
        params = None if args.type is None else {"type": args.type}
        raw = await call.fetch(lease, "fetch_balance", params=params)
    rows = holdings.balances(raw, include_zero=args.includeZero)
    head: dict[str, Any] = {"exchange": listing.exchange, "account": call.account}
    at = values.integer(raw.get("timestamp"))
    if at is not None:
        head["timestamp"] = at
    if target is not None:
        head.update(await valued(call, listing, rows, target))
    question = {
        "balance": listing.exchange,
        "account": call.account,
        "zero": args.includeZero,
        "type": args.type,
        "valueIn": target,
    }
    return paged("balances", rows, Paging(question, _by_currency, args.cursor), args.limit, **head)


_BALANCE = holdings.BALANCE.schema()
_BALANCE["properties"]["value"] = {"type": "string", "description": "Estimate, in `valueIn`."}

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
        toolset=Toolset.ACCOUNT,
    ),
    Tool(
        name="account_balance",
        title="Get balances",
        description=(
            "What an account holds, per currency: free, used in orders, total. Amounts are exact "
            "decimal strings; values (`valueIn`) are estimates by the exchange's latest prices. "
            "For derivatives use get_positions, for orders get_open_orders."
        ),
        arguments=_Balance,
        output=result_schema(
            ("exchange", "account", "balances", "total", "truncated"),
            **WHOSE,
            balances={"type": "array", "items": _BALANCE},
            timestamp={"type": "integer", "description": "Milliseconds since 1970, UTC."},
            valueIn={"type": "string"},
            totalValue={"type": "string", "description": "Of all currencies with a price."},
            unvalued={
                "type": "array",
                "items": {"type": "string"},
                "description": "Without a price, not in totalValue.",
            },
            unvaluedTotal={"type": "integer", "description": "If not all are named."},
            **PAGED_SCHEMA,
        ),
        run=_account_balance,
        toolset=Toolset.ACCOUNT,
    ),
)
"""In the order in which they are listed."""
