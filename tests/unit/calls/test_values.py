"""Single values leave in their documented form, exactly, or not at all."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.calls import values


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("0.10000000", "0.10000000"),
        ("123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"),
        ("1e-8", "0.00000001"),
        ("-1E+3", "-1000"),
        (1e-08, "0.00000001"),
        (0.1, "0.1"),
        (12, "12"),
        (Decimal("1.50"), "1.50"),
        (float("nan"), None),
        (float("inf"), None),
        ("NaN", None),
        ("Infinity", None),
        ("", None),
        ("abc", None),
        ("1_000", "1000"),
        (True, None),
        ("1e999999", None),
        ([1], None),
    ],
)
def test_a_decimal_keeps_its_digits_and_never_has_an_exponent(
    given_: Any, expected: str | None
) -> None:
    """Every digit survives; what is no plain amount is left out, however it is spelt."""
    assert values.decimal(given_) == expected


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30))
def test_a_decimal_string_is_numerically_what_was_sent(amount: Decimal) -> None:
    """For any amount: the text denotes the same number."""
    text = values.decimal(str(amount))
    if text is not None:
        assert "e" not in text.lower()
        assert Decimal(text) == amount


@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_float_that_sneaks_in_keeps_its_value(amount: float) -> None:
    """For any float: out comes text that reads back as the same float, or nothing."""
    text = values.decimal(amount)
    if text is not None:
        assert float(text) == amount


@settings(deadline=None)
@given(st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none()))
def test_no_number_is_ever_unfit_for_json(value: Any) -> None:
    """For any input: a result of `number` or `integer` serialises and is finite."""
    for admitted in (values.number(value), values.integer(value)):
        assert admitted is None or math.isfinite(admitted)
        orjson.dumps(admitted)


@settings(deadline=None)
@given(st.one_of(st.text(), st.characters(categories=["Cs"]), st.integers()))
def test_any_text_of_an_exchange_fits_into_a_result(value: Any) -> None:
    """Lone surrogates and very long texts leave as valid, short UTF-8."""
    admitted = values.text(value)
    if admitted is not None:
        assert len(admitted) <= max(
            values.MAX_TEXT, len(str(value)) if isinstance(value, int) else 0
        )
        orjson.dumps(admitted)


def test_text_longer_than_the_limit_is_shortened_visibly() -> None:
    """An exchange cannot fill a result with one field."""
    shortened = values.text("x" * 10_000)
    assert shortened is not None
    assert len(shortened) == values.MAX_TEXT
    assert shortened.endswith("…")


@pytest.mark.parametrize("value", [1, "true", 0, None])
def test_only_a_boolean_is_a_boolean(value: Any) -> None:
    """Nothing that merely counts as true or false is passed off as one."""
    assert values.boolean(value) is None


@pytest.mark.parametrize(
    ("given_", "expected"),
    [("0", None), ("0.00000", None), (0.0, None), ("", None), ("1500", "1500"), ("-10.0", "-10.0")],
)
def test_a_trigger_of_zero_is_none(given_: Any, expected: str | None) -> None:
    """Exchanges fill the field of every plain order with it."""
    assert values.trigger(given_) == expected
