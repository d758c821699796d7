"""The table of Binance routes: path, handler, who may ask, known parameters, request weight.

Owns data only. Source: Binance spot API and USD-M futures documentation, "Request weight" of each
endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ccxt_mcp.simulation.binance_checks import Params

__all__ = ["ROUTES", "Route"]

Weigh = Callable[[Params], int]


@dataclass(frozen=True, slots=True)
class Route:
    """`handler` names a method of the public or private answers; `params` None takes any."""

    name: str
    handler: str
    weigh: Weigh
    params: frozenset[str] | None
    signed: bool


def _flat(weight: int) -> Weigh:
    return lambda params: weight


def _number(params: Params, name: str, default: int) -> int:
    text = params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else default


def _depth(params: Params) -> int:
    limit = _number(params, "limit", 100)
    return next((w for top, w in ((100, 5), (500, 25), (1_000, 50)) if limit <= top), 250)


def _day(params: Params) -> int:
    if "symbol" in params:
        return 2
    if "symbols" not in params:
        return 80
    names = params["symbols"].count(",") + 1
    return 2 if names <= 20 else 40 if names <= 100 else 80


def _by_symbol(one: int, all_of_them: int) -> Weigh:
    return lambda params: one if "symbol" in params else all_of_them


def _my_trades(params: Params) -> int:
    return 5 if "orderId" in params else 20


_PUBLIC: tuple[tuple[str, str, Weigh, str], ...] = (
    ("/api/v3/ping", "ping", _flat(1), ""),
    ("/api/v3/time", "time", _flat(1), ""),
    (
        "/api/v3/exchangeInfo",
        "exchange_info",
        _flat(20),
        "symbol symbols permissions showPermissionSets symbolStatus",
    ),
    ("/api/v3/ticker/24hr", "day_tickers", _day, "symbol symbols type symbolStatus"),
    ("/api/v3/ticker/bookTicker", "book_tickers", _by_symbol(2, 4), "symbol symbols symbolStatus"),
    ("/api/v3/ticker/price", "prices", _by_symbol(2, 4), "symbol symbols symbolStatus"),
    ("/api/v3/depth", "depth", _depth, "symbol limit symbolStatus"),
    ("/api/v3/klines", "klines", _flat(2), "symbol interval startTime endTime timeZone limit"),
    ("/api/v3/trades", "trades", _flat(25), "symbol limit"),
    ("/api/v3/historicalTrades", "trades", _flat(25), "symbol limit fromId"),
    ("/api/v3/aggTrades", "agg_trades", _flat(4), "symbol fromId startTime endTime limit"),
    ("/fapi/v1/ping", "ping", _flat(1), ""),
    ("/fapi/v1/time", "time", _flat(1), ""),
    ("/fapi/v1/exchangeInfo", "linear_info", _flat(1), ""),
    ("/fapi/v1/ticker/24hr", "linear_tickers", _by_symbol(1, 40), "symbol"),
    ("/fapi/v1/premiumIndex", "premium_index", _by_symbol(1, 10), "symbol"),
    ("/fapi/v1/depth", "linear_depth", _flat(20), "symbol limit"),
    ("/fapi/v1/klines", "linear_klines", _flat(5), "symbol interval startTime endTime limit"),
    ("/fapi/v1/aggTrades", "linear_agg_trades", _flat(20), "symbol fromId startTime endTime limit"),
    ("/dapi/v1/ping", "ping", _flat(1), ""),
    ("/dapi/v1/time", "time", _flat(1), ""),
    ("/dapi/v1/exchangeInfo", "inverse_info", _flat(1), ""),
    ("/sapi/v1/system/status", "system_status", _flat(1), ""),
)

_SIGNED: tuple[tuple[str, str, Weigh, str], ...] = (
    ("/api/v3/account", "account", _flat(20), "omitZeroBalances"),
    ("/api/v3/openOrders", "open_orders", _by_symbol(6, 80), "symbol"),
    (
        "/api/v3/allOrders",
        "all_orders",
        _flat(20),
        "symbol orderId startTime endTime limit",
    ),
    ("/api/v3/order", "order", _flat(4), "symbol orderId origClientOrderId"),
    (
        "/api/v3/myTrades",
        "my_trades",
        _my_trades,
        "symbol orderId startTime endTime fromId limit",
    ),
    ("/fapi/v2/positionRisk", "positions", _flat(5), "symbol"),
    ("/fapi/v3/positionRisk", "positions", _flat(5), "symbol"),
    ("/fapi/v1/leverageBracket", "leverage_brackets", _flat(1), "symbol"),
    ("/sapi/v1/account/apiRestrictions", "key_permissions", _flat(1), ""),
    ("/sapi/v1/capital/config/getall", "coins", _flat(10), ""),
    ("/sapi/v1/margin/allPairs", "margin_pairs", _flat(1), "symbol"),
    ("/sapi/v1/margin/isolated/allPairs", "margin_pairs", _flat(10), "symbol"),
)

_ENTRY: tuple[tuple[str, str], ...] = (
    ("POST", "/api/v3/order"),
    ("POST", "/api/v3/order/test"),
    ("POST", "/api/v3/order/cancelReplace"),
    ("DELETE", "/api/v3/order"),
    ("DELETE", "/api/v3/openOrders"),
)


def _routes() -> dict[tuple[str, str], Route]:
    table: dict[tuple[str, str], Route] = {}
    for signed, rows in ((False, _PUBLIC), (True, _SIGNED)):
        for path, handler, weigh, params in rows:
            known = frozenset(params.split())
            table[("GET", path)] = Route(f"GET {path}", handler, weigh, known, signed)
    for method, path in _ENTRY:
        table[(method, path)] = Route(f"{method} {path}", "not_yet", _flat(1), None, True)
    return table


ROUTES: dict[tuple[str, str], Route] = _routes()
"""Routes by (method, path)."""
