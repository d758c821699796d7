"""What single exchanges do differently, and what the tools make of it, by recorded answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mcp.client import Client

from ccxt_mcp.tools.boundary import FAILURE_META
from tests.recorded.tape import tape_of
from tests.recorded.world import recorded


async def test_an_order_without_a_trigger_is_shown_without_one(tmp_path: Path) -> None:
    """kucoin says `stopPrice` 0 of every limit order, and CCXT passes it on: shown, it reads as an
    order that waits for a price. One that has a trigger (bybit's) shows it."""
    shown: list[Any] = []
    for exchange in ("kucoin", "bybit"):
        tape = tape_of(exchange)
        order_id, symbol = tape.calls["fetchOrder"].args
        folder = tmp_path / exchange
        async with recorded(tape, folder) as made, Client(made.server) as client:
            asked = {"orderId": order_id, "symbol": symbol}
            outcome: Any = await client.call_tool("get_order", asked)
            shown.append(outcome.structured_content["order"].get("triggerPrice"))
    assert shown == [None, tape_of("bybit").raw("order:result.list.0.triggerPrice")]


async def test_funding_rates_that_htx_does_not_list_are_read_one_by_one(tmp_path: Path) -> None:
    """htx lists those of inverse swaps only: without single reads, two linear ones at once are "not
    supported", and each alone has a rate."""
    tape = tape_of("htx")
    first = next(answer for answer in tape.answers if answer.name == "funding")
    other = json.dumps(first.body).replace("BTC-USDT", "ETH-USDT")
    rates = tape.raw("funding:data.0.funding_rate"), "0.000042"
    body = json.loads(other.replace(*rates))
    second = replace(first, about={"contract_code": "ETH-USDT"}, body=body)
    symbols = ["BTC/USDT:USDT", "ETH/USDT:USDT"]
    both_recorded = replace(tape, answers=(*tape.answers, second))
    async with recorded(both_recorded, tmp_path) as made, Client(made.server) as client:
        both: Any = await client.call_tool("get_funding_rates", {"symbols": symbols})
        all_: Any = await client.call_tool("get_funding_rates", {})
    assert not both.is_error, both.content[0].text
    rows = both.structured_content["fundingRates"]
    shown = {row["symbol"]: row["fundingRate"] for row in rows}
    assert shown == dict(zip(symbols, map(float, rates), strict=True))
    assert "failed" not in both.structured_content
    assert all_.meta[FAILURE_META]["code"] == "not_supported"
    assert "`symbols`" in all_.content[0].text
