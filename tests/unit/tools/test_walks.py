"""Rows are put together from an exchange's pages without one lost or doubled, whatever its pages
are like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.calls.projection import market_rows
from ccxt_mcp.errors import Failure
from ccxt_mcp.tools.candle_range import Range, length_of
from ccxt_mcp.tools.trades import _Onward, _start_of
from tests.unit.tools.walks import LENGTH, Model, Trades

MINUTES = st.sets(st.integers(0, 120), max_size=80).map(sorted)
PAGES = st.integers(1, 12)
START = 1_000 * LENGTH


def candles(minutes: list[int]) -> list[list[Any]]:
    return [[START + minute * LENGTH, 1, 2, 0, 1, 5] for minute in minutes]


def walk_of(model: Model, batch: int) -> Range:
    return Range(model, "BTC/USDT", "1m", batch, model.now)


@given(minutes=MINUTES, page=PAGES, windowed=st.booleans(), most=st.integers(1, 30), data=st.data())
@settings(deadline=None, max_examples=300)
async def test_a_range_read_in_pages_has_each_candle_once(
    minutes: list[int], page: int, windowed: bool, most: int, data: st.DataObject
) -> None:
    """Gaps, pages smaller than asked for, and windows in which nothing was traded. Taking an empty
    page for the end loses what comes after the gap; going on after a row number doubles one."""
    first, last = sorted(data.draw(st.tuples(st.integers(-20, 130), st.integers(-20, 130))))
    start, end = START + first * LENGTH, START + last * LENGTH
    # An exchange with windows counts them by what it was asked for, which it can send.
    model = Model(page, rows=candles(minutes))
    found: list[Any] = []
    at = start
    for _ in range(400):
        part = walk_of(model, page)
        model.window = min(page, most) * LENGTH if windowed else 0
        more = await part.forward(at, end, most)
        assert len(part.rows) <= most
        found += part.rows
        at = part.edge
        if not more:
            break
    else:
        raise AssertionError("it never ends")
    assert found == [row for row in candles(minutes) if start <= row[0] < end]


@given(minutes=MINUTES, page=PAGES, most=st.integers(1, 40), end=st.none() | st.integers(0, 130))
@settings(deadline=None, max_examples=300)
async def test_the_latest_candles_are_the_latest_and_have_no_gap_of_ours(
    minutes: list[int], page: int, most: int, end: int | None
) -> None:
    before = None if end is None else START + end * LENGTH
    every = [row for row in candles(minutes) if before is None or row[0] < before]
    part = walk_of(Model(page, rows=candles(minutes)), page)
    more = await part.backward(before, most)
    assert part.rows == every[len(every) - len(part.rows) :]
    if not more and len(part.rows) < len(every):
        # Not found: what is older by more than the pages that are looked through.
        edge = part.rows[0][0] if part.rows else before
        assert edge is not None
        assert edge - every[len(every) - len(part.rows) - 1][0] >= 7 * LENGTH


@pytest.mark.parametrize("since", [0, START, START + 90 * LENGTH])
async def test_an_exchange_that_ignores_since_is_not_asked_for_ever(since: int) -> None:
    """It sends its latest page each time: without a look at what is new, for ever."""
    model = Model(10, deaf=True, rows=candles(list(range(100))))
    part = walk_of(model, 10)
    await part.forward(since, START + 200 * LENGTH, 1_000)
    times = [row[0] for row in part.rows]
    assert times == sorted(set(times))
    assert times[-1] == START + 99 * LENGTH
    assert model.requests <= 3


async def test_nothing_is_asked_for_after_the_candle_that_is_still_open() -> None:
    model = Model(100, rows=candles(list(range(30))))
    model.now = START + 29 * LENGTH + 5
    part = walk_of(model, 100)
    assert await part.forward(START, START + 10_000 * LENGTH, 100) is False
    assert len(part.rows) == 30
    assert model.requests == 1


async def test_the_start_of_history_is_found_in_a_few_requests() -> None:
    model = Model(100, window=100 * LENGTH, rows=candles(list(range(5))))
    part = walk_of(model, 100)
    assert await part.backward(None, 50) is False
    assert len(part.rows) == 5
    assert model.requests <= 12


@pytest.mark.parametrize(
    ("timeframe", "length"),
    [("1s", 1_000), ("5m", 300_000), ("1w", 604_800_000), ("1M", 28 * 864e5)],
)
def test_a_timeframe_is_never_taken_for_longer_than_it_is(timeframe: str, length: int) -> None:
    assert length_of(timeframe) == length


@pytest.mark.parametrize("timeframe", ["", "m", "0m", "1x", "-1m", "1m ", "1 m"])
def test_what_is_no_timeframe_is_refused(timeframe: str) -> None:
    with pytest.raises(Failure, match="timeframe"):
        length_of(timeframe)


def trades(bursts: list[tuple[int, int]], *, ids: bool = True) -> list[dict[str, Any]]:
    """Trades by (milliseconds since the one before, how many of them)."""
    rows: list[dict[str, Any]] = []
    at = START
    for pause, count in bursts:
        at += pause
        for _ in range(count):
            row: dict[str, Any] = {"timestamp": at, "price": 1, "amount": len(rows)}
            rows.append({"id": str(len(rows) + 95), **row} if ids else row)
    return rows


BURSTS = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 9)), max_size=25)


@given(
    bursts=BURSTS,
    arriving=BURSTS,
    cap=st.integers(10, 40),
    limit=st.integers(1, 12),
    ids=st.booleans(),
    window=st.sampled_from([0, 100, 1_000]),
)
@settings(deadline=None, max_examples=300)
async def test_trades_read_on_come_once_each_also_where_a_millisecond_is_cut_in_two(
    bursts: list[tuple[int, int]],
    arriving: list[tuple[int, int]],
    cap: int,
    limit: int,
    ids: bool,
    window: int,
) -> None:
    """`since` after the last one loses its siblings, `since` at it doubles them."""
    every = trades([*bursts, *arriving], ids=ids)
    known = sum(count for _, count in bursts)
    model = Trades(cap, window=window, rows=every[:known])
    model.now = model.rows[-1]["timestamp"] if model.rows else START
    seen: list[dict[str, Any]] = []
    after = _start_of(START)
    for _ in range(600):
        onward = _Onward(model, "BTC/USDT", after, cap, window)
        more = await onward.read(limit)
        assert onward.crowded == []
        shown, shown_at = onward.rows[:limit], onward.places[:limit]
        seen += shown
        more = more or len(onward.rows) > len(shown)
        after = shown_at[-1] if len(onward.rows) > len(shown) else onward.last
        if model.rows is not every:
            # Meanwhile people trade on.
            model.rows = every
            model.now = every[-1]["timestamp"] if every else START
        elif not more:
            break
    else:
        raise AssertionError("it never ends")
    assert seen == every


async def test_a_millisecond_with_more_trades_than_a_request_brings_is_told_and_passed() -> None:
    """The exchange is asked by time, so that those beyond its page cannot be had: asking for the
    same millisecond again would go on for ever."""
    model = Trades(20, rows=trades([(1, 3), (1, 50), (1, 3)]))
    onward = _Onward(model, "BTC/USDT", _start_of(START), 20, 0)
    await onward.read(1_000)
    assert onward.crowded == [START + 2]
    assert len(onward.rows) == 3 + 20 + 3
    assert model.requests < 12


async def test_pages_smaller_than_asked_for_are_not_the_end() -> None:
    """An exchange that sends 10 where 1,000 were asked for: a page that is not full is not the
    last one."""
    model = Trades(10, rows=trades([(5, 2)] * 60))
    onward = _Onward(model, "BTC/USDT", _start_of(START), 1_000, 0)
    await onward.read(100)
    assert len(onward.rows) >= 100


def test_the_ids_of_trades_count_as_numbers_and_one_trade_is_shown_once() -> None:
    """As texts, 100 comes before 99."""
    raw = [{"id": name, "timestamp": 5, "price": 1} for name in ("100", "99", "100")]
    assert [row["id"] for row in market_rows.trades_by_time(raw)] == ["99", "100"]
    with pytest.raises(Failure, match="without a time"):
        market_rows.trades_by_time([{"id": "1", "price": 1}])
