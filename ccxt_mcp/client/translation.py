"""The server's failures as ``CallFailed``: tool results, JSON-RPC errors, HTTP refusals.

Owns: what each of them says of its request's fate. Refuses: bytes (``reading.py``) and failures
that are born on this side (``failures.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccxt_mcp.client.failures import CallFailed, Fate, failed

__all__ = ["answered", "of_rpc_error", "of_status"]

_FAILURE_META = "ccxt-mcp/failure"
_MOST_WORDS = 500
"""Characters of a text of the other side's that a message repeats."""
_LONGEST = 10**12
"""Milliseconds that a wait is taken to be at most."""
_GAVE_UP = frozenset({408, 499, 502, 503, 504})
"""Statuses of one in the middle who waits no more, and says nothing of what is behind it; 503 also
of a server that stopped with the call in its hands."""


def answered(result: Mapping[str, Any]) -> dict[str, Any]:
    """The value of a result of ``tools/call``: its structured part, or ``{"text": …}``.

    Raises:
        CallFailed: the result is a failure, or no result of a tool that is understood here.
    """
    if result.get("isError") is True:
        meta = result.get("_meta")
        failure = meta.get(_FAILURE_META) if isinstance(meta, Mapping) else None
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


def of_status(status: int, body: Any, retry_after: float | None) -> CallFailed:
    """The failure in an HTTP answer other than a success.

    Args:
        status: the HTTP status.
        body: its JSON, or None where it has none.
        retry_after: seconds, of the header ``Retry-After``.
    """
    error = body.get("error") if isinstance(body, Mapping) else None
    error = error if isinstance(error, Mapping) else None
    if error is not None:
        data = error.get("data")
        full = status == 503 and isinstance(data, Mapping) and data.get("code") == "overloaded"
        # That one refusal of this server's is no 4xx: it drains, or has no room.
        fate = Fate.NOT_STARTED if full else _fate_of(status)
        said = _of_object(data, fate, retry_after, status)
        if said is not None:
            return said
    words = _shortened(str(error.get("message", ""))) if error is not None else ""
    code, retryable = _of_bare_status(status, worded=error is not None)
    return failed(
        code,
        words or f"the answer was HTTP {status}",
        _fate_of(status),
        retryable=retryable,
        retry_after=retry_after,
        status=status,
    )


def _fate_of(status: int) -> Fate:
    """What a status says of its request: 408, 499 and a success say nothing, nor does a 5xx."""
    refused = 300 <= status < 500 and status not in _GAVE_UP
    return Fate.NOT_STARTED if refused else Fate.UNKNOWN


def _of_bare_status(status: int, *, worded: bool) -> tuple[str, bool | None]:
    if status in (401, 403):
        return "permission_denied", None
    if status == 429:
        return "overloaded", None
    if status in _GAVE_UP:
        return "connection_lost", None
    if 400 <= status < 500:
        return "invalid_argument" if worded and status != 404 else "unexpected_answer", False
    if status >= 500:
        return "internal", None
    return "unexpected_answer", None


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
    """Seconds. What is beyond all measure, also as an integer of 400 digits, is a long time."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return min(max(value, 0), _LONGEST) / 1000
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
