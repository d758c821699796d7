"""Every other reading method of CCXT's, and nothing that writes."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.calls import generic
from ccxt_mcp.calls.bounds import MAX_BYTES, serialise
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Failure
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.methods import REFUSED, methods, upstream_limits
from ccxt_mcp.exchanges.wiring import wired_class
from ccxt_mcp.redaction import Redactor
from ccxt_mcp.simulation import (
    DemoAccount,
    SimulatedExchange,
    SimulationConfig,
    demo_venue,
    kraken_secret,
)
from ccxt_mcp.tools import longtail, method_search
from ccxt_mcp.tools.arguments import schema
from ccxt_mcp.tools.method_arguments import arguments_of, ordered
from ccxt_mcp.tools.server import TOOLS
from tests.unit.tools.world import World, make_world

PENDING: set[str] = set()


def every_name() -> list[str]:
    """Everything that an instance can be asked to do by a name, and spellings around it."""
    cls = wired_class("binance")
    names = {name for name in dir(cls) if callable(getattr(cls, name, None))}
    names |= set(catalog().methods) | set(catalog().methods.values())
    names |= {"fetch2", "request", "privatePostOrder", "private_post_order", "__class__", "sign"}
    names |= {f"{each} " for each in ("fetchTicker", "createOrder")}
    names |= {"FETCHTICKER", "fetchTicker.__func__", "fetch_ticker;", "fetchBalance\n", "…" * 20}
    allowed = set(methods()) | {each.python for each in methods().values()}
    return sorted(name for name in names - allowed if 1 <= len(name) <= 64)


async def test_no_name_but_the_tables_reaches_an_exchange(world: World) -> None:
    """Thousands of names: writes, private endpoints, CCXT's inner parts. All are refused alike."""
    names = every_name()
    assert len(names) > 1_500
    assert {"createOrder", "create_order", "withdraw", "sapiPostCapitalWithdrawApply"} <= set(names)
    for name in names:
        with pytest.raises(Failure) as refused:
            method_search.known(name)
        assert refused.value.code.value == "invalid_argument"
    for name in ("createOrder", "withdraw", "fetchDepositAddress", "__init__", "fetch2"):
        outcome = await world.call("call_read_method", {"method": name})
        assert outcome.failure["code"] == "invalid_argument"
    assert world.sim.counters.snapshot().total == 0


def test_a_refused_method_says_why() -> None:
    for name, reason in REFUSED.items():
        with pytest.raises(Failure, match=name) as refused:
            method_search.known(name)
        assert reason in refused.value.message


def test_the_tools_to_prefer_exist() -> None:
    assert set(method_search.TOOL_FOR) <= set(catalog().methods)
    assert set(method_search.TOOL_FOR.values()) <= {tool.name for tool in TOOLS} | PENDING


async def test_what_is_an_accounts_needs_an_account(tmp_path: Path) -> None:
    """Without one, each private method ends before any request."""
    async with make_world(tmp_path, accounts={}, exchanges=_bare()) as world:
        for name, method in methods().items():
            if method.private and world.gateway.facts("paper").has.get(name):
                arguments = {each.name: "1" for each in method.arguments if each.required}
                outcome = await world.call(
                    "call_read_method", {"method": name, "arguments": arguments}
                )
                assert outcome.failure["code"] == "unknown_account", (name, outcome)
        assert world.sim.counters.snapshot().total == 0


def _bare() -> dict[str, Any]:
    return {"paper": {"exchange": "binance", "base_url": "http://127.0.0.1:9"}}


async def test_a_public_method_runs_without_keys_and_a_private_one_with(world: World) -> None:
    """The simulated exchange refuses a signed request without a key, and the other way round."""
    public = await world.call("call_read_method", {"method": "fetchTrades", **_btc(limit=3)})
    assert len(public.data["rows"]) == 3
    assert "account" not in public.data
    assert public.data["cached"] is False
    again = await world.call("call_read_method", {"method": "fetchTrades", **_btc(limit=3)})
    assert again.data["cached"] is True
    private = await world.call("call_read_method", {"method": "fetchMyTrades", **_btc()})
    assert private.data["account"] == "main"
    assert "fetchedAt" not in private.data
    for row in private.data["rows"]:
        assert isinstance(row["price"], str)
        assert "info" not in row


