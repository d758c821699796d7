"""Measurements by name, their rows, and the table they are printed as.

Owns: the registry that `@measurement` fills, the arithmetic of repeated rounds, and the form of the
output. Refuses: to judge a machine; a missed target is a word in a column, never an exit code.
"""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.stage import Stage

__all__ = ["MEASUREMENTS", "Measurement", "Rounds", "Row", "as_json", "measurement", "table"]


@dataclass(frozen=True, slots=True)
class Rounds:
    """One quantity, measured once per round."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Rounds:
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, other: Rounds) -> Rounds:
        """Round by round: what disturbs the machine for a moment disturbs both sides of it."""
        return Rounds(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def minus(self, other: Rounds) -> Rounds:
        return Rounds(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    def show(self, unit: str = "", digits: int = 2) -> str:
        """`4.10 ms (3.90-4.40)`: the median, and the least and greatest where there are several."""
        text = f"{self.median:.{digits}f}{' ' if unit else ''}{unit}"
        if len(self.values) > 1:
            text += f" ({min(self.values):.{digits}f}-{max(self.values):.{digits}f})"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `reached` is None where there is no target yet; `data` is for JSON."""

    what: str
    ours: str
    reference: str = "-"
    ratio: str = "-"
    target: str = "-"
    reached: bool | None = None
    note: str = ""
    data: dict[str, Any] = field(default_factory=dict)


Run = Callable[["Stage"], Awaitable[list[Row]]]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A named measurement; its docstring says what is measured and against what."""

    name: str
    run: Run

    @property
    def summary(self) -> str:
        return inspect.getdoc(self.run) or ""


MEASUREMENTS: dict[str, Measurement] = {}
"""By name, in the order of registration."""


def measurement(name: str) -> Callable[[Run], Run]:
    """Register a function as the measurement `name` (what `--only` takes)."""

    def register(run: Run) -> Run:
        if name in MEASUREMENTS:
            raise ValueError(f"two measurements are called {name!r}")
        if not run.__doc__:
            raise ValueError(f"measurement {name!r} does not say what it measures")
        MEASUREMENTS[name] = Measurement(name, run)
        return run

    return register


_HEAD = ("what", "ours", "reference", "ratio", "target", "reached")


def table(rows: Sequence[tuple[str, Row]]) -> str:
    """The rows, in columns; notes below, by number."""
    notes: list[str] = []
    lines: list[tuple[str, ...]] = [_HEAD]
    for _, row in rows:
        what = row.what
        if row.note:
            if row.note not in notes:
                notes.append(row.note)
            what += f" [{notes.index(row.note) + 1}]"
        reached = "-" if row.reached is None else "yes" if row.reached else "NO"
        lines.append((what, row.ours, row.reference, row.ratio, row.target, reached))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    if notes:
        text.append("")
        text += [f"[{number}] {note}" for number, note in enumerate(notes, 1)]
    return "\n".join(text)


def as_json(rows: Sequence[tuple[str, Row]]) -> list[dict[str, Any]]:
    """The rows as JSON values, each with the name of its measurement."""
    return [{"measurement": name, **asdict(row)} for name, row in rows]
