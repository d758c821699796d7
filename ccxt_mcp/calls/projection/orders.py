"""An account's orders and fills as results.

Owns: their fields. Refuses: fetching, paging, and an order that has no id of any kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ccxt_mcp.calls import values
from ccxt_mcp.calls.projection.structure import (
    AT,
    Field,
    Structure,
    boolean,
    decimal,
    list_of,
    millis,
    nested,
    plain_decimal,
    text,
    unreadable,
)

__all__ = ["FILL", "ORDER", "fills", "order", "orders"]

_FEE = Structure((text("currency"), decimal("cost"), decimal("rate")))

ORDER = Structure(
    (
        text("id"),
        text("clientOrderId"),
        text("symbol"),
        text("type", "limit, market, …"),
        text("side", "buy or sell."),
        text("status", "open, closed (filled), canceled, expired or rejected."),
        decimal("price", "In quote currency."),
        decimal("average", "Average price of the fills."),
        decimal("amount", "Ordered, in base currency (contracts for derivatives)."),
        decimal("filled"),
        decimal("remaining"),
        decimal("cost", "Of the filled part, in quote currency."),
        text("timeInForce"),
        boolean("postOnly"),
        boolean("reduceOnly"),
        *(
            Field(name, values.trigger, decimal(name).schema)
            for name in ("triggerPrice", "stopLossPrice", "takeProfitPrice")
        ),
        *AT,
        millis("lastTradeTimestamp"),
        millis("lastUpdateTimestamp"),
        nested("fee", _FEE),
        list_of("fees", _FEE, "When there are several."),
    ),
    # Not even an id is sure to come; a schema that a result breaks makes strict clients throw.
)

_FILL_FEE = Structure((text("currency"), plain_decimal("cost"), plain_decimal("rate")))

FILL = Structure(
    (
        text("id"),
        text("order", "Id of the order."),
        text("symbol"),
        text("side", "buy or sell."),
        text("takerOrMaker"),
        plain_decimal("price", "In quote currency."),
        plain_decimal("amount", "In base currency, or contracts."),
        plain_decimal("cost", "In quote currency."),
        *AT,
        nested("fee", _FILL_FEE),
        list_of("fees", _FILL_FEE, "When there are several."),
    ),
)


def order(source: Mapping[str, Any]) -> dict[str, Any]:
    """One order; raises as ``orders``."""
    return orders((source,))[0]


def orders(source: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Orders in their given order.

    Raises:
        Failure: ``bad_response`` when one of them has no id of any kind.
    """
    rows = [ORDER.project(each) for each in source]
    if not all("id" in row or "clientOrderId" in row for row in rows):
        raise unreadable("has an order without an id")
    return rows


def fills(source: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fills in their given order."""
    return [FILL.project(_with_one_fee(each)) for each in source]


def _with_one_fee(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """CCXT says a single fee twice, as ``fee`` and as the only one of ``fees``."""
    fees = source.get("fees")
    if source.get("fee") and isinstance(fees, list) and len(fees) == 1:
        return {key: value for key, value in source.items() if key != "fees"}
    return source