def _btc(**more: Any) -> dict[str, Any]:
    return {"arguments": {"symbol": "btc-usdt", **more}}


async def test_info_comes_on_request_and_is_redacted(world: World) -> None:
    for method in ("fetchMyTrades", "fetchTicker"):
        shown = await world.call(
            "call_read_method", {"method": method, **_btc(), "includeInfo": True}
        )
        rows = shown.data.get("rows") or [shown.data["value"]]
        assert all("info" in row for row in rows)
        for account in world.demo:
            assert account.secret not in shown.text


async def test_pages_show_each_row_once(world: World) -> None:
    seen, cursor = [], None
    for _ in range(20):
        page = {"method": "fetchTickers", "limit": 3, **({"cursor": cursor} if cursor else {})}
        outcome = await world.call("call_read_method", page)
        seen += [row["key"] for row in outcome.data["rows"]]
        cursor = outcome.data.get("nextCursor")
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == outcome.data["total"]


async def test_the_other_dialect_answers_too(tmp_path: Path) -> None:
    """Kraken: POST for reading, decimals in texts."""
    venue, demo = demo_venue(seed=3)
    config = SimulationConfig(rate_limit=None)
    async with SimulatedExchange(config, venue=venue) as sim:
        one: DemoAccount = demo[0]
        account = {"exchange": "paper", "api_key": one.api_key, "secret": kraken_secret(one.secret)}
        profile = {"exchange": "kraken", "base_url": sim.base_url, "rate_limit": "off"}
        async with make_world(
            tmp_path, exchanges={"paper": profile}, accounts={"main": account}
        ) as world:
            status = await world.call("call_read_method", {"method": "fetchTime"})
            assert isinstance(status.data["value"], int)
            mine = await world.call("call_read_method", {"method": "fetchMyTrades"})
            assert not mine.is_error, mine
            assert all(isinstance(row["price"], str) for row in mine.data["rows"])


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(methods())),
    st.dictionaries(st.sampled_from(["symbol", "symbols", "limit", "since", "id", "x"]), _VALUES),
)
def test_arguments_are_typed_or_named_as_wrong(name: str, given: dict[str, Any]) -> None:
    problems: list[str] = []
    out = arguments_of(methods()[name], given, problems)
    wanted = {each.name: each for each in methods()[name].arguments}
    assert out.keys() <= wanted.keys()
    if not problems:
        assert all(key in wanted for key in given)
        assert all(each in out for each, spec in wanted.items() if spec.required)
    for key, value in out.items():
        kind = {"strings": list, "integer": int, "time": int, "string": str}
        assert isinstance(value, kind.get(wanted[key].kind, (int, float)))
        if key == "limit":
            assert value in range(1, 1_001)
    assert len(ordered(methods()[name], out)) <= len(wanted)


ELSEWHERE = (
    *("../buy/market/btcusd", "..", ".", "a/b", "a/../../x", "%2e%2e%2fx", "..%2f", "x?y=1", "x#y"),
    *("a\\b", "{x}", "a b", "x&y=1", "\n", "\u0000"),
)
"""What CCXT would put into a path as it is."""


@pytest.mark.parametrize("value", ELSEWHERE)
def test_no_argument_leads_to_another_endpoint(value: str) -> None:
    """CCXT writes values into paths without encoding: as the id of an order, `../buy/…` was a
    signed request that buys."""
    for name, method in methods().items():
        for each in method.arguments:
            if each.name in ("symbol", "symbols") or each.kind not in ("string", "strings"):
                continue
            problems: list[str] = []
            read = arguments_of(methods()[name], {each.name: value}, problems)
            assert each.name not in read, (name, each.name)
            assert problems


def test_ccxts_params_are_nobodys_to_set() -> None:
    """They replace whatever CCXT has put into a request: the market, an order's id, a path's part;
    with `pair: "../cancel_all_orders"` a question about trades cancelled all orders."""
    assert "params" not in schema(longtail.CALL_READ_METHOD_TOOL.arguments)["properties"]


