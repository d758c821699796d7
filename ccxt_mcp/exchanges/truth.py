"""Believing an answer only after looking at it.

Owns: the check of an HTTP answer before CCXT parses it. CCXT reads missing fields as nothing: a
truncated balance becomes an empty one, and ``{}`` instead of a list of open orders becomes "no open
orders". Refuses: judging values. Containers only; legitimately empty answers and null fields pass.

``SHAPES`` is declared data, to be extended exchange by exchange. An endpoint without a row is held
to "complete JSON" alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["SHAPES", "Shape", "Untrue", "check_answer", "check_result", "check_status"]

Shape = type[Any] | Mapping[str, type[Any]]
"""``list``, ``dict``, or the fields that a dict must have, each with its type."""

_BINANCE_SPOT: dict[str, Shape] = {
    "GET api/v3/exchangeInfo": {"symbols": list},
    "GET api/v3/time": {"serverTime": int},
    "GET api/v3/openOrders": list,
    "GET api/v3/allOrders": list,
    "GET api/v3/myTrades": list,
    "GET api/v3/account": {"balances": list},
    "GET api/v3/depth": {"bids": list, "asks": list},
    "GET api/v3/klines": list,
    "GET api/v3/trades": list,
    "GET api/v3/aggTrades": list,
}
_TICKERS = ("GET api/v3/ticker/24hr", "GET api/v3/ticker/bookTicker", "GET api/v3/ticker/price")

SHAPES: Mapping[str, Mapping[str, Shape]] = {"binance": _BINANCE_SPOT, "binanceus": _BINANCE_SPOT}
"""Exchange id → "METHOD path" → shape of a successful answer."""


class Untrue(Exception):
    """An answer that must not be believed. ``failures`` never sees it: the seam re-raises it as
    CCXT's ``BadResponse``, so that CCXT's own code treats it as what it is."""


def check_status(status: int) -> None:
    """Raise ``Untrue`` for a redirect: its body is not the exchange's, whatever it says."""
    if 300 <= status < 400:
        raise Untrue(f"the exchange redirects elsewhere (HTTP {status}), which is not followed")


def check_answer(exchange: str, method: str, url: str, status: int, body: str, parsed: Any) -> None:
    """Raise ``Untrue`` unless a 2xx answer is complete JSON of its declared shape.

    ``url`` is the address before re-rooting; ``parsed`` is CCXT's reading of ``body``, ``None``
    where it found no JSON object or array.
    """
    if not 200 <= status < 300 or status in (204, 205):
        return
    if parsed is None:
        _check_unparsed(body)
    endpoint = _endpoint(method, url)
    shape = SHAPES.get(exchange, {}).get(endpoint)
    if shape is not None:
        _check_shape(shape, parsed, endpoint)
    elif endpoint in _TICKERS and exchange in SHAPES:
        _check_ticker(parsed, endpoint)


def check_result(result: Any) -> None:
    """Raise ``Untrue`` for a unified result that says nothing at all."""
    if result is None:
        raise Untrue("the answer held nothing that could be read")


def _check_unparsed(body: str) -> None:
    if not body:
        raise Untrue("the answer is empty")
    try:
        # CCXT reads objects and arrays only; a bare number or string is JSON too.
        json.loads(body)
    except ValueError:
        kind = "a web page" if body.lstrip()[:1] == "<" else "incomplete or foreign"
        raise Untrue(f"the answer is {kind}, not JSON") from None


def _endpoint(method: str, url: str) -> str:
    path = url.partition("?")[0].split("/", 3)
    return f"{method} {path[3] if len(path) == 4 else ''}"


def _check_shape(shape: Shape, parsed: Any, endpoint: str) -> None:
    if isinstance(shape, type):
        _expect(parsed, shape, endpoint, "the answer")
        return
    _expect(parsed, dict, endpoint, "the answer")
    for field, kind in shape.items():
        if field not in parsed:
            raise Untrue(f"the answer to {endpoint} lacks {field!r}")
        _expect(parsed[field], kind, endpoint, repr(field))


def _check_ticker(parsed: Any, endpoint: str) -> None:
    rows = parsed if isinstance(parsed, list) else [parsed]
    for row in rows:
        _check_shape({"symbol": str}, row, endpoint)


def _expect(value: Any, kind: type[Any], endpoint: str, what: str) -> None:
    if not isinstance(value, kind):
        found, wanted = _NAMES.get(type(value), "null"), _NAMES[kind]
        raise Untrue(f"{what} to {endpoint} is {found} where {wanted} is due")


_NAMES: dict[type[Any], str] = {
    list: "a list",
    dict: "an object",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
}
