"""What goes wrong with a call, as one exception with the server's own codes.

Owns: ``CallFailed`` and the codes that only this side of the wire can see. Refuses: reading the
server's failures (``translation.py``) and deciding what is tried again (``attempts.py``).

Each failure knows the fate of its request, since for a write that is all that matters: what was
certainly not started may be sent again, what may have arrived must not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

__all__ = [
    "CLIENT_CODES",
    "SHARED",
    "CallFailed",
    "ClientCode",
    "Fate",
    "failed",
    "outcome_unknown",
]


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

    @property
    def session_gone(self) -> bool:
        """Whether the server itself refused the request because its session has ended.

        A tool's failure of that code is none such, nor is any other 404: what such a request has
        done nobody knows.
        """
        refused = self._status == 404 and self._fate is Fate.NOT_STARTED
        return refused and self.code == "session_not_found"

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
