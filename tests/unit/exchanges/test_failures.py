"""CCXT's exceptions as failures: totality, words, and nothing that stays behind."""

from __future__ import annotations

import gc
import ssl
import weakref
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from ccxt_mcp.errors import CODES, Code, Failure
from ccxt_mcp.exchanges.failures import (
    HINTS,
    MAX_WORDS,
    RETRYABLE,
    TABLE,
    Wire,
    forget,
    spoken,
    translate,
)
from ccxt_mcp.exchanges.http import AnswerTooLarge


def names(tree: dict[str, Any]) -> Iterator[str]:
    for name, below in tree.items():
        yield name
        yield from names(below)


def ccxt_error(name: str, text: str = "binance {}") -> Exception:
    from ccxt.base import errors

    made: Exception = getattr(errors, name)(text)
    return made


def translated(error: BaseException, wire: Wire | None = None, **changes: Any) -> Failure:
    values: dict[str, Any] = {
        "exchange": "main",
        "operation": "fetchBalance",
        "ccxt_id": "binance",
        "timeout_ms": 10_000,
        "wire": wire or Wire(),
        "redact": lambda text: text.replace("s3cret", "***"),
    }
    return translate(error, **{**values, **changes})


def said(text: str, name: str = "ExchangeError") -> Failure:
    error = ccxt_error(name, text)
    spoken(error)
    return translated(error)


def caused(name: str, cause: BaseException) -> Exception:
    error = ccxt_error(name, "binance GET https://api.binance.com/x?signature=abc")
    error.__cause__ = cause
    return error


def test_every_class_of_ccxts_tree_has_a_row() -> None:
    from ccxt.base.errors import error_hierarchy

    known = set(names(error_hierarchy))
    assert set(TABLE) == known
    assert set(HINTS) | set(RETRYABLE) <= known


@pytest.mark.parametrize("name", TABLE)
def test_each_row_is_used(name: str) -> None:
    failure = translated(ccxt_error(name, "binance something happened"))
    assert failure.code is TABLE[name]
    assert failure.message == "main: something happened"
    assert (failure.exchange, failure.operation) == ("main", "fetchBalance")


def test_a_class_of_an_exchanges_own_takes_the_row_of_its_base() -> None:
    from ccxt.base.errors import InsufficientFunds

    class Peculiar(InsufficientFunds):  # type: ignore[misc]
        pass

    assert translated(Peculiar("binance too little")).code is Code.INSUFFICIENT_FUNDS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('binance {"code":-2015,"msg":"Invalid API-key, IP"}', "Invalid API-key, IP (code -2015)"),
        ('kraken {"error":["EAPI:Invalid key"]}', "EAPI:Invalid key"),
        ("binance GET https://x.y/z?signature=a1b2 503 Unavailable <html>no", "503 Unavailable"),
        ("binance POST https://x.y/z 400 Bad {broken", "400 Bad {broken"),
        ("binance account s3cret is closed", "account *** is closed"),
        ("binance bad apiKey=abc&signature=0123", "bad apiKey=[redacted]&signature=[redacted]"),
        ("binance  spaced\n\nout ", "spaced out"),
    ],
)  # fmt: skip
def test_the_exchanges_words_are_marked_and_cleaned(text: str, words: str) -> None:
    """Before: CCXT's text carried the signed address of the request."""
    assert said(text).message == f"main says: {words}"


def test_long_words_are_cut() -> None:
    message = said("binance " + "x" * 5_000).message
    assert len(message) == MAX_WORDS + len("main says: ")
    assert message.endswith("…")


def test_an_exchange_without_words() -> None:
    assert said("binance").message == "main gave no reason"


def test_retry_after_is_passed_on() -> None:
    error = ccxt_error("RateLimitExceeded", "binance 429")
    spoken(error, {"retry-AFTER": "7"})
    assert translated(error).as_dict()["retryAfterMs"] == 7000


def test_a_silence_names_the_timeout_in_milliseconds() -> None:
    failure = translated(caused("RequestTimeout", TimeoutError()))
    assert failure.code is Code.TIMEOUT
    assert failure.message == "main: the exchange did not answer within 10000ms"


@pytest.mark.parametrize(
    ("name", "cause", "code", "words"),
    [
        ("ExchangeError", aiohttp.ClientPayloadError(), "bad_response", "broke off"),
        ("ExchangeNotAvailable", aiohttp.ServerDisconnectedError(), "exchange_unavailable", "drop"),
        ("ExchangeNotAvailable", aiohttp.ClientOSError(), "exchange_unavailable", "dropped"),
        ("ExchangeError", aiohttp.ClientError(), "bad_response", "not valid HTTP"),
    ],
)
def test_network_errors_are_told_apart(
    name: str, cause: BaseException, code: str, words: str
) -> None:
    failure = translated(caused(name, cause))
    assert failure.code == code
    assert words in failure.message
    assert "http" not in failure.message.lower().replace("valid http", "")


def test_an_answer_beyond_all_bounds_says_what_to_do() -> None:
    failure = translated(caused("ExchangeError", AnswerTooLarge()))
    assert failure.code is Code.BAD_RESPONSE
    assert failure.message == "main: the answer is too large to be read"
    assert "smaller `limit`" in failure.hint
    assert not failure.retryable


def test_an_untrusted_certificate_is_not_worth_another_try() -> None:
    """It will be the same in a second; a TLS connection that broke may be well then."""
    key: Any = ConnectionKey("x", 443, True, True, None, None, None)
    certificate = aiohttp.ClientConnectorCertificateError(key, ssl.SSLCertVerificationError())
    failure = translated(caused("ExchangeNotAvailable", certificate))
    assert failure.code is Code.EXCHANGE_UNAVAILABLE
    assert "`ca_file`" in failure.hint
    assert not failure.retryable
    broken = aiohttp.ClientConnectorSSLError(key, OSError())
    assert translated(caused("ExchangeNotAvailable", broken)).retryable


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_names_a_next_step(name: str) -> None:
    """Where a code's own hint would send the caller astray: "the time in force cannot be kept" is
    an invalid order, but not one that breaks the market's limits."""
    failure = translated(ccxt_error(name, "binance no"))
    assert failure.hint == HINTS[name] != CODES[failure.code].hint
    assert failure.hint.endswith(".")


@pytest.mark.parametrize("error", [KeyError("s3cret"), TypeError("x"), ValueError(), IndexError()])
def test_stumbling_over_an_answer_is_a_bad_response(error: Exception) -> None:
    failure = translated(error, Wire(sent=1, answered=1))
    assert failure.code is Code.BAD_RESPONSE
    assert failure.message == f"main: the answer could not be read ({type(error).__name__})"


def test_stumbling_before_an_answer_is_a_fault_of_ours() -> None:
    assert translated(TypeError("x"), Wire(sent=0)).code is Code.INTERNAL


def test_a_failure_passes_unchanged() -> None:
    failure = Failure(Code.OVERLOADED, "full")
    assert translated(failure) is failure


def test_a_forgotten_error_lets_go_of_its_frames() -> None:
    """Before: traceback, frame and error held each other, and the instance with its keys."""

    class Instance:
        pass

    def fail(instance: Instance) -> None:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            error = ValueError(repr(instance))
            raise error from inner

    gc.disable()
    try:
        instance = Instance()
        gone = weakref.ref(instance)
        try:
            fail(instance)
        except ValueError as caught:
            kept = caught
        del instance
        assert gone() is not None
        forget(kept)
        assert gone() is None
    finally:
        gc.enable()
