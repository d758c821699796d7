"""Tools that read what an account holds: balances and positions.

Owns: their arguments, words, schemas and bodies. Refuses: showing anything of an account but its
name, orders (``orders.py``), and every write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from ccxt_mcp.calls import holdings, projection, valuation, values
from ccxt_mcp.calls.bounds import CUT_SCHEMA, PAGED_SCHEMA, Answer, page, paged
from ccxt_mcp.calls.cursors import Paging, Position
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.habits import SIDES, WALLETS
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.tools.arguments import Account, Arguments, Cursor, Exchange
from ccxt_mcp.tools.orders import ORDER_TOOLS, WHOSE, naming_the_symbol
from ccxt_mcp.tools.tool import Tool, result_schema

__all__ = ["ACCOUNT_TOOLS"]

MAX_CURRENCIES = 500
"""Currencies of one answer before its size is even looked at."""

MAX_PRICES = 30
"""Prices that are asked for one by one, where an exchange does not tell all at once."""

_MAX_UNVALUED = 200
"""Currencies without a price that are named."""


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
        target = None if args.valueIn is None else _currency(lease.listing, args.valueIn)
        listing = lease.listing
        params = None if args.type is None else {"type": args.type}
        raw = await call.fetch(lease, "fetch_balance", params=params)
    rows = projection.balances(raw, include_zero=args.includeZero)
    head: dict[str, Any] = {"exchange": listing.exchange, "account": call.account}
    at = values.integer(raw.get("timestamp"))
    if at is not None:
        head["timestamp"] = at
    if target is not None:
        head.update(await _valued(call, listing, rows, target))
    question = {
        "balance": listing.exchange,
        "account": call.account,
        "zero": args.includeZero,
        "type": args.type,
    }
    return paged("balances", rows, Paging(question, _by_currency, args.cursor), args.limit, **head)


def _currency(listing: Listing, asked: str) -> str:
    wanted = asked.strip().upper()
    known = {m.get(side) for m in listing.markets.values() for side in ("base", "quote")}
    if wanted not in known:
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"`valueIn` must be a currency that {listing.exchange} trades.",
            hint="USDT, USD, EUR or BTC is mostly one.",
            exchange=listing.exchange,
        )
    return wanted


async def _valued(
    call: Call, listing: Listing, rows: list[dict[str, Any]], target: str
) -> dict[str, Any]:
    """Give each row its ``value``, and say what all of them come to."""
    held = {row["currency"]: Decimal(row["total"]) for row in rows if "total" in row}
    wanted = [each for each, amount in held.items() if amount and each != target]
    known = await _prices(call, listing, wanted, target) if wanted else {}
    total, unvalued = Decimal(0), []
    for row in rows:
        currency = row["currency"]
        amount = held.get(currency)
        rate = valuation.rate(currency, target, known)
        if amount is None or (rate is None and amount):
            unvalued.append(currency)
            continue
        worth = amount * (rate or 0)
        total += worth
        row["value"] = valuation.rounded(worth)
    found: dict[str, Any] = {
        "valueIn": target,
        "totalValue": valuation.rounded(total),
        "unvalued": unvalued[:_MAX_UNVALUED],
    }
    if len(unvalued) > _MAX_UNVALUED:
        found["unvaluedTotal"] = len(unvalued)
    return found


async def _prices(
    call: Call, listing: Listing, wanted: Iterable[str], target: str
) -> Mapping[str, str]:
    """Prices of active spot markets by symbol; shared with others who ask within a moment."""
    has = call.gateway.facts(listing.exchange).has
    if has.get("fetchTickers"):
        try:
            read = await call.read(listing.exchange, "fetch_tickers", project=valuation.prices)
            return {s: each for s, each in read.value.items() if _traded(listing, s)}
        except Failure as failure:
            # Some exchanges tell only what they are asked for by name.
            if failure.code not in (Code.INVALID_ARGUMENT, Code.NOT_SUPPORTED):
                raise
    symbols: dict[str, None] = {}
    for currency in wanted:
        if len(symbols) >= MAX_PRICES:
            break
        symbols.update(dict.fromkeys(_way(listing, currency, target)))
    asked = list(symbols)[:MAX_PRICES]
    reads = await asyncio.gather(*(_price(call, listing, symbol) for symbol in asked))
    return {symbol: found for symbol, found in zip(asked, reads, strict=True) if found}


def _traded(listing: Listing, symbol: str) -> bool:
    market = listing.markets.get(symbol)
    return market is not None and bool(market.get("spot")) and market.get("active") is not False


def _way(listing: Listing, currency: str, target: str) -> list[str]:
    """The symbols of the best way that is traded."""
    for way in valuation.legs(currency, target):
        found = []
        for base, quote in way:
            pairs = (f"{base}/{quote}", f"{quote}/{base}")
            found += [next((each for each in pairs if _traded(listing, each)), "")]
        if all(found):
            return found
    return []


async def _price(call: Call, listing: Listing, symbol: str) -> str | None:
    read = await call.read(listing.exchange, "fetch_ticker", symbol, project=valuation.price)
    found: str | None = read.value
    return found


class _Positions(Arguments):
    symbols: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=64)]],
            Field(min_length=1, max_length=50, description="Only these symbols; default: all."),
        ]
        | None
    ) = None
    exchange: Exchange | None = None
    account: Account | None = None
    type: (
        Annotated[
            Literal["linear", "inverse"],
            Field(description="Contracts settled in quote or in base currency; default: linear."),
        ]
        | None
    ) = None
    limit: Annotated[int, Field(ge=1, le=500, description="Positions to show.")] = 100
    cursor: Cursor | None = None


def _by_symbol(row: Mapping[str, Any]) -> Position:
    return tuple(str(row.get(key) or "") for key in ("symbol", "side", "marginMode", "id"))


async def _get_positions(call: Call, args: _Positions) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_positions") as lease:
        symbols = None
        kinds = set() if args.type is None else {args.type}
        if args.symbols is not None:
            symbols = [await lease.find(each) for each in args.symbols]
            for symbol in symbols:
                market = lease.market(symbol)
                # Kraken has margin positions in spot markets.
                if not (market.get("contract") or market.get("margin")):
                    raise Failure(
                        Code.INVALID_ARGUMENT,
                        f"{symbol} is no derivative: there are no positions in it.",
                        hint="A swap is written like BTC/USDT:USDT; for coins held use "
                        "account_balance.",
                        exchange=lease.exchange,
                    )
                if market.get("subType") in ("linear", "inverse"):
                    kinds.add(market["subType"])
        if len(kinds) > 1:
            raise Failure(
                Code.INVALID_ARGUMENT,
                "Linear and inverse contracts cannot be asked for at once.",
                hint="Make one call with `type` linear and one with `type` inverse.",
            )
        takes = lease.id in SIDES
        if args.type is not None and not takes:
            raise Failure(
                Code.NOT_SUPPORTED,
                f"{lease.exchange} cannot be asked for one kind of contract by `type`.",
                hint="Leave `type` out.",
                exchange=lease.exchange,
            )
        kind = kinds.pop() if kinds and takes else None
        if kind == "linear" and lease.id == "binance":
            # Its default; said, CCXT passes it on to an endpoint that does not know it.
            kind = None
        params = None if kind is None else {"subType": kind}
        raw = await naming_the_symbol(
            call, lease, "fetch_positions", symbols, lists="positions", params=params
        )
        chosen = [row for row in raw if symbols is None or row.get("symbol") in symbols]
        question = {
            "positions": lease.exchange,
            "account": call.account,
            "symbols": symbols,
            "type": args.type,
        }
        return paged(
            "positions",
            holdings.positions(chosen),
            Paging(question, _by_symbol, args.cursor),
            args.limit,
            exchange=lease.exchange,
            account=call.account,
        )


_BALANCE = projection.BALANCE.schema()
_BALANCE["properties"]["value"] = {"type": "string", "description": "Estimate, in `valueIn`."}

_HOLDINGS = (
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
    ),
    Tool(
        name="get_positions",
        title="Get positions",
        description=(
            "Open derivative positions of an account: side, contracts, entry and mark price, "
            "unrealized profit, leverage, liquidation price, as decimal strings. For coins use "
            "account_balance."
        ),
        arguments=_Positions,
        output=result_schema(
            ("exchange", "account", "positions", "total", "truncated"),
            **WHOSE,
            positions={"type": "array", "items": holdings.POSITION.schema()},
            **PAGED_SCHEMA,
        ),
        run=_get_positions,
    ),
)

ACCOUNT_TOOLS = (*_HOLDINGS, *ORDER_TOOLS)
"""In the order in which they are listed."""
