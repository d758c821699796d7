"""Tools that find things: exchanges, what they can do, and their markets.

Owns: their arguments, words, schemas and bodies. Refuses: prices (``market.py``) and everything
that an account owns (``account.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ccxt_mcp.calls.bounds import PAGED_SCHEMA, Answer, paged
from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.projection import market_data
from ccxt_mcp.exchanges.budgets import budget_of, default_pool
from ccxt_mcp.exchanges.catalog import ExchangeFacts
from ccxt_mcp.exchanges.methods import methods, upstream_limits
from ccxt_mcp.model import Toolset
from ccxt_mcp.tools.arguments import Arguments, Cursor, Exchange
from ccxt_mcp.tools.tool import ANSWERED_BY, FRESHNESS, Tool, result_schema

__all__ = ["CATALOGUE_TOOLS"]


class _Search(Arguments):
    search: Annotated[
        str | None, Field(max_length=64, description="Text that the name contains.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=200, description="Rows to show.")] = 50
    cursor: Cursor | None = None


async def _list_exchanges(call: Call, args: _Search) -> Answer:
    configured = call.settings.exchanges
    owners = {account.exchange for account in call.accounts.all()}
    default = call.settings.default_exchange
    wanted = (args.search or "").strip().lower()
    rows = []
    for name in {*configured, *owners, *call.gateway.exchange_ids()}:
        ccxt_id = configured[name].exchange if name in configured else name
        title = call.gateway.facts(name).name
        if wanted in f"{name}\n{ccxt_id}\n{title}".lower():
            rows.append(
                {
                    "name": name,
                    "title": title,
                    "exchange": ccxt_id,
                    "configured": name in configured,
                    "account": name in owners,
                    "default": name == default,
                }
            )
    paging = Paging({"exchanges": wanted}, _rank, args.cursor)
    return paged("exchanges", rows, paging, args.limit)


def _rank(row: Mapping[str, Any]) -> tuple[int | str, ...]:
    first = (row["default"], row["configured"], row["account"])
    return (*(int(not each) for each in first), row["name"])


class _OneExchange(Arguments):
    exchange: Exchange | None = None


async def _get_exchange_info(call: Call, args: _OneExchange) -> Answer:
    name = call.choose_exchange(args.exchange)
    facts = call.gateway.facts(name)
    profile = call.gateway.profile(name)
    data: dict[str, Any] = {
        "name": name,
        "title": facts.name,
        "exchange": profile.exchange,
        "sandbox": profile.sandbox,
        "hasSandbox": facts.sandbox,
        "marketTypes": list(facts.market_types),
        "accounts": [account.name for account in call.accounts.for_exchange(name)],
        "timeframes": list(facts.timeframes),
        "requiredCredentials": list(facts.required_credentials),
        "rateLimit": facts.rate_limit,
        "rateLimits": _rate_limits(profile.exchange, facts.rate_limit),
        "docs": list(facts.docs),
        "supports": {
            "market": sorted(_offered(facts, profile.exchange, private=False)),
            "account": sorted(_offered(facts, profile.exchange, private=True)),
        },
    }
    candles = upstream_limits(profile.exchange, "fetchOHLCV")
    most = {kind: told["limit"] for kind, told in candles.items() if "limit" in told}
    if most:
        data["candlesPerRequest"] = most
    return Answer(data)


def _offered(facts: ExchangeFacts, ccxt_id: str, *, private: bool) -> Iterator[str]:
    for each in methods().values():
        if facts.has.get(each.name) and each.private_on(ccxt_id) is private:
            yield each.name


def _rate_limits(ccxt_id: str, pace: float) -> list[str]:
    """The exchange's published rules that this server keeps to, in words."""
    budget = budget_of(ccxt_id)
    default = default_pool(pace)
    pools = budget.pools or (() if default is None else (default,))
    return [
        f"{each.name}{' each path' if each.per_path else ''}: {each.limit:g} per"
        f" {each.seconds:g} s and {each.per}"
        for each in pools
    ]


class _Markets(Arguments):
    exchange: Exchange | None = None
    search: Annotated[
        str | None,
        Field(max_length=64, description="Text that the symbol or the exchange's id contains."),
    ] = None
    quote: Annotated[
        str | None, Field(max_length=32, description="Quote currency, for instance USDT.")
    ] = None
    type: Annotated[
        Literal["spot", "margin", "swap", "future", "option"] | None,
        Field(description="Kind of market."),
    ] = None
    active: Annotated[bool, Field(description="Leave out markets that are not trading now.")] = True
    limit: Annotated[int, Field(ge=1, le=200, description="Markets to show.")] = 50
    cursor: Cursor | None = None


