"""What balances are worth: the prices that are asked for, and the estimates made of them.

Owns: which markets are asked, and how many at most. Refuses: the way from one currency to another
(``calls/valuation.py``), and balances without a currency to value them in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from ccxt_mcp.calls import valuation
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.listing import Listing

__all__ = ["MAX_PRICES", "traded_currency", "valued"]

MAX_PRICES = 30
"""Prices that are asked for one by one, where an exchange does not tell all at once."""

_MAX_UNVALUED = 200
"""Currencies without a price that are named."""


def traded_currency(listing: Listing, asked: str) -> str:
    """The currency as the exchange writes it.

    Raises:
        Failure: ``invalid_argument`` for one that it does not trade.
    """
    wanted = asked.strip().upper()
    known = {m.get(side) for m in listing.markets.values() for side in ("base", "quote")}
    if wanted not in known:
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"`valueIn` must be a currency that {listing.exchange} trades.",
            hint="USDT, USD, EUR or BTC is mostly one.",
            exchange=listing.exchange,
        )
    return wanted


async def valued(
    call: Call, listing: Listing, rows: list[dict[str, Any]], target: str
) -> dict[str, Any]:
    """Give each row its ``value``, and say what all of them come to."""
    held = {row["currency"]: Decimal(row["total"]) for row in rows if "total" in row}
    wanted = [each for each, amount in held.items() if amount and each != target]
    known = await _prices(call, listing, wanted, target) if wanted else {}
    total, unvalued = Decimal(0), []
    for row in rows:
        currency = row["currency"]
        amount = held.get(currency)
        rate = valuation.rate(currency, target, known)
        if amount is None or (rate is None and amount):
            unvalued.append(currency)
            continue
        worth = amount * (rate or 0)
        total += worth
        row["value"] = valuation.rounded(worth)
    found: dict[str, Any] = {
        "valueIn": target,
        "totalValue": valuation.rounded(total),
        "unvalued": unvalued[:_MAX_UNVALUED],
    }
    if len(unvalued) > _MAX_UNVALUED:
        found["unvaluedTotal"] = len(unvalued)
    return found


async def _prices(
    call: Call, listing: Listing, wanted: Iterable[str], target: str
) -> Mapping[str, str]:
    """Prices of active spot markets by symbol; shared with others who ask within a moment."""
    has = call.gateway.facts(listing.exchange).has
    if has.get("fetchTickers"):
        try:
            # Said, since some classes (bybit's) otherwise tell about contracts.
            read = await call.read(
                listing.exchange,
                "fetch_tickers",
                project=valuation.prices,
                params={"type": "spot"},
            )
            spot = {s: each for s, each in read.value.items() if _traded(listing, s)}
            if spot:
                return spot
        except Failure as failure:
            # Some exchanges tell only what they are asked for by name.
            if failure.code not in (Code.INVALID_ARGUMENT, Code.NOT_SUPPORTED):
                raise
    symbols: dict[str, None] = {}
    for currency in wanted:
        if len(symbols) >= MAX_PRICES:
            break
        symbols.update(dict.fromkeys(_way(listing, currency, target)))
    asked = list(symbols)[:MAX_PRICES]
    reads = await asyncio.gather(*(_price(call, listing, symbol) for symbol in asked))
    return {symbol: found for symbol, found in zip(asked, reads, strict=True) if found}


def _traded(listing: Listing, symbol: str) -> bool:
    market = listing.markets.get(symbol)
    return market is not None and bool(market.get("spot")) and market.get("active") is not False


def _way(listing: Listing, currency: str, target: str) -> list[str]:
    """The symbols of the best way that is traded."""
    for way in valuation.legs(currency, target):
        found = []
        for base, quote in way:
            pairs = (f"{base}/{quote}", f"{quote}/{base}")
            found += [next((each for each in pairs if _traded(listing, each)), "")]
        if all(found):
            return found
    return []


async def _price(call: Call, listing: Listing, symbol: str) -> str | None:
    read = await call.read(listing.exchange, "fetch_ticker", symbol, project=valuation.price)
    found: str | None = read.value
    return found
