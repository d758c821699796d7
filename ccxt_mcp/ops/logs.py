"""Structured logs on stderr: one line an event, as text or as JSON.

Owns: the form of a log line. Refuses: to let a secret through; the redacting filter stands before
the formatter, so that messages, fields and tracebacks pass it; and to let the event loop wait for
whoever reads the lines (``outlet.py``).
"""

from __future__ import annotations

import logging
import logging.config
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from ccxt_mcp.ops.outlet import Outlet
from ccxt_mcp.redaction import RedactingFilter, Redactor

__all__ = ["JsonFormatter", "TextFormatter", "configure_logging"]


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``event`` and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["traceback"] = record.exc_text
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """``time level event key=value …``; control characters are escaped, so a line stays a line."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_time(record), record.levelname.lower().ljust(7), record.getMessage()]
        parts += [f"{key}={value}" for key, value in _fields(record).items()]
        line = " ".join(parts)
        if not line.isprintable():
            line = " ".join(map(_flat, parts))
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        return f"{line}\n{record.exc_text}" if record.exc_text else line


def _flat(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


class _Lines(logging.Handler):
    """Lines to a descriptor, without waiting for its reader; ``flush`` waits for a second."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._outlet = Outlet(descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self._outlet.write(f"{line}\n".encode(errors="backslashreplace"))

    def flush(self) -> None:
        self._outlet.drain(1)


def _handler() -> logging.Handler:
    try:
        return _Lines(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        # An object in memory that somebody put in its place: nobody stops reading that.
        return logging.StreamHandler(sys.stderr)


def configure_logging(level: str, form: Literal["text", "json"], redactor: Redactor) -> None:
    """Send all logs of the process to stderr in one form, redacted. For our own commands only:
    an embedding application configures its logging itself and adds ``RedactingFilter``."""
    handler = _handler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(RedactingFilter(redactor))
    # What no line of ours shows need not be found out for each (logging's own guide to speed).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their debug lines carry signed URLs and headers; nothing of ours needs them.
    for noisy in ("ccxt", "aiohttp", "asyncio", "mcp", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
