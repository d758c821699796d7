"""Each tool, through the SDK's client, over real CCXT and the simulated exchange."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import cache
from typing import Any

import jsonschema
import orjson
import pytest
from mcp.client import Client

from ccxt_mcp.accounts import Account, Accounts
from ccxt_mcp.calls.bounds import MAX_BYTES
from ccxt_mcp.calls.pipeline import Calls
from ccxt_mcp.simulation import Fault, derive_keys
from ccxt_mcp.tools.boundary import Boundary
from ccxt_mcp.tools.server import TOOLS
from tests.unit.tools.world import Outcome, World

SCHEMAS = {tool.name: tool.output for tool in TOOLS}
ERAS = ("legacy", "auto")
BTC = {"symbol": "BTC/USDT"}

SUCCESSES: list[tuple[str, dict[str, Any]]] = [
    ("list_exchanges", {}),
    ("list_exchanges", {"search": "BINANCE", "limit": "3"}),
    ("get_exchange_info", {}),
    ("get_exchange_info", {"exchange": "kraken"}),
    ("get_markets", {"search": "btc", "limit": 2}),
    ("get_markets", {"quote": "usdt", "type": "spot", "active": False}),
    ("get_ticker", {"symbol": "BTC/USDT"}),
    ("get_ticker", {"symbol": "btc/usdt", "exchange": "paper"}),
    ("get_orderbook", {"symbol": "ETH/USDT", "limit": 5}),
    ("get_ohlcv", {"symbol": "BTC/USDT"}),
    ("get_ohlcv", {"symbol": "BTC/USDT", "timeframe": "1m", "since": "2026-01-01", "limit": 3}),
    ("get_ohlcv", {"symbol": "BTC/USDT", "since": "2026-01-01", "until": "2026-01-02"}),
    ("batch_get_tickers", {}),
    ("batch_get_tickers", {"symbols": '["btcusdt", "eth/usdt", "no/pe"]', "fields": ["vwap"]}),
    ("get_trades", {"symbol": "BTC/USDT", "limit": 3}),
    ("get_trades", {"symbol": "BTC/USDT", "since": "2026-01-01", "limit": 3}),
    ("get_funding_rates", {}),
    ("get_funding_rates", {"symbols": ["BTC/USDT:USDT"]}),
    ("list_accounts", {}),
    ("list_accounts", {"exchange": "paper"}),
    ("account_balance", {}),
    ("account_balance", {"account": "second", "includeZero": True}),
    ("get_open_orders", {}),
    ("get_open_orders", {"symbol": "BTC/USDT", "limit": 2}),
    ("account_balance", {"valueIn": "usdt", "type": "spot", "limit": 3}),
    ("get_positions", {}),
    ("get_order", {"clientOrderId": "main-000021", "symbol": "BTC/USDT"}),
    ("get_order_history", {"symbol": "BTC/USDT"}),
    ("get_order_history", {"symbol": "BTC/USDT", "since": "2026-01-01", "limit": 1}),
    ("get_my_trades", {"symbol": "BTC/USDT", "limit": 3}),
    ("get_my_trades", {"symbol": "BTC/USDT", "since": "2026-01-01"}),
    ("describe_method", {"search": "open interest", "limit": 2}),
    ("describe_method", {"method": "fetchTime", "exchange": "paper"}),
    ("call_read_method", {"method": "fetchTime"}),
    ("call_read_method", {"method": "fetchTickers", "limit": 2}),
    ("call_read_method", {"method": "fetch_orders", "arguments": {"symbol": "btcusdt"}}),
    ("server_status", {}),
]

FAILURES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("get_tickr", {}, "unknown_tool", ["get_ticker"]),
    ("get_ticker", {}, "invalid_argument", ["`symbol` is required"]),
    ("get_ticker", {"symbol": "BTC/USDX"}, "unknown_symbol", ["BTC/USDX", "BTC/USDT"]),
    ("get_ticker", {"symbol": "BTC/USDT", "exchange": "binanc"}, "unknown_exchange", ["binance"]),
    ("get_exchange_info", {"exchange": "nowhere"}, "unknown_exchange", ["nowhere"]),
    ("get_markets", {"limit": 0}, "invalid_argument", ["from 1 to 200"]),
    ("get_orderbook", {"symbol": "BTC/USDT", "limit": 10**9}, "invalid_argument", ["1000"]),
    ("get_ohlcv", {"symbol": "BTC/USDT", "timeframe": "2m"}, "invalid_argument", ["1m, 3m"]),
    ("batch_get_tickers", {"symbols": []}, "invalid_argument", ["at least 1"]),
    ("batch_get_tickers", {"symbols": ["NO/PE"]}, "unknown_symbol", ["NO/PE"]),
    ("batch_get_tickers", {"fields": ["lst"]}, "invalid_argument", ["lst", "`last`"]),
    ("get_trades", {"symbol": "BTC/USDT", "limit": 1001}, "invalid_argument", ["from 1 to 1000"]),
    ("get_funding_rates", {"symbols": ["BTC/USDT"]}, "invalid_argument", ["BTC/USDT:USDT"]),
    ("list_accounts", {"exchange": "nowhere"}, "unknown_exchange", ["nowhere"]),
    ("account_balance", {"account": "mian"}, "unknown_account", ["main"]),
    ("account_balance", {"exchange": "kraken"}, "unknown_account", ["kraken"]),
    ("account_balance", {"exchange": "kraken", "account": "main"}, "invalid_argument", ["paper"]),
    ("get_open_orders", {"symbol": "NO/SUCH"}, "unknown_symbol", ["NO/SUCH"]),
    ("account_balance", {"valueIn": "XYZ"}, "invalid_argument", ["`valueIn`"]),
    ("account_balance", {"cursor": "abc"}, "invalid_argument", ["`cursor`"]),
    ("get_positions", {"symbols": ["BTC/USDT"]}, "invalid_argument", ["no derivative"]),
    ("get_positions", {"symbols": ["BTCUSDT"]}, "invalid_argument", ["BTC/USDT:USDT"]),
    ("get_order", {"orderId": "../x", "symbol": "BTC/USDT"}, "invalid_argument", ["`orderId`"]),
    ("get_order", {"orderId": 1, "symbol": "BTC/USDT"}, "order_not_found", []),
    ("get_order", {}, "invalid_argument", ["Exactly one"]),
    ("get_order", {"orderId": "1"}, "invalid_argument", ["`symbol` is required"]),
    ("get_order", {"orderId": "1", "symbol": "BTC/USDT"}, "order_not_found", []),
    ("get_my_trades", {}, "invalid_argument", ["`symbol` is required"]),
    ("get_my_trades", {"symbol": "BTC/USDT", "cursor": "x"}, "invalid_argument", ["`since`"]),
    ("get_order_history", {}, "invalid_argument", ["`symbol` is required"]),
    ("get_order_history", {"symbol": "BTC/USDT", "since": "soon"}, "invalid_argument", ["since"]),
    ("describe_method", {"method": "createOrder"}, "invalid_argument", ["reading methods"]),
    ("call_read_method", {"method": "createOrder"}, "invalid_argument", ["reading methods"]),
    ("call_read_method", {"method": "fetchTicker"}, "invalid_argument", ["symbol` is required"]),
    ("call_read_method", {"method": "fetchMyBuys"}, "not_supported", ["fetchMyBuys"]),
]


def check_success(name: str, outcome: Outcome) -> None:
    """The result is what the tool's schema says, and the text is the same JSON."""
    assert not outcome.is_error, outcome
    assert orjson.loads(outcome.text) == outcome.data
    assert len(outcome.text.encode()) <= MAX_BYTES
    _judge(name).validate(outcome.data)


