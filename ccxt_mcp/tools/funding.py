"""Funding rates of perpetual swaps: the tool. Refuses: what an account paid or got."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer, paged
from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import market_rows
from ccxt_mcp.calls.public_reads import Read
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Cursor, Exchange, MaxAge
from ccxt_mcp.tools.many import FAILED, MAX_SINGLE, Asked, Failed, Symbols, meant
from ccxt_mcp.tools.of_market import Aged, together
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["FUNDING_TOOL"]


class _Funding(Aged):
    symbols: Symbols | None = None
    exchange: Exchange | None = None
    limit: Annotated[int, Field(ge=1, le=500, description="Rates to show.")] = 100
    cursor: Cursor | None = None
    maxAgeMs: MaxAge | None = None


async def _get_funding_rates(call: Call, args: _Funding) -> Answer:
    listing = await call.listing(args.exchange, "fetch_funding_rates")
    failed = Failed()
    has = call.gateway.facts(listing.exchange).has
    rows: dict[str, Mapping[str, Any]] = {}
    reads: list[Read] = []
    if args.symbols is None:
        if not has.get("fetchFundingRates"):
            raise _not_offered(listing, bool(has.get("fetchFundingRate")))
        if lacks := listing.lacks("swap"):
            raise Failure(
                Code.NOT_SUPPORTED, f"{lacks} Only swaps have funding.", exchange=listing.exchange
            )
        try:
            reads = [await _many(call, listing, args, None)]
        except Failure as failure:
            if failure.code is Code.NOT_SUPPORTED:
                raise _not_offered(listing, bool(has.get("fetchFundingRate"))) from None
            raise
        rows.update(reads[0].value)
    else:
        known = await meant(call, listing, args.symbols, failed)
        swaps = [symbol for symbol in known if _is_funded(listing, symbol, failed)]
        if not swaps:
            failed.unless(None)
        one, many = bool(has.get("fetchFundingRate")), bool(has.get("fetchFundingRates"))
        if not (one or many):
            raise _not_offered(listing, one=False)
        asked = Asked(call, listing.exchange, "funding rate", failed)
        single = swaps if one and (len(swaps) == 1 or not many) else []
        for group in [] if single else _by_direction(listing, swaps):
            reading = _many(call, listing, args, tuple(group))
            # Such as htx, which lists those of inverse swaps only.
            if not await asked.together(group, reading, alone_instead=one):
                single += group
        await asked.alone("fetch_funding_rate", single, market_rows.funding_rate, args.max_age)
        rows, reads = asked.rows, asked.reads
        failed.unless(rows)
    question = {"funding": listing.exchange, "symbols": args.symbols}
    return paged(
        "fundingRates",
        (row for symbol, row in rows.items() if symbol in listing.markets),
        Paging(question, lambda row: (row["symbol"],), args.cursor),
        args.limit,
        exchange=listing.exchange,
        **together(reads),
        **({} if args.cursor is not None else failed.shown()),
    )


async def _many(
    call: Call, listing: Listing, args: _Funding, symbols: tuple[str, ...] | None
) -> Read:
    inverse = symbols is not None and bool(listing.markets[symbols[0]].get("inverse"))
    return await call.read(
        listing.exchange,
        "fetch_funding_rates",
        *(() if symbols is None else (symbols,)),
        project=market_rows.funding_rates,
        max_age=args.max_age,
        # Without it, some exchanges are asked for those of the linear ones only.
        params={"subType": "inverse"} if inverse else None,
    )


def _by_direction(listing: Listing, symbols: list[str]) -> list[list[str]]:
    """Linear and inverse swaps apart: exchanges keep them in different places."""
    inverse = [symbol for symbol in symbols if listing.markets[symbol].get("inverse")]
    return [group for group in ([s for s in symbols if s not in inverse], inverse) if group]


def _is_funded(listing: Listing, symbol: str, failed: Failed) -> bool:
    """Whether a market is a swap; if not, it is noted which one might be meant."""
    market = listing.markets[symbol]
    if market.get("type") == "swap":
        return True
    near = [
        each
        for each, other in listing.markets.items()
        if other.get("type") == "swap"
        and other.get("base") == market.get("base")
        and other.get("quote") == market.get("quote")
    ]
    meant_by = f"; its swap is {', '.join(sorted(near)[:3])}" if near else ""
    failed.add(
        symbol,
        Failure(
            Code.INVALID_ARGUMENT,
            f"{symbol} is a {market.get('type')} market without funding{meant_by}.",
            hint=f"Pass {near[0]}." if near else "Find a swap with `get_markets`, `type: swap`.",
            exchange=listing.exchange,
        ),
    )
    return False


def _not_offered(listing: Listing, one: bool) -> Failure:
    return Failure(
        Code.NOT_SUPPORTED,
        f"{listing.exchange} does not offer funding rates{' of all swaps at once' if one else ''}.",
        hint=f"Pass at most {MAX_SINGLE} `symbols`." if one else None,
        exchange=listing.exchange,
    )


FUNDING_TOOL = Tool(
    name="get_funding_rates",
    title="Get funding rates",
    description=(
        "Current funding rates of perpetual swaps (BTC/USDT:USDT), with the time of payment, mark "
        "and index price. Spot markets have none. For prices use batch_get_tickers."
    ),
    arguments=_Funding,
    output=result_schema(
        ("exchange", "fundingRates", "total", "truncated", *FRESHNESS),
        exchange=ANSWERED_BY,
        fundingRates={"type": "array", "items": market_rows.FUNDING.schema()},
        failed=FAILED,
        **FRESHNESS,
        **PAGED_SCHEMA,
    ),
    run=_get_funding_rates,
    toolset=Toolset.MARKET,
)
