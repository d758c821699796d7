"""What CCXT makes of a wrong answer in good shape is not passed on."""

from __future__ import annotations

from typing import Any

import pytest

from ccxt_mcp.calls.policy import OWN_TOOLS
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.results import CHECKS, check_result
from ccxt_mcp.exchanges.truth import Untrue
from ccxt_mcp.exchanges.wiring import wired_class


def instance() -> Any:
    return wired_class("kraken")({"enableRateLimit": False})


@pytest.mark.parametrize(
    ("method", "made"),
    [
        ("fetch_ticker", lambda x: x.safe_ticker({})),
        ("fetch_tickers", lambda x: {"A/B": x.safe_ticker({}), "C/D": x.safe_ticker({})}),
        ("fetch_tickers", lambda x: {}),
        ("fetch_funding_rates", lambda x: {}),
        ("fetch_order", lambda x: x.safe_order({})),
        ("fetch_open_orders", lambda x: [x.safe_order({"id": "1"}), x.safe_order({})]),
        ("fetch_my_trades", lambda x: [x.safe_trade({})]),
        ("fetch_order_book", lambda x: x.parse_order_book({"bids": [["x", "y"]]}, "A/B")),
        ("fetch_order_book", lambda x: x.parse_order_book({"asks": [["1"]]}, "A/B")),
        ("fetch_ohlcv", lambda x: x.parse_ohlcvs([{"a": 1}])),
        ("fetch_ohlcv", lambda x: [[]]),
        ("fetch_balance", lambda x: x.safe_balance({"BTC": x.account(), "ETH": x.account()})),
        ("fetch_balance", lambda x: []),
        ("fetch_time", lambda x: None),
    ],
)
def test_what_ccxt_makes_of_nothing_is_refused(method: str, made: Any) -> None:
    """Before: a ticker of Nones, an order without id, a balance without amounts, as a success."""
    with pytest.raises(Untrue):
        check_result(method, made(instance()))


@pytest.mark.parametrize(
    ("method", "made"),
    [
        # A market without a trade yet, one without an order, an account without anything.
        ("fetch_ticker", lambda x: x.safe_ticker({"ask": 5})),
        ("fetch_ticker", lambda x: x.safe_ticker({"baseVolume": "0"})),
        ("fetch_tickers", lambda x: {"A/B": x.safe_ticker({}), "C/D": x.safe_ticker({"bid": 1})}),
        ("fetch_order", lambda x: x.safe_order({"clientOrderId": "mine"})),
        ("fetch_open_orders", lambda x: []),
        ("fetch_my_trades", lambda x: [x.safe_trade({"price": "1", "amount": "0"})]),
        ("fetch_order_book", lambda x: x.parse_order_book({"bids": [], "asks": []}, "A/B")),
        ("fetch_order_book", lambda x: x.parse_order_book({"bids": [["1", "0"]]}, "A/B")),
        ("fetch_ohlcv", lambda x: []),
        ("fetch_ohlcv", lambda x: [[1, None, None, None, None, 0]]),
        ("fetch_balance", lambda x: x.safe_balance({})),
        ("fetch_balance", lambda x: x.safe_balance({"A": x.account(), "B": {"free": "0"}})),
        ("fetch_time", lambda x: 0),
        ("fetch_status", lambda x: {}),
    ],
)
def test_a_result_that_says_little_but_something_passes(method: str, made: Any) -> None:
    check_result(method, made(instance()))


def test_checks_are_of_unified_methods_and_every_tools_read_has_one() -> None:
    assert set(CHECKS) <= set(catalog().methods.values())
    # Tables are checked where they are loaded; the long tail is passed on as it is.
    assert {each.method for each in OWN_TOOLS} - {"load_markets"} <= set(CHECKS)