def _matches(market: Mapping[str, Any], args: _Markets, wanted: str, quote: str) -> bool:
    if args.active and market.get("active") is False:
        return False
    if quote and str(market.get("quote", "")).upper() != quote:
        return False
    if args.type == "margin":
        if not market.get("margin"):
            return False
    elif args.type is not None and market.get("type") != args.type:
        return False
    return (
        not wanted
        or wanted in str(market.get("symbol", "")).upper()
        or wanted in str(market.get("id", "")).upper()
    )


async def _get_markets(call: Call, args: _Markets) -> Answer:
    listing = await call.listing(args.exchange, "load_markets")
    wanted, quote = (args.search or "").strip().upper(), (args.quote or "").strip().upper()
    question = {"markets": listing.exchange, **args.model_dump(exclude={"limit", "cursor"})}
    return paged(
        "markets",
        (market for market in listing.markets.values() if _matches(market, args, wanted, quote)),
        Paging(question, lambda market: (market["symbol"],), args.cursor),
        args.limit,
        project=market_data.MARKET.project,
        exchange=listing.exchange,
        fetchedAt=round(listing.fetched_at * 1000),
        cached=True,
    )


CATALOGUE_TOOLS = (
    Tool(
        name="list_exchanges",
        title="List exchanges",
        description=(
            "Names to pass as `exchange`: this server's profiles first, then every exchange that "
            "CCXT knows. Use it to find a name. For what one exchange can do, use "
            "get_exchange_info; for accounts, list_accounts."
        ),
        arguments=_Search,
        output=result_schema(
            ("exchanges", "total", "truncated"),
            exchanges={
                "type": "array",
                "items": result_schema(
                    ("name", "title", "exchange", "configured", "account", "default"),
                    name={"type": "string", "description": "To be passed as `exchange`."},
                    title={"type": "string"},
                    exchange={"type": "string", "description": "CCXT's id of the exchange."},
                    configured={"type": "boolean", "description": "A profile of this server."},
                    account={"type": "boolean", "description": "An account is configured."},
                    default={"type": "boolean"},
                ),
            },
            **PAGED_SCHEMA,
        ),
        run=_list_exchanges,
    ),
    Tool(
        name="get_exchange_info",
        title="Describe an exchange",
        description=(
            "What one exchange supports: methods, candle timeframes, rate limits, needed "
            "credentials, accounts. Asks the exchange nothing. For its markets use get_markets."
        ),
        arguments=_OneExchange,
        output=result_schema(
            ("name", "title", "exchange", "sandbox", "accounts", "timeframes", "supports"),
            name={"type": "string"},
            title={"type": "string"},
            exchange={"type": "string", "description": "CCXT's id."},
            sandbox={"type": "boolean", "description": "This profile uses the test network."},
            hasSandbox={"type": "boolean", "description": "The exchange has a test network."},
            marketTypes={"type": "array", "items": {"type": "string"}},
            accounts={"type": "array", "items": {"type": "string"}},
            timeframes={"type": "array", "items": {"type": "string"}},
            requiredCredentials={"type": "array", "items": {"type": "string"}},
            supports={
                "type": "object",
                "description": "Reading methods (describe_method): without keys, and with.",
                "properties": {
                    "market": {"type": "array", "items": {"type": "string"}},
                    "account": {"type": "array", "items": {"type": "string"}},
                },
            },
            rateLimit={
                "type": "number",
                "description": "CCXT's pause between simple requests, in ms.",
            },
            rateLimits={"type": "array", "items": {"type": "string"}},
            candlesPerRequest={
                "type": "object",
                "description": "By kind of market.",
                "additionalProperties": {"type": "integer"},
            },
            docs={"type": "array", "items": {"type": "string"}},
        ),
        run=_get_exchange_info,
    ),
    Tool(
        name="get_markets",
        title="Find markets",
        description=(
            "Markets of an exchange with symbols, fees, precision and limits. Use it to find the "
            "right symbol, or the limits of an order. Not for prices: use get_ticker."
        ),
        arguments=_Markets,
        output=result_schema(
            ("exchange", "markets", "total", "truncated", *FRESHNESS),
            exchange=ANSWERED_BY,
            markets={"type": "array", "items": market_data.MARKET.schema()},
            **FRESHNESS,
            **PAGED_SCHEMA,
        ),
        run=_get_markets,
        toolset=Toolset.MARKET,
    ),
)
"""In the order in which they are listed."""
