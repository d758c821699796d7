"""The one seam where CCXT's exceptions become failures.

Owns: the table exception class → code, the words that a caller reads, and the cutting of every
reference from the failure to the instance that failed. Refuses: deciding about retries, and passing
on anything that could hold a secret: addresses (they carry signatures), headers, tracebacks.

The exchange's own words are marked as such (``binance says: …``), so that neither a person nor a
model takes a sentence from outside for one of this server's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ccxt_mcp.errors import Code, Failure, code_of

__all__ = [
    "TABLE",
    "Wire",
    "code_of_request",
    "forget",
    "is_about_time",
    "nothing_there",
    "refused",
    "spoken",
    "translate",
]

TABLE: dict[str, Code] = {
    "BaseError": Code.EXCHANGE_ERROR,
    "ExchangeError": Code.EXCHANGE_ERROR,
    "AuthenticationError": Code.AUTHENTICATION_FAILED,
    "PermissionDenied": Code.PERMISSION_DENIED,
    "AccountNotEnabled": Code.PERMISSION_DENIED,
    "AccountSuspended": Code.PERMISSION_DENIED,
    "ArgumentsRequired": Code.INVALID_ARGUMENT,
    "BadRequest": Code.INVALID_ARGUMENT,
    "BadSymbol": Code.UNKNOWN_SYMBOL,
    "OperationRejected": Code.EXCHANGE_ERROR,
    "NoChange": Code.EXCHANGE_ERROR,
    "MarginModeAlreadySet": Code.EXCHANGE_ERROR,
    "MarketClosed": Code.EXCHANGE_ERROR,
    "ManualInteractionNeeded": Code.EXCHANGE_ERROR,
    "RestrictedLocation": Code.PERMISSION_DENIED,
    "InsufficientFunds": Code.INSUFFICIENT_FUNDS,
    "InvalidAddress": Code.INVALID_ARGUMENT,
    "AddressPending": Code.EXCHANGE_ERROR,
    "InvalidOrder": Code.INVALID_ORDER,
    "OrderNotFound": Code.ORDER_NOT_FOUND,
    "OrderNotCached": Code.ORDER_NOT_FOUND,
    "OrderImmediatelyFillable": Code.INVALID_ORDER,
    "OrderNotFillable": Code.INVALID_ORDER,
    "DuplicateOrderId": Code.INVALID_ORDER,
    "ContractUnavailable": Code.INVALID_ORDER,
    "NotSupported": Code.NOT_SUPPORTED,
    "InvalidProxySettings": Code.INTERNAL,
    "ExchangeClosedByUser": Code.INTERNAL,
    "OperationFailed": Code.EXCHANGE_UNAVAILABLE,
    "NetworkError": Code.EXCHANGE_UNAVAILABLE,
    "DDoSProtection": Code.RATE_LIMITED,
    "RateLimitExceeded": Code.RATE_LIMITED,
    "ExchangeNotAvailable": Code.EXCHANGE_UNAVAILABLE,
    "OnMaintenance": Code.EXCHANGE_UNAVAILABLE,
    "InvalidNonce": Code.EXCHANGE_ERROR,
    "ChecksumError": Code.BAD_RESPONSE,
    "RequestTimeout": Code.TIMEOUT,
    "BadResponse": Code.BAD_RESPONSE,
    "NullResponse": Code.BAD_RESPONSE,
    "CancelPending": Code.EXCHANGE_ERROR,
    "UnsubscribeError": Code.INTERNAL,
}
"""Every class of ``ccxt.base.errors`` by name (a test walks them), so that this module need not
import CCXT. A class of an exchange's own takes the row of its nearest base."""

