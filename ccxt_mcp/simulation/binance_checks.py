"""What Binance checks before it looks at anything: parameters, clock, key, signature.

Owns the error codes and their wording. Refuses routes and answers. Source: Binance spot API
documentation, "Error codes" and "Request security".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import orjson

from ccxt_mcp.simulation.markets import Market
from ccxt_mcp.simulation.orders import Account

__all__ = [
    "MAX_RECV_WINDOW",
    "SIGNING_PARAMS",
    "Params",
    "Rejected",
    "authenticate",
    "check_once",
    "check_read",
    "integer",
    "listed",
    "mandatory",
    "parse_params",
    "symbol_list",
    "symbol_text",
]

Params = dict[str, str]

MAX_RECV_WINDOW = 60_000
SIGNING_PARAMS = frozenset({"timestamp", "recvWindow", "signature"})

_AHEAD_MS = 1_000
_DEFAULT_RECV_WINDOW = 5_000
_KEY = re.compile(r"[A-Za-z0-9]{64}")
_INTEGER = re.compile(r"[0-9]{1,20}")
_SYMBOL_RANGE = "^[A-Z0-9-_.]{1,20}$"
_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")
_LIST_RANGE = r'^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$'


class Rejected(Exception):
    """A refusal as Binance words it: HTTP status, negative code, message."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(f"{status} {code} {message}")
        self.code = code
        self.message = message
        self.status = status

    @property
    def body(self) -> bytes:
        return orjson.dumps({"code": self.code, "msg": self.message})


def parse_params(query: str, body: bytes = b"") -> Params:
    """Parameters of query and form body; of a parameter sent twice, the last one."""
    return dict(parse_qsl(_joined(query, body), keep_blank_values=True))


def check_once(query: str, body: bytes, params: Params) -> None:
    """-1101 when a parameter was sent twice."""
    text = _joined(query, body)
    if not text or text.count("&") < len(params):
        return
    names = [name for name, _ in parse_qsl(text, keep_blank_values=True)]
    for name in params:
        if names.count(name) > 1:
            raise Rejected(-1101, f"Duplicate values for a parameter detected: '{name}'.")


def check_read(params: Params, known: frozenset[str], signed: bool) -> None:
    """-1104 when a parameter was sent that the endpoint does not read."""
    unread = [n for n in params if n not in known and not (signed and n in SIGNING_PARAMS)]
    if unread:
        read = len(params) - len(unread)
        raise Rejected(
            -1104,
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent "
            f"'{len(params)}'.",
        )


def mandatory(params: Params, name: str) -> str:
    """-1102 when missing, -1105 when empty."""
    value = params.get(name)
    if value is None:
        raise Rejected(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    if not value:
        raise Rejected(-1105, f"Parameter '{name}' was empty.")
    return value


def integer(params: Params, name: str, *, low: int = 0, high: int | None = None) -> int | None:
    """A whole number or None. -1100 when not digits, -1130 below `low`; cut to `high`."""
    text = params.get(name)
    if text is None:
        return None
    if not text:
        raise Rejected(-1105, f"Parameter '{name}' was empty.")
    if not _INTEGER.fullmatch(text):
        raise _illegal(name, "^[0-9]{1,20}$")
    value = int(text)
    if value < low:
        raise Rejected(-1130, f"Data sent for parameter '{name}' is not valid.")
    return value if high is None else min(value, high)


def symbol_text(text: str) -> str:
    """-1100 when the text cannot be a symbol."""
    if not _SYMBOL.fullmatch(text):
        raise _illegal("symbol", _SYMBOL_RANGE)
    return text


def listed(markets: Mapping[str, Market], params: Params) -> Market:
    """The market of the `symbol` parameter. -1102, -1105 or -1100, or -1121 when not listed."""
    market = markets.get(symbol_text(mandatory(params, "symbol")))
    if market is None:
        raise Rejected(-1121, "Invalid symbol.")
    return market


def symbol_list(text: str) -> list[str]:
    """The `symbols=["BTCUSDT","ETHUSDT"]` form. -1100 when it is anything else, -1130 if empty."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _illegal("symbols", _LIST_RANGE) from None
    if not isinstance(value, list) or not all(isinstance(s, str) for s in value):
        raise _illegal("symbols", _LIST_RANGE)
    if not value:
        raise Rejected(-1130, "Data sent for parameter 'symbols' is not valid.")
    if not all(_SYMBOL.fullmatch(s) for s in value):
        raise _illegal("symbols", _LIST_RANGE)
    return value


def authenticate(
    accounts: Mapping[str, Account],
    key: str | None,
    query: str,
    body: bytes,
    params: Params,
    now: int,
) -> Account:
    """The account that signed this request at `now` (ms).

    Raises `Rejected` with -2014, -1102, -1131, -1021, -2015 or -1022, checked in this order. The
    signature covers query and body exactly as sent, without the signature parameter itself.
    """
    account = None if key is None else accounts.get(key)
    if account is None and (key is None or not _KEY.fullmatch(key)):
        raise Rejected(-2014, "API-key format invalid.", 401)
    mandatory(params, "timestamp")
    timestamp = integer(params, "timestamp") or 0
    sent = mandatory(params, "signature")
    window = integer(params, "recvWindow")
    window = _DEFAULT_RECV_WINDOW if window is None else window
    if window > MAX_RECV_WINDOW:
        raise Rejected(-1131, f"recvWindow must be less than or equal to {MAX_RECV_WINDOW}.")
    if timestamp >= now + _AHEAD_MS:
        raise Rejected(
            -1021,
            f"Timestamp for this request was {_AHEAD_MS}ms ahead of the server's time.",
        )
    if now - timestamp > window:
        raise Rejected(-1021, "Timestamp for this request is outside of the recvWindow.")
    if account is None:
        raise Rejected(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    payload = _unsigned(query) + _unsigned(body.decode("utf-8", "replace"))
    right = hmac.digest(account.secret.encode(), payload.encode(), hashlib.sha256).hex()
    if not hmac.compare_digest(right.encode(), sent.encode()):
        raise Rejected(-1022, "Signature for this request is not valid.")
    return account


def _joined(query: str, body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return f"{query}&{text}" if text else query


def _unsigned(text: str) -> str:
    if "signature=" not in text:
        return text
    return "&".join(part for part in text.split("&") if not part.startswith("signature="))


def _illegal(name: str, legal: str) -> Rejected:
    return Rejected(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    )
