"""The catalog of exchanges, against CCXT itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

from ccxt_mcp.exchanges.catalog import catalog, snake_case

GENERATE = """
import json
from ccxt_mcp.exchanges.catalog import generate
print(json.dumps(generate()))
"""


def test_the_file_is_what_this_build_of_ccxt_generates(apart: Callable[..., Any]) -> None:
    """After a new CCXT: `python -m ccxt_mcp.exchanges.catalog > …/catalog.json`, read the diff."""
    text = resources.files("ccxt_mcp.exchanges").joinpath("catalog.json").read_text("utf-8")
    assert json.loads(text) == apart(GENERATE)


def test_facts_of_an_exchange_are_complete() -> None:
    facts = catalog().exchanges["kucoin"]
    assert facts.required_credentials == ("apiKey", "secret", "password")
    assert facts.has["fetchOpenOrders"] is True
    assert facts.has.get("fetchL3OrderBook") is True
    assert "spot" in facts.market_types
    assert facts.timeframes["1h"] == "1hour"
    assert facts.docs[0].startswith("https://")
    assert catalog().exchanges["binance"].sandbox
    assert not catalog().exchanges["kraken"].sandbox


def test_method_names_translate_as_ccxt_does() -> None:
    assert snake_case("fetchOpenOrders") == "fetch_open_orders"
    assert snake_case("fetchOHLCV") == "fetch_ohlcv"
    assert snake_case("fetchL2OrderBook") == "fetch_l2_order_book"
    assert snake_case("fetchPositionADLRank") == "fetch_position_adl_rank"
