"""A whole server in this process, with its venues and a witness inside: for what has to be proved.

Owns: the settings of the stand (three profiles at two venues, in two dialects, paced and not) and
its life. Refuses: measuring; a process that serves, asks and answers says nothing about speed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette

from benchmarks.raw import Answer, Gone, Line, tool, wire
from benchmarks.witness import Admitting, Witness, task_names, until_nothing_is_left
from ccxt_mcp.app import create_app
from ccxt_mcp.product import Product, assemble
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.settings import Settings
from ccxt_mcp.simulation import (
    SimulatedExchange,
    SimulationConfig,
    demo_accounts,
    demo_venue,
)

__all__ = ["ACCOUNTS", "Stand", "standing"]

_SEED = 7
ACCOUNTS = ("main", "second")
"""At the unpaced Binance; `kraken-main` and `kraken-second` are at Kraken."""


@dataclass(slots=True)
class Stand:
    """What runs. `tasks` are those of the server when it is quiet and warm."""

    product: Product
    app: Starlette
    address: tuple[str, int]
    witness: Witness
    admission: Admitting
    open: SimulatedExchange
    paced: SimulatedExchange
    tasks: Counter[str]

    @property
    def venues(self) -> list[SimulatedExchange]:
        return [self.open, self.paced]

    async def left(self, within: float = 15.0) -> list[str]:
        """What is held when nothing should be under way any more; empty when all is well."""
        for venue in self.venues:
            venue.faults.clear()
        return await until_nothing_is_left(
            self.product, self.app, self.venues, self.tasks, within=within
        )

    async def drained(self) -> list[str]:
        """End the server's work; it takes no time, unless a request was lost count of."""
        try:
            async with asyncio.timeout(5):
                await self.app.state.drain(20)
        except TimeoutError:
            return ["the gate still counts requests"]
        return []


def settings(open_: SimulatedExchange, paced: SimulatedExchange, **more: Any) -> Settings:
    """Short timeouts, so that what hangs takes a second."""
    binance = {"exchange": "binance", "options": {"fetchMarkets": {"types": ["spot"]}}}
    accounts: dict[str, Any] = {
        each.name: {"exchange": "paper", "api_key": each.api_key, "secret": each.secret}
        for each in demo_accounts(_SEED)
    }
    accounts |= {
        f"kraken-{each.name}": {
            "exchange": "kraken",
            "api_key": each.api_key,
            "secret": each.secret,
        }
        for each in demo_accounts(_SEED, dialect="kraken")
    }
    return Settings.model_validate(
        {
            "default_exchange": "paper",
            "exchange_keys_from_env": False,
            "ccxt_timeout": 1.0,
            "tool_timeout": 3.0,
            "max_sessions_per_client": 10_000,
            "exchanges": {
                "paper": {
                    **binance,
                    "base_url": open_.base_url,
                    "default_account": ACCOUNTS[0],
                    "rate_limit": "off",
                },
                "paced": {**binance, "base_url": paced.base_url},
                "kraken": {"exchange": "kraken", "base_url": paced.base_url},
            },
            "accounts": accounts,
            **more,
        }
    )


@asynccontextmanager
async def standing(seed: int, latency_ms: float = 5, **more: Any) -> AsyncIterator[Stand]:
    """Start everything, warm; `more` are settings."""
    first, second = (demo_venue(seed=_SEED)[0] for _ in range(2))
    config = SimulationConfig(
        rate_limit=None, latency_ms=latency_ms, jitter_ms=2 * latency_ms, seed=seed
    )
    async with (
        SimulatedExchange(config, venue=first) as open_,
        SimulatedExchange(config, venue=second) as paced,
    ):
        product = assemble(settings(open_, paced, **more), environ={}, keep_on_disk=False)
        admission, witness = Admitting.of(product), Witness()
        witness.watch(product)
        app = create_app(product=product)
        listener = bind("127.0.0.1", 0)
        address: tuple[str, int] = listener.getsockname()[:2]
        with witness:
            async with serving(witness.application(app), listener):
                for exchange in ("paper", "paced", "kraken"):
                    await _warm(address, exchange)
                yield Stand(product, app, address, witness, admission, open_, paced, task_names())


async def _warm(address: tuple[str, int], exchange: str) -> None:
    body = tool("get_ticker", {"symbol": "BTC/USDT", "exchange": exchange}, 1)
    async with asyncio.timeout(30):
        while True:
            line = await Line.open(address)
            try:
                answer: Answer = await line.ask(wire("POST", body, {"Mcp-Session-Id": "warm-up"}))
            except Gone:
                continue
            finally:
                line.leave()
            # The first load may take longer than one call here.
            if not answer.messages[0]["result"].get("isError"):
                return