HINTS: dict[str, str] = {
    "InvalidNonce": "Check the clock of the server's machine, and that no other program uses the"
    " same API key; then try again.",
    "PermissionDenied": "Give the account's API key the permission at the exchange, and allow the"
    " server's address there.",
    "AccountNotEnabled": "Open the account or this kind of trading at the exchange itself first.",
    "AccountSuspended": "The exchange has suspended the account; ask its support.",
    "RestrictedLocation": "The exchange does not serve the server's location; see `proxy` and"
    " `base_url` of the exchange's profile.",
    "ManualInteractionNeeded": "Log in at the exchange itself and do what its words ask for.",
    "BadRequest": "Read the exchange's words in the message, then correct the argument.",
    "NoChange": "Nothing is to be done: it is already as asked.",
    "RequestTimeout": "Try again; if it lasts, the exchange is slow, or `ccxt_timeout` is too short"
    " for it.",
    "MarginModeAlreadySet": "Nothing is to be done: the margin mode is already as asked.",
    "MarketClosed": "The market is closed or halted; `get_markets` shows which are active.",
    "ContractUnavailable": "The contract has expired or is not traded; `get_markets` shows which"
    " are active.",
    "AddressPending": "The exchange is still making the address; try again in a minute.",
    "DuplicateOrderId": "An order with this client order id exists: look for it in"
    " `get_open_orders` and `get_order_history` before sending another.",
    "OrderImmediatelyFillable": "A post-only order would have traded at once: move its price away"
    " from the market.",
    "OrderNotFillable": "The order could not be filled as its time in force demands;"
    " `get_orderbook` shows what is offered.",
    "CancelPending": "The order is being cancelled; `get_open_orders` shows when it is gone.",
    "OnMaintenance": "The exchange is under maintenance; its status page says until when.",
    "InvalidProxySettings": "Check `proxy` of the exchange's profile.",
}
"""What to do next, where a code's own hint is too general."""

NOTHING_THERE = (
    "The exchange does not have this here (test networks and simulated exchanges have less than the"
    " real one), or not what was named; if everything is answered so, check `base_url`."
)
"""The same for an answer whose status says no more than that nothing is there."""

RETRYABLE: dict[str, bool] = {"InvalidNonce": True, "AddressPending": True}
"""Where trying again can help although the code says otherwise."""

MAX_WORDS = 300
"""Characters of the exchange's own words that are passed on."""

_SPOKEN = "_ccxt_mcp_spoken"
_RETRY_AFTER = "_ccxt_mcp_retry_after"
_NOTHING = "_ccxt_mcp_nothing_there"
_ADDRESS = re.compile(r"\b(?:https?|wss?)://\S+", re.IGNORECASE)
_PARAMETERS = re.compile(
    r"(?i)\b(signature|sign|api[-_]?key|apikey|secret|token|passphrase|listenKey|nonce)"
    r"(\"?\s*[=:]\s*\"?)[^\s&\",}]+"
)
_METHOD = re.compile(r"^(?:GET|POST|PUT|DELETE|PATCH)\b\s*")
_MARKUP = re.compile(r"(?is)<(?:!doctype|html|head|body|\?xml).*")
_WORD_KEYS = ("msg", "message", "error_message", "errorMessage", "error", "errors", "detail")
_CODE_KEYS = ("code", "retCode", "errorCode", "error_code")


@dataclass(slots=True)
class Wire:
    """What went over the wire during one call: requests of which at least the head was sent,
    answers read to their end."""

    sent: int = 0
    answered: int = 0


_LONGEST_WAIT = 3 * 86_400.0
"""Seconds; an exchange that tells more (or infinitely much) means no time of ours."""


def spoken(
    error: BaseException,
    headers: Mapping[str, str] | None = None,
    wait: float | None = None,
) -> None:
    """Mark an exception as made from an answer of the exchange, not from CCXT's own checks.

    ``headers`` are the answer's; only how long to wait is kept of them. ``wait`` is in seconds, for
    what is known otherwise.
    """
    setattr(error, _SPOKEN, True)
    if wait is not None:
        setattr(error, _RETRY_AFTER, wait)
    for key, value in (headers or {}).items():
        # Seconds only: exchanges do not use the date form, and a clock may be off.
        if key.lower() == "retry-after" and value.strip().isdecimal() and wait is None:
            setattr(error, _RETRY_AFTER, min(float(value), _LONGEST_WAIT))


