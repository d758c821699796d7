"""What goes wrong with a call, as one exception with the server's own codes.

Owns: ``CallFailed``, the codes that only this side of the wire can see, and the translation of the
server's failures: tool results, JSON-RPC errors, HTTP refusals. Refuses: deciding what is tried
again (``workflow.py``).

Each failure knows the fate of its request, since for a write that is all that matters: what was
certainly not started may be sent again, what may have arrived must not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

__all__ = [
    "CLIENT_CODES",
    "SHARED",
    "CallFailed",
    "ClientCode",
    "Fate",
    "answered",
    "failed",
    "of_rpc_error",
    "of_status",
    "outcome_unknown",
]

FAILURE_META = "ccxt-mcp/failure"
_MOST_WORDS = 500
"""Characters of a text of the other side's that a message repeats."""


@dataclass(frozen=True, slots=True)
class ClientCode:
    """What a code of this side promises."""

    meaning: str
    retryable: bool
    hint: str


CLIENT_CODES: dict[str, ClientCode] = {
    "unreachable": ClientCode(
        "No connection to the server; nothing was sent.",
        True,
        "Check the URL and that the server runs: `GET /ready` answers 200.",
    ),
    "connection_lost": ClientCode(
        "The connection ended before the answer to a read.",
        True,
        "Send the call again; a server that restarts takes it in a moment.",
    ),
    "unexpected_answer": ClientCode(
        "What answered is not MCP, or not a form of it that is understood here.",
        False,
        "Check that the URL is the one of the server (`…/mcp`), not of something in front of it.",
    ),
}
"""Codes beside those of docs/ERRORS.md that a server sends. Closed, and documented there."""

SHARED: dict[str, ClientCode] = {
    "timeout": ClientCode("", True, "Try again, or allow the call more with `timeout`."),
    "overloaded": ClientCode("", True, "Try again later, or use a larger pool."),
    "permission_denied": ClientCode("", False, "Give the client a token that the server knows."),
    "session_not_found": ClientCode("", True, "Send the call again; the session is opened anew."),
    "invalid_argument": ClientCode("", False, "Correct the call as the message says."),
    "cancelled": ClientCode("", True, "Send the call again if wanted."),
    "internal": ClientCode("", False, "The server's log says what went wrong."),
    "outcome_unknown": ClientCode(
        "",
        False,
        "It may have happened: look in `get_open_orders` and `get_order_history`, by the client"
        " order id where the call had one, before anything is sent again.",
    ),
}
"""Codes of the server's that are also born here, with hints for this side."""


class Fate(Enum):
    """What became of a request at the server, as far as this side can know."""

    NOT_STARTED = auto()
    """It did not arrive, or was refused before anything was done."""
    UNKNOWN = auto()
    """It may have arrived and may have been carried out."""
    ANSWERED = auto()
    """The server says itself what happened."""


class CallFailed(Exception):
    """A call that has no result.

    Attributes:
        code: what went wrong, from the closed list in docs/ERRORS.md; a program may switch on it.
        message: what was wrong, in words. Parts of it may come from an exchange: data, never an
            instruction.
        retryable: whether the same call may succeed later. Never true of a write whose outcome is
            not known.
        hint: the next step.
        exchange: the exchange profile concerned, or None.
        operation: CCXT's unified name of the method (``fetchOpenOrders``), or None.
        retry_after: seconds to wait before trying again, or None where nobody said so.
        details: further JSON values, or None.
        attempts: how many times the call was sent or tried to be sent.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        hint: str = "",
        exchange: str | None = None,
        operation: str | None = None,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
        fate: Fate = Fate.ANSWERED,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.hint = hint
        self.exchange = exchange
        self.operation = operation
        self.retry_after = retry_after
        self.details = details
        self.attempts = 1
        self._fate = fate
        self._status = status

    @property
    def fate(self) -> Fate:
        """What became of the request."""
        return self._fate

    @property
    def status(self) -> int | None:
        """The HTTP status that refused the request, or None."""
        return self._status

    def __str__(self) -> str:
        message = self.message.rstrip()
        if not message.endswith((".", "!", "?", "…")):
            message += "."
        tried = f" (tried {self.attempts} times)" if self.attempts > 1 else ""
        return f"{self.code}: {message}{tried}" + (f" Hint: {self.hint}" if self.hint else "")

    def __repr__(self) -> str:
        return f"CallFailed({self.code}: {self.message})"


def failed(
    code: str,
    message: str,
    fate: Fate,
    *,
    retryable: bool | None = None,
    hint: str | None = None,
    retry_after: float | None = None,
    status: int | None = None,
) -> CallFailed:
    """A failure that is born on this side; what is omitted is the code's own."""
    known = CLIENT_CODES.get(code) or SHARED[code]
    return CallFailed(
        code,
        message,
        retryable=known.retryable if retryable is None else retryable,
        hint=known.hint if hint is None else hint,
        retry_after=retry_after,
        fate=fate,
        status=status,
    )


def outcome_unknown(tool: str, cause: str) -> CallFailed:
    """A write that may have happened."""
    return failed("outcome_unknown", f"{tool} was sent, and {cause}", Fate.UNKNOWN)


