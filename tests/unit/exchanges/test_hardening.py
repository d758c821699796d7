"""CCXT's shared default arguments: the leak without the cure, and its absence with it.

Each hazard runs in a process of its own, first on CCXT as it is and then hardened: freezing changes
CCXT's classes for good. The wire is cut at `fetch`, where CCXT hands a finished request over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ccxt_mcp.exchanges.hardening import FrozenDict, FrozenList, harden, mutable_defaults
from ccxt_mcp.exchanges.loading import load_class

PROLOGUE = """
import asyncio, json, sys
from urllib.parse import parse_qs, urlsplit
from ccxt_mcp.exchanges.hardening import harden
from ccxt_mcp.exchanges.loading import install_lazy_ccxt, load_class
install_lazy_ccxt()
cured = sys.argv[1] == "cured"
explicit = len(sys.argv) > 2
fresh = lambda: {"params": {}} if explicit else {}
def prepared(exchange):
    cls = load_class(exchange)
    if cured:
        harden(cls)
    return cls
"""

BINGX = (
    PROLOGUE
    + """
sent = {}
async def main():
    both_inside = asyncio.Barrier(2)
    class Venue(prepared("bingx")):
        async def load_markets(self, reload=False, params={}):
            await both_inside.wait()
            market = {"id": "BTC-USDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT",
                      "spot": True, "type": "spot", "precision": {"amount": 1e-5, "price": 0.01}}
            return self.set_markets([self.safe_market_structure(market)])
        async def fetch(self, url, method="GET", headers=None, body=None):
            query = parse_qs(urlsplit(url).query)
            sent[self.uid] = float(query["quoteOrderQty"][0])
            return {"code": 0, "data": {"orderId": "1", "symbol": "BTC-USDT"}}
        def __del__(self):
            pass
    config = {"apiKey": "k", "secret": "s", "enableRateLimit": False}
    a, b = Venue({**config, "uid": "a"}), Venue({**config, "uid": "b"})
    outcomes = await asyncio.wait_for(asyncio.gather(
        a.create_market_buy_order_with_cost("BTC/USDT", 10, **fresh()),
        b.create_market_buy_order_with_cost("BTC/USDT", 9999, **fresh()),
        return_exceptions=True), 20)
    refused = [str(each) for each in outcomes if isinstance(each, TypeError)]
    assert all(isinstance(each, (dict, TypeError)) for each in outcomes), outcomes
    print(json.dumps([sent, refused]))
asyncio.run(main())
"""
)

TRAILING = (
    PROLOGUE
    + """
async def main():
    orders = []
    class Venue(prepared("bingx")):
        async def create_order(self, symbol, type, side, amount, price=None, params={}):
            orders.append(dict(params))
            return {}
        def __del__(self):
            pass
    first, second = Venue(), Venue()
    outcomes = await asyncio.gather(
        first.create_trailing_amount_order(
            "BTC/USDT", "market", "sell", 1, None, 5, 40000, **fresh()),
        second.create_trailing_amount_order("BTC/USDT", "market", "sell", 1, None, 7, **fresh()),
        return_exceptions=True)
    refused = [str(each) for each in outcomes if isinstance(each, TypeError)]
    print(json.dumps([orders, refused]))
asyncio.run(main())
"""
)

PARADEX = (
    PROLOGUE
    + """
async def main():
    both_inside = asyncio.Barrier(2)
    class Venue(prepared("paradex")):
        async def retrieve_account(self):
            return {"address": self.uid, "privateKey": "0x" + self.uid, "publicKey": "0x1"}
        async def prepare_paradex_domain(self, l1=False):
            return {}
        # The signature itself is not at issue, and elliptic curves in Python take seconds.
        def starknet_encode_structured_data(self, *args):
            return "0x1"
        def starknet_sign(self, message, key):
            return "signed by " + key
        async def throttle(self, cost=None):
            await both_inside.wait()
        async def fetch(self, url, method="GET", headers=None, body=None):
            return {"jwt_token": "token of " + headers["PARADEX-STARKNET-ACCOUNT"]}
        def __del__(self):
            pass
    tokens = await asyncio.wait_for(asyncio.gather(
        *(Venue({"uid": name}).authenticate_rest() for name in ("a", "b"))), 20)
    print(json.dumps(tokens))
asyncio.run(main())
"""
)


def test_bingx_orders_by_cost_leak_between_accounts_without_the_cure(
    apart: Callable[..., Any],
) -> None:
    """Account a asks to spend 10, b 9999 at the same time: a's order leaves with 9999."""
    sent, _ = apart(BINGX, "as it is")
    assert sent == {"a": 9999, "b": 9999}


def test_bingx_orders_by_cost_keep_to_themselves(apart: Callable[..., Any]) -> None:
    """Without params the write is refused, nothing is sent; with params each sends its own."""
    sent, refused = apart(BINGX, "cured")
    assert sent == {}
    assert len(refused) == 2
    assert "shared default argument" in refused[0]
    assert apart(BINGX, "cured", "explicit") == [{"a": 10, "b": 9999}, []]


def test_trailing_orders_inherit_a_trigger_price_without_the_cure(
    apart: Callable[..., Any],
) -> None:
    """One user's order with a trigger price, then another's without: it has the first one's."""
    orders, _ = apart(TRAILING, "as it is")
    assert orders[1] == {"trailingAmount": 7, "trailingTriggerPrice": 40000}


def test_trailing_orders_have_their_own_parameters(apart: Callable[..., Any]) -> None:
    orders, refused = apart(TRAILING, "cured")
    assert (orders, len(refused)) == ([], 2)
    orders, refused = apart(TRAILING, "cured", "explicit")
    assert orders == [{"trailingAmount": 5, "trailingTriggerPrice": 40000}, {"trailingAmount": 7}]
    assert refused == []


def test_paradex_gives_both_accounts_one_token_without_the_cure(apart: Callable[..., Any]) -> None:
    """CCXT calls `authenticate_rest()` without params from 22 places: nobody could pass any."""
    assert apart(PARADEX, "as it is") == ["token of b", "token of b"]


def test_paradex_gives_each_account_its_own_token(apart: Callable[..., Any]) -> None:
    assert apart(PARADEX, "cured") == ["token of a", "token of b"]


def test_no_class_has_a_mutable_default_left() -> None:
    """All 104 classes and their bases. Before: 35,176 shared ones, 27 of them written to."""
    import ccxt.async_support as ccxt

    for name in ccxt.exchanges:
        harden(load_class(name))
    left = {name: found for name in ccxt.exchanges if (found := mutable_defaults(load_class(name)))}
    assert left == {}


def test_a_frozen_default_reads_as_a_dict() -> None:
    frozen = FrozenDict({"a": FrozenList([1])})
    assert isinstance(frozen, dict)
    assert {**frozen, "b": 2} == {"a": [1], "b": 2}
    assert type(frozen.copy()) is dict
    frozen.copy()["b"] = 1
    assert dict(frozen) == {"a": [1]}


@pytest.mark.parametrize(
    "write",
    [
        lambda d, _: d.update(a=1),
        lambda d, _: d.__setitem__("a", 1),
        lambda d, _: d.pop("a"),
        lambda d, _: d.setdefault("a", 1),
        lambda d, _: d.clear(),
        lambda d, _: d.__ior__({"a": 1}),
        lambda _, x: x.append(1),
        lambda _, x: x.extend([1]),
        lambda _, x: x.__setitem__(0, 1),
        lambda _, x: x.sort(),
    ],
)
def test_a_frozen_default_refuses_every_write(write: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="shared default argument"):
        write(FrozenDict({"a": 0}), FrozenList([1]))
