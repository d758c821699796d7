"""The published limits, against the pinned CCXT's own tables of endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from ccxt_mcp.exchanges.budgets import BUDGETS, VENUES, default_pool, is_public, joined
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.limits import Place
from ccxt_mcp.exchanges.wiring import wired_class
from ccxt_mcp.settings import ExchangeProfile

METHODS = {"get", "post", "put", "delete", "patch", "head"}


@cache
def endpoints(exchange: str) -> tuple[tuple[str, str, str], ...]:
    """(API, method, path) of every endpoint that CCXT knows of an exchange."""

    def walk(tree: Any, names: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
        for name, below in tree.items():
            if name.lower() in METHODS:
                for path in below:
                    yield joined(list(names)), name.upper(), path
            else:
                yield from walk(below, (*names, name))

    return tuple(walk(wired_class(exchange)().api, ()))


def place(exchange: str) -> Place:
    profile = ExchangeProfile(name=exchange, exchange=exchange)
    return Place(profile, BUDGETS[exchange], catalog().exchanges[exchange].rate_limit)


def test_the_exchanges_are_ccxts() -> None:
    assert BUDGETS.keys() <= catalog().exchanges.keys()
    assert VENUES.keys() | set(VENUES.values()) <= catalog().exchanges.keys()


@pytest.mark.parametrize("exchange", sorted(BUDGETS))
def test_every_row_names_its_source_and_something_that_ccxt_has(exchange: str) -> None:
    known = endpoints(exchange)
    paths = {path for _, _, path in known}
    assert BUDGETS[exchange].without
    for pool in BUDGETS[exchange].pools:
        assert "documentation" in pool.source or "guide" in pool.source
        assert all(any(api.startswith(name) for api, _, _ in known) for name in pool.apis), pool
        assert set(pool.costs) <= paths, set(pool.costs) - paths
        assert any(
            pool.matches(api, method, path, signed=not is_public(api))
            for api, method, path in known
        )
        rules = pool.rules()
        assert 0 < rules.burst <= pool.limit or pool.drains
        assert all(window.limit <= pool.limit for window in rules.windows)


@pytest.mark.parametrize("exchange", sorted(BUDGETS))
def test_every_request_counts_somewhere(exchange: str) -> None:
    where = place(exchange)
    for api, method, path in endpoints(exchange):
        for keyed in (True, False):
            pools = where.pools(api, method, path, keyed=keyed)
            assert pools
            assert [each.per for each in pools] == sorted((e.per for e in pools), reverse=True)
            if not keyed:
                assert {each.per for each in pools} == {"address"}


@pytest.mark.parametrize(
    ("exchange", "api", "method", "path", "keyed", "expected"),
    [
        ("binance", "public", "GET", "ticker/24hr", False, {"request weight"}),
        ("binance", "private", "GET", "openOrders", True, {"request weight"}),
        ("binance", "private", "POST", "order", True, {"request weight", "order count"}),
        ("binance", "fapiPrivateV2", "GET", "account", True, {"USD-M futures weight"}),
        ("binance", "papi", "GET", "balance", True, {"request budget"}),
        ("kraken", "public", "GET", "Ticker", True, {"request budget"}),
        ("kraken", "private", "POST", "Balance", True, {"call counter"}),
        ("bybit", "public", "GET", "v5/market/tickers", True, {"requests per address"}),
        ("bybit", "private", "GET", "v5/x", True, {"requests per address", "requests of"}),
        ("coinbase", ["v3", "private"], "GET", "brokerage/x", True, {"private requests"}),
        ("coinbase", ["v3", "public"], "GET", "brokerage/x", False, {"public requests"}),
        ("coinbase", ["v2", "public"], "GET", "currencies", False, {"request budget"}),
        ("kucoin", "futuresPrivate", "GET", "positions", True, {"futures pool"}),
        ("kucoin", "futuresPublic", "GET", "ticker", False, {"public pool"}),
        ("gate", ["private", "spot"], "GET", "orders", True, {"requests of"}),
        ("bitget", ["public", "spot"], "GET", "x", False, {"requests per address"}),
    ],
)
def test_where_a_request_counts(
    exchange: str, api: Any, method: str, path: str, keyed: bool, expected: set[str]
) -> None:
    found = place(exchange).pools(api, method, path, keyed=keyed)
    assert {pool.name for pool in found} == expected


def test_krakens_costs_are_its_own_not_ccxts() -> None:
    """Before: three seconds of CCXT's pace for each balance, which Kraken counts as one of 15."""
    (pool,) = place("kraken").pools("private", "POST", "Balance", keyed=True)
    assert pool.cost("Balance", 3.0) == 1.0
    assert pool.cost("Ledgers", 6.0) == 2.0
    assert pool.cost("AddOrder", 0.0) == 0.0
    assert pool.rules().burst == 14


def test_an_exchange_without_a_row_keeps_ccxts_pace_with_a_small_burst() -> None:
    slow, fast = default_pool(1000.0), default_pool(20.0)
    assert slow is not None
    assert fast is not None
    assert slow.rules().rate == pytest.approx(0.98)
    assert slow.rules().burst == 3.0
    assert fast.rules().rate == pytest.approx(49.0)
    assert fast.rules().burst == 50.0
    assert default_pool(0.0) is None
