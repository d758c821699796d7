"""What was recorded: one file per exchange in ``tests/fixtures/exchanges``.

Owns: reading it. A file has

- ``options``: the profile's, where the class would ask for more than is recorded;
- ``sources``: name → where answers come from;
- ``answers``: name → ``request`` (``GET /path``), ``asks``, ``about``, ``source``, ``body``;
- ``calls``: CCXT's method → ``args`` (after CCXT's signature), ``answers`` (their names) and
  ``says``: a place in the result → the place in an answer where the same value stands, as
  ``name:data.0.last``;
- ``missing``: CCXT's method → why there is no call of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.recorded.replay import Answer

__all__ = ["EXCHANGES", "FOLDER", "Call", "Tape", "at", "tape_of"]

FOLDER = Path(__file__).parents[1] / "fixtures" / "exchanges"
EXCHANGES = (
    *("binance", "bybit", "okx", "coinbase", "kraken"),
    *("kucoin", "gate", "bitget", "htx", "hyperliquid"),
)


@dataclass(frozen=True)
class Call:
    """One call of a unified method and what its result says."""

    args: tuple[Any, ...]
    params: Mapping[str, Any]
    says: Mapping[str, str]


@dataclass(frozen=True)
class Tape:
    """One exchange's file."""

    exchange: str
    options: Mapping[str, Any]
    sources: Mapping[str, str]
    answers: tuple[Answer, ...]
    source_of: Mapping[str, str]
    calls: Mapping[str, Call]
    missing: Mapping[str, str]

    def raw(self, place: str) -> Any:
        """The value at a place like ``ticker:data.0.last``."""
        name, _, path = place.partition(":")
        return at(next(each.body for each in self.answers if each.name == name), path)


def tape_of(exchange: str) -> Tape:
    """The recording of an exchange."""
    data = json.loads((FOLDER / f"{exchange}.json").read_text("utf-8"))
    return Tape(
        exchange,
        data.get("options", {}),
        data["sources"],
        tuple(_answer(name, each) for name, each in data["answers"].items()),
        {name: each["source"] for name, each in data["answers"].items()},
        {
            name: Call(tuple(each["args"]), each.get("params", {}), each["says"])
            for name, each in data["calls"].items()
        },
        data.get("missing", {}),
    )


def _answer(name: str, each: Mapping[str, Any]) -> Answer:
    method, path = each["request"].split(" ")
    return Answer(method, path, each.get("asks", {}), each.get("about", {}), each["body"], name)


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path (``#``: an object's first name). Raises ``LookupError``."""
    for step in path.split("."):
        if isinstance(value, (list, tuple)):
            value = value[int(step)]
        else:
            value = next(iter(value)) if step == "#" else value[step]
    return value
