"""CCXT's own classes, their hosts rewritten to a simulated exchange in the same event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import ccxt.async_support as ccxt
import pytest

from ccxt_mcp.simulation import (
    DemoAccount,
    SimulatedExchange,
    SimulationConfig,
    demo_accounts,
    demo_venue,
)

NOW = 1_760_000_123_456

Connect = Callable[..., Any]


def binance(base_url: str, account: DemoAccount | None = None, **options: Any) -> Any:
    """A CCXT instance that talks to `base_url` and nowhere else."""
    exchange = ccxt.binance(
        {
            "apiKey": account.api_key if account else "",
            "secret": account.secret if account else "",
            "enableRateLimit": False,
            "timeout": 3_000,
            "options": {
                "fetchMarkets": {"types": ["spot"]},
                "fetchOpenOrders": {"warnWithoutSymbol": False},
                **options,
            },
        }
    )
    return rerooted(exchange, base_url)


def kraken(base_url: str, account: DemoAccount | None = None) -> Any:
    """The same for CCXT's kraken; `account` with its Kraken secret."""
    exchange = ccxt.kraken(
        {
            "apiKey": account.api_key if account else "",
            "secret": account.secret if account else "",
            "enableRateLimit": False,
            "timeout": 3_000,
        }
    )
    return rerooted(exchange, base_url)


def rerooted(exchange: Any, base_url: str) -> Any:
    api = exchange.urls["api"]
    exchange.urls["api"] = {name: base_url + urlsplit(url).path for name, url in api.items()}
    return exchange


@pytest.fixture
def accounts() -> tuple[DemoAccount, ...]:
    return demo_venue(7)[1]


@pytest.fixture
def kraken_accounts() -> tuple[DemoAccount, ...]:
    return demo_accounts(7, dialect="kraken")


@pytest.fixture
async def sim() -> AsyncIterator[SimulatedExchange]:
    venue, _ = demo_venue(7)
    async with SimulatedExchange(SimulationConfig(seed=7, rate_limit=None), venue=venue) as running:
        yield running


@pytest.fixture
async def connect(sim: SimulatedExchange) -> AsyncIterator[Connect]:
    """Make CCXT instances against `sim`; all are closed afterwards."""
    async with AsyncExitStack() as stack:

        def make(account: DemoAccount | None = None, **options: Any) -> Any:
            exchange = binance(sim.base_url, account, **options)
            stack.push_async_callback(exchange.close)
            return exchange

        yield make


@pytest.fixture
async def connect_kraken(sim: SimulatedExchange) -> AsyncIterator[Connect]:
    """Make CCXT instances of Kraken against `sim`; all are closed afterwards."""
    async with AsyncExitStack() as stack:

        def make(account: DemoAccount | None = None) -> Any:
            exchange = kraken(sim.base_url, account)
            stack.push_async_callback(exchange.close)
            return exchange

        yield make
