"""What never leaves: secrets and signed URLs, wherever text goes out.

Owns: the registered secrets in all the forms in which they travel, and the shapes (key-values,
headers, URLs) in which unregistered ones appear. Refuses: to judge meaning: what has the shape of
a secret is removed, also when it is harmless; and to raise, in the logging filter.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

__all__ = [
    "MASK",
    "SHORTEST_SECRET",
    "URL_MASK",
    "RedactingFilter",
    "Redactor",
    "printable",
    "secrets_in_url",
]

MASK = "***"
URL_MASK = "<url>"
"""Both shorter than any registered secret, so that no mask can contain one."""

SHORTEST_SECRET = 6
"""Characters; a shorter one would also be found in ordinary words and numbers."""

_URL = r"\b(?:https?|wss?|socks[45][ah]?):(?:\\?/){2}(?:[^\s\"'<>`\\]|\\(?![\"'nrt]))+"
_PEM = (
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"
    r"(?:(?!-----END).)*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
)
# The name of a value that is secret: its core, wherever it stands in the whole name.
_NAMES = (
    r"(?:(?:api|access|private|secret|listen)[-_]?key|passphrase|password|passwd|secret"
    r"|(?:access|refresh|auth|id|bearer|session|csrf)[-_]?token|api[-_]?sign|jwt"
    r"|(?<![a-z])(?:sign(?:ature)?|token)(?![a-z]))[a-z0-9_-]{0,16}"
)
# Around a name and its value: JSON, JSON within JSON, Python's repr, query, header.
_JOIN = r"(?:\\*[\"'])?\s{0,4}(?:[=:]|%3[dD])\s{0,4}\[?"
# Atomic groups, not possessive repetition: before Python 3.11.5 that takes in what its last, failed
# round looked at (CPython issue 100061).
_QUOTED = r"b?(?:\"(?>(?:[^\"\\\n]|\\.)*)|'(?>(?:[^'\\\n]|\\.)*)|\\+[\"'](?>(?:(?!\\+[\"']).)*))"
_BARE = r"(?!(?:null|none|true|false)\b)(?:(?:bearer|basic|token)\s+)?[^\s&,;\"'<>(){}\[\]\\]+"
_HEADERS = r"(?<![a-z])(?:proxy-)?(?:authorization|set-cookie|cookie)"

_SHAPES = re.compile(
    rf"(?P<url>{_URL})"
    rf"|(?P<pem>{_PEM})"
    rf"|(?P<header>{_HEADERS}{_JOIN})(?:{_QUOTED}|[^\r\n\"'{{}}\[\]\\]+)"
    rf"|(?P<key>{_NAMES}{_JOIN})(?:{_QUOTED}|{_BARE})"
    r"|(?P<scheme>\bbearer\s)\s{0,4}[A-Za-z0-9._~+/=-]{16,}",
    re.IGNORECASE | re.DOTALL,
)
# Cheap to look for; most texts have none of these.
_HINTS = re.compile(
    r":\\?/|-----BEGIN|(?:key|pass|secret|token|sign|jwt|authorization|cookie|bearer)",
    re.IGNORECASE,
)
_QUOTES = re.compile(r"b?(\\*[\"'])")


def _mask(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "url":
        return URL_MASK
    if kind == "pem":
        return MASK
    prefix = match[kind or 0]
    value = match[0][len(prefix) :]
    # Quotes stay as they were, so that JSON stays JSON. (The closing one is not in the match.)
    opening = _QUOTES.match(value)
    return f"{prefix}{opening[0] if opening else ''}{MASK}"


def _forms(secret: str) -> Iterable[str]:
    """The secret as it stands in text, URLs, JSON, ``repr`` and base64."""
    raw = secret.encode(errors="surrogatepass")
    # Of a key in several lines each line counts, of a hexadecimal one also its bare digits.
    lines = [line for line in secret.splitlines() if len(line) >= 16 and "-----" not in line]
    plain = [secret, secret.strip(), secret.removeprefix("0x"), *lines]
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = alphabet(raw).decode()
        plain += [encoded, encoded.rstrip("=")]
    for text in plain:
        yield text
        for ascii_only in (True, False):
            escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
            yield from (escaped, escaped.replace("/", "\\/"), json.dumps(escaped)[1:-1])
        yield repr(text)[1:-1]
        data = text.encode(errors="surrogatepass")
        for encode in (quote, quote_plus):
            for safe in ("", "/"):
                percent = encode(data, safe=safe)
                yield percent
                yield re.sub("%..", lambda m: m[0].lower(), percent)


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """One alternation of all forms, first by first character so that most positions of a text are
    passed after one look; within a group the longest first, so that no tail of a form stays."""
    groups: dict[str, list[str]] = {}
    for form in {form for secret in secrets for form in _forms(secret)}:
        if len(form) >= SHORTEST_SECRET:
            groups.setdefault(form[0], []).append(form[1:])
    if not groups:
        return None
    return re.compile(
        "|".join(
            f"{re.escape(first)}(?:{'|'.join(map(re.escape, sorted(rest, key=len, reverse=True)))})"
            for first, rest in sorted(groups.items())
        )
    )


def printable(text: str) -> str:
    """Words of others without what a terminal would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "·" for c in text)


