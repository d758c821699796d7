"""An account's derivative positions: the tool.

Owns: its arguments, words, schema and body, and which exchanges are asked by kind of contract.
Refuses: coins held (``account.py``), and every write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer, paged
from ccxt_mcp.calls.cursors import Paging, Position
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import holdings
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.habits import SIDES
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Account, Arguments, Cursor, Exchange
from ccxt_mcp.tools.of_account import WHOSE, naming_the_symbol
from ccxt_mcp.tools.tool import Tool, result_schema

__all__ = ["POSITIONS_TOOL"]


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
                # Kraken alone has positions in spot markets (on margin).
                if not (market.get("contract") or lease.id == "kraken"):
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


POSITIONS_TOOL = Tool(
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
    toolset=Toolset.ACCOUNT,
)
