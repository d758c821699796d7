"""What amounts are worth in one currency, by the prices of the same exchange.

Owns: which prices make a rate, and the arithmetic (decimal throughout). A rate is, in this order:
the pair itself, its inverse, and one hop over USDT, USD or BTC, each half direct or inverse. No
currency is taken to be worth another: USDC is valued like any coin. What has no rate has no value.
Refuses: fetching prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from ccxt_mcp.calls import values

__all__ = ["HOPS", "legs", "price", "prices", "rate", "rounded"]

HOPS = ("USDT", "USD", "BTC")

_EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)


def price(ticker: Mapping[str, Any], *_: Any) -> str | None:
    """The price of a ticker as a decimal: the last one, else the middle of bid and ask."""
    last = _positive(ticker.get("last")) or _positive(ticker.get("close"))
    bid, ask = _positive(ticker.get("bid")), _positive(ticker.get("ask"))
    if last is None and bid is not None and ask is not None:
        last = _EXACT.divide(_EXACT.add(bid, ask), Decimal(2))
    return None if last is None else f"{last:f}"


def prices(tickers: Mapping[str, Any], *_: Any) -> dict[str, str]:
    """The prices of spot markets (``BTC/USDT``) among all tickers, by symbol."""
    return {
        symbol: found
        for symbol, ticker in tickers.items()
        if ":" not in symbol and isinstance(ticker, Mapping) and (found := price(ticker))
    }


def legs(currency: str, target: str) -> Iterable[tuple[tuple[str, str], ...]]:
    """The ways from one currency to another, the best first; each step is from one to the next."""
    yield ((currency, target),)
    for hop in HOPS:
        if hop not in (currency, target):
            yield (currency, hop), (hop, target)


def rate(currency: str, target: str, known: Mapping[str, str]) -> Decimal | None:
    """What one unit is worth, or None. ``known``: prices by symbol."""
    if currency == target:
        return Decimal(1)
    for way in legs(currency, target):
        found: Decimal | None = Decimal(1)
        for base, quote in way:
            step = _step(base, quote, known)
            found = None if step is None or found is None else _EXACT.multiply(found, step)
        if found is not None:
            return found
    return None


def rounded(value: Decimal) -> str:
    """Eight significant digits, but never coarser than hundredths; trailing zeros are kept."""
    if not value:
        return "0.00"
    exponent = max(-12, min(-2, value.adjusted() - 7))
    return f"{value.quantize(Decimal(1).scaleb(exponent), context=_EXACT):f}"


def _step(base: str, quote: str, known: Mapping[str, str]) -> Decimal | None:
    direct = known.get(f"{base}/{quote}")
    if direct is not None:
        return Decimal(direct)
    inverse = known.get(f"{quote}/{base}")
    return None if inverse is None else _EXACT.divide(Decimal(1), Decimal(inverse))


def _positive(value: Any) -> Decimal | None:
    text = values.decimal(value)
    found = None if text is None else Decimal(text)
    return found if found is not None and found > 0 else None
