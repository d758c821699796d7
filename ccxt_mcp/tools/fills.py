"""An account's fills: the tool.

Owns: its arguments, words and schema, and which fills are an order's. Refuses: how a past is read
without gaps (``past.py``), and everybody's trades (``trades.py``).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection.orders import FILL, fills
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.of_account import MAX_ROWS, OrderId, listed, same_id
from ccxt_mcp.tools.past import BOTH_WAYS, PastArguments, past_answer
from ccxt_mcp.tools.tool import Tool

__all__ = ["MY_TRADES_TOOL"]


class _Trades(PastArguments):
    limit: Annotated[int, Field(ge=1, le=MAX_ROWS, description="Fills to show.")] = 50
    orderId: Annotated[OrderId, Field(description="Only fills of this order.")] | None = None


async def _get_my_trades(call: Call, args: _Trades) -> Answer:
    async with call.private(args.exchange, args.account, "fetch_my_trades") as lease:
        symbol = None if args.symbol is None else await lease.find(args.symbol)

        def of_the_order(rows: list[Any]) -> list[dict[str, Any]]:
            wanted = args.orderId
            chosen = (r for r in rows if wanted is None or same_id(r.get("order"), wanted, ""))
            return fills(chosen)

        return await past_answer(
            call, lease, args, "trades", "fetch_my_trades", symbol, of_the_order, "fills"
        )


MY_TRADES_TOOL = Tool(
    name="get_my_trades",
    title="Get fills",
    description=(
        "Fills of an account with price, amount and fee as exact decimal strings: the latest, "
        "newest first; with `since` all from then on, oldest first, in pages. For what was "
        "ordered use get_order_history; for everybody's trades get_trades."
    ),
    arguments=_Trades,
    output=listed("trades", FILL.schema(), BOTH_WAYS, **PAGED_SCHEMA),
    run=_get_my_trades,
    toolset=Toolset.ACCOUNT,
)