@cache
def _judge(name: str) -> Any:
    """Made once: checking and copying the schema takes longer than most results."""
    closed = _closed(SCHEMAS[name])
    jsonschema.Draft202012Validator.check_schema(closed)
    return jsonschema.Draft202012Validator(closed)


def _closed(schema: Any) -> Any:
    """The schema, refusing undocumented properties at every level."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _closed(value) for key, value in schema.items()}
    if out.get("type") == "object" and "properties" in out:
        out["additionalProperties"] = False
    return out


async def test_the_list_is_small_ordered_and_the_same_in_both_eras(world: World) -> None:
    """Every tool with its annotations and valid schemas; under the 30 KB that a model can take."""
    listed = []
    for mode in ERAS:
        async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
            listed.append((await client.list_tools()).tools)
    legacy, modern = listed
    assert [tool.name for tool in legacy] == [tool.name for tool in TOOLS]
    assert [tool.model_dump() for tool in legacy] == [tool.model_dump() for tool in modern]
    assert sum(len(tool.model_dump_json(exclude_none=True)) for tool in legacy) < 30_000
    for tool in legacy:
        assert tool.title
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
        assert tool.annotations.destructive_hint is None
        assert tool.annotations.idempotent_hint is None
        assert tool.annotations.open_world_hint is True
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema or {})


@pytest.mark.parametrize("mode", ERAS)
async def test_every_tool_answers_within_its_schema(world: World, mode: str) -> None:
    """Each tool, in each era: structured content and text agree and fit the output schema."""
    async with asyncio.timeout(30), Client(world.server, mode=mode) as client:
        for name, arguments in SUCCESSES:
            check_success(name, Outcome(await client.call_tool(name, arguments)))
    assert {name for name, _ in SUCCESSES} == set(SCHEMAS)


@pytest.mark.parametrize("mode", ERAS)
async def test_every_refusal_names_the_thing_and_the_remedy(world: World, mode: str) -> None:
    """Each failure, in each era: a tool result with code, words, hint and object, unstructured."""
    async with asyncio.timeout(30), Client(world.server, mode=mode) as client:
        for name, arguments, code, words in FAILURES:
            outcome = Outcome(await client.call_tool(name, arguments))
            assert outcome.is_error, (name, arguments)
            assert outcome.failure["code"] == code, outcome
            assert outcome.text.startswith(f"{code}: ")
            assert " Hint: " in outcome.text
            assert outcome.data == {}
            for word in words:
                assert word in outcome.text, outcome


async def test_balances_are_exact_decimal_strings_of_the_right_account(world: World) -> None:
    """What the venue holds is what the caller reads, digit by digit."""
    for account in world.demo:
        held = world.sim.venue.accounts[account.api_key]
        outcome = await world.call("account_balance", {"account": account.name})
        rows = {row["currency"]: row for row in outcome.data["balances"]}
        expected = {
            asset: balance
            for asset, balance in held.balances.items()
            if balance.free or balance.locked
        }
        assert rows.keys() == expected.keys()
        for asset, balance in expected.items():
            assert Decimal(rows[asset]["free"]) == balance.free
            assert Decimal(rows[asset]["used"]) == balance.locked
        assert outcome.data["account"] == account.name


async def test_zero_balances_appear_only_on_request(world: World) -> None:
    """`includeZero` adds currencies of which there is nothing."""
    some = (await world.call("account_balance")).data["balances"]
    every = (await world.call("account_balance", {"includeZero": True})).data["balances"]
    assert len(every) >= len(some) > 0
    assert all(Decimal(row["total"]) > 0 for row in some)


async def test_open_orders_are_the_accounts_own_newest_first(world: World) -> None:
    """All resting orders, exact, and one upstream request per warm call."""
    await world.call("get_ticker", {"symbol": "BTC/USDT"})
    before = world.sim.counters.total
    outcome = await world.call("get_open_orders")
    assert world.sim.counters.total - before == 1
    resting = {
        (f"{order.market.base}/{order.market.quote}", str(order.id)): order
        for order in world.sim.venue.accounts[world.demo[0].api_key].resting()
    }
    orders = outcome.data["orders"]
    assert {(order["symbol"], order["id"]) for order in orders} == set(resting)
    for order in orders:
        known = resting[order["symbol"], order["id"]]
        assert Decimal(order["price"]) == known.price
        assert Decimal(order["amount"]) == known.quantity
        assert Decimal(order["filled"]) == known.executed
        assert order["clientOrderId"] == known.client_id
        assert order["status"] == "open"
    times = [order["timestamp"] for order in orders]
    assert times == sorted(times, reverse=True)


async def test_history_holds_no_open_order_and_every_kind_of_past_one(world: World) -> None:
    """Filled and cancelled orders come together; what still rests is not history."""
    statuses = set()
    for symbol in ("BTC/USDT", "ETH/USDT"):
        outcome = await world.call("get_order_history", {"symbol": symbol, "limit": 500})
        statuses |= {order["status"] for order in outcome.data["orders"]}
    assert "open" not in statuses
    assert "closed" in statuses


async def test_as_many_orders_as_asked_for_are_not_claimed_to_be_all(world: World) -> None:
    """A limit that was reached: `truncated`, and how to see more."""
    some = (await world.call("get_open_orders", {"limit": 2})).data
    assert len(some["orders"]) == 2
    assert some["truncated"] is True
    assert "`nextCursor`" in some["notice"]
    every = (await world.call("get_open_orders")).data
    assert every["truncated"] is False
    assert len(every["orders"]) == every["total"] > 2


async def test_history_fills_its_limit_although_open_orders_are_mixed_in(world: World) -> None:
    """Before: the limit went to the exchange as it was, open orders took places, and one past
    order came back where two were asked for and more existed."""
    everything = (await world.call("get_order_history", {"symbol": "BTC/USDT"})).data["orders"]
    assert len(everything) > 1
    one = (await world.call("get_order_history", {"symbol": "BTC/USDT", "limit": 1})).data
    assert one["orders"] == everything[:1]
    assert one["truncated"] is True


async def test_history_read_forward_with_since_has_no_gap(world: World) -> None:
    """Following `nextCursor` returns each past order exactly once, oldest first."""
    everything = (await world.call("get_order_history", {"symbol": "BTC/USDT"})).data["orders"]
    asked = {"symbol": "BTC/USDT", "since": everything[-1]["timestamp"], "limit": 1}
    seen: list[dict[str, Any]] = []
    for _ in range(len(everything) + 1):
        part = (await world.call("get_order_history", asked)).data
        seen += part["orders"]
        if "nextCursor" not in part:
            break
        asked["cursor"] = part["nextCursor"]
    assert seen == everything[::-1]


async def test_candles_read_forward_say_that_there_may_be_more(world: World) -> None:
    """Before: a full page from `since` on claimed to be all there is."""
    asked = {"symbol": "BTC/USDT", "since": "2026-01-01", "limit": 3}
    forward = (await world.call("get_ohlcv", asked)).data
    assert forward["truncated"] is True
    assert "`nextCursor`" in forward["notice"]


@pytest.mark.parametrize("tool", ["get_ohlcv", "get_trades"])
async def test_the_latest_rows_are_not_called_all_there_is(world: World, tool: str) -> None:
    """Before: three trades of a market with millions came with `truncated` false."""
    latest = await world.call(tool, {"symbol": "BTC/USDT", "limit": 3})
    check_success(tool, latest)
    assert latest.data["truncated"] is True
    assert "Shown: 3" in latest.data["notice"]
    assert "older ones are found with" in latest.data["notice"]
    assert "`since`" in latest.data["notice"]
    # There is no page after the latest: who reads pages to the end ends here.
    assert "nextCursor" not in latest.data


@pytest.mark.parametrize(
    ("tool", "route", "body"),
    [
        ("get_ticker", "ticker/24hr", []),
        ("get_ticker", "ticker/24hr", {"symbol": "BTCUSDT"}),
        ("get_ticker", "ticker/24hr", {"symbol": "ETHUSDT", "lastPrice": "5"}),
        ("get_orderbook", "depth", {"bids": [["x", "y"]], "asks": []}),
        ("get_orderbook", "depth", {"bids": [["1", "2"], None], "asks": []}),
        ("get_ohlcv", "klines", [None]),
        ("get_ohlcv", "klines", [{"a": 1}]),
        ("get_trades", "aggTrades", [None]),
        ("get_trades", "aggTrades", [{"a": 1, "p": "1", "q": "1"}]),
        ("get_open_orders", "openOrders", [[]]),
        ("get_open_orders", "openOrders", [{}]),
        ("get_order_history", "allOrders", ["x"]),
    ],
)
async def test_rows_that_say_nothing_are_a_bad_answer(
    world: World, tool: str, route: str, body: Any
) -> None:
    """Before: an empty book, a candle of nulls, an order without any property, or another symbol's
    price, each of them a success."""
    await world.call("get_markets")
    fault = world.sim.faults.add(Fault(kind="malformed", route=f"*/{route}", body=body))
    arguments = {} if tool == "get_open_orders" else {"symbol": "BTC/USDT"}
    outcome = await world.call(tool, arguments)
    world.sim.faults.clear(fault)
    assert outcome.failure["code"] == "bad_response", outcome
    assert outcome.failure["exchange"] == "paper"
    assert outcome.failure["operation"].startswith("fetch")
    assert not (await world.call(tool, arguments)).is_error


async def test_a_symbol_that_is_not_found_is_named_as_it_was_written(world: World) -> None:
    """Before: the message had it in capitals, a sharp s even as two letters."""
    outcome = await world.call("get_ticker", {"symbol": "straße/x"})
    assert "'straße/x'" in outcome.text


async def test_two_accounts_at_once_never_mix(world: World) -> None:
    """Interleaved calls of two accounts over one server: each sees its own, every time."""
    own = {
        account.name: {o.client_id for o in world.sim.venue.accounts[account.api_key].resting()}
        for account in world.demo
    }

    async def one(client: Client, name: str) -> None:
        result = Outcome(await client.call_tool("get_open_orders", {"account": name}))
        assert {order["clientOrderId"] for order in result.data["orders"]} == own[name]
        assert result.data["account"] == name

    async with asyncio.timeout(30), Client(world.server) as client, asyncio.TaskGroup() as group:
        for index in range(100):
            group.create_task(one(client, world.demo[index % 2].name))


async def test_a_thousand_open_orders_are_cut_with_a_notice(world: World) -> None:
    """The result stays valid and small, shows the newest, and says how many there are."""
    key, secret = derive_keys(5, "large")
    world.sim.venue.add_account(
        key, secret, name="large", open_orders=1_000, past_orders=0, currencies=9
    )
    large = Account("large", "paper", {"apiKey": key, "secret": secret})
    calls = Calls(world.gateway, Accounts([large]), world.calls.settings)
    result = await Boundary(calls, TOOLS).call("get_open_orders", {})
    data = result["structuredContent"]
    assert data["total"] == 1_000
    assert data["truncated"] is True
    assert "1000" in data["notice"]
    assert 100 < len(data["orders"]) < 500
    assert len(result["content"][0]["text"].encode()) <= MAX_BYTES


async def test_markets_come_in_pages_without_gaps(world: World) -> None:
    """Following `nextCursor` returns each market exactly once."""
    seen: list[str] = []
    page = (await world.call("get_markets", {"limit": 3})).data
    while True:
        seen += [market["symbol"] for market in page["markets"]]
        if "nextCursor" not in page:
            break
        more = {"limit": 3, "cursor": page["nextCursor"]}
        page = (await world.call("get_markets", more)).data
    assert len(seen) == len(set(seen)) == page["total"]
    other = await world.call("get_markets", {"search": "BTC", **more})
    assert other.failure["code"] == "invalid_argument"
    assert "cursor" in other.failure["message"]


async def test_accounts_are_listed_without_anything_secret(world: World) -> None:
    """Names, exchanges and the default; no part of any key, in any tool's answer."""
    listed = await world.call("list_accounts")
    assert [row["name"] for row in listed.data["accounts"]] == ["main", "second"]
    assert [row["default"] for row in listed.data["accounts"]] == [True, False]
    for name, arguments in SUCCESSES:
        outcome = await world.call(name, arguments)
        for account in world.demo:
            assert account.api_key[:12] not in outcome.text
            assert account.secret[:12] not in outcome.text


