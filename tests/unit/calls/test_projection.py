"""CCXT's structures leave with documented fields only, and the schema says what leaves."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.calls.projection import holdings, market_data, orders
from ccxt_mcp.calls.projection.holdings import BALANCE
from ccxt_mcp.calls.projection.market_data import MARKET, TICKER
from ccxt_mcp.calls.projection.orders import ORDER
from ccxt_mcp.calls.projection.structure import Structure
from ccxt_mcp.errors import Code, Failure

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


def test_the_raw_answer_and_unknown_fields_are_dropped() -> None:
    """`info`, unknown keys and nulls do not leave; a missing field means "not said"."""
    shown = ORDER.project(
        {"id": "1", "price": "2.50", "average": None, "info": {"secret": 1}, "novelty": 3}
    )
    assert shown == {"id": "1", "price": "2.50"}


def test_nested_structures_are_projected_by_the_same_rules() -> None:
    """Limits keep what is known; a nested structure of which nothing is known is left out."""
    shown = MARKET.project(
        {
            "symbol": "BTC/USDT",
            "limits": {"amount": {"min": 1e-05, "max": None}, "price": {"min": None}},
            "precision": {"amount": None, "price": None},
            "info": {},
        }
    )
    assert shown == {"symbol": "BTC/USDT", "limits": {"amount": {"min": 1e-05}}}


def test_fees_of_an_order_are_exact() -> None:
    """Fee amounts are the account's, hence decimal strings."""
    shown = ORDER.project(
        {"id": 7, "fee": {"cost": "0.00010", "currency": "BNB"}, "fees": [{"cost": 1e-7}, None]}
    )
    assert shown == {
        "id": "7",
        "fee": {"cost": "0.00010", "currency": "BNB"},
        "fees": [{"cost": "0.0000001"}],
    }


def judge_of(structure: Structure) -> Any:
    """Says whether a value is of the documented form, with nothing besides."""
    schema = {**structure.schema(), "required": [], "additionalProperties": False}
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("structure", "judge"),
    [(structure, judge_of(structure)) for structure in (TICKER, MARKET, ORDER, BALANCE)],
    ids=("ticker", "market", "order", "balance"),
)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_whatever_an_exchange_sends_the_result_fits_the_schema(
    structure: Structure, judge: Any, data: st.DataObject
) -> None:
    """For any values under the known names: each field has its documented form or is missing."""
    names = [field.name for field in structure.fields]
    source: dict[str, Any] = data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=8))
    judge.validate(structure.project(source))


def test_zero_balances_are_dropped_unless_asked_for() -> None:
    """A currency counts as empty only when every amount is zero, in whatever spelling."""
    balance = {
        "info": {},
        "free": {},
        "used": {},
        "total": {"BTC": "1.0", "ETH": "0.00", "LTC": "0", "XRP": "0.0"},
        "BTC": {"free": "1.0", "used": "0.0", "total": "1.0"},
        "ETH": {"free": "0.00", "used": "0.00", "total": "0.00"},
        "LTC": {"free": "0", "used": "0", "total": "0", "debt": "0.5"},
        "XRP": {"free": "0.0", "used": "0.0", "total": None},
    }
    rows = holdings.balances(balance, include_zero=False)
    assert [row["currency"] for row in rows] == ["BTC", "LTC"]
    everything = holdings.balances(balance, include_zero=True)
    assert [row["currency"] for row in everything] == ["BTC", "ETH", "LTC", "XRP"]


def test_a_book_keeps_its_order_and_its_depth() -> None:
    """Levels come best first, at most as many as wanted."""
    raw = [[1.5, 2.0, 12345], [1.4, "3"], [1.3, 1]]
    assert market_data.levels(raw, 3) == [[1.5, 2.0], [1.4, 3.0], [1.3, 1]]
    assert market_data.levels(raw, 1) == [[1.5, 2.0]]
    assert market_data.levels(None, 5) == []


@pytest.mark.parametrize("level", [[1.4, None], [None, None], [1.4, float("nan")], ["x", 1.0]])
def test_a_level_that_cannot_be_read_condemns_the_book(level: list[Any]) -> None:
    """Before: it was left out, so that a book of garbage was an empty book, as if nobody traded."""
    with pytest.raises(Failure, match="level of the book") as caught:
        market_data.levels([[1.5, 2.0], level], 5)
    assert caught.value.code is Code.BAD_RESPONSE


def test_a_currency_of_which_nothing_is_known_is_not_zero() -> None:
    """Before: it was dropped with the empty ones, so that nulls made an empty account."""
    balance = {"total": {"BTC": None}, "BTC": {"free": None, "used": None, "total": None}}
    assert holdings.balances(balance, include_zero=False) == [{"currency": "BTC"}]


def test_an_order_without_an_id_is_not_invented() -> None:
    """CCXT makes an order with `filled: 0` of anything in the list; either kind of id will do."""
    kept = [{"id": "1", "filled": "0"}, {"clientOrderId": "a", "filled": "0"}]
    assert orders.orders(kept) == kept
    with pytest.raises(Failure, match="without an id") as caught:
        orders.orders([*kept, {"id": None, "filled": "0", "postOnly": False}])
    assert caught.value.code is Code.BAD_RESPONSE


def test_a_ticker_is_the_one_that_was_asked_for() -> None:
    """Another symbol's price, or no number at all, is not passed on as this symbol's."""
    assert market_data.ticker({"symbol": None, "last": 5}, "A/B") == {"symbol": "A/B", "last": 5}
    for wrong in ({"symbol": "C/D", "last": 5}, {"symbol": "A/B", "timestamp": 1}, {}):
        with pytest.raises(Failure, match="A/B") as caught:
            market_data.ticker(wrong, "A/B")
        assert caught.value.code is Code.BAD_RESPONSE


def test_an_unknown_value_in_a_candle_is_null() -> None:
    """A candle keeps six positions, since their meaning is their place."""
    assert market_data.candles([[1, 2, 3.0, None, float("inf"), 5]]) == [[1, 2, 3.0, None, None, 5]]
    assert market_data.candles([[1, 2, 3, 4, 5]]) == [[1, 2, 3, 4, 5, None]]


@pytest.mark.parametrize("row", [[], [None] * 6, ["x", 1, 2, 3, 4, 5]])
def test_a_candle_without_a_time_is_none(row: list[Any]) -> None:
    """Before: anything in the list became a candle of nulls."""
    with pytest.raises(Failure, match="without a time") as caught:
        market_data.candles([[1, 2, 3, 4, 5, 6], row])
    assert caught.value.code is Code.BAD_RESPONSE
