"""An account's tools in depth: real CCXT, both dialects of the simulated exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.simulation import (
    DEMO_NAMES,
    DemoAccount,
    Fault,
    Fill,
    Position,
    Venue,
    demo_venue,
    derive_keys,
    kraken_keys,
)
from ccxt_mcp.simulation import Account as Held
from tests.unit.tools.world import Outcome, World, make_world

BTC = {"symbol": "BTC/USDT"}
LONG_AGO = 1_750_000_000_000
DIGITS = "0123456789.-"


def venue_with(**seeds: Any) -> tuple[Venue, tuple[DemoAccount, ...]]:
    """A venue with linear contracts and one account, ``big``."""
    venue = Venue(seed=11, linear_symbols=5)
    key, secret = derive_keys(11, "big")
    venue.add_account(key, secret, name="big", **seeds)
    return venue, (DemoAccount("big", key, secret),)


@pytest.fixture
async def kraken(tmp_path: Path) -> AsyncIterator[World]:
    """The demo's accounts behind CCXT's kraken class."""
    venue, _ = demo_venue(seed=3)
    demo = tuple(DemoAccount(name, *kraken_keys(3, name)) for name in DEMO_NAMES)
    async with make_world(
        tmp_path, place=(venue, demo), profile={"exchange": "kraken", "options": {}}
    ) as made:
        yield made


def held(world: World, number: int = 0) -> Held:
    return world.sim.venue.accounts[world.demo[number].api_key]


def fills_at(world: World, at: int, count: int, *, symbol: str = "BTCUSDT") -> list[Fill]:
    """Executions of one millisecond, on the account's books."""
    venue, account = world.sim.venue, held(world)
    market = venue.markets[symbol]
    made = [
        Fill(
            *(market, venue.next_id(market), 7, "BUY", Decimal("95000.10"), Decimal("0.10000000")),
            *(Decimal("0.00000001"), "BTC", True, at),
        )
        for _ in range(count)
    ]
    for each in made:
        account.record(each)
    return made


