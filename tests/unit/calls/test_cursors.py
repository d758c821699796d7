"""What a cursor may have in it: anybody can write one."""

from __future__ import annotations

import pytest

from ccxt_mcp.calls.cursors import Position, of_form
from ccxt_mcp.errors import Code, Failure


def test_a_place_of_the_expected_form_is_taken_as_it_is() -> None:
    assert of_form((0, 2**53 - 1, ""), int, int, str) == (0, 2**53 - 1, "")


@pytest.mark.parametrize(
    "position", [(), (1,), ("1", "a"), (1, 2), (1.0, "a"), (True, "a"), (1, "a", "b")]
)
def test_a_place_of_another_form_is_not_the_questions(position: Position) -> None:
    with pytest.raises(Failure) as raised:
        of_form(position, int, str)
    assert raised.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("number", [-1, 2**53])
def test_a_number_that_no_row_has_is_refused(number: int) -> None:
    with pytest.raises(Failure):
        of_form((number, "a"), int, str)
