"""What the tables say of CCXT's classes is what their source says."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from ccxt_mcp.exchanges.habits import (
    BY_CLIENT_ID,
    HABITS,
    ORDER_OF_FILLS,
    SIDES,
    WALLETS,
    client_ids,
    habits,
)
from ccxt_mcp.exchanges.wiring import wired_class

DAY = 86_400_000


def source(exchange: str, *methods: str) -> str:
    """The source of methods of CCXT's class, of those that it has."""
    cls: Any = wired_class(exchange)
    return "".join(inspect.getsource(inspect.unwrap(getattr(cls, name))) for name in methods)


@pytest.mark.parametrize("exchange", BY_CLIENT_ID)
def test_a_client_id_goes_where_the_class_reads_it(exchange: str) -> None:
    """A new release of CCXT that reads it no longer is noticed here."""
    way = client_ids(exchange)
    if way.fetch:
        methods = ["fetch_order"]
        cls: Any = wired_class(exchange)
        helpers = ("fetch_order_request", "fetch_spot_order", "fetch_order_helper")
        methods += [each for each in helpers if hasattr(cls, each)]
        assert "'clientOrderId'" in source(exchange, *methods)
    elif exchange == "kraken":
        for method in ("fetch_open_orders", "fetch_closed_orders"):
            assert "request['cl_ord_id'] = clientOrderId" in source(exchange, method)
    else:
        assert "acknowledged" in source(exchange, "fetch_order")
    assert client_ids("deribit").fetch is False


@pytest.mark.parametrize("exchange", sorted(WALLETS))
def test_a_wallet_is_asked_for_by_type(exchange: str) -> None:
    """Others would ignore it, and the answer would be another wallet's."""
    text = source(exchange, "fetch_balance")
    assert "handle_market_type_and_params" in text or "(params, 'type'" in text


@pytest.mark.parametrize("exchange", sorted(SIDES))
def test_the_kind_of_contract_is_asked_for_by_sub_type(exchange: str) -> None:
    """The same of positions."""
    methods = ["fetch_positions", *(["fetch_positions_risk"] if exchange == "binance" else [])]
    assert "handle_sub_type_and_params" in source(exchange, *methods)


def test_the_fills_of_one_order_are_asked_for_as_ccxt_does() -> None:
    """By the parameter that its own method sends."""
    for exchange, name in ORDER_OF_FILLS.items():
        assert f"'{name}'" in source(exchange, "fetch_order_trades")


def test_habits_are_the_tables_or_what_ccxt_says() -> None:
    """Derivatives of Binance are told of seven days at a time."""
    spot = habits("binance", "fetchMyTrades", contract=False, limit=1000, days=1)
    assert (spot.page, spot.span, spot.oldest_first) == (1000, None, True)
    assert habits("binance", "fetchOrders", contract=True).span == 7 * DAY
    assert habits("kraken", "fetchClosedOrders", contract=False).whole
    other = habits("bybit", "fetchMyTrades", contract=False, limit=100, days=7)
    assert (other.page, other.span, other.oldest_first) == (100, 7 * DAY, False)
    unknown = habits("nowhere", "fetchMyTrades", contract=False, limit=None, days=100_000)
    assert (unknown.page, unknown.span) == (50, None)
    assert habits("x", "fetchOrders", contract=False, limit=5000).page == 1000
    assert all(each.page <= 1000 for each in HABITS.values())