def nothing_there(error: BaseException, status: int) -> None:
    """Mark an exception as made from an answer whose status alone says that the exchange has
    nothing at the address that CCXT knows."""
    setattr(error, _NOTHING, status)


def refused(error: BaseException) -> bool:
    """Whether the exchange answered with a reason of its own: a no, not a breakdown."""
    names = {c.__name__ for c in type(error).__mro__}
    return getattr(error, _SPOKEN, False) and "OperationFailed" not in names


def is_about_time(error: BaseException) -> bool:
    """Whether the exchange found a timestamp or a nonce wrong."""
    return any(c.__name__ == "InvalidNonce" for c in type(error).__mro__)


def code_of_request(error: BaseException) -> Code:
    """What an exception of one request counts under; ``translate`` finds words for the caller."""
    name = next((c.__name__ for c in type(error).__mro__ if c.__name__ in TABLE), None)
    if name is None:
        return code_of(error)
    network = _from_network(error, 0)
    return TABLE[name] if network is None else network.code


def translate(
    error: BaseException,
    *,
    exchange: str,
    operation: str,
    ccxt_id: str,
    timeout_ms: int,
    wire: Wire,
    redact: Callable[[str], str],
) -> Failure:
    """The failure for whatever came out of CCXT. The failure keeps no reference to ``error``."""
    if isinstance(error, Failure):
        return error
    name = next((c.__name__ for c in type(error).__mro__ if c.__name__ in TABLE), None)
    hint, retryable = HINTS.get(name or ""), RETRYABLE.get(name or "")
    if name is None:
        code, words = _from_elsewhere(error, wire)
    elif (network := _from_network(error, timeout_ms)) is not None:
        code, words = network.code, network.words
        hint, retryable = network.hint, network.retryable
    else:
        code = TABLE[name]
        cleaned = _clean(str(error), ccxt_id, redact)
        if getattr(error, _SPOKEN, False):
            words = f"{exchange} says: {cleaned}" if cleaned else f"{exchange} gave no reason"
            status = getattr(error, _NOTHING, None)
            if status is not None:
                words = f"{exchange} has nothing at the address asked (HTTP {status}); {words}"
                hint = NOTHING_THERE
            failure = Failure(
                code,
                words,
                hint=hint,
                retryable=retryable,
                exchange=exchange,
                operation=operation,
            )
            failure.retry_after = getattr(error, _RETRY_AFTER, None)
            return failure
        words = cleaned or "no reason given"
        if "() is not supported" in words:
            # Most base methods raise NotSupported, some BadRequest, with these words.
            code = Code.NOT_SUPPORTED
    return Failure(
        code,
        f"{exchange}: {words}",
        hint=hint,
        retryable=retryable,
        exchange=exchange,
        operation=operation,
    )


@dataclass(frozen=True, slots=True)
class _Cause:
    """One kind of error of the HTTP client, by class name, and what a caller is told of it."""

    name: str
    code: Code
    words: str
    hint: str | None = None
    retryable: bool | None = None


