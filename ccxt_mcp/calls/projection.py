"""CCXT's structures → results: one table of fields per structure, and nothing that is not in it.

Owns: which fields of a structure leave, in which form, and how they are described; the same table
makes the projection and the output schema, so that the two cannot drift apart. Names are CCXT's.
Dropped: ``info`` (the exchange's raw answer) and every field that is unknown (None, NaN); a missing
field therefore means "the exchange did not say", never zero. Refuses: fetching, the size of a whole
result (``bounds.py``), and rows that say nothing: CCXT makes an order, a level or a candle of
anything that it finds in a list, and passed on they would be invented ones.

Numbers: what is the market's is a JSON number, what is an account's is an exact decimal string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ccxt_mcp.calls import values
from ccxt_mcp.errors import Code, Failure

__all__ = [
    "BALANCE",
    "CANDLE_COLUMNS",
    "MARKET",
    "ORDER",
    "TICKER",
    "Field",
    "Structure",
    "balances",
    "candles",
    "levels",
    "nested",
    "orders",
    "ticker",
]

Schema = dict[str, Any]

_DECIMAL = {"type": "string", "pattern": "^-?[0-9]+([.][0-9]+)?$"}
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


def _text(name: str, note: str = "") -> Field:
    return Field(name, values.text, _TEXT, note)


def _number(name: str, note: str = "") -> Field:
    return Field(name, values.number, _NUMBER, note)


def _decimal(name: str, note: str = "") -> Field:
    return Field(name, values.decimal, _DECIMAL, note)


def _boolean(name: str, note: str = "") -> Field:
    return Field(name, values.boolean, _BOOLEAN, note)


def _millis(name: str, note: str = "") -> Field:
    return Field(name, values.integer, _INTEGER, note)


def nested(name: str, inner: Structure, note: str = "") -> Field:
    """A field that is itself a structure; left out when nothing of it is known."""

    def admit(value: Any) -> dict[str, Any] | None:
        return inner.project(value) or None if isinstance(value, Mapping) else None

    return Field(name, admit, inner.schema(), note)


def _list_of(name: str, inner: Structure, note: str = "") -> Field:
    def admit(value: Any) -> list[dict[str, Any]] | None:
        if not isinstance(value, list) or not value:
            return None
        rows = (inner.project(row) for row in value[:20] if isinstance(row, Mapping))
        return [row for row in rows if row] or None

    return Field(name, admit, {"type": "array", "items": inner.schema()}, note)


_AT = (_millis("timestamp", "Milliseconds since 1970, UTC."), _text("datetime", "ISO 8601, UTC."))

TICKER = Structure(
    (
        _text("symbol"),
        *_AT,
        _number("last"),
        _number("bid"),
        _number("bidVolume"),
        _number("ask"),
        _number("askVolume"),
        _number("open"),
        _number("high"),
        _number("low"),
        _number("close"),
        _number("previousClose"),
        _number("change", "Since `open`, in quote currency."),
        _number("percentage", "Since `open`, in percent."),
        _number("average"),
        _number("vwap"),
        _number("baseVolume", "24 h, in base currency."),
        _number("quoteVolume", "24 h, in quote currency."),
        _number("markPrice"),
        _number("indexPrice"),
    ),
    required=("symbol",),
)

_RANGE = Structure((_number("min"), _number("max")))

MARKET = Structure(
    (
        _text("symbol"),
        _text("id", "The exchange's own name."),
        _text("type", "spot, margin, swap, future or option."),
        _text("base"),
        _text("quote"),
        _text("settle"),
        _boolean("active"),
        _boolean("margin"),
        _boolean("linear"),
        _boolean("inverse"),
        _number("contractSize"),
        _millis("expiry"),
        _text("expiryDatetime"),
        _number("strike"),
        _text("optionType"),
        _number("maker", "Fee rate; 0.001 is 0.1 %."),
        _number("taker", "Fee rate; 0.001 is 0.1 %."),
        nested(
            "precision",
            Structure((_number("amount"), _number("price"), _number("cost"))),
            "Step sizes, or numbers of decimals where the exchange counts so.",
        ),
        nested(
            "limits",
            Structure(
                (
                    nested("amount", _RANGE),
                    nested("price", _RANGE),
                    nested("cost", _RANGE),
                    nested("leverage", _RANGE),
                )
            ),
        ),
    ),
    required=("symbol",),
)

_FEE = Structure((_text("currency"), _decimal("cost"), _decimal("rate")))

ORDER = Structure(
    (
        _text("id"),
        _text("clientOrderId"),
        _text("symbol"),
        _text("type", "limit, market, …"),
        _text("side", "buy or sell."),
        _text("status", "open, closed (filled), canceled, expired or rejected."),
        _decimal("price", "In quote currency."),
        _decimal("average", "Average price of the fills."),
        _decimal("amount", "Ordered, in base currency (contracts for derivatives)."),
        _decimal("filled"),
        _decimal("remaining"),
        _decimal("cost", "Of the filled part, in quote currency."),
        _text("timeInForce"),
        _boolean("postOnly"),
        _boolean("reduceOnly"),
        *(
            Field(name, values.trigger, _DECIMAL)
            for name in ("triggerPrice", "stopLossPrice", "takeProfitPrice")
        ),
        *_AT,
        _millis("lastTradeTimestamp"),
        _millis("lastUpdateTimestamp"),
        nested("fee", _FEE),
        _list_of("fees", _FEE, "When there are several."),
    ),
    # Not even an id is sure to come; a schema that a result breaks makes strict clients throw.
)

BALANCE = Structure(
    (
        _text("currency"),
        _decimal("free", "Available for orders."),
        _decimal("used", "Locked in orders."),
        _decimal("total"),
        _decimal("debt", "Borrowed."),
    ),
    required=("currency",),
)

_SHORT = (None,) * 6
_PRICES = frozenset(each.name for each in TICKER.fields if each.schema is _NUMBER)

CANDLE_COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
"""The positions of a candle; ``timestamp`` is the start of the candle in ms, UTC."""


def _unreadable(what: str) -> Failure:
    return Failure(Code.BAD_RESPONSE, f"The exchange's answer {what}; it was discarded.")


def ticker(source: Mapping[str, Any], symbol: str) -> dict[str, Any]:
    """The ticker of ``symbol``.

    Raises:
        Failure: ``bad_response`` when it is another symbol's, or has no number in it at all.
    """
    about = source.get("symbol")
    if about is not None and about != symbol:
        raise _unreadable(f"is about {values.text(about)} instead of {symbol}")
    shown = {**TICKER.project(source), "symbol": symbol}
    if _PRICES.isdisjoint(shown):
        raise _unreadable(f"has no price of {symbol} in it")
    return {"symbol": symbol, **shown}


def orders(source: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Orders in their given order.

    Raises:
        Failure: ``bad_response`` when one of them has no id of any kind.
    """
    rows = [ORDER.project(order) for order in source]
    if not all("id" in row or "clientOrderId" in row for row in rows):
        raise _unreadable("has an order without an id")
    return rows


