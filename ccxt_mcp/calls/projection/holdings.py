"""What an account holds, as results: balances and derivative positions.

Owns: their fields, and when there is nothing of one. Refuses: fetching, paging, and orders and
fills (``orders.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from ccxt_mcp.calls import values
from ccxt_mcp.calls.projection.structure import (
    AT,
    PLAIN,
    Field,
    Structure,
    boolean,
    decimal,
    text,
    unreadable,
)

__all__ = ["BALANCE", "POSITION", "balances", "positions"]


def _computed(value: Any) -> str | None:
    """A decimal; a float, which CCXT calculated, without the noise of its last digits."""
    return values.decimal(float(f"{value:.14g}") if isinstance(value, float) else value)


def _amount(name: str, note: str = "") -> Field:
    return Field(name, _computed, PLAIN, note)


BALANCE = Structure(
    (
        text("currency"),
        decimal("free", "Available for orders."),
        decimal("used", "Locked in orders."),
        decimal("total"),
        decimal("debt", "Borrowed."),
    ),
    required=("currency",),
)

POSITION = Structure(
    (
        text("symbol"),
        text("id"),
        text("side", "long or short."),
        _amount("contracts"),
        _amount("contractSize", "In base currency (quote if inverse)."),
        _amount("entryPrice"),
        _amount("markPrice"),
        _amount("notional"),
        _amount("unrealizedPnl", "In the settlement currency."),
        _amount("realizedPnl"),
        _amount("percentage", "Profit in percent of initialMargin."),
        _amount("leverage"),
        _amount("liquidationPrice"),
        text("marginMode", "cross or isolated."),
        boolean("hedged"),
        _amount("collateral"),
        _amount("initialMargin"),
        _amount("maintenanceMargin"),
        _amount("marginRatio"),
        *(
            Field(name, values.trigger, _amount(name).schema)
            for name in ("stopLossPrice", "takeProfitPrice")
        ),
        *AT,
    ),
    required=("symbol",),
)


def balances(source: Mapping[str, Any], *, include_zero: bool) -> list[dict[str, Any]]:
    """One row per currency of a CCXT balance, by currency; zero rows only on request.

    A currency of which no amount is known is not zero: it is shown, without amounts.
    """
    totals = source.get("total")
    currencies = totals if isinstance(totals, Mapping) else {}
    rows = []
    for currency in sorted(currencies):
        entry = source.get(currency)
        if not isinstance(entry, Mapping):
            continue
        row = BALANCE.project({**entry, "currency": currency})
        amounts = [row[key] for key in ("free", "used", "total", "debt") if key in row]
        if include_zero or not amounts or any(amount.strip("-0.") for amount in amounts):
            rows.append(row)
    return rows


def positions(source: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Open positions, by symbol and side; those of size zero are none.

    Raises:
        Failure: ``bad_response`` when one of them has no symbol.
    """
    rows = [POSITION.project(each) for each in source]
    if not all("symbol" in row for row in rows):
        raise unreadable("has a position without a symbol")
    return [row for row in rows if "contracts" not in row or Decimal(row["contracts"])]