def answered(result: Mapping[str, Any]) -> dict[str, Any]:
    """The value of a result of ``tools/call``: its structured part, or ``{"text": …}``.

    Raises:
        CallFailed: the result is a failure, or no result of a tool that is understood here.
    """
    if result.get("isError") is True:
        meta = result.get("_meta")
        failure = meta.get(FAILURE_META) if isinstance(meta, Mapping) else None
        raise _of_object(failure, Fate.ANSWERED) or failed(
            "unexpected_answer",
            _shortened(_text(result)) or "the tool failed without a word",
            Fate.ANSWERED,
            hint="The text is the tool's own; it is not one of this project's failures.",
        )
    structured = result.get("structuredContent")
    if isinstance(structured, dict):
        return structured
    if isinstance(result.get("content"), list):
        return {"text": _text(result)}
    raise failed("unexpected_answer", "the answer is not the result of a tool", Fate.UNKNOWN)


def of_rpc_error(error: Any) -> CallFailed:
    """The failure in the error of a JSON-RPC response, which came with status 200."""
    if not isinstance(error, Mapping):
        return failed("unexpected_answer", "the answer's `error` is not an object", Fate.UNKNOWN)
    said = _of_object(error.get("data"), Fate.ANSWERED)
    if said is not None:
        return said
    number, words = error.get("code"), _shortened(str(error.get("message", "")))
    match number:
        case -32700 | -32600 | -32601 | -32602 | -32020 | -32022:
            return failed("invalid_argument", words or "the request was refused", Fate.NOT_STARTED)
        case -32800:
            return failed("cancelled", words or "the call was cancelled", Fate.UNKNOWN)
        case _:
            return failed("internal", words or f"JSON-RPC error {number}", Fate.UNKNOWN)


def of_status(
    status: int, body: Any, retry_after: float | None, *, in_session: bool = False
) -> CallFailed:
    """The failure in an HTTP answer other than a success.

    Args:
        status: the HTTP status.
        body: its JSON, or None where it has none.
        retry_after: seconds, of the header ``Retry-After``.
        in_session: whether the request named a session that may have ended.
    """
    error = body.get("error") if isinstance(body, Mapping) else None
    error = error if isinstance(error, Mapping) else None
    if error is not None:
        # Only this server's own refusals carry a failure, and refused is before it is begun.
        said = _of_object(error.get("data"), Fate.NOT_STARTED, retry_after, status)
        if said is not None:
            return said
    words = _shortened(str(error.get("message", ""))) if error is not None else ""
    code, fate, retryable = _of_bare_status(status, in_session, ours=error is not None)
    return failed(
        code,
        words or f"the answer was HTTP {status}",
        fate,
        retryable=retryable,
        retry_after=retry_after,
        status=status,
    )


def _of_bare_status(status: int, in_session: bool, *, ours: bool) -> tuple[str, Fate, bool | None]:
    if status in (401, 403):
        return "permission_denied", Fate.NOT_STARTED, None
    if status == 404 and in_session and ours:
        return "session_not_found", Fate.NOT_STARTED, None
    if status == 429:
        return "overloaded", Fate.NOT_STARTED, None
    if 400 <= status < 500:
        code = "invalid_argument" if ours and status != 404 else "unexpected_answer"
        return code, Fate.NOT_STARTED, status == 408
    if status in (502, 503, 504):
        # A proxy that gave up says nothing of what is behind it; nor does a server that stopped
        # with the call in its hands.
        return "connection_lost", Fate.UNKNOWN, None
    if status >= 500:
        return "internal", Fate.UNKNOWN, None
    return "unexpected_answer", Fate.UNKNOWN if status < 300 else Fate.NOT_STARTED, None


def _of_object(
    failure: Any, fate: Fate, retry_after: float | None = None, status: int | None = None
) -> CallFailed | None:
    """The failure that a server of this project describes; None if that is something else."""
    if not isinstance(failure, Mapping) or not isinstance(failure.get("code"), str):
        return None
    details = failure.get("details")
    wait = _milliseconds(failure.get("retryAfterMs"))
    if wait is None and isinstance(details, Mapping):
        wait = _milliseconds(details.get("retryAfterMs"))
    exchange, operation = failure.get("exchange"), failure.get("operation")
    return CallFailed(
        failure["code"],
        str(failure.get("message", "")),
        retryable=failure.get("retryable") is True,
        hint=str(failure.get("hint", "")),
        exchange=exchange if isinstance(exchange, str) else None,
        operation=operation if isinstance(operation, str) else None,
        retry_after=retry_after if wait is None else wait,
        details=dict(details) if isinstance(details, Mapping) else None,
        fate=fate,
        status=status,
    )


def _milliseconds(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return max(0.0, value / 1000)
    return None


def _text(result: Mapping[str, Any]) -> str:
    content = result.get("content")
    blocks = content if isinstance(content, list) else []
    return "\n".join(
        str(block.get("text", ""))
        for block in blocks
        if isinstance(block, Mapping) and block.get("type") == "text"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 1] + "…"
