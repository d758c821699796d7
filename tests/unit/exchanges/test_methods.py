"""The table of reading methods, against CCXT's source: what is allowed can only read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest

from ccxt_mcp.calls.policy import OPERATIONS, OWN_TOOLS, Effect, Side
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.methods import (
    ACCOUNT,
    MARKET,
    QUIETED,
    REFUSED,
    WRITES,
    methods,
    undecided,
)
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.settings import ExchangeProfile

READ = """
import json
from functools import cache
from ccxt_mcp.exchanges import reach
# The walk takes nearly all the time; and once instances are made, it finds no endpoints any more.
reach.endpoints = cache(reach.endpoints)
import ccxt.async_support as ccxt
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.method_source import generate
from ccxt_mcp.exchanges.methods import methods
reached = {}
for each in methods().values():
    for exchange, facts in catalog().exchanges.items():
        if facts.has.get(each.name) and hasattr(getattr(ccxt, exchange), each.python):
            reached[each.name, exchange] = reach.endpoints(getattr(ccxt, exchange), each.python)
table = generate()
made = {exchange: getattr(ccxt, exchange)() for exchange in catalog().exchanges}
scan = [
    [name, exchange, [[e.method, e.path, reach.is_signed(made[exchange], e)] for e in sorted(all)]]
    for (name, exchange), all in reached.items()
]
print(json.dumps([table, scan]))
"""


@pytest.fixture(scope="module")
def source(apart: Callable[..., Any]) -> Any:
    """What CCXT's source says: the table that is made of it, and each way to an endpoint."""
    return apart(READ)


def test_the_file_is_what_this_build_of_ccxt_generates(source: Any) -> None:
    """After a new CCXT: `python -m ccxt_mcp.exchanges.method_source > …/methods.json`, read the
    diff: a new line in `posts` is a request that has to be looked at."""
    text = resources.files("ccxt_mcp.exchanges").joinpath("methods.json").read_text("utf-8")
    assert source[0] == json.loads(text)


def test_every_fetch_method_of_ccxt_is_decided_about() -> None:
    """A new one is not callable until somebody has put it on one of the lists."""
    assert undecided() == [], "decide in exchanges/methods.py what each of these is"
    assert not MARKET & ACCOUNT
    assert not (MARKET | ACCOUNT) & REFUSED.keys()
    assert set(methods()) == MARKET | ACCOUNT
    assert REFUSED.keys() - {"fetchLongShortRatio"} <= set(catalog().methods)


def test_the_operations_are_this_table_and_none_writes() -> None:
    """One table, no second truth: who has a tool is on the same side as here."""
    for each in OWN_TOOLS:
        if each.name != "loadMarkets":
            assert methods()[each.name].private is (each.side is Side.PRIVATE)
    assert OPERATIONS.keys() == {each.python for each in methods().values()} | {"load_markets"}
    assert {each.effect for each in OPERATIONS.values()} == {Effect.READ}
    assert not [each for each in OPERATIONS.values() if each.side is Side.PRIVATE and each.fresh]


_CHANGES = re.compile(
    r"create|cancel|place|submit|approve|authorize|builder$|set_?(leverage|margin|position)|edit"
    r"|amend|batch$|close_?(all|position)|borrow$|repay|transfer/?$|withdraw/?$|sendtx|/new|add[A-Z]",
    re.IGNORECASE,
)
_ONLY_SOUNDS_SO = {"full/v1/get_authorized_builders"}


def test_no_allowed_method_comes_to_a_request_that_writes(source: Any) -> None:
    """Every branch of every exchange's code, whatever the parameters. Without the table of
    `WRITES`, a balance on aster approves a fee, and open orders on lighter register an API key."""
    suspects: dict[tuple[str, str], set[str]] = {}
    for name, exchange, found in source[1]:
        method = methods()[name]
        for verb, path, _ in found:
            assert verb in ("GET", "POST"), (name, exchange, verb, path)
            if path in WRITES.get(exchange, ()):
                # Keyless instances cannot: these are reached only where there are keys.
                assert exchange in method.writes or not method.private_on(exchange)
            elif verb == "POST" and _CHANGES.search(path):
                suspects.setdefault((exchange, path), set()).add(name)
        signed = [is_signed for _, _, is_signed in found]
        if name in MARKET:
            assert (bool(found) and all(signed)) is (exchange in method.keyed)
    assert {path for _, path in suspects} <= _ONLY_SOUNDS_SO, suspects


def test_where_ccxt_would_write_on_its_way_it_is_told_not_to_or_not_called() -> None:
    """aster and grvt leave it with an option; the others are refused before any request."""
    for exchange in QUIETED:
        profile = ExchangeProfile(name=exchange, exchange=exchange)
        assert build_prototype(profile, 1_000).options["builderFee"] is False
    refused = {exchange for each in OPERATIONS.values() for exchange in each.writes}
    assert refused == {"lighter"}
    assert "lighter" in OPERATIONS["fetch_open_orders"].writes


def test_arguments_are_ccxts_in_ccxts_order() -> None:
    by_name = {each.name: each for each in methods()["fetchOHLCV"].arguments}
    assert list(by_name) == ["symbol", "timeframe", "since", "limit"]
    assert by_name["symbol"].required
    assert by_name["timeframe"].default == "1m"
    assert by_name["since"].kind == "time"
    assert methods()["fetchTickers"].arguments[0].kind == "strings"
    assert methods()["fetchLeverageTiers"].private_on("binance")
    assert not methods()["fetchLeverageTiers"].private_on("bybit")
