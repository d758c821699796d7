"""No result is larger than the limit, and one that was cut says so and how to go on."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.calls.bounds import MAX_BYTES, Answer, page, paged, serialise
from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.errors import Code, Failure


def test_a_small_result_passes_untouched() -> None:
    """All rows, no notice, and the text is the same JSON."""
    data, text = serialise(page("rows", [1, 2], 2, more="Ask for less."))
    assert data == {"rows": [1, 2], "total": 2, "truncated": False}
    assert orjson.loads(text) == data


def names(count: int) -> list[dict[str, Any]]:
    return [{"name": f"{number:03}"} for number in range(count)]


def by_name(cursor: str | None = None, question: str = "q") -> Paging:
    return Paging({"rows": question}, lambda row: (row["name"],), cursor)


def shown(rows: list[dict[str, Any]], cursor: str | None, limit: int) -> dict[str, Any]:
    data, _ = serialise(paged("rows", rows, by_name(cursor), limit))
    return data


def test_a_page_says_how_to_go_on_and_the_last_one_does_not() -> None:
    first = shown(names(10), None, 4)
    assert first["truncated"] is True
    assert "4 of 10" in first["notice"]
    last = shown(names(10), shown(names(10), first["nextCursor"], 4)["nextCursor"], 4)
    assert last["rows"] == names(10)[8:]
    assert last["truncated"] is False
    assert "nextCursor" not in last


@given(st.data(), st.sets(st.integers(0, 999), min_size=1, max_size=40), st.integers(1, 7))
def test_pages_show_each_row_once_also_while_rows_come_and_go(
    data: st.DataObject, numbers: set[int], limit: int
) -> None:
    """A number of rows to skip shows some twice and others never when the list moves."""
    stays = {n for n in numbers if n % 2 == 0}
    cursor, seen = None, list[str]()
    for _ in range(200):
        passing = data.draw(st.sets(st.integers(0, 499).map(lambda n: 2 * n + 1), max_size=5))
        rows = [{"name": f"{n:03}"} for n in stays | passing]
        page_ = shown(data.draw(st.permutations(rows)), cursor, limit)
        seen += [row["name"] for row in page_["rows"]]
        cursor = page_.get("nextCursor")
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert {f"{n:03}" for n in stays} <= set(seen)


def test_a_page_that_is_cut_for_its_size_goes_on_after_the_last_row_shown() -> None:
    rows = [{"name": f"{number:03}", "text": "x" * 5_000} for number in range(30)]
    cursor, seen = None, list[str]()
    while True:
        page_ = shown(rows, cursor, 25)
        seen += [row["name"] for row in page_["rows"]]
        cursor = page_.get("nextCursor")
        if cursor is None:
            break
    assert seen == [row["name"] for row in rows]


_TOKEN = by_name().cursor({"name": "x"})


@pytest.mark.parametrize(
    "cursor",
    [
        *("x", "====", "bnVsbA", "W10", _TOKEN[:-4], "é", "\x00", "A" * 512),
        by_name(question="other").cursor({"name": "x"}),
        Paging({"rows": "q"}, lambda row: (row["name"],), None).cursor({"name": 3}),
    ],
)
def test_a_cursor_of_something_else_is_refused(cursor: str) -> None:
    """Wrongly taken it would leave rows out, without a word."""
    with pytest.raises(Failure, match="cursor") as refused:
        by_name(cursor).rest(names(3))
    assert refused.value.code is Code.INVALID_ARGUMENT


@given(st.text(max_size=600))
def test_no_text_is_more_than_refused(cursor: str) -> None:
    with pytest.raises(Failure):
        by_name(cursor).rest(names(3))


@settings(deadline=None)
@given(st.lists(st.text(min_size=0, max_size=5_000), min_size=1, max_size=60))
def test_any_rows_give_valid_json_within_the_limit(rows: list[str]) -> None:
    """Whole rows from the front, never part of one, as many as were promised."""
    data, text = serialise(page("rows", rows, len(rows), more="Ask for less."))
    assert len(text.encode()) <= MAX_BYTES
    assert orjson.loads(text) == data
    kept = data["rows"]
    assert rows[: len(kept)] == kept
    assert data["truncated"] is (len(kept) < len(rows))
    if data["truncated"]:
        assert "Ask for less." in data["notice"]


def test_the_cut_keeps_as_much_as_fits() -> None:
    """Of many equal rows nearly the whole limit is used."""
    rows = [{"name": "x" * 100} for _ in range(5_000)]
    _, text = serialise(page("rows", rows, len(rows), more="Ask for less."))
    assert 0.9 * MAX_BYTES < len(text) <= MAX_BYTES


def test_two_lists_are_cut_at_the_same_depth() -> None:
    """A book that is cut stays a book: both sides equally deep."""
    side = [[1.2345678901234, 0.12345678901234]] * 3_000
    answer = Answer({"symbol": "A/B", "bids": side, "asks": side}, ("bids", "asks"), "Less.")
    data, text = serialise(answer)
    assert len(text) <= MAX_BYTES
    assert len(data["bids"]) == len(data["asks"]) > 100
    assert data["truncated"] is True
    assert len(side) == 3_000


def test_a_row_larger_than_the_limit_leaves_an_empty_list_and_a_notice() -> None:
    """Even then the result is valid and says that something is missing."""
    data, _ = serialise(page("rows", ["x" * MAX_BYTES], 1, more="Sorry."))
    assert data["rows"] == []
    assert data["truncated"] is True


@pytest.mark.parametrize("rows", [(), ("rows",)])
def test_what_cannot_be_cut_is_an_error_never_an_oversized_result(rows: tuple[str, ...]) -> None:
    """A result whose head alone is too large is a fault of the tool."""
    data: dict[str, Any] = {"head": "x" * (MAX_BYTES + 1), "rows": [1]}
    with pytest.raises(ValueError, match="no rows to cut"):
        serialise(Answer(data, rows))


def test_what_comes_last_can_be_what_is_kept() -> None:
    """Of candles without a start the latest matter: the cut takes the oldest."""
    rows = [f"{index:050}" for index in range(5_000)]
    data, _ = serialise(page("rows", rows, len(rows), more="Older ones.", keep_end=True))
    assert data["rows"] == rows[-len(data["rows"]) :]
    assert 1_000 < len(data["rows"]) < 5_000


def test_a_full_page_of_an_exchange_says_that_there_may_be_more() -> None:
    """As many rows as were asked for are not known to be all; the result admits it."""
    data, _ = serialise(page("rows", [1, 2], 2, more="Raise `limit`.", maybe_more=True))
    assert data["truncated"] is True
    assert data["notice"] == "Shown: 2 rows; there may be more. Raise `limit`."


def test_a_cut_does_not_advise_what_would_be_cut_again() -> None:
    """Before: a result that was too large said "raise `limit`", which shows nothing more."""
    rows = ["x" * 100] * 2_000
    answer = page("rows", rows, 3_000, more="Raise `limit`.", less="Ask for an earlier time.")
    assert answer.data["notice"].endswith("rows. Raise `limit`.")
    data, _ = serialise(answer)
    assert data["notice"].endswith("of 3000 rows. Ask for an earlier time.")
