"""Signed requests: what each key may see, and how a bad one is refused."""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from ccxt_mcp.simulation import DemoAccount, SimulatedExchange, derive_keys, owner_of
from tests.unit.simulation.conftest import Connect

Accounts = tuple[DemoAccount, ...]


async def test_balances_are_whole_and_locked_by_the_resting_orders(
    sim: SimulatedExchange, connect: Connect, accounts: Accounts
) -> None:
    exchange = connect(accounts[0])
    balance = await exchange.fetch_balance()
    orders = await exchange.fetch_open_orders()
    held: dict[str, Decimal] = {}
    for order in orders:
        base, quote = order["symbol"].split("/")
        left = Decimal(order["info"]["origQty"]) - Decimal(order["info"]["executedQty"])
        buying = order["side"] == "buy"
        asset, amount = (quote, left * Decimal(order["info"]["price"])) if buying else (base, left)
        held[asset] = held.get(asset, Decimal(0)) + amount
    locked = {b["asset"]: Decimal(b["locked"]) for b in balance["info"]["balances"]}
    assert {a: v for a, v in locked.items() if v} == held
    assert len(locked) >= 9
    assert balance["USDT"]["free"] > 0


async def test_open_orders_come_for_one_symbol_or_for_all(
    connect: Connect, accounts: Accounts
) -> None:
    exchange = connect(accounts[0])
    everything = await exchange.fetch_open_orders()
    assert len(everything) == 7
    symbol = everything[0]["symbol"]
    one = await exchange.fetch_open_orders(symbol)
    assert [o["id"] for o in one] == [o["id"] for o in everything if o["symbol"] == symbol]
    assert all(o["status"] == "open" and o["type"] == "limit" for o in everything)


async def test_two_keys_see_only_their_own(connect: Connect, accounts: Accounts) -> None:
    main, second = connect(accounts[0]), connect(accounts[1])
    for exchange, account in ((main, accounts[0]), (second, accounts[1])):
        orders = await exchange.fetch_open_orders()
        orders += await exchange.fetch_orders("BTC/USDT")
        assert {owner_of(o["clientOrderId"]) for o in orders} == {account.name}
    assert (await main.fetch_balance())["total"] != (await second.fetch_balance())["total"]
    ids = {o["id"] for o in await main.fetch_orders("BTC/USDT")}
    foreign = {o["id"] for o in await second.fetch_orders("BTC/USDT")}
    assert ids
    assert foreign
    assert not ids & foreign
    with pytest.raises(ccxt.OrderNotFound):
        await second.fetch_order(next(iter(ids)), "BTC/USDT")


async def test_closed_orders_agree_with_their_trades(connect: Connect, accounts: Accounts) -> None:
    exchange = connect(accounts[0])
    await exchange.load_markets()  # fetch_closed_orders does not do it by itself
    closed = await exchange.fetch_closed_orders("BTC/USDT")
    assert closed
    for order in closed:
        params = {"orderId": order["id"]}
        trades = (await exchange.fetch_my_trades("BTC/USDT", params=params)) or []
        assert sum(Decimal(t["info"]["qty"]) for t in trades) == Decimal(str(order["filled"]))
        assert sum(Decimal(t["info"]["quoteQty"]) for t in trades) == Decimal(
            order["info"]["cummulativeQuoteQty"]
        )
        assert {t["side"] for t in trades} == {order["side"]}
        assert all(t["fee"]["cost"] > 0 for t in trades)


async def test_every_trade_belongs_to_an_order_that_knows_it(
    connect: Connect, accounts: Accounts
) -> None:
    exchange = connect(accounts[1])
    orders = {o["id"]: o for o in await exchange.fetch_orders("ETH/USDT")}
    trades = await exchange.fetch_my_trades("ETH/USDT")
    assert trades
    assert {t["order"] for t in trades} <= set(orders)
    assert len({t["id"] for t in trades}) == len(trades)


async def test_an_order_is_found_by_id_and_by_client_id(
    connect: Connect, accounts: Accounts
) -> None:
    exchange = connect(accounts[0])
    known = (await exchange.fetch_open_orders())[0]
    by_id = await exchange.fetch_order(known["id"], known["symbol"])
    by_client_id = await exchange.fetch_order(
        "", known["symbol"], {"clientOrderId": known["clientOrderId"]}
    )
    assert by_id["info"] == by_client_id["info"] == known["info"]


async def test_an_order_that_does_not_exist_is_not_found(
    connect: Connect, accounts: Accounts
) -> None:
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await connect(accounts[0]).fetch_order("1", "BTC/USDT")


