"""Tables of fields, each of which makes a projection and the output schema that describes it.

Owns: the form of such a table, so that the two cannot drift apart, and the kinds of fields.
Refuses: knowing any of CCXT's structures (the tables beside this file do), and single values
(``values.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ccxt_mcp.calls import values
from ccxt_mcp.errors import Code, Failure

__all__ = [
    "AT",
    "PLAIN",
    "Field",
    "Structure",
    "boolean",
    "decimal",
    "list_of",
    "millis",
    "nested",
    "number",
    "plain_decimal",
    "text",
    "unreadable",
]

Schema = dict[str, Any]

_DECIMAL = {"type": "string", "pattern": "^-?[0-9]+([.][0-9]+)?$"}
PLAIN = {"type": "string"}
"""Of a decimal. Its pattern, thirty times over, is more than a model should have to read."""
_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
_INTEGER = {"type": "integer"}
_BOOLEAN = {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field: CCXT's name, how a value is admitted, how it is described to a client."""

    name: str
    admit: Callable[[Any], Any]
    schema: Schema
    note: str = ""


@dataclass(frozen=True, slots=True)
class Structure:
    """A CCXT structure as this server passes it on.

    Attributes:
        fields: every field that may appear.
        required: those that this server itself puts in, so that they are always there.
    """

    fields: tuple[Field, ...]
    required: tuple[str, ...] = ()
    _pairs: tuple[tuple[str, Callable[[Any], Any]], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Hundreds of orders pass here: the pairs alone, unpacked, halve the time of a projection.
        pairs = tuple((each.name, each.admit) for each in self.fields)
        object.__setattr__(self, "_pairs", pairs)

    def project(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """The structure's known fields."""
        get = source.get
        return {
            name: value
            for name, admit in self._pairs
            if (raw := get(name)) is not None and (value := admit(raw)) is not None
        }

    def schema(self) -> Schema:
        """JSON Schema of what ``project`` returns."""
        return {
            "type": "object",
            "properties": {
                each.name: {**each.schema, "description": each.note} if each.note else each.schema
                for each in self.fields
            },
            "required": list(self.required),
        }


def text(name: str, note: str = "") -> Field:
    """A text."""
    return Field(name, values.text, _TEXT, note)


def number(name: str, note: str = "") -> Field:
    """A JSON number, for what is the market's."""
    return Field(name, values.number, _NUMBER, note)


def decimal(name: str, note: str = "") -> Field:
    """An exact decimal string, for what is an account's."""
    return Field(name, values.decimal, _DECIMAL, note)


def plain_decimal(name: str, note: str = "") -> Field:
    """As ``decimal``, described by ``PLAIN``."""
    return Field(name, values.decimal, PLAIN, note)


def boolean(name: str, note: str = "") -> Field:
    """True or false."""
    return Field(name, values.boolean, _BOOLEAN, note)


def millis(name: str, note: str = "") -> Field:
    """A whole number: milliseconds since 1970, UTC."""
    return Field(name, values.integer, _INTEGER, note)


def nested(name: str, inner: Structure, note: str = "") -> Field:
    """A field that is itself a structure; left out when nothing of it is known."""

    def admit(value: Any) -> dict[str, Any] | None:
        return inner.project(value) or None if isinstance(value, Mapping) else None

    return Field(name, admit, inner.schema(), note)


def list_of(name: str, inner: Structure, note: str = "") -> Field:
    """A list of structures, the first 20 of them; left out when nothing of it is known."""

    def admit(value: Any) -> list[dict[str, Any]] | None:
        if not isinstance(value, list) or not value:
            return None
        rows = (inner.project(row) for row in value[:20] if isinstance(row, Mapping))
        return [row for row in rows if row] or None

    return Field(name, admit, {"type": "array", "items": inner.schema()}, note)


AT = (millis("timestamp", "Milliseconds since 1970, UTC."), text("datetime", "ISO 8601, UTC."))
"""The two forms of a moment that CCXT gives every structure."""


def unreadable(what: str) -> Failure:
    """The failure of an answer that cannot be passed on; ``what`` is the rest of a sentence."""
    return Failure(Code.BAD_RESPONSE, f"The exchange's answer {what}; it was discarded.")
