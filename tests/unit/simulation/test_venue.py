"""The venue without HTTP: prices as a pure function, accounts that add up."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from ccxt_mcp.simulation import Account, Venue, demo_accounts, demo_venue, derive_keys, owner_of
from ccxt_mcp.simulation.book import INTERVALS, LISTED_AT, Book, candle_open
from ccxt_mcp.simulation.markets import UNIT, fixed8, spot_markets
from tests.unit.simulation.conftest import NOW


def book(seed: int = 1, symbol: str = "BTCUSDT") -> Book:
    venue = Venue(seed=seed, clock=lambda: NOW)
    return venue.book(venue.markets[symbol])


def test_the_same_seed_gives_the_same_book_and_another_seed_another() -> None:
    assert book().depth(NOW, 50) == book().depth(NOW, 50)
    assert book().candles("1h", NOW, None, None, 20) == book().candles("1h", NOW, None, None, 20)
    assert book().price(NOW) != book(seed=2).price(NOW)


def test_fewer_levels_are_a_prefix_of_more() -> None:
    few, many = book().depth(NOW, 5), book().depth(NOW, 500)
    assert few == (many[0][:5], many[1][:5])


@pytest.mark.parametrize("symbol", [m.id for m in spot_markets(40)])
def test_every_market_has_prices_on_its_ticks_and_quantities_on_its_steps(symbol: str) -> None:
    venue = Venue(extra_symbols=40, clock=lambda: NOW)
    market = venue.markets[symbol]
    assert (market.tick * market.step) % UNIT == 0
    bids, asks = venue.book(market).depth(NOW, 100)
    tick, step = int(market.tick / UNIT), int(market.step / UNIT)
    for price, quantity in bids + asks:
        assert price > 0
        assert price % tick == 0
        assert quantity > 0
        assert quantity % step == 0
    assert len(asks) == 100


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_candle_bounds_every_price_in_it_and_meets_its_neighbours(interval: str) -> None:
    process = book()
    rows = process.candles(interval, NOW, None, None, 12)
    assert len(rows) == 12
    for row, following in pairwise(rows):
        opened, closed = row[0], row[6]
        o, h, low, c = (Decimal(text) for text in row[1:5])
        assert low <= min(o, c) <= max(o, c) <= h
        assert following[0] == closed + 1
        assert following[1] == row[4]
        for at in range(opened, closed, max(1, (closed - opened) // 97)):
            assert low <= Decimal(fixed8(process.price(at))) <= h


@pytest.mark.parametrize(("fine", "coarse"), [("1m", "15m"), ("5m", "1h"), ("1h", "1d")])
def test_a_coarse_candle_contains_the_fine_ones(fine: str, coarse: str) -> None:
    process = book(symbol="XRPUSDT")
    (outer,) = process.candles(coarse, NOW, candle_open(coarse, NOW - 86_400_000), None, 1)
    inner = process.candles(fine, NOW, outer[0], outer[6], 1_000)
    assert (inner[0][0], inner[-1][6]) == (outer[0], outer[6])
    assert max(Decimal(row[2]) for row in inner) <= Decimal(outer[2])
    assert min(Decimal(row[3]) for row in inner) >= Decimal(outer[3])
    assert (inner[0][1], inner[-1][4]) == (outer[1], outer[4])


def test_a_closed_candle_never_changes_and_a_running_one_only_widens() -> None:
    opened = candle_open("1h", NOW)
    process = book()
    early = process.candle("1h", opened, NOW)
    late = process.candle("1h", opened, NOW + 600_000)
    assert early[1] == late[1]
    assert Decimal(early[2]) <= Decimal(late[2])
    assert Decimal(early[3]) >= Decimal(late[3])
    after = opened + 3_600_000
    assert process.candle("1h", opened, after) == book().candle("1h", opened, after + 10**9)


def test_weeks_open_on_monday_and_months_on_the_first() -> None:
    # 9 October 2025, 08:55 UTC, a Thursday.
    assert candle_open("1w", NOW) == 1_759_708_800_000
    assert candle_open("1M", NOW) == 1_759_276_800_000


def test_candles_before_the_listing_do_not_exist() -> None:
    rows = book().candles("1d", NOW, 0, None, 3)
    assert rows[0][0] == candle_open("1d", LISTED_AT)
    assert len(book().candles("1M", LISTED_AT + 1, None, None, 500)) == 1
    assert book().candles("1m", NOW, NOW + 60_000, None, 5) == []


def test_trades_never_come_from_the_future() -> None:
    process = book()
    last = process.last_trade_id(NOW)
    assert [row[0] for row in process.trades(last, 10, NOW)] == [last]
    assert process.trades(last, 1, NOW)[0][1] <= NOW
    assert process.trades(last + 1, 1, NOW) == []


def adds_up(account: Account) -> bool:
    held = account.held()
    return all(b.locked == held.get(a, Decimal(0)) for a, b in account.balances.items())


@pytest.mark.parametrize("resting", [0, 1, 40, 200])
def test_what_is_locked_is_what_the_resting_orders_hold(resting: int) -> None:
    venue = Venue(extra_symbols=100, clock=lambda: NOW)
    account = venue.add_account(
        "key", "secret", name="a", open_orders=resting, past_orders=20, symbols=tuple(venue.markets)
    )
    assert len(account.resting()) == resting
    assert adds_up(account)
    assert all(b.free >= 0 for b in account.balances.values())
    for order in account.resting():
        assert order.price % order.market.tick == 0
        assert order.quantity % order.market.step == 0
        assert order.price * order.quantity >= order.market.min_notional
        assert owner_of(order.client_id) == "a"


def test_fills_sum_to_what_their_orders_executed() -> None:
    venue, (main, _) = demo_venue(3, clock=lambda: NOW)
    account = venue.accounts[main.api_key]
    for symbol in account.symbols():
        fills = account.fills(symbol)
        for order in account.orders(symbol):
            own = [f for f in fills if f.order_id == order.id]
            assert sum((f.quantity for f in own), Decimal(0)) == order.executed
            assert sum((f.spent for f in own), Decimal(0)) == order.spent
            assert all(order.created <= f.at <= order.updated <= NOW for f in own)
            assert (order.status == "FILLED") == (order.executed == order.quantity)


def test_an_order_that_is_not_covered_changes_nothing() -> None:
    venue, (main, _) = demo_venue(3, clock=lambda: NOW)
    account = venue.accounts[main.api_key]
    resting = account.resting()[0]
    asset, amount = resting.hold
    poor = Account("k", "s", "poor", 1, NOW)
    poor.credit(asset, amount / 2)
    version = poor.version
    with pytest.raises(ValueError, match="more than free"):
        poor.put(resting)
    assert (poor.version, poor.resting(), poor.balances[asset].free) == (version, [], amount / 2)


def test_the_same_seed_and_time_give_the_same_accounts() -> None:
    first, second = (demo_venue(9, clock=lambda: NOW)[0].accounts for _ in range(2))
    for key, account in first.items():
        assert account.balances == second[key].balances
        assert account.resting() == second[key].resting()


def test_keys_follow_from_the_seed_and_look_like_binances() -> None:
    (_, key, secret), second = demo_accounts(1)
    assert (key, secret) == derive_keys(1, "main")
    assert len(key) == len(secret) == 64
    assert key.isalnum()
    assert len({key, secret, second.api_key, second.secret, *derive_keys(2, "main")}) == 6


@pytest.mark.parametrize("name", ["", "two words", "thirteenchars"])
def test_a_name_that_does_not_fit_a_client_order_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Venue(clock=lambda: NOW).add_account("key", "secret", name=name)


def test_a_key_is_given_out_once_and_symbols_must_exist() -> None:
    venue = Venue(clock=lambda: NOW)
    venue.add_account("key", "secret", name="a")
    with pytest.raises(ValueError, match="new"):
        venue.add_account("key", "secret", name="b")
    with pytest.raises(ValueError, match="NOPE"):
        venue.add_account("key2", "secret", name="b", symbols=("NOPE",))
    assert repr(venue) == "<Venue seed=1 markets=14 keys=1>"


def test_the_catalogue_grows_to_its_limit_and_no_further() -> None:
    assert len(Venue(extra_symbols=3_600, linear_symbols=3_600).markets) == 3_614
    with pytest.raises(ValueError, match="3600"):
        Venue(extra_symbols=3_601)
