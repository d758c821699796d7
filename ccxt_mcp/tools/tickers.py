"""Tickers of many markets: the tool, and the cheapest way to ask for them.

Owns: which requests are made for which symbols. Refuses: projection (``calls/projection``) and
single tickers (``market.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer, paged
from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import market_data, market_rows
from ccxt_mcp.calls.public_reads import Read
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Cursor, Exchange, MaxAge, did_you_mean, shown_name
from ccxt_mcp.tools.many import FAILED, MAX_SINGLE, Asked, Failed, Symbols, meant
from ccxt_mcp.tools.of_market import Aged, together
from ccxt_mcp.tools.one_kind import of_one_kind
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["TICKERS_TOOL"]

_BINANCE = frozenset({"binance", "binanceus", "binanceusdm", "binancecoinm"})
_HALF_PRICE = 100
"""Named symbols up to which Binance's spot tickers cost less than all of them."""

_FIELDS = tuple(each.name for each in market_data.TICKER.fields)


class _Tickers(Aged):
    symbols: Symbols | None = None
    exchange: Exchange | None = None
    quote: Annotated[
        str | None, Field(max_length=32, description="Only this quote currency, such as USDT.")
    ] = None
    type: Annotated[
        Literal["spot", "swap", "future", "option"] | None, Field(description="Kind of market.")
    ] = None
    fields: Annotated[
        list[Annotated[str, Field(max_length=32)]] | None,
        Field(
            min_length=1,
            max_length=len(_FIELDS),
            description="Fields to show, of those of get_ticker; default: "
            + ", ".join(market_rows.COMPACT)
            + ".",
        ),
    ] = None
    limit: Annotated[int, Field(ge=1, le=500, description="Tickers to show.")] = 100
    cursor: Cursor | None = None
    maxAgeMs: MaxAge | None = None


def _fields(asked: list[str] | None) -> tuple[str, ...]:
    if asked is None:
        return market_rows.COMPACT
    unknown = [name for name in asked if name not in _FIELDS]
    if unknown:
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"`fields` has no {unknown[0]}{did_you_mean(unknown[0], _FIELDS)}.",
            hint=f"Fields: {', '.join(_FIELDS)}.",
        )
    return tuple(name for name in _FIELDS if name in asked or name == "symbol")


async def _batch_get_tickers(call: Call, args: _Tickers) -> Answer:
    fields = _fields(args.fields)
    project = (
        market_rows.compact if set(fields) <= set(market_rows.COMPACT) else market_rows.all_fields
    )
    listing = await call.listing(args.exchange, "fetch_tickers")
    failed = Failed()
    quote = _quote(listing, args.quote)
    rows: Mapping[str, Mapping[str, Any]]
    if args.symbols is None:
        reads = [await _all(call, listing, args, project)]
        rows = reads[0].value
    else:
        named = await meant(call, listing, args.symbols, failed)
        symbols = [each for each in named if _is_wanted(listing, each, args.type, quote, failed)]
        asked = await _named(call, listing, args, symbols, project, failed)
        rows, reads = asked.rows, asked.reads
        failed.unless(rows)
    markets = listing.markets
    told = {symbol: row for symbol, row in rows.items() if symbol in markets}
    chosen = [row for each, row in told.items() if _other(markets[each], args.type, quote) is None]
    question = {
        "tickers": listing.exchange,
        "symbols": args.symbols,
        "quote": quote,
        "type": args.type,
    }
    answer = paged(
        "tickers",
        chosen,
        Paging(question, lambda row: (row["symbol"],), args.cursor),
        args.limit,
        project=lambda row: {name: row[name] for name in fields if name in row},
        exchange=listing.exchange,
        **together(reads),
        # Said once, with the first page.
        **({} if args.cursor is not None else failed.shown()),
    )
    seen = (str(markets[symbol].get("type")) for symbol in told)
    return of_one_kind(answer, listing, args.symbols or args.type, "type", seen)


def _quote(listing: Listing, asked: str | None) -> str:
    """The quote currency in capitals; nothing if none is asked for."""
    quote = (asked or "").strip().upper()
    if quote and quote not in listing.quotes:
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"{listing.exchange} has no market with `quote` {shown_name(quote)}"
            f"{did_you_mean(quote, tuple(listing.quotes))}.",
            hint="`quote` is the currency of the price: USDT of BTC/USDT.",
            exchange=listing.exchange,
        )
    return quote


