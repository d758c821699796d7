"""Fixtures for the exchange room: a simulated exchange, a gateway to it, a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig, demo_venue

ROOT = Path(__file__).parents[3]
SPOT_ONLY: dict[str, Any] = {"fetchMarkets": {"types": ["spot"]}}


@dataclass(frozen=True)
class TestAccount:
    """As much of an account as the exchange room asks for."""

    __test__ = False
    name: str
    exchange: str
    credentials: Mapping[str, str] = field(repr=False)


@dataclass
class Bench:
    """A simulated exchange with two accounts and a gateway whose profile `paper` leads to it."""

    sim: SimulatedExchange
    gateway: Gateway
    main: TestAccount
    second: TestAccount
    progress: list[str]

    def requests(self) -> int:
        return self.sim.counters.snapshot().total

    def count(self, route: str) -> int:
        return self.sim.counters.snapshot().by_route.get(route, 0)


def paper(base_url: str, **changes: Any) -> ExchangeProfile:
    """A profile of CCXT's binance, spot only, at an address of ours, as fast as it goes."""
    values = {"name": "paper", "exchange": "binance", "base_url": base_url, "options": SPOT_ONLY}
    values["rate_limit"] = "off"
    return ExchangeProfile(**{**values, **changes})


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is so; give up after twenty seconds."""
    async with asyncio.timeout(20):
        while not condition():
            # Not 0: what is waited for may be another process's, which wants a core too.
            await asyncio.sleep(0.001)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Loads its tables itself: a process for that takes fifteen times as long as all the rest."""
    async with make_bench(load_apart=False) as made:
        yield made


@pytest.fixture
async def bench_apart() -> AsyncIterator[Bench]:
    """Has its tables loaded by a process of their own, as the product does."""
    async with make_bench(load_apart=True) as made:
        yield made


@asynccontextmanager
async def make_bench(*, load_apart: bool) -> AsyncIterator[Bench]:
    venue, demo = demo_venue(1)
    accounts = [
        TestAccount(a.name, "paper", {"apiKey": a.api_key, "secret": a.secret}) for a in demo
    ]
    progress: list[str] = []
    async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue) as sim:
        gateway = Gateway(
            {"paper": paper(sim.base_url)}, on_progress=progress.append, load_apart=load_apart
        )
        await gateway.start()
        try:
            yield Bench(sim, gateway, accounts[0], accounts[1], progress)
        finally:
            await gateway.close()


@pytest.fixture(scope="session")
def apart() -> Callable[..., Any]:
    """Run Python source in a process of its own; its last printed line is JSON.

    For what changes a process for good: imports, and CCXT's classes before they are hardened.
    """

    def run(source: str, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", source, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
