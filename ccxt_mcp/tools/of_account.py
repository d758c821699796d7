"""What questions about an account have in common: whose the answer is, and words of our own.

Owns: the schema of an account's lists, the comparison of ids, and the refusal where an exchange
wants a symbol. Refuses: knowing what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.tools.arguments import Identifier
from ccxt_mcp.tools.tool import ANSWERED_BY, result_schema

__all__ = ["MAX_ROWS", "WHOSE", "OrderId", "listed", "naming_the_symbol", "same_id"]

MAX_ROWS = 500
"""Rows of one answer before its size is even looked at."""

OrderId = Identifier

WHOSE = {
    "exchange": ANSWERED_BY,
    "account": {"type": "string", "description": "Name of the account."},
}


def listed(key: str, row: dict[str, Any], order: str, **more: Any) -> dict[str, Any]:
    """Schema of a list under ``key``; ``order`` says how it is sorted."""
    return result_schema(
        ("exchange", "account", key, "total", "truncated"),
        **WHOSE,
        **{key: {"type": "array", "items": row, "description": order}},
        **more,
    )


def same_id(said: Any, wanted: str, prefix: str) -> bool:
    """Whether an id is the one asked for: written alike but for case, zeros before a number, and
    what the exchange puts before it."""

    def plain(name: str) -> str:
        name = name.strip().lower().removeprefix(prefix)
        return name.lstrip("0") if name.isdecimal() else name

    return said is not None and plain(str(said)) == plain(wanted)


async def naming_the_symbol(
    call: Call,
    lease: Lease,
    method: str,
    symbol: str | list[str] | None,
    *args: Any,
    lists: str = "orders",
    before: tuple[Any, ...] = (),
    params: Mapping[str, Any] | None = None,
) -> Any:
    """Fetch, and say in our own words that the exchange wants a symbol, where it does."""
    try:
        return await call.fetch(lease, method, *before, symbol, *args, params=params)
    except Failure as failure:
        words = failure.message.lower()
        asks_for_it = failure.code is Code.INVALID_ARGUMENT and "symbol" in words
        # Some of CCXT's classes look for the market of no symbol.
        asks_for_it = asks_for_it or failure.code is Code.UNKNOWN_SYMBOL
        if symbol is None and asks_for_it:
            said = "finds an order" if before else f"lists {lists}"
            raise Failure(
                Code.INVALID_ARGUMENT,
                f"`symbol` is required: {lease.exchange} {said} of one symbol at a time.",
                hint="Pass `symbol`; `get_markets` finds it.",
                exchange=lease.exchange,
                operation=failure.operation,
            ) from None
        raise
