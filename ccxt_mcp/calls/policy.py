"""Which CCXT methods this server may call, and what each one is.

Owns: the table of unified method → name shown to callers, whose data it reads, and whether it
writes. A method that is not in the table cannot be called, so "read-only" is an allowlist and never
a guess from a name. It says for how long a public answer is good, too. Refuses: calling anything
(``pipeline.py`` does), and keeping answers (``public_reads.py`` does).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["OPERATIONS", "Effect", "Operation", "Side", "operation"]


class Side(StrEnum):
    """Whose data a method deals with, hence which kind of instance it runs on."""

    PUBLIC = "public"
    """The market's: an instance without credentials."""
    PRIVATE = "private"
    """An account's: an instance made for the call and dropped after it."""


class Effect(StrEnum):
    """Whether a method changes anything at the exchange."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Operation:
    """One unified CCXT method.

    Attributes:
        method: the Python name (``fetch_open_orders``).
        name: CCXT's unified name (``fetchOpenOrders``), as in ``has``, in texts and in logs.
        side: whose data it deals with.
        effect: whether it changes anything at the exchange.
        fresh: seconds for which an answer is good for other callers too; 0 for none. Always 0 for
            what is an account's.
    """

    method: str
    name: str
    side: Side
    effect: Effect
    fresh: float = 0.0


_TABLE = (
    # Fresh: shorter than a person or a model takes to act on a price, long enough for the workflows
    # that wake up at the same second.
    Operation("fetch_ticker", "fetchTicker", Side.PUBLIC, Effect.READ, 1.0),
    Operation("fetch_tickers", "fetchTickers", Side.PUBLIC, Effect.READ, 2.0),
    Operation("fetch_order_book", "fetchOrderBook", Side.PUBLIC, Effect.READ, 0.5),
    Operation("fetch_ohlcv", "fetchOHLCV", Side.PUBLIC, Effect.READ, 2.0),
    Operation("fetch_trades", "fetchTrades", Side.PUBLIC, Effect.READ, 1.0),
    Operation("fetch_funding_rate", "fetchFundingRate", Side.PUBLIC, Effect.READ, 5.0),
    Operation("fetch_funding_rates", "fetchFundingRates", Side.PUBLIC, Effect.READ, 5.0),
    # Answered from the tables that every lease carries; named here so that a slow first load of
    # them times out under a name that the caller knows.
    Operation("load_markets", "loadMarkets", Side.PUBLIC, Effect.READ),
    Operation("fetch_balance", "fetchBalance", Side.PRIVATE, Effect.READ),
    Operation("fetch_open_orders", "fetchOpenOrders", Side.PRIVATE, Effect.READ),
    Operation("fetch_order", "fetchOrder", Side.PRIVATE, Effect.READ),
    Operation("fetch_my_trades", "fetchMyTrades", Side.PRIVATE, Effect.READ),
    Operation("fetch_positions", "fetchPositions", Side.PRIVATE, Effect.READ),
    Operation("fetch_orders", "fetchOrders", Side.PRIVATE, Effect.READ),
    Operation("fetch_closed_orders", "fetchClosedOrders", Side.PRIVATE, Effect.READ),
    Operation(
        "fetch_canceled_and_closed_orders",
        "fetchCanceledAndClosedOrders",
        Side.PRIVATE,
        Effect.READ,
    ),
)

OPERATIONS: dict[str, Operation] = {entry.method: entry for entry in _TABLE}
"""Every method that a tool may use, by its Python name."""


def operation(method: str) -> Operation:
    """The entry for a method.

    Raises:
        KeyError: the method is not allowed; that is a fault of the calling tool, not of a caller.
    """
    return OPERATIONS[method]
