"""The one closed family of failures.

Owns: the codes, what each means, whether trying again can help, and the hint a caller gets when
the place that failed has nothing better to say. Refuses: wire formats (``tools/boundary.py`` turns
a failure into a tool result) and CCXT's exceptions (``exchanges/failures.py`` translates them).

A failure is born in the room that refuses or at the seam with CCXT, travels as an exception, and
becomes a wire format in one place. Every code is documented in ``docs/ERRORS.md``, held by a test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["CODES", "Code", "CodeInfo", "ConfigurationError", "Failure", "code_of"]


class Code(StrEnum):
    """What went wrong, named by its remedy. Closed: clients may switch on it."""

    INVALID_ARGUMENT = "invalid_argument"
    UNKNOWN_TOOL = "unknown_tool"
    UNKNOWN_EXCHANGE = "unknown_exchange"
    UNKNOWN_ACCOUNT = "unknown_account"
    UNKNOWN_SYMBOL = "unknown_symbol"
    NOT_SUPPORTED = "not_supported"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    EXCHANGE_UNAVAILABLE = "exchange_unavailable"
    EXCHANGE_ERROR = "exchange_error"
    BAD_RESPONSE = "bad_response"
    AUTHENTICATION_FAILED = "authentication_failed"
    PERMISSION_DENIED = "permission_denied"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    INVALID_ORDER = "invalid_order"
    ORDER_NOT_FOUND = "order_not_found"
    OUTCOME_UNKNOWN = "outcome_unknown"
    SESSION_NOT_FOUND = "session_not_found"
    STORE_UNAVAILABLE = "store_unavailable"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """What a code promises: its meaning, whether a retry can help, and the default next step."""

    meaning: str
    retryable: bool
    hint: str


CODES: dict[Code, CodeInfo] = {
    Code.INVALID_ARGUMENT: CodeInfo(
        "An argument is missing, misspelt, of the wrong type or out of range.",
        False,
        "Correct the named argument; `tools/list` has each tool's schema.",
    ),
    Code.UNKNOWN_TOOL: CodeInfo(
        "No tool has this name, or this replica leaves it to others.",
        False,
        "`tools/list` has the names of all tools.",
    ),
    Code.UNKNOWN_EXCHANGE: CodeInfo(
        "No exchange or exchange profile has this name.",
        False,
        "Call `list_exchanges` for the names that this server knows.",
    ),
    Code.UNKNOWN_ACCOUNT: CodeInfo(
        "No account of this name is configured for the exchange.",
        False,
        "Call `list_accounts`; accounts are added in the server's configuration, never in a call.",
    ),
    Code.UNKNOWN_SYMBOL: CodeInfo(
        "The exchange does not list this symbol.",
        False,
        "Call `get_markets` with `search` to find the symbol.",
    ),
    Code.NOT_SUPPORTED: CodeInfo(
        "The exchange does not offer this operation, or not in this form.",
        False,
        "Call `get_exchange_info` to see what the exchange supports.",
    ),
    Code.TIMEOUT: CodeInfo(
        "No answer in time; the request was abandoned and the session is usable.",
        True,
        "Try again; if it lasts, the exchange is slow or `tool_timeout` is too short for it.",
    ),
    Code.RATE_LIMITED: CodeInfo(
        "The exchange's request budget is used up.", True, "Wait `retryAfterMs`, then try again."
    ),
    Code.OVERLOADED: CodeInfo(
        "This server (or this session's queue) has as much work as it takes.",
        True,
        "Wait `retryAfterMs`, then try again; use more sessions if one session's queue is full.",
    ),
    Code.EXCHANGE_UNAVAILABLE: CodeInfo(
        "The exchange could not be reached or is under maintenance.",
        True,
        "Try again in a while; check the exchange's status page and the profile's `base_url`.",
    ),
    Code.EXCHANGE_ERROR: CodeInfo(
        "The exchange refused the request for a reason of its own.",
        False,
        "Read the exchange's words in the message.",
    ),
    Code.BAD_RESPONSE: CodeInfo(
        "The exchange's answer was incomplete, malformed or of the wrong shape; it was discarded.",
        True,
        "Try again; nothing of the answer was used.",
    ),
    Code.AUTHENTICATION_FAILED: CodeInfo(
        "The exchange refused the account's credentials.",
        False,
        "Check the account's key, secret and passphrase in the server's configuration.",
    ),
    Code.PERMISSION_DENIED: CodeInfo(
        "The caller's token or the account's key lacks the permission.",
        False,
        "Give the token the scope, or the API key the permission, that the message names.",
    ),
    Code.INSUFFICIENT_FUNDS: CodeInfo(
        "The account has too little to do this.",
        False,
        "Call `account_balance` to see what is free.",
    ),
    Code.INVALID_ORDER: CodeInfo(
        "The order breaks a rule of the exchange.",
        False,
        "Call `get_markets` for the market's limits and precision.",
    ),
    Code.ORDER_NOT_FOUND: CodeInfo(
        "The exchange knows no such order.", False, "Call `get_open_orders` or `get_order_history`."
    ),
    Code.OUTCOME_UNKNOWN: CodeInfo(
        "A write was sent and its outcome is not known: it may have happened.",
        False,
        "Look for the client order id in `get_open_orders` and `get_order_history` first.",
    ),
    Code.SESSION_NOT_FOUND: CodeInfo(
        "The session has ended or never existed.", True, "Send `initialize` to open a new session."
    ),
    Code.STORE_UNAVAILABLE: CodeInfo(
        "The store that this server shares with its other replicas is away, or too slow.",
        True,
        "Wait `retryAfterMs`, then try again; it recovers by itself when the store is back.",
    ),
    Code.CANCELLED: CodeInfo(
        "The caller cancelled the call.", True, "Send the call again if wanted."
    ),
    Code.INTERNAL: CodeInfo(
        "A fault of this server; the details are in its log.",
        False,
        "Report it with the time and the tool's name.",
    ),
}


class Failure(Exception):
    """A refusal or a fault with a code, in words that may be shown to any caller.

    Args:
        code: what went wrong.
        message: what was wrong, naming the thing; free of secrets and URLs.
        hint: the next step; the code's own hint when omitted.
        retryable: whether the same call may succeed later; the code's own when omitted.
        exchange: the exchange (profile name) concerned, if any.
        operation: the CCXT method in its unified name (``fetchOpenOrders``), if any.
        retry_after: seconds to wait before trying again, if known.
        details: further JSON values for machines (for instance the valid choices).
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        hint: str | None = None,
        retryable: bool | None = None,
        exchange: str | None = None,
        operation: str | None = None,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        info = CODES[code]
        self.code = code
        self.message = message
        self.hint = info.hint if hint is None else hint
        self.retryable = info.retryable if retryable is None else retryable
        self.exchange = exchange
        self.operation = operation
        self.retry_after = retry_after
        self.details = details

    def again(self) -> Failure:
        """The same failure for one more reader: each raises one of its own."""
        return Failure(
            self.code,
            self.message,
            hint=self.hint,
            retryable=self.retryable,
            exchange=self.exchange,
            operation=self.operation,
            retry_after=self.retry_after,
            details=self.details,
        )

    def as_dict(self) -> dict[str, Any]:
        """The failure as a JSON object; absent facts are left out."""
        out: dict[str, Any] = {
            "code": self.code.value,
            "message": self.message,
            "retryable": self.retryable,
            "hint": self.hint,
        }
        if self.exchange is not None:
            out["exchange"] = self.exchange
        if self.operation is not None:
            out["operation"] = self.operation
        if self.retry_after is not None:
            out["retryAfterMs"] = max(0, round(self.retry_after * 1000))
        if self.details is not None:
            out["details"] = self.details
        return out

    def __repr__(self) -> str:
        return f"Failure({self.code.value}: {self.message})"


def code_of(error: BaseException) -> Code:
    """The code that an exception counts under, where it need not be told to anybody."""
    if isinstance(error, Failure):
        return error.code
    return Code.CANCELLED if isinstance(error, asyncio.CancelledError) else Code.INTERNAL


class ConfigurationError(Exception):
    """The server cannot start with this configuration; the text names the key and the remedy.

    ``problems`` are its parts where there are several, so that a caller can put the findings of
    several places into one message. ``unreadable`` says that a configuration file was named and
    nothing of it could be had.
    """

    def __init__(
        self, message: str, problems: Sequence[str] = (), *, unreadable: bool = False
    ) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)
        self.unreadable = unreadable

    @classmethod
    def listing(cls, problems: Sequence[str], *, unreadable: bool = False) -> ConfigurationError:
        """One error that lists all problems."""
        if len(problems) == 1:
            message = f"The configuration is not valid: {problems[0]}"
        else:
            lines = "".join(f"\n  - {problem}" for problem in problems)
            message = f"The configuration is not valid, {len(problems)} things are wrong:{lines}"
        return cls(message, problems, unreadable=unreadable)
