"""What the child processes of `rows_markets` run: tables loaded by ours and by bare CCXT."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["Stalls", "bare_markets", "markets", "obey"]

BOTH = {"fetchMarkets": {"types": ["spot", "linear"]}}


class Stalls:
    """The longest callback of the event loop, in CPU time of its thread.

    On asyncio's own loop, whose callbacks pass one Python function; the code under measurement is
    the same on uvloop.
    """

    def __init__(self) -> None:
        self._longest = 0.0
        handle: Any = asyncio.events.Handle
        run = handle._run

        def timed(each: Any) -> None:
            started = time.thread_time()
            run(each)
            self._longest = max(self._longest, time.thread_time() - started)

        handle._run = timed

    async def take(self) -> float:
        """Seconds since the last time this was asked."""
        # The callback that asks is not one of those asked about.
        await asyncio.sleep(0)
        longest, self._longest = self._longest, 0.0
        await asyncio.sleep(0)
        self._longest = 0.0
        return longest


def markets(url: str, exchanges: int, data_dir: str) -> None:
    """Ours: the gateway, and profiles that share no tables. A line of input loads the next one."""
    import gc

    from ccxt_mcp.exchanges.loading import install_lazy_ccxt

    install_lazy_ccxt()
    from ccxt_mcp.exchanges.gateway import Gateway
    from ccxt_mcp.settings import ExchangeProfile

    profiles = {
        f"p{number}": ExchangeProfile(
            name=f"p{number}", exchange="binance", base_url=url, options={**BOTH, "number": number}
        )
        for number in range(exchanges)
    }
    # As `ccxt-mcp serve` does before it listens.
    gc.freeze()

    async def main() -> None:
        stalls = Stalls()
        gateway = Gateway(profiles, data_dir=Path(data_dir))
        names = iter(profiles)

        async def load() -> dict[str, Any]:
            name = next(names)
            await stalls.take()
            started = time.perf_counter()
            async with gateway.public(name) as lease:
                count = len(lease.markets())
            took = time.perf_counter() - started
            origin = gateway.snapshot()[name]["marketsFrom"]
            return {"seconds": took, "stall": await stalls.take(), "markets": count, "from": origin}

        await obey(load)
        await gateway.close()

    asyncio.run(main())


def bare_markets(url: str) -> None:
    """Reference: `load_markets` of one CCXT instance, in the event loop."""
    from urllib.parse import urlsplit

    import ccxt.async_support as ccxt

    async def main() -> None:
        stalls = Stalls()
        made = []

        async def load() -> dict[str, Any]:
            exchange = ccxt.binance({"enableRateLimit": False, "options": BOTH})
            made.append(exchange)
            api = exchange.urls["api"]
            exchange.urls["api"] = {name: url + urlsplit(old).path for name, old in api.items()}
            await stalls.take()
            started = time.perf_counter()
            await exchange.load_markets()
            took = time.perf_counter() - started
            count = len(exchange.markets)
            return {"seconds": took, "stall": await stalls.take(), "markets": count}

        await obey(load)
        for exchange in made:
            await exchange.close()

    asyncio.run(main())


async def obey(load: Any) -> None:
    """Answer each line of input with what `load` returns, as JSON."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say()
    while await reader.readline():
        _say(**await load())


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)
