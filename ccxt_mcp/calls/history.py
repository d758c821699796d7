"""An account's past, read forward without a gap.

Owns: which rows of an exchange's answers are known to be all that there is in their span of time,
and where the next question begins. Exchanges cut their answers off, some at the oldest rows and
some at the newest, some look at a few days only; a row is shown only if none before it can be
missing. Refuses: asking (a callable does), and the cursor (``cursors``): a place is (timestamp,
id).

Each walk makes at most ``REQUESTS`` requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

from ccxt_mcp.calls.cursors import Position
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.habits import Habits

__all__ = ["REQUESTS", "Stretch", "forward", "place"]

REQUESTS = 16
"""Questions to the exchange for one page."""

_AFTER = 2000
"""Milliseconds by which an answer may pass its end: some exchanges take seconds."""

Row = Mapping[str, Any]
Ask = Callable[[int, int | None], Awaitable[list[Any]]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a walk found.

    Attributes:
        rows: in no particular order, none missing between the beginning and the last one.
        more: there may be later ones.
        resume: where to go on if there are no rows, ms.
        crowded: a moment (ms) of which one answer does not hold all rows.
        gaps: the exchange does not let a span be asked for, so that rows may be missing.
    """

    rows: list[Any] = field(default_factory=list)
    more: bool = False
    resume: int | None = None
    crowded: int | None = None
    gaps: bool = False


def place(row: Row) -> Position:
    """A row's place: by time, then by id, numbers by their size."""
    name = str(row.get("id") or row.get("clientOrderId") or _described(row))
    return (row.get("timestamp") or 0, f"{len(name):03d}{name}" if name.isdecimal() else name)


def _described(row: Row) -> str:
    """What stands for the id of a fill where an exchange gives none."""
    return ":".join(str(row.get(key)) for key in ("order", "side", "price", "amount"))


async def forward(
    ask: Ask, habits: Habits, *, since: int, after: Position | None, now: int
) -> Stretch:
    """The rows from ``since`` on, or after a place, as far as one page of answers goes.

    Args:
        ask: the exchange's rows from a time on, until another one (both ms); may bring others.
        habits: how the exchange answers.
        since: ms.
        after: the place of the last row that was shown.
        now: ms; nothing is later.
    """
    low = since if after is None else max(since, int(after[0]))
    walk = _oldest_first if habits.oldest_first else _narrowing
    return await walk(ask, habits, low, after, now)


def _new(rows: list[Any], low: int, after: Position | None) -> list[Any]:
    known: dict[Position, Any] = {}
    for row in rows:
        at = place(row)
        if int(at[0]) >= low and (after is None or at > after):
            known[at] = row
    return list(known.values())


def _time(row: Row) -> int:
    return row.get("timestamp") or 0


async def _oldest_first(
    ask: Ask, habits: Habits, low: int, after: Position | None, now: int
) -> Stretch:
    crowded = None
    for _ in range(REQUESTS):
        rows = await ask(low, None)
        new = _new(rows, low, after)
        if len(rows) < habits.page:
            end = now if habits.span is None else low + habits.span
            if new or end >= now:
                return Stretch(new, end < now and bool(new), crowded=crowded)
            low = end
            continue
        last = max(map(_time, rows))
        if last > low:
            # Of the last millisecond there may be more; the next question begins with it.
            whole = [row for row in new if _time(row) < last]
            if whole:
                return Stretch(whole, True, crowded=crowded)
            low = last
        elif new:
            return Stretch(new, True, crowded=low)
        else:
            crowded, low = low, low + 1
    return Stretch([], True, resume=low, crowded=crowded)


async def _narrowing(
    ask: Ask, habits: Habits, low: int, after: Position | None, now: int
) -> Stretch:
    """An answer that is cut off says only that its span holds too much: a part of it is asked for,
    by the density of what came. A span that is empty is followed by a longer one."""
    begin, until, step = low, None, 0
    crowded = None
    for _ in range(REQUESTS):
        # Earlier by the precision: some exchanges leave the edge out.
        start = max(0, low - habits.grain)
        rows = await ask(start, until)
        new = _new(rows, low, after)
        times = list(map(_time, rows))
        if until is not None and max(times, default=0) > until + _AFTER:
            return Stretch(new, bool(new), crowded=crowded, gaps=True)
        if len(rows) < habits.page:
            end = until
            if end is None:
                end = now if habits.span is None else start + habits.span
            new = [row for row in new if _time(row) <= end]
            if new or end >= now:
                return Stretch(new, end < now and bool(new), crowded=crowded)
            low, step = end + 1, step * 4
            until = low + step if step else None
            continue
        top = max(times) if until is None else min(max(times), until)
        if top - low >= habits.grain:
            step = min((top - low) // 2, isqrt((top - low) * max(1, top - min(times))))
            until = low + step
            continue
        new = [row for row in new if _time(row) < low + habits.grain]
        if new:
            return Stretch(new, True, crowded=low)
        crowded, low, until, step = low, low + habits.grain, None, 0
    if low == begin:
        raise Failure(
            Code.INVALID_ARGUMENT,
            "There is too much between `since` and now for this exchange to be asked for the first "
            "of it.",
            hint="Pass a later `since`, or leave it out for the latest.",
        )
    return Stretch([], True, resume=low, crowded=crowded)