async def pages(world: World, tool: str, key: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows, as a client that follows the cursor sees them."""
    rows: list[dict[str, Any]] = []
    async with asyncio.timeout(60), Client(world.server) as client:
        for _ in range(200):
            outcome = Outcome(await client.call_tool(tool, asked))
            assert not outcome.is_error, outcome
            rows += outcome.data[key]
            if "nextCursor" not in outcome.data:
                assert outcome.data["truncated"] is False
                return rows
            asked = {**asked, "cursor": outcome.data["nextCursor"]}
    raise AssertionError("no end")


async def test_an_order_is_found_by_either_id(world: World) -> None:
    """Open and past ones, exact, whoever's id it is."""
    for order in held(world).orders("BTCUSDT"):
        by_id = (await world.call("get_order", BTC | {"orderId": str(order.id)})).data["order"]
        by_client = await world.call("get_order", BTC | {"clientOrderId": order.client_id})
        assert by_client.data["order"] == by_id
        assert by_id["id"] == str(order.id)
        assert by_id["amount"] == f"{order.quantity:.8f}"
        assert by_id["price"] == f"{order.price:.8f}"


async def test_another_accounts_order_is_not_found(world: World) -> None:
    """Ids of `main` asked with the keys of `second`."""
    theirs = held(world).orders("BTCUSDT")[0]
    for name, value in (("orderId", str(theirs.id)), ("clientOrderId", theirs.client_id)):
        outcome = await world.call("get_order", BTC | {name: value, "account": "second"})
        assert outcome.failure["code"] == "order_not_found", outcome


@pytest.mark.parametrize("name", ["orderId", "clientOrderId"])
async def test_an_answer_about_another_order_is_a_bad_one(world: World, name: str) -> None:
    """Before the check: somebody's order, as if it were the one asked for."""
    one, other = held(world).orders("BTCUSDT")[:2]
    values = {"orderId": str(one.id), "clientOrderId": one.client_id}
    row = {"symbol": "BTCUSDT", "orderId": other.id, "clientOrderId": other.client_id}
    await world.call("get_order", BTC | {name: values[name]})
    fault = world.sim.faults.add(
        Fault(kind="malformed", route="*/api/v3/order", body={**row, "status": "NEW"})
    )
    outcome = await world.call("get_order", BTC | {name: values[name]})
    world.sim.faults.clear(fault)
    assert outcome.failure["code"] == "bad_response", outcome
    assert other.client_id not in outcome.text


@pytest.mark.parametrize(
    ("tool", "route"),
    [("get_open_orders", "openOrders"), ("get_order_history", "allOrders")],
)
async def test_orders_of_another_symbol_are_not_no_orders(
    world: World, tool: str, route: str
) -> None:
    """Before: CCXT dropped them, and the account seemed to have none."""
    await world.call(tool, BTC)
    row = {"symbol": "ETHUSDT", "orderId": 5, "clientOrderId": "x", "status": "FILLED"}
    fault = world.sim.faults.add(Fault(kind="malformed", route=f"*/{route}", body=[row]))
    outcome = await world.call(tool, BTC)
    world.sim.faults.clear(fault)
    assert outcome.failure["code"] == "bad_response", outcome


async def test_kraken_finds_orders_without_a_symbol_and_by_the_clients_id(kraken: World) -> None:
    """`fetch_order` would take the id for a number of another kind: the lists are asked."""
    account = held(kraken)
    for symbol in account.symbols():
        order = account.orders(symbol)[-1]
        found = await kraken.call("get_order", {"clientOrderId": order.client_id})
        assert not found.is_error, found
        assert found.data["order"]["clientOrderId"] == order.client_id
        again = await kraken.call("get_order", {"orderId": found.data["order"]["id"]})
        assert again.data["order"]["amount"] == found.data["order"]["amount"]
    missing = await kraken.call("get_order", {"clientOrderId": "nobodys"})
    assert missing.failure["code"] == "order_not_found"


async def test_fills_are_exact_and_the_latest_come_first(world: World) -> None:
    """Digits as the venue wrote them, trailing zeros included."""
    at = world.sim.venue.now()
    made = fills_at(world, at, 2)
    outcome = await world.call("get_my_trades", BTC | {"limit": 2})
    rows = outcome.data["trades"]
    assert [row["id"] for row in rows] == [str(each.id) for each in reversed(made)]
    assert rows[0]["price"] == "95000.10000000"
    assert rows[0]["amount"] == "0.10000000"
    assert rows[0]["fee"] == {"currency": "BTC", "cost": "0.00000001"}
    assert rows[0]["timestamp"] == at
    assert outcome.data["truncated"] is True


async def test_every_fill_comes_once_when_read_forward(world: World) -> None:
    """Many in one millisecond, across the edges of pages, and new ones while reading."""
    start = world.sim.venue.now() - 10_000
    made = [each for n in range(6) for each in fills_at(world, start + n, 7)]
    rows = await pages(world, "get_my_trades", "trades", BTC | {"since": start, "limit": 4})
    assert [row["id"] for row in rows] == [str(each.id) for each in made]
    order = await pages(
        world, "get_my_trades", "trades", BTC | {"since": start, "limit": 40, "orderId": "7"}
    )
    assert len(order) == len(made)
    none = await pages(
        world, "get_my_trades", "trades", BTC | {"since": start, "limit": 40, "orderId": "8"}
    )
    assert none == []


async def test_a_millisecond_with_more_fills_than_one_request_brings_is_told(world: World) -> None:
    """What cannot be reached is said, and what comes after it is."""
    start = world.sim.venue.now() - 10_000
    fills_at(world, start, 1_200)
    last = fills_at(world, start + 5, 1)
    asked: dict[str, Any] = BTC | {"since": start, "limit": 500}
    seen: list[str] = []
    told = ""
    while True:
        data = (await world.call("get_my_trades", asked)).data
        seen += [row["id"] for row in data["trades"]]
        told += data.get("notice", "")
        if "nextCursor" not in data:
            break
        asked["cursor"] = data["nextCursor"]
    assert len(seen) == len(set(seen)) == 1_001
    assert seen[-1] == str(last[0].id)
    assert str(start) in told
    assert "1000" in told


async def test_fills_of_one_order_come_by_its_id(world: World) -> None:
    """However old: the exchange is asked for that order."""
    order = next(o for o in held(world).orders("BTCUSDT") if o.executed)
    outcome = await world.call("get_my_trades", BTC | {"orderId": str(order.id)})
    assert {row["order"] for row in outcome.data["trades"]} == {str(order.id)}
    amounts = (Decimal(row["amount"]) for row in outcome.data["trades"])
    assert sum(amounts) == order.executed


async def test_krakens_fills_have_no_gap_although_the_newest_are_sent(kraken: World) -> None:
    """Fifty at a time, newest first, of all pairs: before, the oldest of the span were lost."""
    now = kraken.sim.venue.now()
    made = [fills_at(kraken, now - 90_000_000 + n * 300_000, 1)[0] for n in range(140)]
    for n in range(60):
        fills_at(kraken, now - 90_000_000 + n * 400_000, 1, symbol="ETHUSDT")
    since = made[0].at
    rows = await pages(kraken, "get_my_trades", "trades", BTC | {"since": since, "limit": 30})
    due = sorted(f.at for f in held(kraken).fills("BTCUSDT") if f.at >= since)
    assert [row["timestamp"] for row in rows] == due


async def test_kraken_history_is_read_forward_once(kraken: World) -> None:
    """By the time of opening, whatever the exchange sorts by."""
    rows = await pages(kraken, "get_order_history", "orders", {"since": LONG_AGO, "limit": 4})
    account = held(kraken)
    due = {o.client_id for s in account.symbols() for o in account.orders(s) if not o.resting}
    assert len(rows) == len(due)
    assert {row["clientOrderId"] for row in rows} == due
    latest = (await kraken.call("get_order_history", BTC)).data["orders"]
    assert {row["symbol"] for row in latest} == {"BTC/USDT"}


async def test_orders_that_go_while_they_are_read_move_no_other(tmp_path: Path) -> None:
    """Each of the others comes exactly once. With a number of rows for a place, some would not."""
    place = venue_with(open_orders=700, past_orders=0, currencies=2_000)
    async with make_world(tmp_path, place=place) as world:
        account = held(world)
        first = account.resting()
        asked: dict[str, Any] = {"limit": 500}
        seen: list[str] = []
        async with asyncio.timeout(60), Client(world.server) as client:
            for _ in range(20):
                outcome = Outcome(await client.call_tool("get_open_orders", asked))
                seen += [row["clientOrderId"] for row in outcome.data["orders"]]
                if "nextCursor" not in outcome.data:
                    break
                asked["cursor"] = outcome.data["nextCursor"]
                # The newest, shown already, and the oldest, which is still to come.
                for gone in (account.resting()[-1], account.resting()[0]):
                    account.put(replace(gone, status="CANCELED"))
        assert len(seen) == len(set(seen))
        still = {order.client_id for order in account.resting()}
        assert still < set(seen) < {order.client_id for order in first}
        rows = await pages(world, "account_balance", "balances", {"limit": 500})
        assert [row["currency"] for row in rows] == sorted(
            asset for asset, each in account.balances.items() if each.free or each.locked
        )
        assert len(rows) >= 2_000


async def test_of_ten_thousand_orders_an_answer_shows_what_fits(tmp_path: Path) -> None:
    """Bounded, and the next page begins where it ends."""
    place = venue_with(open_orders=10_000, past_orders=0, currencies=9)
    async with make_world(tmp_path, place=place) as world:
        newest = [order.client_id for order in reversed(held(world).resting())]
        seen: list[str] = []
        asked: dict[str, Any] = {}
        for _ in range(2):
            outcome = await world.call("get_open_orders", asked)
            assert outcome.data["total"] == 10_000
            assert len(outcome.text.encode()) <= 60_000
            assert "`symbol`" in outcome.data["notice"]
            seen += [row["clientOrderId"] for row in outcome.data["orders"]]
            asked = {"cursor": outcome.data["nextCursor"]}
        assert seen == newest[: len(seen)]


async def test_all_symbols_cost_what_binance_charges(tmp_path: Path) -> None:
    """80 of 6,000 a minute instead of 6, counted as such, and told."""
    async with make_world(tmp_path, profile={"rate_limit": "on"}) as world:
        await world.call("get_open_orders", BTC)

        def used() -> Any:
            return world.gateway.snapshot()["paper"]["limits"]["request weight"]["used"]

        before = used()
        one = await world.call("get_open_orders", BTC)
        between = used()
        every = await world.call("get_open_orders")
        assert (between - before, used() - between) == (6, 80)
        assert "notice" not in one.data
        assert "`symbol`" in every.data["notice"]


async def test_values_come_from_the_exchanges_own_prices(world: World) -> None:
    """Estimates beside exact amounts; what has no price is named and not counted."""
    held(world).credit("NOPRICE", Decimal("12.5"))
    outcome = await world.call("account_balance", {"valueIn": "eur"})
    assert outcome.data["valueIn"] == "EUR"
    assert outcome.data["unvalued"] == ["NOPRICE"]
    rows = {row["currency"]: row for row in outcome.data["balances"]}
    assert "value" not in rows["NOPRICE"]
    assert rows["NOPRICE"]["free"] == "12.50000000"
    total = sum(Decimal(row["value"]) for row in rows.values() if "value" in row)
    assert abs(total - Decimal(outcome.data["totalValue"])) < 1
    usdt = Decimal(rows["USDT"]["value"]) / Decimal(rows["USDT"]["total"])
    ticker = await world.call("get_ticker", {"symbol": "EUR/USDT"})
    assert abs(usdt * Decimal(str(ticker.data["ticker"]["last"])) - 1) < Decimal("0.01")


async def test_a_value_costs_one_request_for_all_prices(world: World) -> None:
    """Shared with others who ask within a moment."""
    await world.call("account_balance")
    world.sim.counters.reset()
    async with Client(world.server) as client, asyncio.TaskGroup() as group:
        for n in range(10):
            name = world.demo[n % 2].name
            asked = {"valueIn": "USDT", "account": name}
            group.create_task(client.call_tool("account_balance", asked))
    assert world.sim.counters.snapshot().by_route["GET /api/v3/ticker/24hr"] == 1


async def test_one_wallet_is_refused_where_the_exchange_does_not_take_it(kraken: World) -> None:
    """Rather than the answer of another wallet."""
    outcome = await kraken.call("account_balance", {"type": "spot"})
    assert outcome.failure["code"] == "not_supported"
    assert not (await kraken.call("account_balance", {"valueIn": "USDT"})).is_error


async def test_positions_are_exact_and_closed_ones_left_out(tmp_path: Path) -> None:
    """Sides by sign, sizes as the venue wrote them, pages by symbol."""
    venue, accounts = venue_with()
    account = venue.accounts[accounts[0].api_key]
    amounts = ("0.001", "-2.500", "0.000", "10.000")
    for market, amount in zip(venue.linear.values(), amounts, strict=False):
        account.hold(
            Position(
                *(market, Decimal(amount), Decimal("100.12345"), Decimal("123.00000001")),
                *(Decimal("50.5"), 10, venue.now()),
            )
        )
    profile = {"options": {"fetchMarkets": {"types": ["spot", "linear"]}}}
    async with make_world(tmp_path, place=(venue, accounts), profile=profile) as world:
        rows = await pages(world, "get_positions", "positions", {"limit": 1})
        found = {row["symbol"]: row for row in rows}
        assert list(found) == ["BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"]
        short = found["ETH/USDT:USDT"]
        assert (short["side"], short["contracts"]) == ("short", "2.5")
        assert short["entryPrice"] == "100.12345"
        assert short["markPrice"] == "123.00000001"
        assert short["liquidationPrice"] == "50.5"
        assert short["marginMode"] == "cross"
        for row in rows:
            for key in ("contracts", "notional", "unrealizedPnl", "collateral"):
                assert set(row[key]) <= set(DIGITS), row
        one = await world.call("get_positions", {"symbols": ["btc/usdt:usdt"]})
        assert not one.is_error, one
        assert [row["symbol"] for row in one.data["positions"]] == ["BTC/USDT:USDT"]
        fault = world.sim.faults.add(
            Fault(kind="malformed", route="*/positionRisk", body={"code": "x"})
        )
        outcome = await world.call("get_positions")
        world.sim.faults.clear(fault)
        assert outcome.failure["code"] == "bad_response"


async def test_fills_and_balances_of_two_accounts_never_mix(world: World) -> None:
    """Interleaved over one server; orders' ids tell whose they are."""
    own = {
        account.name: {str(fill.id) for fill in held(world, n).fills("BTCUSDT")}
        for n, account in enumerate(world.demo)
    }
    assert own["main"] & own["second"] == set()

    async def one(client: Client, name: str) -> None:
        asked = BTC | {"account": name, "limit": 500}
        outcome = Outcome(await client.call_tool("get_my_trades", asked))
        assert {row["id"] for row in outcome.data["trades"]} == own[name]
        assert outcome.data["account"] == name

    async with asyncio.timeout(30), Client(world.server) as client, asyncio.TaskGroup() as group:
        for n in range(40):
            group.create_task(one(client, world.demo[n % 2].name))


@pytest.mark.parametrize("parts", [["x", "y"], [1, 2], [1], [None, "y"]])
async def test_a_cursor_of_other_parts_is_refused(world: World, parts: list[Any]) -> None:
    """Before: a fault of this server."""
    import base64

    import orjson

    asked = BTC | {"since": LONG_AGO, "limit": 1}
    cursor = (await world.call("get_my_trades", asked)).data["nextCursor"]
    read = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_"))
    other = base64.urlsafe_b64encode(orjson.dumps([read[0], *parts])).decode().rstrip("=")
    outcome = await world.call("get_my_trades", {**asked, "cursor": other})
    assert outcome.failure["code"] == "invalid_argument", outcome


@pytest.mark.parametrize("tool", ["get_open_orders", "get_order_history", "get_my_trades"])
@pytest.mark.parametrize("since", [{}, {"since": LONG_AGO}])
async def test_an_answer_without_a_symbol_says_which_kind_of_market_it_is_about(
    kraken: World, monkeypatch: pytest.MonkeyPatch, tool: str, since: dict[str, Any]
) -> None:
    """CCXT asks for spot markets only; without the notice an order of a swap does not exist."""
    monkeypatch.setattr(Listing, "kinds", frozenset({"spot", "swap"}))
    asked = {} if tool == "get_open_orders" else since
    every = await kraken.call(tool, asked)
    assert "asked as for spot markets" in every.data["notice"]
    assert "(swap)" in every.data["notice"]
    assert "`symbol`" in every.data["notice"]
    one = await kraken.call(tool, {**asked, **BTC})
    assert "other kinds" not in one.data.get("notice", "")
