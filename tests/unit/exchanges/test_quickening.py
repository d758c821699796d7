"""Remembered arithmetic is arithmetic: the same results as CCXT's own functions, on anything."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccxt_mcp.exchanges.quickening import REMEMBERED
from ccxt_mcp.exchanges.wiring import wired_class

wired_class("binance")

from ccxt.base.exchange import BaseExchange  # noqa: E402
from ccxt.base.precise import Precise  # noqa: E402

NUMBERS = st.one_of(
    st.none(),
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["0", "-0", "0.0", "1e-8", "1E5", "0.00000001", "100.50"]),
)
BINARY = [
    *("string_mul", "string_div", "string_add", "string_sub", "string_or", "string_equals"),
    *("string_eq", "string_min", "string_max", "string_gt", "string_ge", "string_lt", "string_le"),
]


def outcome(function: object, *arguments: object) -> object:
    """The result or the error, comparable."""
    assert callable(function)
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", BINARY)
@given(first=NUMBERS, second=NUMBERS)
def test_arithmetic_is_the_same_remembered_or_computed(
    name: str, first: str | None, second: str | None
) -> None:
    remembered = getattr(Precise, name)
    for _ in range(2):
        assert outcome(remembered, first, second) == outcome(remembered.__wrapped__, first, second)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=15)))
@example(1)
@example(True)
@example(1.0)
def test_times_are_the_same_remembered_or_computed(value: object) -> None:
    remembered = BaseExchange.iso8601
    for _ in range(2):
        assert outcome(remembered, value) == outcome(remembered.__wrapped__, value)


def test_the_memory_is_bounded() -> None:
    assert Precise.string_gt.cache_info().maxsize == REMEMBERED
