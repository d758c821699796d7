"""What a caller can get wrong: each is named with its remedy, none gets a traceback or a secret."""

from typing import Any

import pytest

from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import Stack

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("get_tickers", {}, "unknown_tool", "get_ticker"),
    ("get_ticker", {}, "invalid_argument", "symbol"),
    ("get_ticker", {"symbol": 7}, "invalid_argument", "symbol"),
    ("get_ticker", {"symbol": "BTC/USDT", "exchang": "x"}, "invalid_argument", "exchang"),
    ("get_ticker", {"symbol": "BTC/USDT", "exchange": "binanse"}, "unknown_exchange", "binance"),
    ("get_ticker", {"symbol": "BTC/USTD"}, "unknown_symbol", "BTC/USDT"),
    ("get_ohlcv", {"symbol": "BTC/USDT", "timeframe": "7m"}, "invalid_argument", "1m"),
    ("get_orderbook", {"symbol": "BTC/USDT", "limit": 0}, "invalid_argument", "limit"),
    ("get_orderbook", {"symbol": "BTC/USDT", "limit": -1}, "invalid_argument", "limit"),
    ("get_ohlcv", {"symbol": "BTC/USDT", "limit": 10**9}, "invalid_argument", "limit"),
    ("get_orderbook", {"symbol": "BTC/USDT", "limit": True}, "invalid_argument", "limit"),
    ("account_balance", {"account": "mian"}, "unknown_account", "main"),
    ("account_balance", {"account": ["main"]}, "invalid_argument", "account"),
    ("account_balance", {"exchange": "kraken"}, "unknown_account", "kraken"),
    ("account_balance", {"apiKey": "A" * 64}, "invalid_argument", "apiKey"),
]


async def test_a_wrong_argument_is_named_with_its_remedy(stack: Stack) -> None:
    for tool, arguments, code, word in CASES:
        result = await stack.call(tool, arguments)
        assert result["isError"] is True, (tool, arguments)
        failure = result["_meta"]["ccxt-mcp/failure"]
        assert failure["code"] == code, (tool, arguments, failure)
        text = result["content"][0]["text"]
        assert word in text, (tool, arguments)
        assert "Traceback" not in text
        assert "A" * 20 not in text
    assert failure["hint"]


async def test_the_secrets_of_accounts_appear_nowhere(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    """Successes, failures, health and logs are searched for every key and secret."""
    caplog.set_level("DEBUG")
    seen = [
        await stack.http.get(f"{stack.url}/health"),
        *[
            await stack.http.post(
                f"{stack.url}/mcp",
                headers={"Mcp-Session-Id": "a"},
                json={
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "tools/call",
                    "params": {"name": tool, "arguments": arguments},
                },
            )
            for tool, arguments in [
                ("list_accounts", {}),
                ("account_balance", {}),
                ("get_open_orders", {}),
                ("get_open_orders", {"symbol": "NO/PE"}),
                ("get_order_history", {}),
            ]
        ],
    ]
    text = "".join(response.text for response in seen)
    ours = "".join(r.getMessage() for r in caplog.records if r.name.startswith("ccxt_mcp"))
    for account in stack.accounts:
        for secret in (account.api_key, account.secret):
            assert secret not in text
            assert secret not in ours
            assert secret[:12] not in text


async def test_wrong_credentials_are_an_authentication_failure_without_the_key(
    stack: Stack,
) -> None:
    body = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
    stack.sim.faults.add(Fault(kind="status", route="GET /api/v3/account", status=401, body=body))
    result = await stack.call("account_balance", {"account": stack.accounts[0].name})
    failure = result["_meta"]["ccxt-mcp/failure"]
    assert failure["code"] == "authentication_failed"
    assert failure["exchange"] == "paper"
    assert stack.accounts[0].api_key not in str(result)
    assert "http" not in failure["message"]
