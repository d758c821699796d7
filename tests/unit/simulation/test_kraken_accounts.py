"""Kraken's private answers: what each key may see, and how a bad one is refused."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from urllib.parse import urlencode

import aiohttp
import ccxt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.simulation import (
    DemoAccount,
    SimulatedExchange,
    demo_accounts,
    demo_venue,
    derive_keys,
    kraken_keys,
    kraken_secret,
    owner_of,
)
from ccxt_mcp.simulation.dialect import WireRequest
from ccxt_mcp.simulation.kraken import KrakenDialect
from ccxt_mcp.simulation.kraken_checks import signature
from ccxt_mcp.simulation.kraken_routes import ROUTES
from tests.unit.simulation.conftest import NOW, Connect
from tests.unit.simulation.krakens import calling

Accounts = tuple[DemoAccount, ...]

TXID = re.compile(r"[A-Z2-7]{6}-[A-Z2-7]{5}-[A-Z2-7]{6}")


def test_the_signature_is_that_of_krakens_documentation() -> None:
    """The worked example of Kraken's REST documentation, "Authentication"."""
    secret = (
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    )
    body = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    assert signature(secret, "/0/private/AddOrder", "1616492376594", body) == (
        b"4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )


def test_an_account_has_one_key_and_a_secret_per_dialect() -> None:
    key, secret = derive_keys(7, "main")
    assert kraken_keys(7, "main") == (key, kraken_secret(secret))
    assert len(kraken_secret(secret)) == 88
    names = [(a.name, a.api_key) for a in demo_accounts(7)]
    assert [(a.name, a.api_key) for a in demo_accounts(7, dialect="kraken")] == names


async def test_balances_are_those_of_the_other_dialect(
    connect: Connect, connect_kraken: Connect, accounts: Accounts, kraken_accounts: Accounts
) -> None:
    there = await connect(accounts[0]).fetch_balance()
    here = await connect_kraken(kraken_accounts[0]).fetch_balance()
    assert here["total"] == there["total"]
    assert here["used"] == there["used"]
    assert here["free"] == there["free"]
    assert any(here["used"].values())


async def test_balance_tells_the_totals_alone(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    async with calling(sim, kraken_accounts[0]) as [main]:
        totals = (await main.post("Balance", 1))["result"]
        extended = (await main.post("BalanceEx", 2))["result"]
    assert totals == {asset: row["balance"] for asset, row in extended.items()}
    assert {"XXBT", "USDT", "XETH"} <= set(totals)


async def test_open_orders_come_for_one_symbol_or_for_all(
    connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    exchange = connect_kraken(kraken_accounts[0])
    everything = await exchange.fetch_open_orders()
    assert len(everything) == 7
    assert all(TXID.fullmatch(o["id"]) and o["id"].startswith("O") for o in everything)
    assert all(o["status"] == "open" and o["type"] == "limit" for o in everything)
    symbol = everything[0]["symbol"]
    one = await exchange.fetch_open_orders(symbol)
    assert [o["id"] for o in one] == [o["id"] for o in everything if o["symbol"] == symbol]
    assert any(o["filled"] for o in everything)


async def test_an_order_is_the_same_in_both_dialects(
    connect: Connect, connect_kraken: Connect, accounts: Accounts, kraken_accounts: Accounts
) -> None:
    there = {
        o["clientOrderId"]: [o[name] for name in ("symbol", "side", "price", "amount", "filled")]
        for o in await connect(accounts[0]).fetch_open_orders()
    }
    here = {
        o["clientOrderId"]: [o[name] for name in ("symbol", "side", "price", "amount", "filled")]
        for o in await connect_kraken(kraken_accounts[0]).fetch_open_orders()
    }
    assert here == there


async def test_an_open_order_is_found_by_its_client_order_id(
    connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    exchange = connect_kraken(kraken_accounts[0])
    known = (await exchange.fetch_open_orders())[-1]
    found = await exchange.fetch_open_orders(params={"clientOrderId": known["clientOrderId"]})
    assert [o["id"] for o in found] == [known["id"]]
    assert await exchange.fetch_open_orders(params={"userref": 12}) == []


async def test_two_keys_see_only_their_own(
    connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    main, second = (connect_kraken(account) for account in kraken_accounts)
    ids = []
    for exchange, account in zip((main, second), kraken_accounts, strict=True):
        orders = await exchange.fetch_open_orders() + await exchange.fetch_closed_orders()
        assert {owner_of(o["clientOrderId"]) for o in orders} == {account.name}
        ids.append({o["id"] for o in orders})
    assert not ids[0] & ids[1]
    with pytest.raises(ccxt.OrderNotFound):
        await second.fetch_order(next(iter(ids[0])))


async def test_closed_orders_agree_with_their_trades(
    connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    exchange = connect_kraken(kraken_accounts[0])
    closed = await exchange.fetch_closed_orders()
    assert len(closed) == 21
    assert {o["status"] for o in closed} == {"closed", "canceled"}
    mine = await exchange.fetch_my_trades()
    assert all(TXID.fullmatch(t["id"]) and t["id"].startswith("T") for t in mine)
    for order in closed:
        trades = [t for t in mine if t["order"] == order["id"]]
        assert bool(trades) == (order["status"] == "closed")
        assert sum((Decimal(t["info"]["vol"]) for t in trades), Decimal(0)) == Decimal(
            order["info"]["vol_exec"]
        )
        assert sum((Decimal(t["info"]["cost"]) for t in trades), Decimal(0)) == Decimal(
            order["info"]["cost"]
        )
        assert sum((Decimal(t["info"]["fee"]) for t in trades), Decimal(0)) == Decimal(
            order["info"]["fee"]
        )
        assert all(t["symbol"] == order["symbol"] and t["fee"]["cost"] > 0 for t in trades)


async def test_an_order_is_found_by_its_id_with_its_trades(
    connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    exchange = connect_kraken(kraken_accounts[0])
    known = next(o for o in await exchange.fetch_closed_orders() if o["filled"])
    found = await exchange.fetch_order(known["id"])
    assert [found[n] for n in ("id", "symbol", "price", "filled", "timestamp")] == [
        known[n] for n in ("id", "symbol", "price", "filled", "timestamp")
    ]
    trades = await exchange.fetch_order_trades(known["id"], params={"trades": found["trades"]})
    assert [t["id"] for t in trades] == found["info"]["trades"]
    assert {t["order"] for t in trades} == {known["id"]}
    several = await exchange.fetch_orders_by_ids([known["id"], "OAAAAA-AAAAA-AAAAAA"])
    assert [o["id"] for o in several] == [known["id"]]


async def test_history_comes_in_pages_of_fifty_newest_first(
    sim: SimulatedExchange, connect_kraken: Connect
) -> None:
    keys = derive_keys(3, "bench")
    account = sim.venue.add_account(*keys, name="bench", past_orders=120)
    async with calling(sim, DemoAccount("bench", *kraken_keys(3, "bench"))) as [bench]:
        nonce = iter(range(1, 100))
        for method, rows, number in (
            ("ClosedOrders", "closed", 120),
            ("TradesHistory", "trades", sum(len(account.fills(s)) for s in account.symbols())),
        ):
            seen: dict[str, float] = {}
            for offset in range(0, number, 50):
                page = (await bench.post(method, next(nonce), ofs=offset))["result"]
                assert page["count"] == number
                assert len(page[rows]) == min(50, number - offset)
                seen |= {i: row.get("closetm", row.get("time")) for i, row in page[rows].items()}
            assert len(seen) == number
            assert list(seen.values()) == sorted(seen.values(), reverse=True)


async def test_history_is_bounded_by_times_and_by_ids(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    async with calling(sim, kraken_accounts[0]) as [main]:
        trades = (await main.post("TradesHistory", 1))["result"]["trades"]
        ids = list(trades)
        later = (await main.post("TradesHistory", 2, start=ids[3]))["result"]["trades"]
        assert list(later) == ids[:3]
        upto = (await main.post("TradesHistory", 3, end=trades[ids[3]]["time"]))["result"]
        assert list(upto["trades"]) == ids[3:]
        order = next(iter((await main.post("ClosedOrders", 4))["result"]["closed"].items()))
        opened = {"start": order[0], "closetime": "open"}
        found = (await main.post("ClosedOrders", 5, **opened))["result"]["closed"]
        assert all(row["opentm"] > order[1]["opentm"] for row in found.values())
        nothing = (await main.post("ClosedOrders", 6, start=4_000_000_000))["result"]
        assert nothing == {"closed": {}, "count": 0}


async def test_my_trades_since_a_time(connect_kraken: Connect, kraken_accounts: Accounts) -> None:
    exchange = connect_kraken(kraken_accounts[0])
    trades = await exchange.fetch_my_trades()
    assert [t["timestamp"] for t in trades] == sorted(t["timestamp"] for t in trades)
    later = await exchange.fetch_my_trades(since=trades[4]["timestamp"])
    assert [t["id"] for t in later] == [t["id"] for t in trades[4:]]


async def test_the_trading_fee_is_what_the_fills_were_charged(
    connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    exchange = connect_kraken(kraken_accounts[0])
    fee = await exchange.fetch_trading_fee("BTC/USDT")
    trade = (await exchange.fetch_my_trades("BTC/USDT"))[0]
    assert fee["taker"] == exchange.markets["BTC/USDT"]["taker"]
    assert trade["fee"]["cost"] == pytest.approx(trade["cost"] * fee["taker"], rel=1e-3)


async def test_order_entry_is_refused_as_to_a_key_that_may_only_query(
    connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    exchange = connect_kraken(kraken_accounts[0])
    with pytest.raises(ccxt.PermissionDenied):
        await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000)
    known = (await exchange.fetch_open_orders())[0]
    with pytest.raises(ccxt.PermissionDenied):
        await exchange.cancel_order(known["id"])
    with pytest.raises(ccxt.PermissionDenied):
        await exchange.cancel_orders([known["id"]])  # sent as JSON
    assert len(await exchange.fetch_open_orders()) == 7


async def test_a_wrong_key_and_a_wrong_secret_are_told_apart(
    sim: SimulatedExchange, connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    """CCXT has no exception for a wrong signature: it arrives as a plain ExchangeError."""
    name, key, secret = kraken_accounts[0]
    with pytest.raises(ccxt.AuthenticationError, match="EAPI:Invalid key"):
        await connect_kraken(DemoAccount(name, "Z" * 56, secret)).privatePostBalance()
    with pytest.raises(ccxt.ExchangeError, match="EAPI:Invalid signature"):
        await connect_kraken(DemoAccount(name, key, "A" * 88)).privatePostBalance()
    seen = sim.counters.snapshot()
    assert seen.errors == {"EAPI:Invalid key": 1, "EAPI:Invalid signature": 1}
    assert seen.by_key == {
        key: {"POST /0/private/Balance": 1},
        "(unknown)": {"POST /0/private/Balance": 1},
    }
    assert sim.venue.accounts[key].last_nonce == 0


async def test_a_request_without_headers_or_with_strange_ones_is_refused(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    async with aiohttp.ClientSession(sim.base_url) as session:
        for headers, said in (
            ({}, "EAPI:Invalid key"),
            ({"API-Key": kraken_accounts[0].api_key}, "EAPI:Invalid signature"),
            ({"API-Key": kraken_accounts[0].api_key, "API-Sign": "é"}, "EAPI:Invalid signature"),
        ):
            path = "/0/private/Balance"
            async with session.post(path, data=b"nonce=1", headers=headers) as answer:
                assert await answer.json() == {"error": [said]}
        async with session.get("/0/private/Balance") as answer:
            assert await answer.json() == {"error": ["EGeneral:Unknown method"]}


async def test_the_signature_covers_path_nonce_and_body_exactly_as_sent(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    async with calling(sim, kraken_accounts[0]) as [main]:
        said = {"error": ["EAPI:Invalid signature"]}
        assert (await main.send("Balance", "nonce=1&x=%20", "1"))["error"] == []
        assert await main.send("Balance", "nonce=2", "3") == said
        assert (await main.send("Balance", '{"nonce": 4}', "4", json=True))["error"] == []
        assert await main.send("Balance", '{"nonce": 5', "5", json=True) == {
            "error": ["EGeneral:Invalid arguments"]
        }


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("QueryOrders", {}, "EGeneral:Invalid arguments:txid"),
        ("QueryOrders", {"txid": ",".join(["O"] * 51)}, "EGeneral:Invalid arguments:txid"),
        ("ClosedOrders", {"start": "then"}, "EGeneral:Invalid arguments:start"),
        ("ClosedOrders", {"closetime": "never"}, "EGeneral:Invalid arguments:closetime"),
        ("TradesHistory", {"ofs": "-1"}, "EGeneral:Invalid arguments:ofs"),
        ("TradeVolume", {"pair": "NOPE"}, "EQuery:Unknown asset pair"),
        ("GetWebSocketsToken", {}, "EGeneral:Unknown method"),
    ],
)
async def test_a_bad_argument_is_named(
    sim: SimulatedExchange,
    kraken_accounts: Accounts,
    method: str,
    params: dict[str, object],
    error: str,
) -> None:
    async with calling(sim, kraken_accounts[0]) as [main]:
        assert await main.post(method, 1, **params) == {"error": [error]}


_NAMES = st.sampled_from(
    ["pair", "since", "count", "interval", "asset", "txid", "start", "end", "ofs", "closetime"]
)
_VALUES = st.one_of(
    st.sampled_from(["XBTUSDT", "0", "1", "9" * 20, "1.5", "-1", "OAAAAA-AAAAA-AAAAAA", "%", ","]),
    st.text(max_size=12),
)


@given(
    route=st.sampled_from(sorted(ROUTES)),
    params=st.dictionaries(_NAMES, _VALUES, max_size=4),
    rest=st.binary(max_size=12),
    as_json=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_nothing_that_a_client_sends_makes_the_dialect_fail(
    route: tuple[str, str], params: dict[str, str], rest: bytes, as_json: bool
) -> None:
    venue, _ = demo_venue(7, clock=lambda: NOW)
    dialect = KrakenDialect(venue)
    _, key, secret = demo_accounts(7, dialect="kraken")[0]
    method, path = route
    sent = {"nonce": "1", **params}
    body = (json.dumps(sent) if as_json else urlencode(sent)).encode() + rest
    sign = signature(secret, path, "1", body).decode()
    headers = {"API-Key": key, "API-Sign": sign}
    answer = dialect.arrive(WireRequest(method, path, urlencode(params), headers, body))()
    assert answer.status == 200
    said = json.loads(answer.body)
    assert said["error"] == [] or said["error"] == [answer.error]
    assert all(text.startswith("E") for text in said["error"])
