"""What the simulated venue lists: symbols with their increments and limits.

Owns the catalogue (well-known pairs, synthetic ones for load tests) and the decimal words shared by
the rest of the package. Refuses everything that changes with time or depends on who is asking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

__all__ = ["MAX_EXTRA_SYMBOLS", "UNIT", "Market", "fixed8", "linear_markets", "spot_markets"]

UNIT = Decimal("0.00000001")
"""The smallest amount on the wire: eight decimals, as Binance writes every price and quantity."""

MAX_EXTRA_SYMBOLS = 3_600

_POWER = 10**8


@dataclass(frozen=True, slots=True)
class Market:
    """One listed pair.

    `anchor` is the price (in quote currency) around which the seeded price moves; `tick` and `step`
    are the increments of price and quantity; `min_notional` is in quote currency. Of a spot market
    `tick * step` is a multiple of `UNIT`, so every value of an order is exact on the wire.
    """

    id: str
    base: str
    quote: str
    anchor: Decimal
    tick: Decimal
    step: Decimal
    min_notional: Decimal
    kind: Literal["spot", "linear"] = "spot"


def fixed8(value: Decimal | int) -> str:
    """Eight decimals without an exponent. An `int` counts units of 1e-8, a `Decimal` is a value."""
    if isinstance(value, int):
        return f"{value // _POWER}.{value % _POWER:08d}"
    return f"{value:.8f}"


#        base    quote   price      tick        step       minimum notional
_KNOWN = (
    ("BTC", "USDT", "96500", "0.01", "0.00001", "5"),
    ("ETH", "USDT", "3350", "0.01", "0.0001", "5"),
    ("XRP", "USDT", "2.41", "0.0001", "0.1", "5"),
    ("SOL", "USDT", "192", "0.01", "0.001", "5"),
    ("BNB", "USDT", "690", "0.01", "0.001", "5"),
    ("ADA", "USDT", "0.95", "0.0001", "0.1", "5"),
    ("DOGE", "USDT", "0.33", "0.00001", "1", "5"),
    ("LTC", "USDT", "104", "0.01", "0.001", "5"),
    ("EUR", "USDT", "1.06", "0.0001", "0.1", "5"),
    ("ETH", "BTC", "0.0347", "0.00001", "0.001", "0.0001"),
    ("XRP", "BTC", "0.000025", "0.00000001", "1", "0.0001"),
    ("SOL", "BTC", "0.00199", "0.0000001", "0.1", "0.0001"),
    ("BTC", "EUR", "91000", "0.01", "0.00001", "5"),
    ("ETH", "EUR", "3160", "0.01", "0.0001", "5"),
)

_SYNTHETIC_QUOTES = ("USDT", "BTC", "EUR", "USDC")


def _market(base: str, quote: str, price: str, tick: str, step: str, notional: str) -> Market:
    return Market(
        base + quote, base, quote, Decimal(price), Decimal(tick), Decimal(step), Decimal(notional)
    )


def spot_markets(extra: int = 0) -> Iterator[Market]:
    """The well-known pairs, then `extra` synthetic ones (bases `SIM0000`, `SIM0001`, ...)."""
    if not 0 <= extra <= MAX_EXTRA_SYMBOLS:
        raise ValueError(f"extra_symbols must be between 0 and {MAX_EXTRA_SYMBOLS}, not {extra}")
    for row in _KNOWN:
        yield _market(*row)
    for n in range(extra):
        base, quote = f"SIM{n // 2:04d}", _SYNTHETIC_QUOTES[n % 2 + 2 * (n // 2 % 2)]
        if quote == "BTC":
            yield _market(base, quote, f"0.00{n % 89 + 11}", "0.0000001", "0.1", "0.0001")
        else:
            yield _market(base, quote, f"{n % 97 + 3}.5", "0.001", "0.01", "5")


def linear_markets(count: int = 0) -> Iterator[Market]:
    """`count` perpetual contracts margined in USDT: the well-known bases first, then synthetic."""
    if not 0 <= count <= MAX_EXTRA_SYMBOLS:
        raise ValueError(f"linear_symbols must be between 0 and {MAX_EXTRA_SYMBOLS}, not {count}")
    known = [row for row in _KNOWN if row[1] == "USDT" and row[0] != "EUR"]
    for n in range(count):
        if n < len(known):
            base, quote, price, tick, _, notional = known[n]
        else:
            base, quote, price, tick, notional = f"SIM{n:04d}", "USDT", "12.5", "0.001", "5"
        yield Market(
            base + quote,
            base,
            quote,
            Decimal(price),
            Decimal(tick),
            Decimal("0.001"),
            Decimal(notional),
            kind="linear",
        )
