"""Which CCXT methods this server may call, and what each one is.

Owns: the table of unified method → name shown to callers, whose data it reads, and whether it
writes. What has a tool of its own stands here; the rest of CCXT's reading methods comes from the
reviewed table of ``exchanges/methods.py``. A method that is in neither cannot be called, so
"read-only" is an allowlist and never a guess from a name. It says for how long a public answer is
good, too. Refuses: calling anything (``pipeline.py`` does), and keeping answers
(``public_reads.py`` does).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ccxt_mcp.exchanges.methods import QUIETED, methods

__all__ = ["LONG_TAIL_FRESH", "OPERATIONS", "OWN_TOOLS", "Effect", "Operation", "Side", "operation"]


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
        keyed: CCXT ids at which a public method is answered to a key only, so that it is private
            there.
        writes: CCXT ids at which CCXT's code may change something though the method reads; it is
            refused there.
    """

    method: str
    name: str
    side: Side
    effect: Effect
    fresh: float = 0.0
    keyed: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def within(self, max_age: float | None) -> float:
        """Seconds for which an answer is good for a caller who wants none older than ``max_age``
        seconds; ``None`` wants nothing."""
        return self.fresh if max_age is None else min(self.fresh, max_age)

    def side_on(self, exchange: str) -> Side:
        """The side at one CCXT id."""
        return Side.PRIVATE if exchange in self.keyed else self.side


OWN_TOOLS = (
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
"""The methods that have a tool of their own."""

LONG_TAIL_FRESH = 1.0
"""Seconds, for market data without a row of its own."""
_NEVER_FRESH = {"fetch_time"}


def _rest() -> dict[str, Operation]:
    made = {}
    for each in methods().values():
        side = Side.PRIVATE if each.private else Side.PUBLIC
        kept = side is Side.PUBLIC and each.python not in _NEVER_FRESH
        fresh = LONG_TAIL_FRESH if kept else 0.0
        made[each.python] = Operation(
            *(each.python, each.name, side, Effect.READ, fresh), each.keyed, each.writes - QUIETED
        )
    return made


def _whole() -> dict[str, Operation]:
    rest = _rest()
    for entry in OWN_TOOLS:
        found = rest.get(entry.method)
        rest[entry.method] = entry if found is None else replace(entry, writes=found.writes)
    return rest


OPERATIONS: dict[str, Operation] = _whole()
"""Every method that a tool may use, by its Python name."""


def operation(method: str) -> Operation:
    """The entry for a method.

    Raises:
        KeyError: the method is not allowed; that is a fault of the calling tool, not of a caller.
    """
    return OPERATIONS[method]
