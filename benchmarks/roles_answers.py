"""What the child process of `rows_answers` runs: large answers, by the tools and by bare CCXT."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.roles_markets import Stalls, obey

__all__ = ["CASES", "answers"]

_SPOT = {"fetchMarkets": {"types": ["spot"]}}
_BTC = {"symbol": "BTC/USDT", "maxAgeMs": 0}

CASES: dict[str, tuple[str, dict[str, Any], str, tuple[Any, ...]]] = {
    "3,000 tickers": ("batch_get_tickers", {"limit": 500, "maxAgeMs": 0}, "fetch_tickers", ()),
    "3,000 tickers, all fields": (
        "batch_get_tickers",
        {"limit": 500, "maxAgeMs": 0, "fields": ["vwap", "last"]},
        "fetch_tickers",
        (),
    ),
    "1,000-level book": (
        "get_orderbook",
        {**_BTC, "limit": 1000},
        "fetch_order_book",
        ("BTC/USDT", 1000),
    ),
    "1,000 candles": (
        "get_ohlcv",
        {**_BTC, "timeframe": "1m", "limit": 1000},
        "fetch_ohlcv",
        ("BTC/USDT", "1m", None, 1000),
    ),
    "1,000 trades": (
        "get_trades",
        {**_BTC, "limit": 1000},
        "fetch_trades",
        ("BTC/USDT", None, 1000),
    ),
}
"""What is answered → the tool, its arguments, and the bare CCXT method with its own."""


def answers(url: str) -> None:
    """A line of input answers each case once by ours and once by CCXT: CPU of the longest callback
    of the loop, in seconds."""
    from urllib.parse import urlsplit

    from ccxt_mcp.exchanges.loading import install_lazy_ccxt

    install_lazy_ccxt()
    import ccxt.async_support as ccxt

    from ccxt_mcp.accounts import load_accounts
    from ccxt_mcp.calls.pipeline import Calls
    from ccxt_mcp.exchanges.gateway import Gateway
    from ccxt_mcp.settings import load_settings
    from ccxt_mcp.tools.boundary import Boundary
    from ccxt_mcp.tools.server import TOOLS

    async def main(home: Path) -> None:
        stalls = Stalls()
        profile = {"exchange": "binance", "base_url": url, "options": _SPOT, "rate_limit": "off"}
        settings = load_settings(
            None,
            {},
            default_exchange="paper",
            exchange_keys_from_env=False,
            data_dir=home,
            exchanges={"paper": profile},
        )
        gateway = Gateway(settings.exchanges, ccxt_timeout=settings.ccxt_timeout)
        calls = Calls(gateway, load_accounts(settings, {}, gateway.exchange_ids()), settings)
        boundary = Boundary(calls, TOOLS)
        await gateway.start()
        bare = ccxt.binance({"enableRateLimit": False, "options": _SPOT})
        api = bare.urls["api"]
        bare.urls["api"] = {name: url + urlsplit(old).path for name, old in api.items()}
        # The venue takes its time over its first 3,000 tickers.
        bare.timeout = 60_000
        await bare.load_markets()
        await bare.fetch_tickers()
        await boundary.call("get_ticker", {"symbol": "BTC/USDT"})

        async def each() -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name, (tool, arguments, method, args) in CASES.items():
                await stalls.take()
                result = await boundary.call(tool, arguments)
                ours = await stalls.take()
                if result.get("isError"):
                    raise RuntimeError(f"{tool}: {result}")
                await getattr(bare, method)(*args)
                found[name] = [ours, await stalls.take()]
            return found

        await obey(each)
        await bare.close()
        await gateway.close()

    with tempfile.TemporaryDirectory(prefix="ccxt-mcp-answers-") as home:
        asyncio.run(main(Path(home)))
