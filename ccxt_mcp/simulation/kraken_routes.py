"""The table of Kraken routes: path, handler, who may ask, what a call costs.

Owns data only. Source: Kraken REST documentation, "Spot REST Rate Limits" (history calls raise the
counter by two, orders have a limit of their own) and the reference of each endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ROUTES", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """`handler` names a method of the public or private answers; `cost` is what the call adds to
    the counter of its key or, of a public one, its address."""

    name: str
    handler: str
    cost: float
    signed: bool


_PUBLIC = {
    "Time": "time",
    "SystemStatus": "system_status",
    "Assets": "assets",
    "AssetPairs": "asset_pairs",
    "Ticker": "tickers",
    "Depth": "depth",
    "OHLC": "candles",
    "Trades": "trades",
}

_PRIVATE: dict[str, tuple[str, float]] = {
    "Balance": ("balance", 1),
    "BalanceEx": ("extended_balance", 1),
    "GetApiKeyInfo": ("key_permissions", 1),
    "OpenOrders": ("open_orders", 1),
    "ClosedOrders": ("closed_orders", 1),
    "QueryOrders": ("query_orders", 1),
    "TradesHistory": ("trades_history", 2),
    "QueryTrades": ("query_trades", 1),
    "TradeVolume": ("trade_volume", 1),
    "AddOrder": ("not_yet", 0),
    "AddOrderBatch": ("not_yet", 0),
    "AmendOrder": ("not_yet", 0),
    "EditOrder": ("not_yet", 0),
    "CancelOrder": ("not_yet", 0),
    "CancelOrderBatch": ("not_yet", 0),
    "CancelAll": ("not_yet", 1),
    "CancelAllOrdersAfter": ("not_yet", 1),
}


def _routes() -> dict[tuple[str, str], Route]:
    table: dict[tuple[str, str], Route] = {}
    for last, handler in _PUBLIC.items():
        for method in ("GET", "POST"):
            path = f"/0/public/{last}"
            table[(method, path)] = Route(f"{method} {path}", handler, 1, False)
    for last, (handler, cost) in _PRIVATE.items():
        path = f"/0/private/{last}"
        table[("POST", path)] = Route(f"POST {path}", handler, cost, True)
    return table


ROUTES: dict[tuple[str, str], Route] = _routes()
"""Routes by (method, path)."""
