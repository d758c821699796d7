"""A request stays at the endpoint that it is a request of, whatever somebody got into its path."""

from __future__ import annotations

from typing import Any

import pytest
import yarl

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.http import open_session

ORDINARY = (
    *(
        "/api/v3/order",
        "/v1.2/x.json",
        "/0/private/Balance",
        "/a/%20b",
        "/a/...b",
        "/a/.well-known",
    ),
    *("/fapi/v1/ticker/BTC%2FUSDT", "/x/2026.01.01"),
)
ELSEWHERE = (
    *("/api/v2/user_transactions/../buy/market/btcusd/", "/orders/..", "/a/./b", "/a/%2e%2e/b"),
    *("/a/%2E./b", "/a/%252e%252e/b", "/a/..%2fb", "/a/..\\b", "/a/%5c..%5cb"),
)


@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:1"])
async def test_a_path_that_leads_elsewhere_is_never_sent(base_url: str | None) -> None:
    """The signature of a question would be that of an order: CCXT signs what it is told."""
    session = open_session(base_url=base_url, proxy=None, tls=None)
    given: dict[str, Any] = {"data": None, "headers": {}, "timeout": None, "proxy": None}
    try:
        for path in ELSEWHERE:
            url = yarl.URL(f"https://api.example{path}", encoded=True)
            if ".." not in url.raw_path and "%" not in url.raw_path and "/./" not in url.raw_path:
                continue
            with pytest.raises(Failure) as refused:
                session.post(url, **given)
            assert refused.value.code is Code.INVALID_ARGUMENT
        assert session.requests == 0
        for path in ORDINARY:
            session.post(yarl.URL(f"https://api.example{path}", encoded=True), **given).close()
        assert session.requests == len(ORDINARY)
    finally:
        await session.close()
