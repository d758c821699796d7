"""The SDK's own client in both eras: lists the tools and calls each, successes and failures."""

from typing import Any, Literal

import jsonschema
import pytest
from mcp.client import Client

from tests.e2e.conftest import Stack

SYMBOL = {"symbol": "BTC/USDT"}
SUCCESSES: dict[str, dict[str, Any]] = {
    "list_exchanges": {},
    "get_exchange_info": {},
    "get_markets": {"search": "BTC"},
    "get_ticker": SYMBOL,
    "get_orderbook": SYMBOL | {"limit": 5},
    "get_ohlcv": SYMBOL | {"timeframe": "1h", "limit": "3"},
    "batch_get_tickers": {"symbols": ["BTC/USDT", "ethusdt"]},
    "get_trades": SYMBOL | {"limit": 3},
    "get_funding_rates": {"symbols": ["BTC/USDT:USDT"]},
    "list_accounts": {},
    "account_balance": {},
    "get_positions": {},
    "get_open_orders": {},
    "get_order": SYMBOL | {"clientOrderId": "main-000021"},
    "get_order_history": SYMBOL,
    "get_my_trades": SYMBOL,
    "describe_method": {"search": "ledger"},
    "call_read_method": {"method": "fetchTrades", "arguments": SYMBOL},
    "server_status": {},
}
FAILURES: dict[str, dict[str, Any]] = {
    "list_exchanges": {"search": 1},
    "get_exchange_info": {"exchange": "nowhere"},
    "get_markets": {"limit": 0},
    "get_ticker": {"symbol": "NO/PE"},
    "get_orderbook": {},
    "get_ohlcv": SYMBOL | {"timeframe": "7m"},
    "batch_get_tickers": {"symbols": ["NO/PE"]},
    "get_trades": {"symbol": "NO/PE"},
    "get_funding_rates": {"symbols": ["BTC/USDT"]},
    "list_accounts": {"x": 1},
    "account_balance": {"account": "nobody"},
    "get_positions": {"symbols": ["NO/PE"]},
    "get_open_orders": {"symbol": "NO/PE"},
    "get_order": SYMBOL | {"orderId": "1", "clientOrderId": "2"},
    "get_my_trades": {"limit": 1000},
    "get_order_history": {"account": "nobody"},
    "describe_method": {"method": "createOrder"},
    "call_read_method": {"method": "createOrder"},
    "server_status": {"x": 1},
}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdks_client_lists_the_tools_and_calls_each(
    stack: Stack, mode: Literal["legacy", "auto"]
) -> None:
    async with Client(f"{stack.url}/mcp", mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == set(SUCCESSES) == set(FAILURES)
        for name, arguments in SUCCESSES.items():
            result = await client.call_tool(name, arguments)
            assert not result.is_error, (name, result)
            schema = tools[name].output_schema
            assert schema is not None
            jsonschema.validate(result.structured_content, schema)
        for name, arguments in FAILURES.items():
            result = await client.call_tool(name, arguments)
            assert result.is_error, name
            assert result.structured_content is None
            assert result.meta is not None
            assert result.meta["ccxt-mcp/failure"]["code"]
