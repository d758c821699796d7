"""Believing an answer only after looking at it.

Owns: the check of an HTTP answer before CCXT interprets it. CCXT reads missing fields as nothing: a
truncated balance becomes an empty one, and ``{}`` instead of a list of open orders becomes "no open
orders". Refuses: judging values (``results`` looks at what CCXT made of them).

Every answer of status 2xx has to be complete JSON; of ``GET`` also an object or a list, since CCXT
hands on anything else as text, in which its methods find nothing. Where ``shapes`` declares more,
containers are checked as deep as declared. Legitimately empty answers and null fields pass. An
answer that says "error" never comes here: CCXT's own check has spoken before.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar

from ccxt_mcp.exchanges.shapes import ECHOES, EMPTY, SHAPES, TEXTS, Shape

__all__ = [
    "EXPECTED",
    "NOTHING_DECLARED",
    "Declared",
    "Expected",
    "Untrue",
    "answers_of",
    "check_answer",
    "check_status",
    "entry_of",
]


_T = TypeVar("_T")


class Untrue(Exception):
    """An answer that must not be believed. ``failures`` never sees it: the seam re-raises it as
    CCXT's ``BadResponse``, so that CCXT's own code treats it as what it is."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is declared of the answer under way.

    Attributes:
        endpoint: method and path without the values in it, for messages.
        shape: see ``shapes``; ``object`` if nothing is declared.
        text: whether the answer need not be JSON.
        empty: whether it may have no body.
        symbol: the symbol that every row has to have that has any. CCXT drops the rows of others,
            so that a wrong answer would become an empty one.
    """

    endpoint: str
    shape: Shape = object
    text: bool = False
    empty: bool = False
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """All that is declared for one CCXT class. ``rows`` by method, path and api as CCXT has them;
    the last part is the ``type`` that a request asks for, where the endpoint alone says nothing."""

    rows: Mapping[tuple[str, str, tuple[str, ...], str], Expected] = field(default_factory=dict)
    typed: frozenset[str] = frozenset()
    text: bool = False
    echoes: bool = False

    def expected(self, path: str, api: Any, method: str, params: Any) -> Expected:
        """What is expected of the answer to a request; the arguments are those of ``fetch2``."""
        asked = str(params.get("type")) if path in self.typed and isinstance(params, dict) else ""
        found = self.rows.get((method, path, _parts(api), asked))
        if self.echoes and found is not None and isinstance(params, dict):
            symbol = params.get("symbol")
            return replace(found, symbol=symbol) if isinstance(symbol, str) else found
        return found or Expected(f"{method} {path}", text=self.text)


NOTHING_DECLARED = Declared()

EXPECTED: ContextVar[Expected | None] = ContextVar("ccxt_mcp_expected", default=None)
"""What the request in progress is to be answered with."""


def answers_of(exchange_class: type[Any]) -> Declared:
    """What is declared for a CCXT class, its own or its nearest base's."""
    names = [cls.__name__ for cls in exchange_class.__mro__]
    shapes = _nearest(SHAPES, names) or {}
    texts, empties = _nearest(TEXTS, names) or frozenset(), _nearest(EMPTY, names) or frozenset()
    if not (shapes or texts or empties):
        return NOTHING_DECLARED
    rows: dict[tuple[str, str, tuple[str, ...], str], Expected] = {}
    typed = set()
    for name in {*shapes, *texts, *empties} - {"*"}:
        endpoint, _, asked = name.partition(" type=")
        entry = entry_of(exchange_class, endpoint)
        if asked:
            typed.add(entry.path)
        rows[(entry.method, entry.path, _parts(entry.api), asked)] = Expected(
            f"{entry.method} {entry.path}{name[len(endpoint) :]}",
            shapes.get(name, object),
            "*" in texts or name in texts,
            name in empties,
        )
    echoes = not ECHOES.isdisjoint(names)
    return Declared(rows, frozenset(typed), "*" in texts, echoes)


def _nearest(table: Mapping[str, _T], names: list[str]) -> _T | None:
    return next((table[name] for name in names if name in table), None)


def entry_of(exchange_class: type[Any], endpoint: str) -> Any:
    """CCXT's declaration of an endpoint: its ``path``, ``api`` and ``method``.

    A descriptor, until CCXT's constructor has replaced it on the class by the function that it
    gives (an embedding program may have made an instance); the function still knows its entry.
    Raises ``AttributeError`` for a name that the class lacks, a mistake in the table.
    """
    found = inspect.getattr_static(exchange_class, endpoint)
    for cell in getattr(found, "__closure__", None) or ():
        if hasattr(cell.cell_contents, "path"):
            return cell.cell_contents
    return found


def _parts(api: Any) -> tuple[str, ...]:
    return (api,) if isinstance(api, str) else tuple(api)


def check_status(status: int) -> None:
    """Raise ``Untrue`` for a redirect: its body is not the exchange's, whatever it says."""
    if 300 <= status < 400:
        raise Untrue(f"the exchange redirects elsewhere (HTTP {status}), which is not followed")


