"""Which HTTP status a failure has."""

from __future__ import annotations

import json

import pytest

from ccxt_mcp.api.statuses import STATUSES, failed
from ccxt_mcp.errors import CODES, Code, Failure

REPEATED = {429, 502, 503, 504}
"""Statuses on which clients of HTTP (urllib3, n8n, proxies) repeat a request by themselves."""


def test_every_code_has_a_status() -> None:
    assert list(STATUSES) == list(Code)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.SESSION_NOT_FOUND])
def test_a_status_invites_to_repeat_exactly_where_repeating_may_help(code: Code) -> None:
    """Otherwise a client repeats what cannot succeed, or, after a write, what must not be repeated.
    A session that is gone comes back under another name only: 404."""
    assert (STATUSES[code] in REPEATED) is CODES[code].retryable


@pytest.mark.parametrize(("wait", "sent"), [(None, "1"), (0.01, "1"), (1.2, "2"), (30.0, "30")])
def test_how_long_to_wait_is_told_in_whole_seconds_and_never_too_short(
    wait: float | None, sent: str
) -> None:
    status, body, headers = failed(Failure(Code.RATE_LIMITED, "Used up", retry_after=wait))
    assert (status, headers) == (429, [(b"retry-after", sent.encode())])
    assert json.loads(body)["error"]["code"] == "rate_limited"


def test_a_failure_is_answered_with_the_object_that_mcp_clients_get() -> None:
    failure = Failure(Code.UNKNOWN_SYMBOL, "No such thing", exchange="paper", details={"a": [1]})
    status, body, headers = failed(failure)
    assert (status, headers) == (404, [])
    assert json.loads(body) == {"error": failure.as_dict()}
