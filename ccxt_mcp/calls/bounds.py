"""How large a result may be, and how it says that it is not all.

Owns: the size of one result, the cut, and the notice. A cut result is always valid JSON of the
documented shape: whole rows are left out from the end, and ``truncated``, ``total`` and ``notice``
say so. Refuses: what is asked of an exchange (the tools bound that by their arguments).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ccxt_mcp.calls.cursors import Paging
from ccxt_mcp.calls.repeats import Origin

__all__ = [
    "CUT_SCHEMA",
    "MAX_BYTES",
    "PAGED_SCHEMA",
    "Answer",
    "page",
    "paged",
    "remarked",
    "serialise",
]

MAX_BYTES = 60_000
"""Bytes of JSON in one result: about 2.4 per token of a common tokenizer, so below 25,000 tokens,
the most that widespread clients take from one tool call."""

CUT_SCHEMA: dict[str, Any] = {
    "truncated": {"type": "boolean", "description": "There is more than is shown."},
    "total": {"type": "integer", "description": "Rows known, shown or not."},
    "notice": {"type": "string", "description": "How to get the rest."},
}
"""Properties that every result with rows has in its schema."""

PAGED_SCHEMA: dict[str, Any] = {
    **CUT_SCHEMA,
    "nextCursor": {"type": "string", "description": "Pass it as `cursor` to go on."},
}
"""The same for results that are read in pages."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool found.

    Attributes:
        data: the result, of the tool's output schema.
        rows: the keys of the lists that may be cut.
        more: how to get the rest, as a sentence for the notice.
        less: the same for a result that was cut for its size, where more of the same would be cut
            again; ``more`` when there is no difference.
        paging: for results that are read in pages, what makes ``nextCursor`` of the last row (with
            ``keep_end``, of the first).
        origin: what it was made of, where that is all of it, so that it can be given again.
        keep_end: whether a cut leaves out the first rows instead of the last ones.
    """

    data: dict[str, Any]
    rows: tuple[str, ...] = ()
    more: str = ""
    paging: Paging | None = None
    keep_end: bool = False
    less: str | None = None
    origin: Origin | None = None


def page(
    key: str,
    shown: list[Any],
    total: int,
    *,
    more: str,
    maybe_more: bool = False,
    keep_end: bool = False,
    less: str | None = None,
    **head: Any,
) -> Answer:
    """An answer that shows ``shown`` of ``total`` known rows under ``key``.

    Args:
        key: name of the list.
        shown: its rows, projected.
        total: how many there are, as far as the server knows.
        more: how to get the rest.
        maybe_more: the exchange sent as many as it was asked for, so that it may have more.
        keep_end: as in ``Answer``.
        less: as in ``Answer``.
        head: further properties of the result, shown before the list.
    """
    answer = Answer({**head, key: shown, "total": total}, (key,), more, None, keep_end, less)
    rest = total - len(shown)
    answer.data["truncated"] = rest > 0 or maybe_more
    if rest > 0:
        _say(answer.data, answer, answer.more)
    elif maybe_more:
        answer.data["notice"] = f"Shown: {len(shown)} rows; there may be more. {more}"
    return answer


def paged(
    key: str,
    rows: Iterable[Mapping[str, Any]],
    paging: Paging,
    limit: int,
    *,
    project: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
    more: bool = False,
    **head: Any,
) -> Answer:
    """One page of ``rows`` under ``key``.

    Args:
        key: name of the list.
        rows: all that are known, in whatever order; those of earlier pages may be among them.
        paging: their order, and where this page begins.
        limit: rows to show.
        project: makes of a row what is shown; keeps what ``paging`` orders by.
        more: the exchange has more rows than these.
        head: further properties of the result, shown before the list.
    """
    known = list(rows)
    rest = paging.rest(known)
    shown = [project(row) for row in rest[:limit]]
    answer = Answer({**head, key: shown, "total": len(known)}, (key,), _GO_ON, paging)
    answer.data["truncated"] = bool(shown) and (len(rest) > limit or more)
    if answer.data["truncated"]:
        _say(answer.data, answer, answer.more)
    return answer


def remarked(answer: Answer, words: str) -> Answer:
    """With more in the notice, also in the one that a cut may make later."""
    told = answer.data.get("notice")
    return replace(
        answer,
        data={**answer.data, "notice": f"{told} {words}" if told else words},
        more=f"{answer.more} {words}".strip(),
        less=None if answer.less is None else f"{answer.less} {words}",
    )


_GO_ON = "Pass `nextCursor` as `cursor` for the next ones."


def _say(data: dict[str, Any], answer: Answer, rest: str) -> None:
    shown = len(data[answer.rows[0]])
    data["truncated"] = True
    data["notice"] = f"Shown: {shown} of {data['total']} rows. {rest}"
    if answer.paging is not None and shown:
        edge = 0 if answer.keep_end else -1
        data["nextCursor"] = answer.paging.cursor(data[answer.rows[0]][edge])


def serialise(answer: Answer) -> tuple[dict[str, Any], str]:
    """The result, cut to ``MAX_BYTES`` of JSON, and that JSON.

    Raises:
        ValueError: the result is too large and has nothing that may be cut.
    """
    data = answer.data
    raw = orjson.dumps(data)
    if len(raw) <= MAX_BYTES:
        return data, raw.decode()
    full = {key: data[key] for key in answer.rows}
    most = max(map(len, full.values()), default=0)
    data = dict(data)
    if full:
        data.setdefault("total", most)
    # The largest number of rows that fits, found by halving: a dump of what fits costs far less
    # than the answer did, and no estimate of a row's size can be wrong.
    low, high = 0, most
    while high:
        keep = (low + high) // 2
        for key, rows in full.items():
            data[key] = rows[max(0, len(rows) - keep) :] if answer.keep_end else rows[:keep]
        _say(data, answer, answer.more if answer.less is None else answer.less)
        raw = orjson.dumps(data)
        if len(raw) > MAX_BYTES:
            high = keep
        elif high - keep <= 1 or len(raw) > MAX_BYTES * 0.95:
            return data, raw.decode()
        else:
            low = keep
    raise ValueError(f"a result of {len(raw)} bytes has no rows to cut")