class Redactor:
    """Removes secrets from text. Safe to use from several threads: adding replaces the pattern."""

    def __init__(self, *secrets: str) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._is_clean: Callable[[str], bool] = self._remembered()
        self.add(*secrets)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def add(self, *secrets: str) -> None:
        """Register secrets; shorter ones than ``SHORTEST_SECRET`` are left out."""
        secrets_now = self._secrets.union(s for s in secrets if len(s) >= SHORTEST_SECRET)
        if secrets_now != self._secrets:
            self._pattern = _pattern(secrets_now)
            self._secrets = secrets_now
            self._is_clean = self._remembered()

    def text(self, text: str, limit: int | None = None) -> str:
        """The text without registered secrets, URLs and values that are named like secrets.

        Args:
            limit: longest result in characters; a longer one is cut and ends in ``…``. It is cut
                after redaction, so that no half of a secret escapes recognition.
        """
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        if _HINTS.search(text):
            text = _SHAPES.sub(_mask, text)
        if limit is not None and len(text) > limit:
            text = text[: max(limit - 1, 0)].rstrip() + "…"
        return text

    def value(self, value: Any) -> Any:
        """A JSON-like value with every text in it redacted; other objects stay as they are."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            if self._all_clean(value):
                return value
            return {
                self.text(k) if isinstance(k, str) else k: self._entry(k, v)
                for k, v in value.items()
            }
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, tuple) and type(value) is tuple:
            return tuple(self.value(item) for item in value)
        return value

    def _all_clean(self, flat: dict[Any, Any]) -> bool:
        """Whether a dict of short texts and numbers has nothing to redact; False also where that
        cannot be said. Numbers are never redacted."""
        for key, value in flat.items():
            if type(key) is not str or len(key) > _SHORT:
                return False
            kind = type(value)
            if kind is str and len(value) <= _SHORT:
                if not self._is_clean(f"{key}: {value}"):
                    return False
            elif kind not in _NUMBERS:
                return False
        return True

    def _remembered(self) -> Callable[[str], bool]:
        """Whether a text is clean, from memory where it was asked before: every call leaves a line
        of the same few names and values, and looking for secrets is most of what a line costs."""

        @lru_cache(maxsize=_REMEMBERED)
        def is_clean(text: str) -> bool:
            return self.text(text) == text

        return is_clean

    def _entry(self, key: Any, value: Any) -> Any:
        if isinstance(key, str) and isinstance(value, str) and value:
            named = f"{key}: x"
            if _HINTS.search(key) and _SHAPES.sub(_mask, named) != named:
                return MASK
        return self.value(value)


_NUMBERS = frozenset((int, float, bool, type(None)))
_SHORT = 160
"""Characters of a text that is worth remembering."""
_REMEMBERED = 2048
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime"}


class RedactingFilter(logging.Filter):
    """Redacts log records before they are formatted; belongs on every handler.

    Message and arguments, traceback, stack and extra fields are redacted. A traceback becomes text
    (``exc_text``) and ``exc_info`` is dropped: a kept traceback would keep the frames' exchange
    instances, and so their keys, alive. Never raises; what cannot be redacted is withheld.
    """

    def __init__(self, redactor: Redactor, name: str = "") -> None:
        super().__init__(name)
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact in place; every record that the filter's name admits passes."""
        if not super().filter(record):
            return False
        try:
            self._redact(record)
        except Exception as error:
            # Arguments that do not fit, a `__str__` that raises: the event is worth a line, and
            # its unredacted text is not.
            record.msg = f"a log line was withheld: {type(error).__name__} while it was redacted"
            record.args = None
            record.exc_info = None
            record.exc_text = None
            record.stack_info = None
            for key in record.__dict__.keys() - _STANDARD:
                del record.__dict__[key]
        return True

    def _redact(self, record: logging.LogRecord) -> None:
        redact = self._redactor
        if record.args and isinstance(record.args, (tuple, dict)):
            # Kept apart from the message as long as it comes out clean: formatters such as
            # uvicorn's for access lines take the arguments one by one.
            record.args = redact.value(record.args)
        message = record.getMessage()
        clean = redact.text(message)
        if clean != message or not isinstance(record.msg, str):
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        record.exc_info = None
        if record.exc_text:
            record.exc_text = redact.text(record.exc_text)
        if record.stack_info:
            record.stack_info = redact.text(record.stack_info)
        for key, value in record.__dict__.items():
            if key not in _STANDARD:
                # No new key, so that the walk over them may go on.
                record.__dict__[key] = redact.value(value)


def secrets_in_url(url: str, *, user: bool = True) -> tuple[str, ...]:
    """The passwords of a URL (its own, and options that are called so), as they stand there and as
    they are meant; its user as well, where that is none of everybody's (`default` is)."""
    parts = urlsplit(url)
    options = (each.partition("=") for each in parts.query.split("&"))
    found = [parts.username if user else None, parts.password]
    found += [value for name, _, value in options if "password" in name]
    there = [each for each in found if each]
    return tuple(dict.fromkeys([*there, *map(unquote, there)]))
