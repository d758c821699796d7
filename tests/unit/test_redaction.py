"""Redaction: no secret in any form, no signed URL, in text and in log records."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
import time
import weakref
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ccxt_mcp.redaction import MASK, SHORTEST_SECRET, RedactingFilter, Redactor

# Without the masks' own characters: a secret made of pieces of masks is no secret.
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="*<>")
_SECRETS = st.one_of(
    st.text(_CHARACTERS, min_size=SHORTEST_SECRET, max_size=40),
    st.text("abAB01+/=\"'\\ \n%ü", min_size=SHORTEST_SECRET, max_size=12),
    st.binary(min_size=6, max_size=32).map(lambda b: base64.b64encode(b).decode()),
)
_AROUND = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["https://x/?signature=", '{"apiKey": "', "secret='", "\\", "Bearer ", "a=%"]),
)


def forms(secret: str) -> list[str]:
    return [
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    ]


@given(
    secrets=st.lists(_SECRETS, min_size=1, max_size=4),
    pieces=st.lists(st.tuples(_AROUND, st.integers(0, 3), st.integers(0, 9)), min_size=1),
    end=_AROUND,
)
def test_no_registered_secret_survives_in_any_form(
    secrets: list[str], pieces: list[tuple[str, int, int]], end: str
) -> None:
    """Several secrets, overlapping or equal in part, in random surroundings."""
    redactor = Redactor(*secrets)
    text = "".join(
        before + forms(secrets[which % len(secrets)])[form] for before, which, form in pieces
    )
    redacted = redactor.text(text + end)
    for secret in secrets:
        for form in forms(secret):
            assume("***" not in form)
            assert form not in redacted


@given(text=st.text(), secret=_SECRETS, limit=st.integers(1, 50))
def test_a_limit_bounds_the_text_and_hides_no_half_secret(
    text: str, secret: str, limit: int
) -> None:
    redactor = Redactor(secret)
    short = redactor.text(text + secret + text, limit)
    assert len(short) <= limit
    whole = redactor.text(text + secret + text)
    assert short == whole or whole.startswith(short[:-1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://api.x.com/v3/order?a=1&signature=ab12 failed", "GET <url> failed"),
        ("wss://stream.x.com:9443/ws/KEY closed", "<url> closed"),
        (r'{"u": "https:\/\/x.com\/a?b", "c": 1}', '{"u": "<url>", "c": 1}'),
        ("proxy socks5://u:p@h:1 down", "proxy <url> down"),
        ("a=1&signature=abc&b=2", "a=1&signature=***&b=2"),
        ('{"apiKey":"abc","n":1}', '{"apiKey":"***","n":1}'),
        (r'{"secret": "a\"b", "n": 1}', '{"secret": "***", "n": 1}'),
        (r'"{\"api_key\":\"abc\",\"n\":1}"', r'"{\"api_key\":\"***\",\"n\":1}"'),
        ("{'X-MBX-APIKEY': 'abc', 'n': 1}", "{'X-MBX-APIKEY': '***', 'n': 1}"),
        ("X-MBX-APIKEY: abc\nHost: x", "X-MBX-APIKEY: ***\nHost: x"),
        ("Authorization: Bearer abc def\nHost: x", "Authorization: ***\nHost: x"),
        ('"authorization": "Basic abc", "n": 1', '"authorization": "***", "n": 1'),
        ("API-Sign: qWe+/==", "API-Sign: ***"),
        ("KC-API-PASSPHRASE=abc", "KC-API-PASSPHRASE=***"),
        ("password=hunter2", "password=***"),
        ('"secret": "cut of', '"secret": "***'),
        ("Cookie: a=b; c=d", "Cookie: ***"),
        ("used Bearer abcdefghijklmnop.q", "used Bearer ***"),
        ("-----BEGIN EC PRIVATE KEY-----\nab\n-----END EC PRIVATE KEY----- x", "*** x"),
        ("-----BEGIN PRIVATE KEY-----\nab\ncut", "***"),
    ],
)
def test_what_is_shaped_like_a_secret_is_removed(text: str, expected: str) -> None:
    assert Redactor().text(text) == expected
    assert Redactor().text(expected) == expected, "redacting twice changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        'binance requires "apiKey" credential',
        '{"code":-1022,"msg":"Signature for this request is not valid."}',
        "Invalid API-key, IP, or permissions for action.",
        '{"secret": null, "apiKey": true}',
        "design: x; signal=1; nextPageToken: 5",
        "BTC/USDT 10:30:00 limit=5",
    ],
)
def test_an_exchanges_plain_words_pass(text: str) -> None:
    assert Redactor("some-registered-secret").text(text) == text


def test_short_values_are_not_registered() -> None:
    redactor = Redactor("BTC", "12345")
    assert redactor.text("BTC at 12345") == "BTC at 12345"
    assert repr(Redactor("a-long-secret")) == "Redactor(1 secrets)"


def test_of_two_secrets_that_begin_alike_no_tail_stays() -> None:
    """A shorter match would leave the end of the longer secret in the text."""
    assert Redactor("abcdef", "abcdef-the-tail").text("x abcdef-the-tail") == "x ***"


def test_the_parts_of_a_private_key_are_registered_as_well() -> None:
    """A library may print one line of a PEM key, or a hexadecimal key without its prefix."""
    redactor = Redactor("-----BEGIN K-----\nline-one-of-the-key\n-----END K-----", "0xabcdef0123")
    assert redactor.text("at line-one-of-the-key!") == "at ***!"
    assert redactor.text("key abcdef0123") == "key ***"


def test_values_are_redacted_in_depth() -> None:
    redactor = Redactor("hunter2hunter2")
    value = {
        "a": ["hunter2hunter2", {"b": "x hunter2hunter2"}],
        "password": "short",
        "n": 1,
        "t": ("hunter2hunter2", None),
    }
    assert redactor.value(value) == {
        "a": [MASK, {"b": f"x {MASK}"}],
        "password": MASK,
        "n": 1,
        "t": (MASK, None),
    }


@pytest.mark.parametrize(
    "unit",
    ["a", "secret", 'key=\\"', 'secret="', "-----BEGIN PRIVATE KEY-----", "https:/", "cookie='\\"],
)
def test_the_time_grows_with_the_length_alone(unit: str) -> None:
    """Four times the text takes about four times as long, also for text made to hurt."""
    redactor = Redactor(*(f"{n:x}secret-number-{n}" for n in range(50)))

    def cpu(length: int) -> float:
        text = unit * (length // len(unit))
        start = time.thread_time()
        redactor.text(text)
        return time.thread_time() - start

    cpu(1000)
    small = min(cpu(20_000) for _ in range(3))
    large = min(cpu(80_000) for _ in range(3))
    # Quadratic would be 16 times.
    assert large < 9 * small + 0.005


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("hunter2hunter2")


def _logged(log: logging.Logger) -> str:
    handler = log.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    text = handler.stream.getvalue()
    assert isinstance(text, str)
    return text


@pytest.fixture
def log() -> logging.Logger:
    """A logger apart from the process's, with the filter on its only handler."""
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(RedactingFilter(Redactor("hunter2hunter2")))
    handler.setFormatter(
        logging.Formatter("%(levelname)s %(message)s %(fields)s", defaults={"fields": ""})
    )
    logger = logging.Logger("apart", logging.DEBUG)
    logger.addHandler(handler)
    return logger


