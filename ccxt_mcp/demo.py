"""The demonstration: a simulated exchange, this server in front of it, and two workflows.

Owns: the demo's settings and what it prints. Refuses: real exchanges; keys in the environment are
not read.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ccxt_mcp.app import MCP_PATH, create_app
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.ops.logs import configure_logging
from ccxt_mcp.product import Product, assemble
from ccxt_mcp.serving import bind, run_until_stopped, serving
from ccxt_mcp.settings import Settings
from ccxt_mcp.simulation import (
    DEMO_CONTRACTS,
    DemoAccount,
    SimulatedExchange,
    SimulationConfig,
    demo_venue,
)

__all__ = ["run_demo", "run_once"]

PROFILE = "paper"
_SEED = 7
_LATENCY_MS = 30.0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@asynccontextmanager
async def _demo(host: str, port: int) -> AsyncIterator[tuple[Product, tuple[DemoAccount, ...]]]:
    """The venue, and a product whose default exchange is that venue."""
    venue, accounts = demo_venue(seed=_SEED, linear_symbols=DEMO_CONTRACTS)
    config = SimulationConfig(latency_ms=_LATENCY_MS)
    async with SimulatedExchange(config, venue=venue) as exchange:
        # Not `load_settings`: neither a configuration file nor the environment has a say here.
        settings = Settings.model_validate(
            {
                "host": host,
                "port": port,
                "default_exchange": PROFILE,
                "exchange_keys_from_env": False,
                "exchanges": {
                    PROFILE: {
                        "exchange": "binance",
                        "base_url": exchange.base_url,
                        "options": {"fetchMarkets": {"types": ["spot", "linear"]}},
                        "default_account": accounts[0].name,
                    }
                },
                "accounts": {
                    account.name: {
                        "exchange": PROFILE,
                        "api_key": account.api_key,
                        "secret": account.secret,
                    }
                    for account in accounts
                },
            }
        )
        product = assemble(settings, environ={}, on_progress=_say, keep_on_disk=False)
        configure_logging(settings.log_level, settings.log_format, product.redactor)
        yield product, accounts


async def run_demo(host: str, port: int) -> None:
    """Serve the demo until it is stopped.

    Raises:
        ConfigurationError: the port is taken.
    """
    listener = bind(host, port)
    async with _demo(host, listener.getsockname()[1]) as (product, accounts):

        def announce(url: str) -> None:
            names = ", ".join(account.name for account in accounts)
            _say(
                f"""
ccxt-mcp demo: an MCP server in front of a simulated exchange; no real money, no real keys.

  MCP endpoint   {url}{MCP_PATH}
  sessions       {url}/health
  exchange       {PROFILE} (CCXT's own `binance` class against the simulated venue)
  accounts       {names} (the first is the default)

Try it from another terminal:

  curl -s {url}{MCP_PATH} -H 'Content-Type: application/json' \\
    -H 'Mcp-Session-Id: workflow-orders-monitoring' \\
    -d '{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"get_open_orders"}}}}'

  .venv/bin/ccxt-mcp call account_balance --url {url}
  .venv/bin/ccxt-mcp status --url {url}

Ctrl-C stops it."""
            )

        app = create_app(product=product)
        await run_until_stopped(
            app,
            listener,
            connections=app.state.connections,
            drain=app.state.drain,
            started=announce,
        )


async def run_once() -> None:
    """Run two workflows side by side, print what they read, and stop.

    Raises:
        ConfigurationError: a workflow could not be answered; the text says what was.
    """
    listener = bind("127.0.0.1", 0)
    async with (
        _demo("127.0.0.1", listener.getsockname()[1]) as (product, _),
        serving(create_app(product=product), listener) as url,
        httpx.AsyncClient(timeout=30, trust_env=False) as http,
    ):
        orders, balance = await asyncio.gather(
            _call(http, url, "workflow-orders-monitoring", "get_open_orders"),
            _call(http, url, "workflow-balance-monitoring", "account_balance"),
        )
        health = (await http.get(f"{url}/health")).json()
    print("workflow-orders-monitoring: get_open_orders")
    _table(orders["orders"], ["symbol", "side", "type", "price", "amount", "remaining", "status"])
    print("\nworkflow-balance-monitoring: account_balance")
    _table(balance["balances"], ["currency", "free", "used", "total"])
    sessions = sorted(session["sessionId"] for session in health["sessions"])
    print(f"\nsessions: {', '.join(sessions)}")


async def _call(http: httpx.AsyncClient, url: str, session: str, tool: str) -> dict[str, Any]:
    """One tool call as a workflow sends it: plain HTTP, a session of its own, no handshake."""
    response = await http.post(
        url + MCP_PATH,
        headers={"Mcp-Session-Id": session},
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}},
    )
    answer = response.json()
    if "error" in answer or answer["result"].get("isError"):
        raise ConfigurationError(f"{tool} failed: {response.text}")
    result: dict[str, Any] = answer["result"]["structuredContent"]
    return result


def _table(rows: list[dict[str, Any]], columns: list[str]) -> None:
    cells = [columns, *([str(row.get(column) or "") for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
