"""Going on where a result stopped.

Owns: the order of a result's rows, the cursor that names a place in it, and the rows after that
place. A place is named by the row before it, not by a number of rows: what was added or removed
meanwhile makes no row appear twice and none be left out. Refuses: a cursor of another question, and
trusting what is in one (it is not secret, and anybody can write one).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from ccxt_mcp.errors import Code, Failure

__all__ = ["MAX_CURSOR", "Paging", "Position", "foreign", "of_form"]

MAX_CURSOR = 512
"""Characters of a cursor."""

Position = tuple[str | int | float, ...]
"""A row's place in the order of a result."""


class Paging:
    """The order of one question's rows, and where this page of them begins.

    Args:
        question: everything that the rows depend on, as JSON values; a cursor fits the question
            that it was made for.
        order: a row's place: texts and numbers, of the same types for every row, ascending, and no
            two rows the same. It is applied to rows as they are shown and as CCXT made them.
        cursor: what the caller sent, if it goes on.

    Raises:
        Failure: ``invalid_argument`` for a cursor that is not one of this question.
    """

    __slots__ = ("_after", "_asked", "_order")

    def __init__(
        self,
        question: Mapping[str, Any],
        order: Callable[[Any], Position],
        cursor: str | None,
    ) -> None:
        self._asked = question
        self._order = order
        self._after = None if cursor is None else self._read(cursor)

    @property
    def _question(self) -> str:
        """A short name of the question. Most answers are whole, and need none."""
        canonical = orjson.dumps(self._asked, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()[:12]

    @property
    def after(self) -> Position | None:
        """The place of the last row of the page before; ``None`` on the first page."""
        return self._after

    def rest(self, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The rows of this page and those after it, in order."""
        order, after = self._order, self._after
        placed = [(order(row), row) for row in rows]
        if after is not None:
            try:
                placed = [each for each in placed if each[0] > after]
            except TypeError:
                raise foreign() from None
        placed.sort(key=lambda each: each[0])
        return [row for _, row in placed]

    def cursor(self, row: Any) -> str:
        """What a caller sends to go on after ``row``."""
        text = orjson.dumps([self._question, *self._order(row)])
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    def _read(self, cursor: str) -> Position:
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            read = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError):
            raise foreign() from None
        if not isinstance(read, list) or len(read) < 2 or read[0] != self._question:
            raise foreign()
        if not all(type(part) in (str, int, float) for part in read):
            raise foreign()
        return tuple(read[1:])


def of_form(position: Position, *kinds: type[int] | type[str]) -> tuple[Any, ...]:
    """A cursor's place, if it is made of these kinds: anybody can have written it.

    Raises:
        Failure: ``invalid_argument`` if it is not, or has a number that no row has (below 0, or
            from 2 ** 53 on).
    """
    if [type(part) for part in position] != list(kinds):
        raise foreign()
    if any(isinstance(part, int) and not 0 <= part < 2**53 for part in position):
        raise foreign()
    return position


def foreign() -> Failure:
    """The refusal of a cursor that is not one of the question's."""
    return Failure(
        Code.INVALID_ARGUMENT,
        "`cursor` does not belong to this question.",
        hint="Pass the `nextCursor` of the result before, with the same arguments; leave it out "
        "to begin anew.",
    )