def test_message_arguments_and_fields_of_a_record_are_redacted(log: logging.Logger) -> None:
    log.info("key %s of %d", "hunter2hunter2", 5)
    log.info("%(k)s", {"k": "hunter2hunter2"})
    log.info("split hunter2%s", "hunter2", extra={"fields": {"url": ["https://x/?a"]}})
    log.info(ValueError("hunter2hunter2"))
    log.info("object %s", ValueError("hunter2hunter2"))
    text = _logged(log)
    assert "hunter2" not in text
    assert "INFO key *** of 5" in text
    assert "INFO split *** {'url': ['<url>']}" in text
    assert "INFO object ***" in text


def test_a_traceback_is_kept_as_redacted_text_and_its_frames_are_let_go(
    log: logging.Logger,
) -> None:
    """A held traceback would keep the exchange instance in its frames, and so its key, alive."""

    class Instance:
        pass

    def fail() -> weakref.ref[Instance]:
        instance = Instance()
        reference = weakref.ref(instance)
        try:
            raise ValueError("GET https://x/?signature=1 with hunter2hunter2")
        except ValueError:
            record = log.makeRecord("apart", 40, "f", 1, "failed", (), sys.exc_info())
        log.handle(record)
        assert record.exc_info is None
        records.append(record)
        return reference

    records: list[logging.LogRecord] = []
    assert fail()() is None
    text = _logged(log)
    assert "Traceback (most recent call last)" in text
    assert "ValueError: GET <url> with ***" in text
    assert "hunter2" not in text


def test_stack_info_is_redacted(log: logging.Logger) -> None:
    record = log.makeRecord("apart", 20, "f", 1, "m", (), None, sinfo="Stack hunter2hunter2")
    log.handle(record)
    assert "Stack ***" in _logged(log)


@pytest.mark.parametrize("arguments", [("one",), ("a", "b", "c"), (_Unprintable(), 1)])
def test_a_record_that_cannot_be_formatted_is_withheld_and_raises_nothing(
    log: logging.Logger, arguments: tuple[object, ...]
) -> None:
    log.info("%s and %d", *arguments, extra={"fields": "hunter2hunter2"})
    text = _logged(log)
    assert "a log line was withheld" in text
    assert "hunter2" not in text


def test_clean_arguments_stay_apart_for_formatters_that_need_them() -> None:
    """uvicorn's access formatter unpacks five arguments."""
    record = logging.LogRecord(
        "uvicorn.access", 20, "", 0, '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:5", "GET", "/mcp?token=abc", "1.1", 200), None,
    )  # fmt: skip
    assert RedactingFilter(Redactor()).filter(record)
    assert record.args == ("127.0.0.1:5", "GET", "/mcp?token=***", "1.1", 200)


def test_a_secret_that_is_registered_later_is_found_in_texts_seen_before() -> None:
    """Fields of log lines are remembered as clean; without forgetting, the secret would pass."""
    redactor = Redactor()
    fields = {"session": "hunter2hunter2", "tool": "get_ticker"}
    assert redactor.value(fields) == fields
    redactor.add("hunter2hunter2")
    assert redactor.value(fields) == {"session": MASK, "tool": "get_ticker"}
