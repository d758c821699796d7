"""Two workflows in parallel: one watches open orders, one what the account owns.

    CCXT_MCP_URL=http://127.0.0.1:3000 python examples/python/monitor.py --rounds 3

Each has a session of its own, so a slow answer for one does not hold the other. It needs
`ccxt_mcp.client` only, from an environment in which ccxt-mcp is installed.
"""

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import datetime

from ccxt_mcp.client import CallFailed, Workflow, health

URL = os.environ.get("CCXT_MCP_URL", "http://127.0.0.1:3000")
TOKEN = os.environ.get("CCXT_MCP_TOKEN")


def show(name: str, text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {name:8} {text}", flush=True)


async def orders(workflow: Workflow) -> str:
    # Both are about one moment, so one session: they run in this order.
    ticker, open_orders = await workflow.gather(
        ("get_ticker", {"symbol": "BTC/USDT"}), ("get_open_orders", {})
    )
    return f"{len(open_orders['orders'])} open, BTC/USDT at {ticker['ticker']['last']}"


async def balance(workflow: Workflow) -> str:
    answer = await workflow.call("account_balance")
    return ", ".join(f"{each['total']} {each['currency']}" for each in answer["balances"])


async def watch(
    name: str, look: Callable[[Workflow], Awaitable[str]], rounds: int, pause: float
) -> None:
    """Look again and again; one failed look does not end it, nor the other workflow."""
    async with Workflow(name, URL, token=TOKEN) as workflow:
        for remaining in reversed(range(rounds)):
            try:
                show(name, await look(workflow))
            except CallFailed as failure:
                # Reads were tried again already where that could help.
                show(name, f"failed: {failure.code}: {failure.message}")
            if remaining:
                await asyncio.sleep(pause)


async def main() -> None:
    arguments = argparse.ArgumentParser(description="watch orders and balances side by side")
    arguments.add_argument("--rounds", type=int, default=1_000_000)
    arguments.add_argument("--pause", type=float, default=5.0, help="seconds between two looks")
    given = arguments.parse_args()
    async with asyncio.TaskGroup() as both:
        both.create_task(watch("orders", orders, given.rounds, given.pause))
        both.create_task(watch("balance", balance, given.rounds, given.pause))
    report = await health(URL, token=TOKEN)
    show("server", f"{report.status}, {report.active_sessions} sessions")


if __name__ == "__main__":
    asyncio.run(main())