def _other(market: Mapping[str, Any], kind: str | None, quote: str) -> str | None:
    """In what a market differs from what is wanted, in words; ``None`` if in nothing."""
    if kind is not None and market.get("type") != kind:
        return f"is a {market.get('type')} market, not of `type` {kind}"
    if quote and str(market.get("quote") or "").upper() != quote:
        return f"has prices in {market.get('quote')}, not in `quote` {quote}"
    return None


def _is_wanted(listing: Listing, symbol: str, kind: str | None, quote: str, failed: Failed) -> bool:
    """Whether a named market is of the wanted kind; if not, it is noted why it is left out."""
    other = _other(listing.markets[symbol], kind, quote)
    if other is not None:
        failed.add(
            symbol,
            Failure(
                Code.INVALID_ARGUMENT,
                f"{symbol} {other}.",
                hint="Leave `type` and `quote` out: `symbols` say enough.",
                exchange=listing.exchange,
            ),
        )
    return other is None


async def _all(call: Call, listing: Listing, args: _Tickers, project: Any) -> Read:
    if not _offers_many(call, listing):
        raise Failure(
            Code.NOT_SUPPORTED,
            f"{listing.exchange} does not offer all tickers at once.",
            hint=f"Pass at most {MAX_SINGLE} `symbols`.",
            exchange=listing.exchange,
        )
    if args.type is not None and (lacks := listing.lacks(args.type)):
        # Asked all the same, some exchanges answer with an empty list, which is no answer.
        raise Failure(
            Code.INVALID_ARGUMENT,
            lacks,
            hint="Leave `type` out, or name another `exchange`.",
            exchange=listing.exchange,
        )
    params = None if args.type is None else {"type": args.type}
    try:
        return await call.read(
            listing.exchange,
            "fetch_tickers",
            project=project,
            max_age=args.max_age,
            params=params,
        )
    except Failure as failure:
        if failure.code is Code.INVALID_ARGUMENT and "symbol" in failure.message.lower():
            failure.hint = f"{listing.exchange} does not list all tickers: pass `symbols`."
        raise


def _offers_many(call: Call, listing: Listing) -> bool:
    # What CCXT emulates here is one request for each symbol, one after the other.
    return call.gateway.facts(listing.exchange).has.get("fetchTickers") is True


async def _named(
    call: Call,
    listing: Listing,
    args: _Tickers,
    symbols: list[str],
    project: Any,
    failed: Failed,
) -> Asked:
    """The tickers of ``symbols``; each kind of market is a request of its own, since CCXT and most
    exchanges take one kind at a time."""
    asked = Asked(call, listing.exchange, "ticker", failed)
    single: list[str] = []
    binance = call.gateway.profile(listing.exchange).exchange in _BINANCE
    for (kind, _), group in _by_kind(listing, symbols).items():
        # Binance's contracts are either one or all (weight 1 or 40), whatever is named.
        one_or_all = binance and kind != "spot" and len(group) <= MAX_SINGLE
        if not _offers_many(call, listing) or one_or_all or len(group) == 1:
            single += group
            continue
        all_of_them = binance and kind == "spot" and len(group) > _HALF_PRICE
        reading = call.read(
            listing.exchange,
            "fetch_tickers",
            *(() if all_of_them else (tuple(group),)),
            project=project,
            max_age=args.max_age,
            params={"type": "spot"} if all_of_them else None,
        )
        await asked.together(group, reading)
    # The same question as get_ticker's, so the same answer serves both.
    await asked.alone("fetch_ticker", single, market_data.ticker, args.max_age)
    return asked


def _by_kind(listing: Listing, symbols: list[str]) -> dict[tuple[str, bool], list[str]]:
    kinds: dict[tuple[str, bool], list[str]] = {}
    for symbol in symbols:
        market = listing.markets[symbol]
        key = (str(market.get("type")), bool(market.get("inverse")))
        kinds.setdefault(key, []).append(symbol)
    return kinds


TICKERS_TOOL = Tool(
    name="batch_get_tickers",
    title="Get many prices",
    description=(
        "Prices of several symbols, or of all of an exchange (of many only one `type` at a time). "
        "For one symbol use get_ticker."
    ),
    arguments=_Tickers,
    output=result_schema(
        ("exchange", "tickers", "total", "truncated", *FRESHNESS),
        exchange=ANSWERED_BY,
        tickers={
            "type": "array",
            # Its properties are in get_ticker's schema; twice they are a kilobyte of every context.
            "items": {"type": "object", "description": "As get_ticker's.", "required": ["symbol"]},
        },
        failed=FAILED,
        **FRESHNESS,
        **PAGED_SCHEMA,
    ),
    run=_batch_get_tickers,
    toolset=Toolset.MARKET,
)
