"""Which answers are held to a declared shape, found by asking CCXT what it would request.

``python -m tests.unit.exchanges.coverage`` prints the table of docs/CONCURRENCY.md, section 5.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ccxt_mcp.exchanges.catalog import catalog, snake_case
from ccxt_mcp.exchanges.cloning import CREDENTIALS, Mould
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.exchanges.shapes import SHAPES
from ccxt_mcp.settings import ExchangeProfile

KINDS = {"spot": "BTC/USDT", "linear": "BTC/USDT:USDT", "inverse": "BTC/USD:BTC"}
COLUMNS: dict[str, tuple[str, ...]] = {
    # The first that the exchange offers itself, as the tools choose.
    "balance": ("fetchBalance",),
    "open orders": ("fetchOpenOrders",),
    "past orders": ("fetchCanceledAndClosedOrders", "fetchOrders", "fetchClosedOrders"),
    "one order": ("fetchOrder",),
    "own trades": ("fetchMyTrades",),
    "ticker": ("fetchTicker",),
    "tickers": ("fetchTickers",),
    "book": ("fetchOrderBook",),
    "candles": ("fetchOHLCV",),
    "trades": ("fetchTrades",),
    "markets": ("fetchMarkets",),
}
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "fetchOrder": ("1", "symbol"),
    **dict.fromkeys(("fetchBalance", "fetchTickers", "fetchMarkets"), ()),
}
EXCHANGES = ("binanceus", *SHAPES)
SPOT_ONLY = {"kraken", "binanceus"}
"""The other kinds are no markets of these, although CCXT's methods would not mind."""


class _Cut(Exception):
    """The wire is cut where a request would be signed."""


def _instance(exchange: str, kind: str, *, keyed: bool) -> tuple[Any, list[Any]]:
    """An instance with one market of each kind, and the list of what it would request."""
    # What an account is, which CCXT would ask first.
    facts: dict[str, dict[str, Any]] = {
        "kucoin": {"uta": False, "hf": True},
        "bitget": {"uta": False},
        "gate": {"unifiedAccount": False},
        "hyperliquid": {"enableUnifiedMargin": False},
        "bybit": {"enableUnifiedMargin": False, "enableUnifiedAccount": True},
        "binance": {"fetchMargins": False},
    }
    options = facts.get(exchange, {})
    if kind != "spot":
        options = {**options, "defaultType": "swap", "defaultSubType": kind}
    profile = ExchangeProfile(name=exchange, exchange=exchange, options=options)
    prototype = build_prototype(profile, 10_000)
    prototype.set_markets([_market(prototype, each) for each in KINDS])
    prototype.accounts = [{"id": "1", "type": "spot", "code": None, "info": {}}]
    keys = dict.fromkeys(CREDENTIALS, "0x" + "1" * 62) if keyed else None
    clone = Mould(prototype).clone(credentials=keys)
    requests: list[Any] = []

    async def cut(path: str, api: Any, method: str, params: Any, config: Any = None) -> None:
        requests.append(clone.answers.expected(path, api, method, params))
        raise _Cut

    clone.fetch2 = cut
    return clone, requests


def _market(instance: Any, kind: str) -> Any:
    symbol = KINDS[kind]
    base, quote = symbol.partition(":")[0].split("/")
    settle = symbol.partition(":")[2] or None
    return instance.safe_market_structure(
        {
            "id": f"{base}{quote}{settle or ''}",
            "symbol": symbol,
            "base": base,
            "quote": quote,
            "baseId": base,
            "quoteId": quote,
            "settle": settle,
            "settleId": settle and settle.lower(),
            "type": "swap" if settle else "spot",
            "spot": settle is None,
            "swap": settle is not None,
            "future": False,
            "option": False,
            "contract": settle is not None,
            "active": True,
            "linear": kind == "linear" if settle else None,
            "inverse": kind == "inverse" if settle else None,
            "contractSize": 1.0,
            "precision": {"amount": 1e-5, "price": 0.01},
            "info": {},
        }
    )


async def requested(exchange: str, unified: str, kind: str) -> list[Any]:
    """What is expected of the answers to the requests that CCXT makes for a unified method."""
    # Market tables are loaded without keys, which some exchanges would ask for more with.
    instance, requests = _instance(exchange, kind, keyed=unified != "fetchMarkets")
    arguments = [
        KINDS[kind] if each == "symbol" else each for each in ARGUMENTS.get(unified, ("symbol",))
    ]
    try:
        # bybit wants to hear that it looks back at 500 orders only.
        params = {"acknowledged": True} if unified == "fetchOrder" else {}
        await getattr(instance, snake_case(unified))(*arguments, params=params)
    except _Cut:
        pass
    return requests


async def cell(exchange: str, methods: tuple[str, ...]) -> tuple[str, list[str]]:
    """The kinds of market that are covered, in words, and the endpoints that are not."""
    has = catalog().exchanges[exchange].has
    unified = next((name for name in methods if has.get(name) is True), None)
    unified = unified or next((name for name in methods if has.get(name)), None)
    if unified is None:
        return "not offered", []
    covered, missing = [], []
    for kind in KINDS:
        if kind == "spot" or exchange not in SPOT_ONLY:
            requests = await requested(exchange, unified, kind)
            assert requests, (exchange, unified, kind)
            bare = [each.endpoint for each in requests if each.shape is object]
            missing += [f"{unified} {kind}: {each}" for each in bare]
            if not bare:
                covered.append(kind)
    return ", ".join(covered) if len(covered) < len(KINDS) else "all", missing


async def table() -> tuple[list[str], list[str]]:
    """The lines of the table, and what is missing."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 1)]
    missing: list[str] = []
    for exchange in EXCHANGES:
        cells = [await cell(exchange, methods) for methods in COLUMNS.values()]
        missing += [f"{exchange} {each}" for _, lacking in cells for each in lacking]
        lines.append(f"| {exchange} | {' | '.join(words for words, _ in cells)} |")
    return lines, missing


if __name__ == "__main__":
    printed, lacking = asyncio.run(table())
    print("\n".join(printed))
    print("\n".join(lacking))