async def test_orders_since_a_time_and_up_to_a_limit(connect: Connect, accounts: Accounts) -> None:
    exchange = connect(accounts[0])
    orders = await exchange.fetch_orders("BTC/USDT")
    assert [o["id"] for o in orders] == sorted((o["id"] for o in orders), key=int)
    since = orders[1]["timestamp"]
    later = await exchange.fetch_orders("BTC/USDT", since, 1)
    assert [o["id"] for o in later] == [orders[1]["id"]]


async def test_a_history_wider_than_a_day_is_refused(connect: Connect, accounts: Accounts) -> None:
    with pytest.raises(ccxt.BadRequest, match="-1127"):
        await connect(accounts[0]).fetch_my_trades(
            "BTC/USDT", 1_750_000_000_000, params={"until": 1_750_000_000_000 + 86_400_001}
        )


async def test_a_benchmark_account_holds_many_orders_and_currencies(
    sim: SimulatedExchange, connect: Connect
) -> None:
    keys = derive_keys(3, "bench")
    sim.venue.add_account(*keys, name="bench", open_orders=150, past_orders=40, currencies=320)
    exchange = connect(DemoAccount("bench", *keys))
    orders = await exchange.fetch_open_orders()
    assert len(orders) == 150
    assert len({(o["symbol"], o["id"]) for o in orders}) == 150
    assert len({o["clientOrderId"] for o in orders}) == 150
    balance = await exchange.fetch_balance()
    assert len([1 for amount in balance["total"].values() if amount]) >= 320


async def test_an_order_is_refused_because_entry_is_not_there_yet(
    connect: Connect, accounts: Accounts
) -> None:
    exchange = connect(accounts[0])
    with pytest.raises(ccxt.ExchangeError, match="-1020"):
        await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000)
    known = (await exchange.fetch_open_orders())[0]
    with pytest.raises(ccxt.ExchangeError, match="-1020"):
        await exchange.cancel_order(known["id"], known["symbol"])


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [("short", None, -2014), ("Z" * 64, None, -2015), (None, "Z" * 64, -1022)],
)
async def test_bad_credentials_are_an_authentication_error(
    connect: Connect, accounts: Accounts, key: str | None, secret: str | None, code: int
) -> None:
    name, right_key, right_secret = accounts[0]
    exchange = connect(
        DemoAccount(name, key or right_key, secret or right_secret), fetchCurrencies=False
    )
    with pytest.raises(ccxt.AuthenticationError, match=f'"code":{code},'):
        await exchange.privateGetAccount()


@pytest.mark.parametrize("offset", [20_000, -20_000])
async def test_a_clock_outside_the_window_is_an_invalid_nonce(
    sim: SimulatedExchange, connect: Connect, accounts: Accounts, offset: int
) -> None:
    sim.venue.set_clock_offset(offset)
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        await connect(accounts[0]).privateGetAccount()


async def test_adjusting_for_the_time_difference_makes_up_for_a_skewed_clock(
    sim: SimulatedExchange, connect: Connect, accounts: Accounts
) -> None:
    sim.venue.set_clock_offset(-20_000)
    exchange = connect(accounts[0])
    await exchange.load_time_difference()
    assert (await exchange.privateGetAccount())["accountType"] == "SPOT"


async def test_a_receive_window_over_a_minute_is_refused(
    connect: Connect, accounts: Accounts
) -> None:
    with pytest.raises(ccxt.ExchangeError, match="-1131"):
        await connect(accounts[0]).privateGetAccount({"recvWindow": 60_001})


async def test_the_signature_covers_the_query_exactly_as_sent(
    sim: SimulatedExchange, connect: Connect, accounts: Accounts
) -> None:
    exchange = connect()
    _, key, secret = accounts[0]

    async def ask(signed: str, sent: str) -> Any:
        digest = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256).hex()
        url = f"{sim.base_url}/api/v3/openOrders?{sent}&signature={digest}"
        return await exchange.fetch(url, headers={"X-MBX-APIKEY": key})

    now = exchange.milliseconds()
    assert isinstance(await ask(f"timestamp={now}", f"timestamp={now}"), list)
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        await ask(f"timestamp={now}", f"timestamp={now}&symbol=BTCUSDT")
    with pytest.raises(ccxt.BadRequest, match="-1101"):
        await ask(f"timestamp={now}&timestamp={now}", f"timestamp={now}&timestamp={now}")
    with pytest.raises(ccxt.BadRequest, match="-1102"):
        await exchange.fetch(
            f"{sim.base_url}/api/v3/account?timestamp={now}", headers={"X-MBX-APIKEY": key}
        )
