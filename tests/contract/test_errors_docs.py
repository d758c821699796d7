"""docs/ERRORS.md and the failures of this build are the same thing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ccxt_mcp.api.statuses import STATUSES
from ccxt_mcp.client.failures import CLIENT_CODES, SHARED
from ccxt_mcp.errors import CODES, Code, Failure
from ccxt_mcp.tools.boundary import FAILURE_META, failure_result

WHOLE = (Path(__file__).parents[2] / "docs" / "ERRORS.md").read_text(encoding="utf-8")
PAGE, _, CLIENT = WHOLE.partition("\n## Codes of the Python client\n")
ROW = re.compile(r"^\| `([a-z_]+)` \| (.+?) \| (yes|no) \| (.+?) \|$", re.MULTILINE)


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    """Codes, their order, meanings, retryability and next steps, both ways."""
    documented = [
        (code, meaning, retry == "yes", hint) for code, meaning, retry, hint in ROW.findall(PAGE)
    ]
    built = [(code.value, info.meaning, info.retryable, info.hint) for code, info in CODES.items()]
    assert documented == built


def test_every_code_of_the_client_is_documented_and_none_is_the_servers() -> None:
    """Both ways, in their order; a code that a server may send is explained above."""
    documented = [
        (code, meaning, retry == "yes", hint) for code, meaning, retry, hint in ROW.findall(CLIENT)
    ]
    built = [(code, info.meaning, info.retryable, info.hint) for code, info in CLIENT_CODES.items()]
    assert documented == built
    assert not set(CLIENT_CODES) & {code.value for code in Code}


def test_the_servers_codes_that_arise_in_the_client_are_named() -> None:
    prose = CLIENT[CLIENT.rindex("|") :]
    named = {name for name in re.findall(r"`([a-z_]+)`", prose) if name in set(Code)}
    assert named == set(SHARED)


def test_the_statuses_of_plain_http_are_documented() -> None:
    """Each code under its status, both ways."""
    rows = re.findall(r"^\| (\d{3}) \| (`.+`) \|$", PAGE, re.MULTILINE)
    documented = {
        code: int(status) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)
    }
    assert documented == {code.value: status for code, status in STATUSES.items()}


def test_every_code_has_an_entry() -> None:
    """The enumeration and the table are one list."""
    assert list(CODES) == list(Code)


def test_the_documented_example_is_what_a_client_receives() -> None:
    """The page's first JSON block is the wire form of that very failure."""
    block = re.search(r"```json\n(.+?)\n```", PAGE, re.DOTALL)
    assert block is not None
    failure = Failure(
        Code.TIMEOUT,
        "fetchOpenOrders operation timed out after 15000ms",
        exchange="paper",
        operation="fetchOpenOrders",
    )
    sent = failure_result(failure)
    sent.pop("resultType")  # the modern era's envelope; older peers never see it
    assert json.loads(block[1]) == sent


@pytest.mark.parametrize("code", Code)
def test_every_failure_has_the_same_form(code: Code) -> None:
    """A text that begins with the code and ends with a hint, the object, and nothing structured."""
    result = failure_result(Failure(code, "It went wrong", retry_after=1.5, details={"a": 1}))
    assert result["isError"] is True
    assert "structuredContent" not in result
    (block,) = result["content"]
    assert block["text"] == f"{code.value}: It went wrong. Hint: {CODES[code].hint}"
    assert result["_meta"][FAILURE_META] == {
        "code": code.value,
        "message": "It went wrong",
        "retryable": CODES[code].retryable,
        "hint": CODES[code].hint,
        "retryAfterMs": 1500,
        "details": {"a": 1},
    }
