"""The whole stack below the transport: real CCXT against the simulated exchange on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.server.lowlevel import Server

from ccxt_mcp.accounts import Accounts, load_accounts
from ccxt_mcp.calls.pipeline import Calls
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.settings import load_settings
from ccxt_mcp.simulation import (
    DemoAccount,
    SimulatedExchange,
    SimulationConfig,
    Venue,
    demo_venue,
)
from ccxt_mcp.tools.boundary import FAILURE_META, Boundary
from ccxt_mcp.tools.server import TOOLS, build_server


@dataclass
class World:
    """A server over a running simulated exchange."""

    sim: SimulatedExchange
    gateway: Gateway
    accounts: Accounts
    calls: Calls
    boundary: Boundary
    server: Server[Any]
    demo: tuple[DemoAccount, ...] = field(repr=False)

    async def call(
        self, name: str, arguments: dict[str, Any] | None = None, *, mode: str = "auto"
    ) -> Outcome:
        """Call a tool through the SDK's client."""
        async with asyncio.timeout(20), Client(self.server, mode=mode) as client:
            return Outcome(await client.call_tool(name, arguments))


class Outcome:
    """A tool result as a client sees it."""

    def __init__(self, result: Any) -> None:
        self.text: str = result.content[0].text
        self.data: dict[str, Any] = result.structured_content or {}
        self.is_error: bool = bool(result.is_error)
        self.failure: dict[str, Any] = (result.meta or {}).get(FAILURE_META, {})

    def __repr__(self) -> str:
        return f"Outcome({self.text[:500]})"


@asynccontextmanager
async def make_world(
    tmp_path: Path,
    *,
    deadline: float = 15.0,
    listed: Mapping[str, Any] | None = None,
    place: tuple[Venue, tuple[DemoAccount, ...]] | None = None,
    profile: dict[str, Any] | None = None,
    load_apart: bool = False,
    **overrides: Any,
) -> AsyncIterator[World]:
    """A world with the demo's two accounts.

    ``overrides`` are settings; ``deadline`` is ``tool_timeout``, here allowed to be shorter than
    CCXT's, so that a test need not wait for the latter; ``listed`` is what the venue is made with.
    ``place`` is a venue with accounts instead of the demo's, ``profile`` replaces settings of the
    profile ``paper``. With ``load_apart`` market tables are loaded by a process of their own, as
    in the product; starting it takes fifteen times as long as all the rest of a world.
    """
    venue, demo = place or demo_venue(seed=3, **(listed or {}))
    types = ["spot", "linear"] if venue.linear else ["spot"]
    async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue) as sim:
        paper = {
            "exchange": "binance",
            "base_url": sim.base_url,
            "options": {"fetchMarkets": {"types": types}},
            "rate_limit": "off",
            "default_account": demo[0].name,
            **(profile or {}),
        }
        settings = load_settings(
            None,
            {},
            **{
                "default_exchange": "paper",
                "exchange_keys_from_env": False,
                "data_dir": tmp_path,
                "exchanges": {"paper": paper},
                "accounts": {
                    account.name: {
                        "exchange": "paper",
                        "api_key": account.api_key,
                        "secret": account.secret,
                    }
                    for account in demo
                },
                **overrides,
            },
        )
        gateway = Gateway(
            settings.exchanges, ccxt_timeout=settings.ccxt_timeout, load_apart=load_apart
        )
        accounts = load_accounts(settings, {}, gateway.exchange_ids())
        calls = Calls(
            gateway,
            accounts,
            settings.model_copy(update={"tool_timeout": deadline}),
            # Retries without their pauses.
            jitter=lambda _: 0.0,
        )
        await gateway.start()
        try:
            boundary = Boundary(calls, TOOLS)
            server = build_server(calls, boundary=boundary, version="0")
            yield World(sim, gateway, accounts, calls, boundary, server, demo)
        finally:
            await gateway.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the venue has seen what is waited for; at most five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