def balances(source: Mapping[str, Any], *, include_zero: bool) -> list[dict[str, Any]]:
    """One row per currency of a CCXT balance, by currency; zero rows only on request.

    A currency of which no amount is known is not zero: it is shown, without amounts.
    """
    totals = source.get("total")
    currencies = totals if isinstance(totals, Mapping) else {}
    rows = []
    for currency in sorted(currencies):
        entry = source.get(currency)
        if not isinstance(entry, Mapping):
            continue
        row = BALANCE.project({**entry, "currency": currency})
        amounts = [row[key] for key in ("free", "used", "total", "debt") if key in row]
        if include_zero or not amounts or any(amount.strip("-0.") for amount in amounts):
            rows.append(row)
    return rows


def levels(source: Any, limit: int) -> list[list[int | float]]:
    """``[price, amount]`` pairs of one side of a book, best first, at most ``limit``.

    Raises:
        Failure: ``bad_response`` when a price or an amount is no number: the book would look
            thinner than it is.
    """
    rows = []
    for level in (source or ())[:limit]:
        price, amount = values.number(level[0]), values.number(level[1])
        if price is None or amount is None:
            raise _unreadable("has a level of the book without a price or an amount")
        rows.append([price, amount])
    return rows


def candles(source: Any) -> list[list[int | float | None]]:
    """Candles as rows of ``CANDLE_COLUMNS``, oldest first; an unknown value is null.

    Raises:
        Failure: ``bad_response`` when a candle has no time.
    """
    rows: list[list[int | float | None]] = []
    for row in source or ():
        at, *rest = (*row, *_SHORT)[:6]
        rows.append([values.integer(at), *map(values.number, rest)])
    if any(row[0] is None for row in rows):
        raise _unreadable("has a candle without a time")
    return rows