def check_answer(
    expected: Expected | None, method: str, status: int, body: str, parsed: Any
) -> None:
    """Raise ``Untrue`` unless a 2xx answer is complete JSON of its declared shape.

    ``parsed`` is CCXT's reading of ``body``, ``None`` where it found no JSON object or list.
    """
    if not 200 <= status < 300 or status in (204, 205):
        return
    if expected is not None and (expected.text or (expected.empty and not body)):
        return
    if parsed is None:
        _check_unparsed(method, body)
    if expected is None or expected.shape is object:
        return
    found = _mismatch(expected.shape, parsed, "")
    if found:
        raise Untrue(f"the answer to {expected.endpoint} {found}")
    if expected.symbol is not None:
        for row in parsed if isinstance(parsed, list) else (parsed,):
            if isinstance(row, dict) and row.get("symbol", expected.symbol) != expected.symbol:
                raise Untrue(f"the answer to {expected.endpoint} is about another symbol")


def _check_unparsed(method: str, body: str) -> None:
    if not body:
        raise Untrue("the answer is empty")
    try:
        value = json.loads(body, parse_constant=_not_json)
    except ValueError:
        kind = "a web page" if body.lstrip()[:1] == "<" else "incomplete or foreign"
        raise Untrue(f"the answer is {kind}, not JSON") from None
    if isinstance(value, (dict, list)):
        # White space in front, or a number beyond all bounds: CCXT would take it for a text.
        raise Untrue("the answer is JSON that CCXT cannot read")
    if method == "GET":
        # What a write confirms by a bare word or number is nobody's data.
        raise Untrue(f"the answer is {_named(value)} where an object or a list is due")


def _not_json(_: str) -> NoReturn:
    raise ValueError("NaN and infinity are not JSON")


def _mismatch(shape: Shape, value: Any, place: str) -> str | None:
    """How ``value`` deviates from ``shape``, in words; ``None`` if it does not."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return _wrong(value, dict, place)
        return _fields(shape, value, place) if shape else None
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _wrong(value, list, place)
        return _rows(shape, value, place) if shape else None
    if isinstance(shape, tuple):
        found = [_mismatch(each, value, place) for each in shape]
        if None in found:
            return None
        # The alternative of the value's own kind has the most to say.
        likely = [at for at, each in enumerate(shape) if isinstance(value, type(each))]
        return found[likely[0] if likely else -1]
    if shape is None:
        return None if value is None else _wrong(value, type(None), place)
    if isinstance(value, shape) and (shape is object or not isinstance(value, bool)):
        return None
    return _wrong(value, shape, place)


def _fields(shape: dict[str, Shape], value: dict[str, Any], place: str) -> str | None:
    for name, inner in shape.items():
        if name in ("*", "+"):
            others = [key for key in value if key not in shape and f"{key}?" not in shape]
            if name == "+" and not others:
                return f"has nothing in {_quoted(place)}" if place else "has nothing in it"
            # The names are data (an order's id, a currency): they are not repeated.
            found = _first(inner, (value[key] for key in others), f"{place}.*" if place else "*")
        elif name[-1] == "?":
            key = name[:-1]
            if value.get(key) is None:
                continue
            found = _mismatch(inner, value[key], _below(place, key))
        elif name not in value:
            return f"lacks {_quoted(_below(place, name))}"
        else:
            found = _mismatch(inner, value[name], _below(place, name))
        if found:
            return found
    return None


def _rows(shape: list[Shape], value: list[Any], place: str) -> str | None:
    if len(shape) > 1 and not value:
        return f"has nothing in {_quoted(place)}" if place else "has nothing in it"
    return _first(shape[0], value, f"{place}[]")


def _first(shape: Shape, values: Any, place: str) -> str | None:
    kind = type(shape)
    if kind in (dict, list) and not shape:
        # Most rows by far: thousands of tickers or levels.
        for each in values:
            if type(each) is not kind:
                return _wrong(each, kind, place)
        return None
    if kind is dict and len(shape) == 1 and next(iter(shape)).isalnum():
        # Hundreds of orders, each with one field to look for: what is right is seen without a call.
        ((name, inner),) = shape.items()
        if inner is object:
            values = [each for each in values if type(each) is not dict or name not in each]
        elif isinstance(inner, type):
            values = [
                each
                for each in values
                if type(each) is not dict or type(each.get(name)) is not inner
            ]
    return next((found for each in values if (found := _mismatch(shape, each, place))), None)


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _quoted(place: str) -> str:
    return f"'{place}'"


def _wrong(value: Any, wanted: type[Any], place: str) -> str:
    where = f"has in {_quoted(place)}" if place else "is"
    return f"{where} {_named(value)} where {_NAMES[wanted]} is due"


def _named(value: Any) -> str:
    return _NAMES.get(type(value), "null")


_NAMES: dict[type[Any], str] = {
    list: "a list",
    dict: "an object",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
