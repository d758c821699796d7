"""What an account holds and has done, as results: fills and derivative positions.

Owns: their fields, as ``projection`` does for orders and balances. Refuses: fetching and paging.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from ccxt_mcp.calls import values
from ccxt_mcp.calls.projection import (
    _AT,
    Field,
    Structure,
    _boolean,
    _list_of,
    _text,
    nested,
)
from ccxt_mcp.errors import Code, Failure

__all__ = ["POSITION", "TRADE", "positions", "trades"]


def _computed(value: Any) -> str | None:
    """A decimal; a float, which CCXT calculated, without the noise of its last digits."""
    return values.decimal(float(f"{value:.14g}") if isinstance(value, float) else value)


_PLAIN = {"type": "string"}
"""Of a decimal. Its pattern, thirty times over, is more than a model should have to read."""


def _amount(name: str, note: str = "") -> Field:
    return Field(name, _computed, _PLAIN, note)


def _decimal(name: str, note: str = "") -> Field:
    return Field(name, values.decimal, _PLAIN, note)


_FEE = Structure((_text("currency"), _decimal("cost"), _decimal("rate")))


TRADE = Structure(
    (
        _text("id"),
        _text("order", "Id of the order."),
        _text("symbol"),
        _text("side", "buy or sell."),
        _text("takerOrMaker"),
        _decimal("price", "In quote currency."),
        _decimal("amount", "In base currency, or contracts."),
        _decimal("cost", "In quote currency."),
        *_AT,
        nested("fee", _FEE),
        _list_of("fees", _FEE, "When there are several."),
    ),
)

POSITION = Structure(
    (
        _text("symbol"),
        _text("id"),
        _text("side", "long or short."),
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
        _text("marginMode", "cross or isolated."),
        _boolean("hedged"),
        _amount("collateral"),
        _amount("initialMargin"),
        _amount("maintenanceMargin"),
        _amount("marginRatio"),
        Field("stopLossPrice", values.trigger, _PLAIN),
        Field("takeProfitPrice", values.trigger, _PLAIN),
        *_AT,
    ),
    required=("symbol",),
)


def trades(source: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fills in their given order."""
    return [TRADE.project(_with_one_fee(each)) for each in source]


def positions(source: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Open positions, by symbol and side; those of size zero are none.

    Raises:
        Failure: ``bad_response`` when one of them has no symbol.
    """
    rows = [POSITION.project(each) for each in source]
    if not all("symbol" in row for row in rows):
        raise Failure(
            Code.BAD_RESPONSE,
            "The exchange's answer has a position without a symbol; it was discarded.",
        )
    return [row for row in rows if "contracts" not in row or Decimal(row["contracts"])]


def _with_one_fee(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """CCXT says a single fee twice, as ``fee`` and as the only one of ``fees``."""
    fees = source.get("fees")
    if source.get("fee") and isinstance(fees, list) and len(fees) == 1:
        return {key: value for key, value in source.items() if key != "fees"}
    return source
