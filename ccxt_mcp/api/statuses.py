"""Which HTTP status a failure has, and how it is answered.

Owns: the table from codes to statuses and the form of a failed answer. Refuses: the failures
themselves (``errors.py``).

One rule is behind the table: the statuses that clients of HTTP repeat a request on by themselves
(429, 502, 503, 504) are those of codes for which that can help, and no others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.transport.refusal import encode

__all__ = ["STATUSES", "failed"]

STATUSES: Mapping[Code, int] = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNKNOWN_TOOL: 404,
    Code.UNKNOWN_EXCHANGE: 404,
    Code.UNKNOWN_ACCOUNT: 404,
    Code.UNKNOWN_SYMBOL: 404,
    Code.NOT_SUPPORTED: 422,
    Code.TIMEOUT: 504,
    Code.RATE_LIMITED: 429,
    Code.OVERLOADED: 503,
    Code.EXCHANGE_UNAVAILABLE: 503,
    Code.EXCHANGE_ERROR: 422,
    Code.BAD_RESPONSE: 502,
    Code.AUTHENTICATION_FAILED: 403,
    Code.PERMISSION_DENIED: 403,
    Code.INSUFFICIENT_FUNDS: 422,
    Code.INVALID_ORDER: 422,
    Code.ORDER_NOT_FOUND: 404,
    # Never one that is repeated unasked: what was written may have happened.
    Code.OUTCOME_UNKNOWN: 409,
    Code.SESSION_NOT_FOUND: 404,
    Code.STORE_UNAVAILABLE: 503,
    Code.CANCELLED: 503,
    Code.INTERNAL: 500,
}
"""Every code has one; held by a test, and documented in ``docs/ERRORS.md``."""

_WAIT = (429, 503)
"""Statuses that come with ``Retry-After``."""


def failed(failure: Failure) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """(status, JSON body, further headers) of a failure."""
    status = STATUSES[failure.code]
    headers = []
    if status in _WAIT:
        seconds = max(1, math.ceil(failure.retry_after or 1.0))
        headers.append((b"retry-after", str(seconds).encode()))
    return status, encode({"error": failure.as_dict()}), headers
