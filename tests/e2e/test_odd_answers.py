"""Odd answers of an exchange, found by attacking the whole stack: each has the right failure."""

from typing import Any

import pytest

from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import Stack

TICKER = "GET /api/v3/ticker/24hr"


async def told(stack: Stack, tool: str, **arguments: Any) -> tuple[dict[str, Any], int]:
    """(the failure, how many requests it took)."""
    stack.sim.counters.reset()
    result = await stack.call(tool, arguments)
    assert result["isError"] is True, result
    requests = stack.sim.counters.snapshot().by_route
    requests.pop("GET /api/v3/time", None)
    return result["_meta"]["ccxt-mcp/failure"], sum(requests.values())


@pytest.mark.parametrize(
    "body", [{"code": 0, "msg": "Service unavailable from a restricted location."}, {}]
)
async def test_a_country_that_is_shut_out_is_not_asked_to_try_again(
    stack: Stack, body: dict[str, Any]
) -> None:
    """CCXT takes 451 for an outage: it was retryable, and sent three times."""
    stack.sim.faults.add(Fault(kind="status", route=TICKER, status=451, body=body))
    failure, requests = await told(stack, "get_ticker", symbol="BTC/USDT", maxAgeMs=0)
    assert failure["code"] == "permission_denied"
    assert failure["retryable"] is False
    assert requests == 1


async def test_a_pause_that_an_outage_asks_for_is_kept_and_passed_on(stack: Stack) -> None:
    """`Retry-After` of a 503 was lost: three requests within a second."""
    stack.sim.faults.add(
        Fault(kind="status", route=TICKER, status=503, headers={"Retry-After": "30"})
    )
    failure, requests = await told(stack, "get_ticker", symbol="BTC/USDT", maxAgeMs=0)
    assert failure["code"] == "exchange_unavailable"
    assert failure["retryAfterMs"] == 30_000
    assert requests == 1


@pytest.mark.parametrize(
    "header", ["9" * 400, "9" * 25, "-1", "soon", "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"]
)
async def test_an_absurd_pause_is_still_a_failure_with_a_code(stack: Stack, header: str) -> None:
    """Infinitely many seconds were an internal error without a failure; a date beyond all dates
    made the 429 a wrong-shaped answer."""
    stack.sim.faults.add(
        Fault(kind="status", route=TICKER, status=429, headers={"Retry-After": header}, times=1)
    )
    failure, _ = await told(stack, "get_ticker", symbol="BTC/USDT", maxAgeMs=0)
    assert failure["code"] == "rate_limited"
    assert 0 <= failure.get("retryAfterMs", 0) <= 3 * 86_400_000


@pytest.mark.parametrize(
    "row", [{}, {"asset": None, "free": "1", "locked": "0"}, {"asset": "BTC", "free": {"a": 1}}]
)
async def test_a_balance_of_unreadable_rows_is_not_an_empty_balance(
    stack: Stack, row: dict[str, Any]
) -> None:
    stack.sim.faults.add(
        Fault(kind="malformed", route="GET /api/v3/account", body={"balances": [row]})
    )
    failure, _ = await told(stack, "account_balance")
    assert failure["code"] == "bad_response"