def test_positions_come_once_each_while_their_prices_move() -> None:
    """With the time of a row's last change in its place, pages went round in circles."""
    for moved in range(3):
        rows = [
            {"symbol": f"{base}/USDT:USDT", "side": "long", "timestamp": 1_000 + moved * n}
            for n, base in enumerate(("BTC", "ETH", "XRP"))
        ]
        assert [place[:2] for place in generic.places(rows)] == [
            (0, f"{base}/USDT:USDT|||long") for base in ("BTC", "ETH", "XRP")
        ]


HOSTILE: list[Any] = [
    math.nan,
    [math.inf, -math.inf, 2**80, 10**400, Decimal("1.5"), object(), b"x"],
    {"a": {1: {None: [set()]}}},
    {f"k{i}": {"v": "x" * 5_000} for i in range(3_000)},
    [[i, "y" * 100] for i in range(50_000)],
    {"symbol": "A/B", "levels": [[i, i] for i in range(100_000)]},
    {"symbol": "A/B", "text": "\ud800" * 100_000},
    [{"id": "1", "huge": ["z" * 1_000] * 1_000}],
    [{"note": "apiKey=abcdef1234567890abcdef https://x.test/?signature=1"}],
    [{}] * 10,
    [None, "a", 1],
    {},
    [],
]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    ("raw", "exact"),
    [*((raw, True) for raw in (*HOSTILE, deep(300))), *((raw, False) for raw in HOSTILE[:3])],
    ids=range(len(HOSTILE) + 4),
)
def test_whatever_comes_leaves_as_bounded_valid_json(
    raw: Any, exact: bool, world_call: Call
) -> None:
    """Before a bound, 50,000 rows or one row of a megabyte were an internal error."""
    value = generic.plain(raw, exact=exact, info=False)
    args = longtail._CallRead.model_validate({"method": "fetchStatus", "limit": 1_000})
    head = {"exchange": "paper", "method": "fetchStatus"}
    data, text = serialise(longtail._shown(world_call, args, value, head))
    assert len(text.encode()) <= MAX_BYTES
    assert orjson.loads(text) == data
    assert "NaN" not in text
    assert "abcdef1234567890abcdef" not in text
    assert "signature=1" not in text
    rows = data.get("rows")
    if rows:
        # What is cut goes on: the pages together are all rows, in order, each once.
        assert data["truncated"] is (len(rows) < data["total"])


@pytest.fixture
def world_call() -> Any:
    """The part of a call that shows results."""

    class Shows:
        redact = staticmethod(Redactor("supersecretvalue").text)

    return Shows()


def test_an_accounts_numbers_are_exact_and_ids_are_not_rounded() -> None:
    row = generic.plain(
        {"amount": 1e-08, "price": "0.10", "order": 2**63 + 1, "none": None, "info": {"a": 1}},
        exact=True,
        info=False,
    )
    assert row == {"amount": "0.00000001", "price": "0.10", "order": "9223372036854775809"}
    assert generic.plain({"p": 0.1}, exact=False, info=False) == {"p": 0.1}


async def test_a_method_is_found_by_words_and_told_for_an_exchange(world: World) -> None:
    found = await world.call("describe_method", {"search": "OHLCV", "exchange": "kraken"})
    by_name = {row["method"]: row for row in found.data["methods"]}
    assert by_name["fetchOHLCV"]["offered"] == "yes"
    assert by_name["fetchOHLCV"]["tool"] == "get_ohlcv"
    assert by_name["fetchOHLCV"]["limits"] == upstream_limits("kraken", "fetchOHLCV")
    assert by_name["fetchMarkOHLCV"]["offered"] == "no"
    tiers = await world.call(
        "describe_method", {"method": "fetchLeverageTiers", "exchange": "binance"}
    )
    assert tiers.data["methods"][0]["private"] is True
    both = await world.call("describe_method", {"method": "fetchTime", "search": "ohlcv"})
    assert both.failure["code"] == "invalid_argument"
    assert "`method` and `search`" in both.failure["message"]
    empty = await world.call("describe_method", {"method": "fetchTime", "search": " "})
    assert [row["method"] for row in empty.data["methods"]] == ["fetchTime"]
    assert world.sim.counters.snapshot().total == 0
