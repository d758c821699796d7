"""Which tool asks what, and where its answer has the rows: one table for all exchanges.

Owns: CCXT's methods that the tools read with, the arguments of each tool made from a recorded call,
and what has no recording. Refuses: the recordings (``tape``) and the judging (the tests).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ccxt_mcp.exchanges.catalog import catalog
from tests.recorded.tape import Call, Tape

__all__ = [
    "METHODS",
    "NAMED",
    "NOT_ASKED",
    "PUBLIC",
    "TOOL",
    "Asked",
    "answered",
    "method_of",
    "why_not",
]

PUBLIC = (
    *("fetchTicker", "fetchTickers", "fetchOrderBook", "fetchOHLCV", "fetchTrades"),
    *("fetchFundingRate", "fetchFundingRates"),
)
_PAST = ("fetchCanceledAndClosedOrders", "fetchOrders", "fetchClosedOrders")
METHODS: Mapping[str, tuple[str, ...]] = {
    **{method: (method,) for method in PUBLIC},
    "fetchBalance": ("fetchBalance",),
    "fetchOpenOrders": ("fetchOpenOrders",),
    # The first that the exchange offers itself, as `get_order_history` chooses.
    "past orders": _PAST,
    "fetchOrder": ("fetchOrder",),
    "fetchMyTrades": ("fetchMyTrades",),
    "fetchPositions": ("fetchPositions",),
}
"""What is asked → CCXT's methods, the first that an exchange offers."""


def method_of(exchange: str, question: str) -> str | None:
    """The method that answers a question; ``None`` if CCXT offers none for the exchange."""
    has = catalog().exchanges[exchange].has
    # Those that CCXT emulates come last: emulation asks the exchange for the same.
    offered = sorted(filter(has.get, METHODS[question]), key=lambda each: has[each] is not True)
    return next(iter(offered), None)


def why_not(tape: Tape, question: str) -> str | None:
    """Why a question has no recorded call; ``None`` if it has one."""
    method = method_of(tape.exchange, question)
    if method is None:
        return "not offered by CCXT"
    return None if method in tape.calls else tape.missing[method]


@dataclass(frozen=True)
class Asked:
    """How a tool is asked.

    Attributes:
        question: the row of ``METHODS`` that it reads with.
        names: the tool's names for the call's positional arguments; ``""`` for one it has not.
        rows: the key of its result with the rows; ``""`` for the result itself.
        more: arguments besides.
        whole: whether it is asked about all symbols: about one it reads with another method.
    """

    question: str
    names: tuple[str, ...] = ()
    rows: str = ""
    more: Mapping[str, Any] | None = None
    whole: bool = False

    def arguments(self, exchange: str, tool: str, call: Call) -> dict[str, Any]:
        """The tool's arguments for the positional ones of CCXT's method."""
        pairs = zip(self.names, call.args, strict=False)
        given = {name: value for name, value in pairs if name and value is not None}
        if self.whole and (exchange, tool) not in NAMED:
            symbols = given.pop("symbols")
            if tool == "batch_get_tickers":
                given["type"] = "swap" if ":" in symbols[0] else "spot"
        if tool == "batch_get_tickers":
            given["fields"] = sorted({place.partition(".")[2] for place in call.says})
        return {**given, **(self.more or {})}


TOOL: Mapping[str, Asked] = {
    "get_ticker": Asked("fetchTicker", ("symbol",), "ticker"),
    "batch_get_tickers": Asked("fetchTickers", ("symbols",), "tickers", whole=True),
    "get_orderbook": Asked("fetchOrderBook", ("symbol", "limit")),
    "get_ohlcv": Asked("fetchOHLCV", ("symbol", "timeframe", "since", "limit"), "candles"),
    "get_trades": Asked("fetchTrades", ("symbol", "since", "limit"), "trades"),
    "get_funding_rates": Asked("fetchFundingRates", ("symbols",), "fundingRates", whole=True),
    "account_balance": Asked("fetchBalance", (), "balances", {"includeZero": True}),
    "get_open_orders": Asked("fetchOpenOrders", ("symbol",), "orders"),
    "get_order": Asked("fetchOrder", ("orderId", "symbol"), "order"),
    "get_order_history": Asked("past orders", ("symbol",), "orders"),
    "get_my_trades": Asked("fetchMyTrades", ("symbol",), "trades"),
    "get_positions": Asked("fetchPositions", ("symbols",), "positions"),
}
"""Tool → how it is asked. A tool that is not here stands in ``NOT_ASKED``."""

NAMED: Mapping[tuple[str, str], str] = {
    ("bybit", "batch_get_tickers"): "all swaps are all linear ones; the inverse one is recorded",
    ("bybit", "get_funding_rates"): "no rates of all with `defaultType` spot, which is recorded",
    ("htx", "get_funding_rates"): "lists those of inverse swaps only",
}
"""(exchange, tool) → why it is asked about the recorded symbols, where others are about all."""

NOT_ASKED: Mapping[str, str] = {
    "list_exchanges": "asks no exchange",
    "get_exchange_info": "asks no exchange",
    "get_markets": "reads the market tables; every market is compared by its own test",
    "list_accounts": "asks no exchange",
    "server_status": "asks no exchange",
    "describe_method": "asks no exchange",
    "call_read_method": "passes on what CCXT says; the methods are compared without a tool",
}
"""Tool → why no recorded answer is shown through it."""

Shown = Callable[[str], Any]


def answered(method: str, says: Mapping[str, str], raw: Callable[[str], Any], rows: Any) -> Shown:
    """What ``rows``, CCXT's result or a tool's, say at a place of CCXT's result.

    Rows of a tool have an order of their own and may be a list where CCXT has names: orders and
    trades go by id, currencies and symbols by name.
    """

    def at_place(place: str) -> Any:
        head, _, rest = place.partition(".")
        if method == "fetchBalance" and isinstance(rows, list):
            return _get(next(row for row in rows if row["currency"] == head), rest)
        if method in ("fetchTickers", "fetchFundingRates") and isinstance(rows, list):
            return _get(next(row for row in rows if row["symbol"] == head), rest)
        identity = says.get(f"{head}.id")
        if method in ("fetchOHLCV", "fetchOrderBook") or not head.isdigit() or identity is None:
            return _get(rows, place)
        wanted = str(raw(identity))
        return _get(next(row for row in rows if row.get("id") == wanted), rest)

    return at_place


def _get(value: Any, place: str) -> Any:
    # A symbol may have a dot in it; none of the recorded ones has.
    for step in place.split("."):
        value = value[int(step)] if isinstance(value, (list, tuple)) else value[step]
    return value
