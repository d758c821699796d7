"""A past that is read forward: every row exactly once, whatever part of it an exchange sends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.calls.cursors import Position
from ccxt_mcp.calls.history import REQUESTS, Stretch, forward, place
from ccxt_mcp.errors import Failure
from ccxt_mcp.exchanges.habits import Habits

NOW = 100_000
BEGIN = 1_000

Row = dict[str, Any]


class Exchange:
    """Answers with the oldest or the newest rows of a span, at most a page of them."""

    def __init__(self, habits: Habits, times: list[int], *, heeds_until: bool = True) -> None:
        self.habits = habits
        self.heeds_until = heeds_until
        self.rows: list[Row] = [{"timestamp": at, "id": str(n * 7)} for n, at in enumerate(times)]
        self.asked = 0

    async def ask(self, since: int, until: int | None) -> list[Row]:
        self.asked += 1
        habits, grain = self.habits, self.habits.grain
        end = NOW if until is None or not self.heeds_until else until // grain * grain + grain - 1
        if habits.span is not None:
            end = min(end, since + habits.span)
        # With a coarse clock the beginning itself is left out, as Kraken does.
        first = since if grain == 1 else since // grain * grain + 1
        found = [row for row in self.rows if first <= row["timestamp"] <= end]
        found.sort(key=lambda row: (row["timestamp"], int(row["id"])))
        return found[: habits.page] if habits.oldest_first else found[-habits.page :]


async def read(
    exchange: Exchange, limit: int, *, meanwhile: Any = lambda: None
) -> tuple[list[Row], list[Stretch]]:
    """All pages of ``limit`` rows, as a client goes through them; at most 1,000."""
    shown: list[Row] = []
    stretches: list[Stretch] = []
    after: Position | None = None
    for _ in range(1_000):
        stretch = await forward(exchange.ask, exchange.habits, since=BEGIN, after=after, now=NOW)
        stretches.append(stretch)
        part = sorted(stretch.rows, key=place)[:limit]
        shown += part
        if part:
            after = place(part[-1])
        elif stretch.resume is not None:
            after = (stretch.resume - 1, "\uffff")
        if not stretch.more and len(stretch.rows) <= limit:
            return shown, stretches
        meanwhile()
    raise AssertionError("no end")


kinds = st.builds(
    Habits,
    page=st.integers(3, 9),
    span=st.sampled_from((None, 20_000)),
    oldest_first=st.booleans(),
    grain=st.sampled_from((1, 1000)),
).filter(lambda h: h.grain == 1 or not h.oldest_first)


def spread(habits: Habits, times: list[int]) -> list[int]:
    """At most a third of a page at once, so that every moment fits into one answer."""
    most = habits.page // 3
    kept: list[int] = []
    for at in sorted(times):
        near = [each for each in kept if at - each <= 2 * habits.grain]
        if len(near) < most:
            kept.append(at)
    return kept


@settings(max_examples=300, deadline=None)
@given(kinds, st.lists(st.integers(0, NOW), max_size=60), st.integers(1, 10))
async def test_each_row_comes_exactly_once(habits: Habits, times: list[int], limit: int) -> None:
    """Without the narrowing, what an exchange sends newest first has a gap before every page."""
    exchange = Exchange(habits, spread(habits, times))
    shown, stretches = await read(exchange, limit)
    due = [row for row in exchange.rows if row["timestamp"] >= BEGIN]
    assert shown == sorted(due, key=place)
    assert exchange.asked <= REQUESTS * len(stretches)
    assert not any(stretch.gaps for stretch in stretches)


@settings(max_examples=100, deadline=None)
@given(kinds, st.lists(st.integers(0, NOW // 2), max_size=40), st.integers(1, 5))
async def test_rows_that_come_meanwhile_are_read_once_too(
    habits: Habits, times: list[int], limit: int
) -> None:
    """New rows are later than all others: they come at the end, and nothing moves."""
    exchange = Exchange(habits, spread(habits, times))
    later = iter(range(NOW // 2 + 10_000, NOW, 10_000))

    def meanwhile() -> None:
        at = next(later, None)
        if at is not None:
            exchange.rows.append({"timestamp": at, "id": str(10_000 + at)})

    before = [row for row in exchange.rows if row["timestamp"] >= BEGIN]
    shown, _ = await read(exchange, limit, meanwhile=meanwhile)
    names = [row["id"] for row in shown]
    assert len(names) == len(set(names))
    assert {row["id"] for row in before} <= set(names)


@pytest.mark.parametrize("habits", [Habits(page=5, oldest_first=True), Habits(page=5)])
async def test_a_moment_with_more_than_an_answer_holds_is_told_and_passed(habits: Habits) -> None:
    """Without the cure: the same question for ever."""
    exchange = Exchange(habits, [2_000, *[3_000] * 9, 4_000])
    shown, stretches = await read(exchange, 3)
    assert [row["timestamp"] for row in shown] == [2_000, *[3_000] * 5, 4_000]
    assert {stretch.crowded for stretch in stretches} >= {3_000}


async def test_an_exchange_that_ignores_the_end_of_a_span_is_told() -> None:
    """What it sends is shown, and that rows may be missing."""
    habits = Habits(page=5)
    exchange = Exchange(habits, list(range(10_000, 90_000, 4_000)), heeds_until=False)
    stretch = await forward(exchange.ask, habits, since=BEGIN, after=None, now=NOW)
    assert stretch.gaps
    assert len(stretch.rows) == 5


async def test_months_without_anything_are_passed_in_a_few_requests() -> None:
    """An exchange that looks at two days at a time, and a `since` long ago."""
    habits = Habits(page=5, span=1_000)
    exchange = Exchange(habits, [NOW - 500])
    shown, stretches = await read(exchange, 5)
    assert [row["timestamp"] for row in shown] == [NOW - 500]
    assert any(stretch.resume is not None and not stretch.rows for stretch in stretches)


async def test_a_past_too_dense_to_begin_with_is_refused_in_words() -> None:
    """Rather than an empty page with the same cursor for ever."""
    habits = Habits(page=2)

    # Full whatever is asked for, and as wide as the span: each question halves it only.
    async def dense(since: int, until: int | None) -> list[Row]:
        end = 10**18 if until is None else until
        return [{"timestamp": end, "id": "1"}, {"timestamp": since + 1, "id": "2"}]

    with pytest.raises(Failure, match="too much"):
        await forward(dense, habits, since=0, after=None, now=10**18)


def test_numbers_are_ordered_by_their_size_and_names_as_texts() -> None:
    """As exchanges count them: 9 before 10."""
    ids = ["10", "9", "101"]
    rows: list[Row] = [{"timestamp": 1, "id": each} for each in ids]
    assert [row["id"] for row in sorted(rows, key=place)] == ["9", "10", "101"]
    assert place({"timestamp": 1, "id": "TAB-9"}) == (1, "TAB-9")
    assert place({"timestamp": 1, "price": "2"}) != place({"timestamp": 1, "price": "3"})