async def test_names_are_found_in_any_case_and_answered_as_they_are_configured(
    world: World,
) -> None:
    """Before: `Binance`, as people write it, was no exchange."""
    asked: list[tuple[str, dict[str, Any]]] = [
        ("get_ticker", {"symbol": "BTC/USDT"}),
        ("get_markets", {"limit": 1}),
        ("account_balance", {"account": "SECOND"}),
        ("get_open_orders", {"account": "Second"}),
        ("call_read_method", {"method": "fetchMyTrades", "arguments": BTC, "account": "SECOND"}),
    ]
    for tool, arguments in asked:
        data = (await world.call(tool, {"exchange": "PAPER", **arguments})).data
        assert data["exchange"] == "paper"
        assert data.get("account", "second") == "second"
    listed = await world.call("list_accounts", {"exchange": "Paper"})
    assert {row["exchange"] for row in listed.data["accounts"]} == {"paper"}
    info = await world.call("get_exchange_info", {"exchange": "Binance"})
    assert info.data["name"] == "binance"
    assert list(world.gateway.snapshot()) == ["paper"]


async def test_a_configured_exchange_comes_first_in_the_list(world: World) -> None:
    """The default profile, with its CCXT id and that it has an account, before the catalogue."""
    outcome = await world.call("list_exchanges", {"limit": 2})
    assert outcome.data["exchanges"][0] == {
        "name": "paper",
        "title": "Binance",
        "exchange": "binance",
        "configured": True,
        "account": True,
        "default": True,
    }
    assert outcome.data["total"] > 100
    assert outcome.data["truncated"] is True