_CERTIFICATES = "Check `ca_file` of the exchange's profile, SSL_CERT_FILE, or a proxy in between."
_CAUSES = (
    # The first whose class is among the error's own and its bases.
    _Cause("AnswerTooLarge", Code.BAD_RESPONSE, "the answer is too large to be read",
           "Ask for less, for example for one symbol or with a smaller `limit`.", False),
    _Cause("ClientPayloadError", Code.BAD_RESPONSE, "the answer broke off before its end"),
    _Cause("ClientConnectorCertificateError", Code.EXCHANGE_UNAVAILABLE,
           "the TLS connection was refused or not trusted", _CERTIFICATES, False),
    _Cause("ClientSSLError", Code.EXCHANGE_UNAVAILABLE,
           "the TLS connection was refused or not trusted", _CERTIFICATES),
    _Cause("ClientProxyConnectionError", Code.EXCHANGE_UNAVAILABLE,
           "the proxy could not be reached", "Check `proxy` of the exchange's profile."),
    _Cause("ClientConnectorError", Code.EXCHANGE_UNAVAILABLE, "no connection to the exchange"),
    _Cause("gaierror", Code.EXCHANGE_UNAVAILABLE, "no connection to the exchange"),
    _Cause("ClientConnectionError", Code.EXCHANGE_UNAVAILABLE,
           "the exchange dropped the connection"),
    _Cause("ClientError", Code.BAD_RESPONSE, "the answer was not valid HTTP"),
)  # fmt: skip


def _from_network(error: BaseException, timeout_ms: int) -> _Cause | None:
    """CCXT's network errors, by what the HTTP client underneath reported."""
    if getattr(error, _SPOKEN, False):
        return None
    cause = error.__cause__
    if isinstance(cause, TimeoutError):
        return _Cause("", Code.TIMEOUT, f"the exchange did not answer within {timeout_ms}ms")
    names = {c.__name__ for c in type(cause).__mro__}
    return next((each for each in _CAUSES if each.name in names), None)


def _from_elsewhere(error: BaseException, wire: Wire) -> tuple[Code, str]:
    """Python's own exceptions: an answer that CCXT stumbled over, or a mistake of ours."""
    kind = type(error).__name__
    if isinstance(error, TimeoutError):
        return Code.TIMEOUT, "the exchange did not answer in time"
    if isinstance(error, OSError):
        return Code.EXCHANGE_UNAVAILABLE, f"no connection to the exchange ({kind})"
    if wire.answered:
        return Code.BAD_RESPONSE, f"the answer could not be read ({kind})"
    return Code.INTERNAL, f"the request could not be made ({kind})"


def _clean(text: str, ccxt_id: str, redact: Callable[[str], str]) -> str:
    text = text.strip()
    if text == ccxt_id or text.startswith(f"{ccxt_id} "):
        text = text[len(ccxt_id) :].lstrip()
    text = _METHOD.sub("", text)
    text = _ADDRESS.sub("", text)
    text = _MARKUP.sub("", text)
    text = _said(text.strip())
    text = _PARAMETERS.sub(r"\1\2[redacted]", redact(text))
    text = " ".join(text.split())
    return text if len(text) <= MAX_WORDS else f"{text[: MAX_WORDS - 1]}…"


def _said(text: str) -> str:
    """The sentence inside a JSON error body, if it has the common form; else the text."""
    start = text.find("{")
    if start < 0:
        return text
    try:
        body = json.loads(text[start:])
    except ValueError:
        return text
    words = next((w for key in _WORD_KEYS if (w := _sentence(body.get(key)))), None)
    if words is None:
        return text
    code = next((body[key] for key in _CODE_KEYS if isinstance(body.get(key), (str, int))), None)
    return words if code is None else f"{words} (code {code})"


def _sentence(value: Any) -> str | None:
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return value if isinstance(value, str) and value else None


def forget(error: BaseException) -> None:
    """Cut an exception and its causes loose from the frames (and the keys) that they hold.

    Without this a failed call's instance lives on in a cycle of traceback and frame until some
    later garbage collection, with the account's secret in it.
    """
    for each in _chain(error):
        each.__traceback__ = None
        each.__cause__ = each.__context__ = None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: dict[int, BaseException] = {}
    stack: list[BaseException | None] = [error]
    while stack:
        each = stack.pop()
        if each is not None and id(each) not in seen:
            seen[id(each)] = each
            stack += [each.__cause__, each.__context__]
    yield from seen.values()
