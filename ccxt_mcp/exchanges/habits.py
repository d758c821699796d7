"""How exchanges answer questions about an account's past, and by which names they know an order.

Owns: two tables of data, each row with where it comes from. Refuses: asking (``calls/history``,
``tools/past``, ``tools/order_lookup``). Sources are CCXT's classes at the pinned version, by
exchange id; a test finds each parameter in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "BY_CLIENT_ID",
    "HABITS",
    "ORDER_OF_FILLS",
    "SIDES",
    "WALLETS",
    "ClientId",
    "Habits",
    "client_ids",
    "habits",
]

_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class ClientId:
    """How an order is asked for by the client's own id.

    Attributes:
        fetch: whether ``fetch_order`` takes the id, as ``clientOrderId`` (CCXT's
            ``fetch_order_with_client_order_id`` does the same).
        lists: else the parameter by which the lists of open and past orders are narrowed to it;
            empty if they cannot be, so that they have to be looked through.
        prefix: what the exchange puts before every client id.
        params: the parameters that it needs.
    """

    fetch: bool = False
    lists: str = ""
    prefix: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


_FETCHED = ClientId(fetch=True)

BY_CLIENT_ID: Mapping[str, ClientId] = {
    # `fetch_order` reads `clientOrderId`: "clientOrderId = self.safe_string…(params, …)".
    **dict.fromkeys(
        (
            *("apex", "aster", "binance", "binanceus", "binanceusdm", "binancecoinm", "bitget"),
            *("bithumb", "bitrue", "bitstamp", "bitvavo", "coinbaseexchange", "coinsph", "delta"),
            *("extended", "grvt", "hashkey", "htx", "hyperliquid", "kucoin", "kucoinfutures"),
            *("mexc", "modetrade", "okx", "okxus", "myokx", "paradex", "phemex", "weex", "woo"),
            "woofipro",
        ),
        _FETCHED,
    ),
    # `fetch_order_request`: the id goes into the path, with "t-" before it. CCXT adds only the
    # letters that an id beginning with "t" seems to have already, so they are added here.
    "gate": ClientId(fetch=True, prefix="t-"),
    # `fetch_order` sends `orderId` in any case, and wants to be told that its 500 orders are known
    # to be all that it sees; the lists pass `orderLinkId` on.
    **dict.fromkeys(
        ("bybit", "bybiteu"), ClientId(lists="orderLinkId", params={"acknowledged": True})
    ),
    # `fetch_order` takes it for `userref`, a number; the lists send it as `cl_ord_id`.
    "kraken": ClientId(lists="clientOrderId"),
}
"""CCXT id → how. Of others the lists are looked through: among them coinbase, which replaces the
client's id by one of its own unless it came as ``client_order_id``, and cryptocom (``client_oid``),
whose ``fetch_order`` sends an ``order_id`` in any case."""

_LOOKED_THROUGH = ClientId()


def client_ids(exchange: str) -> ClientId:
    """How the exchange of a CCXT id is asked for an order by the client's id."""
    return BY_CLIENT_ID.get(exchange, _LOOKED_THROUGH)


def _until(at: int) -> dict[str, Any]:
    return {"until": at}


def _kraken_until(at: int) -> dict[str, Any]:
    # Seconds. CCXT's `until` of closed orders would arrive as milliseconds, a time far ahead.
    return {"end": at // 1000 + 1}


@dataclass(frozen=True, slots=True)
class Habits:
    """How an exchange answers "what has been since then".

    Attributes:
        page: rows of an answer that may be cut off.
        span: the longest time from `since` on that one answer is about, in ms; None for no end.
        oldest_first: whether an answer that is cut off holds the oldest rows of the span. Of any
            other one nothing is known to be complete.
        whole: whether the exchange cuts off before CCXT picks the symbol's rows, so that it has to
            be asked about all symbols for the rows to be counted.
        until: parameters for the end of the span, from ms.
        grain: the precision of times in a question, in ms.
        params: further parameters of the question.
    """

    page: int = 50
    span: int | None = None
    oldest_first: bool = False
    whole: bool = False
    until: Callable[[int], dict[str, Any]] = _until
    grain: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)


_BINANCE = Habits(page=1000, oldest_first=True)
# Fifty rows of all pairs, newest first, later than `start`, which CCXT cuts to a second.
_KRAKEN = Habits(page=50, whole=True, until=_kraken_until, grain=1000)
# By the time of opening, which is an order's `timestamp`; by default also by that of closing.
_KRAKEN_ORDERS = Habits(
    page=50, whole=True, until=_kraken_until, grain=1000, params={"closetime": "open"}
)

HABITS: Mapping[tuple[str, str], Habits] = {
    # Binance spot API documentation, "Account trade list", "All orders": from startTime on.
    **dict.fromkeys(
        (
            (exchange, method)
            for exchange in ("binance", "binanceus", "binanceusdm", "binancecoinm")
            for method in ("fetchMyTrades", "fetchOrders")
        ),
        _BINANCE,
    ),
    # Kraken API documentation, "Get Trades History", "Get Closed Orders".
    ("kraken", "fetchMyTrades"): _KRAKEN,
    ("kraken", "fetchClosedOrders"): _KRAKEN_ORDERS,
}
"""(CCXT id, unified method) → habits. Of others CCXT's own ``features`` tell how many rows and days
one answer can have."""


def habits(
    exchange: str, method: str, *, contract: bool, limit: Any = None, days: Any = None
) -> Habits:
    """The habits of an exchange.

    Args:
        exchange: CCXT's id.
        method: the unified method.
        contract: whether the question is about a derivative.
        limit: rows of one answer, of CCXT's ``features``.
        days: days of one answer, of the same.
    """
    known = HABITS.get((exchange, method))
    if known is _BINANCE and contract:
        # USD-M documentation, "Account Trade List": seven days at a time.
        return Habits(page=1000, span=7 * _DAY, oldest_first=True)
    if known is not None:
        return known
    page = min(int(limit), 1000) if isinstance(limit, int) and limit > 1 else Habits().page
    short = isinstance(days, (int, float)) and 0 < days < 1000
    return Habits(page=page, span=int(days * _DAY) if short else None)


ORDER_OF_FILLS: Mapping[str, str] = {
    # Binance API documentation, "Account trade list": orderId, not together with startTime.
    **dict.fromkeys(("binance", "binanceus", "binanceusdm", "binancecoinm"), "orderId"),
    # CCXT's own `fetch_order_trades` does this.
    **dict.fromkeys(("bybit", "bybiteu"), "orderId"),
    **dict.fromkeys(("okx", "okxus", "myokx"), "ordId"),
}
"""The parameter by which ``fetch_my_trades`` is narrowed to one order, by CCXT id."""

WALLETS = frozenset(
    (
        *("aster", "binance", "binanceus", "bingx", "bitget", "bitrue", "btse", "bybit", "bybiteu"),
        *("bydfi", "coinbase", "digifinex", "gate", "hashkey", "htx", "hyperliquid", "kucoin"),
        *("mexc", "okx", "okxus", "myokx", "phemex", "poloniex", "toobit", "xt"),
    )
)
"""Exchanges whose ``fetch_balance`` takes the wallet as ``type``."""

SIDES = frozenset(("binance", "bingx", "htx", "phemex", "xt"))
"""Exchanges whose ``fetch_positions`` takes ``subType``: linear or inverse contracts."""
