"""Scripted faults: which request is to suffer, and how.

Owns the script (`FaultPlan`) and its words. Refuses sockets: `inflict.py` carries a fault out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, get_args

__all__ = ["Fault", "FaultKind", "FaultPlan", "fault_from_json"]

FaultKind = Literal[
    "hang",
    "drip",
    "status",
    "malformed",
    "truncated",
    "html",
    "empty",
    "reset",
    "reply_lost",
    "latency",
]

_KINDS: Final[tuple[str, ...]] = get_args(FaultKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted fault.

    - `hang`: never answers; ends when the client leaves or the server stops.
    - `drip`: the true answer, one byte every `interval_ms`.
    - `status`: HTTP `status`, with `body` or what the venue itself would say, and `headers`.
    - `malformed`: 200 with `body` as JSON, `{}` when none is given.
    - `truncated`: the first half of the true answer; `variant` "short" declares the length of the
      half (broken JSON), "long" declares the whole length and closes the connection early.
    - `html`: 200 with a page. `empty`: 200 without a body.
    - `reset`: a TCP reset, nothing executed. `reply_lost`: executed, then a TCP reset.
    - `latency`: `milliseconds` more, then the true answer.

    `route` is matched with `*` and `?` against `GET /api/v3/depth` and against the bare path.
    `api_key` restricts it to one key. The first `skip` matching requests pass; then it strikes
    `times` times (None: until cleared). Raises `ValueError` when a number is out of range.
    """

    kind: FaultKind
    route: str = "*"
    api_key: str | None = None
    times: int | None = None
    skip: int = 0
    status: int = 500
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    interval_ms: float = 1_000.0
    milliseconds: float = 0.0
    variant: Literal["short", "long"] = "short"

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(_KINDS)}, not {self.kind!r}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1, not {self.times}")
        if self.skip < 0:
            raise ValueError(f"skip must not be negative, not {self.skip}")
        if not 200 <= self.status <= 599:
            raise ValueError(f"status must be between 200 and 599, not {self.status}")
        if self.interval_ms < 0 or self.milliseconds < 0:
            raise ValueError("interval_ms and milliseconds must not be negative")
        if self.variant not in ("short", "long"):
            raise ValueError(f"variant must be 'short' or 'long', not {self.variant!r}")

    def concerns(self, route: str, path: str, api_key: str | None) -> bool:
        if self.api_key is not None and self.api_key != api_key:
            return False
        return fnmatchcase(route, self.route) or fnmatchcase(path, self.route)


@dataclass(slots=True)
class _Entry:
    fault: Fault
    skip: int
    left: int | None
    struck: int = 0


class FaultPlan:
    """Faults in the order they were added; the first that strikes wins."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._last_id = 0

    def __repr__(self) -> str:
        return f"<FaultPlan {[entry.fault.kind for entry in self._entries.values()]}>"

    def add(self, fault: Fault) -> int:
        """Script `fault` and return its id."""
        self._last_id += 1
        self._entries[self._last_id] = _Entry(fault, fault.skip, fault.times)
        return self._last_id

    def clear(self, fault_id: int | None = None) -> int:
        """Remove one fault or all of them; returns how many. Running ones are not interrupted."""
        if fault_id is None:
            count = len(self._entries)
            self._entries.clear()
            return count
        return 0 if self._entries.pop(fault_id, None) is None else 1

    def take(self, route: str, path: str, api_key: str | None) -> Fault | None:
        """The fault that strikes this request, counted as having struck."""
        for fault_id, entry in list(self._entries.items()):
            if not entry.fault.concerns(route, path, api_key):
                continue
            if entry.skip > 0:
                entry.skip -= 1
                continue
            entry.struck += 1
            if entry.left is not None:
                entry.left -= 1
                if entry.left == 0:
                    del self._entries[fault_id]
            return entry.fault
        return None

    def describe(self) -> list[dict[str, Any]]:
        """The faults still scripted, ready for JSON."""
        return [
            {
                "id": fault_id,
                "kind": entry.fault.kind,
                "route": entry.fault.route,
                "api_key": entry.fault.api_key,
                "skip_left": entry.skip,
                "times_left": entry.left,
                "struck": entry.struck,
            }
            for fault_id, entry in self._entries.items()
        ]


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "kind": (str,),
    "route": (str,),
    "api_key": (str, type(None)),
    "times": (int, type(None)),
    "skip": (int,),
    "status": (int,),
    "body": (object,),
    "headers": (dict,),
    "interval_ms": (int, float),
    "milliseconds": (int, float),
    "variant": (str,),
}


def fault_from_json(value: object) -> Fault:
    """A fault from decoded JSON, fields named as in `Fault`. Raises `ValueError` saying why not."""
    if not isinstance(value, dict):
        raise ValueError("a fault is a JSON object")
    if "kind" not in value:
        raise ValueError("a fault needs a kind")
    for name, given in value.items():
        expected = _TYPES.get(name)
        if expected is None:
            raise ValueError(f"unknown field {name!r}; known: {', '.join(_TYPES)}")
        if not isinstance(given, expected) or (isinstance(given, bool) and name != "body"):
            raise ValueError(f"field {name!r} has the wrong type: {type(given).__name__}")
    headers = value.get("headers", {})
    if not all(isinstance(v, str) and "\n" not in v + k for k, v in headers.items()):
        raise ValueError("headers must map names to single-line strings")
    return Fault(**value)
