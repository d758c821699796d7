"""Log lines: one a line, structured, and without secrets."""

import json
import logging
from collections.abc import Iterator

import pytest

from ccxt_mcp.ops.logs import JsonFormatter, TextFormatter, configure_logging
from ccxt_mcp.redaction import Redactor

SECRET = "s3cr3t-s3cr3t-s3cr3t"


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("ccxt_mcp.calls", logging.INFO, "", 0, message, (), None)
    made.fields = fields
    return made


def test_a_text_line_has_time_level_event_and_fields() -> None:
    line = TextFormatter().format(record("call", tool="get_ticker", ms=1.5))
    time, level, rest = line.split(maxsplit=2)
    assert time.endswith("Z")
    assert level == "info"
    assert rest == "call tool=get_ticker ms=1.5"


def test_a_line_stays_one_line_whatever_a_caller_put_into_it() -> None:
    line = TextFormatter().format(record("call", tool="x\nfake error line\x1b[31m"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_json_line_is_one_object() -> None:
    line = json.loads(JsonFormatter().format(record("call", tool="get_ticker", ms=1.5)))
    assert line["event"] == "call"
    assert line["tool"] == "get_ticker"
    assert line["ms"] == 1.5


@pytest.mark.parametrize("form", ["text", "json"])
def test_messages_fields_and_tracebacks_are_redacted(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    redactor = Redactor()
    redactor.add(SECRET)
    configure_logging("info", "json" if form == "json" else "text", redactor)
    logger = logging.getLogger("ccxt_mcp.test")
    logger.info("key %s", SECRET)
    logger.info("call", extra={"fields": {"account": SECRET}})
    try:
        raise ValueError(f"signed with {SECRET}")
    except ValueError:
        logger.exception("failed")
    printed = capsys.readouterr().err
    assert "failed" in printed
    assert "ValueError" in printed
    assert SECRET not in printed
