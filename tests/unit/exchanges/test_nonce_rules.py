"""The tables of nonce rules against the source of the pinned CCXT."""

from __future__ import annotations

from functools import cache

import pytest

from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.cloning import Mould
from ccxt_mcp.exchanges.nonce_rules import OPTIONAL, ORDERED, PLAIN, STRIDE, UNIQUE
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.settings import ExchangeProfile
from tests.unit.exchanges.source import callers, inherited, methods, says

HERE = 10**18
"""A number that no clock reads."""


class Counting:
    """Stands where an instance's pacing stands."""

    def __init__(self) -> None:
        self.proposed: list[int] = []

    def nonce(self, proposed: int) -> int:
        self.proposed.append(proposed)
        return HERE + len(self.proposed)


@cache
def counting() -> set[str]:
    """Exchanges whose classes count their nonces."""
    known = catalog().exchanges
    return {exchange for exchange in known if callers(exchange, "incrementing_nonce")}


ADDED = {"btcbox", "coincheck", "zaif"}
"""Not counting in CCXT, which signs with the bare clock there; the exchanges demand it all the same
(`ORDERED` has the evidence)."""
ANY_ORDER = {"p2b"}
"""Takes the number while signing, yet asks only that it is new: see the class's own comment."""


def test_every_class_that_counts_its_nonces_has_a_rule() -> None:
    assert (set(ORDERED) - ADDED) | set(UNIQUE) == counting()
    assert not set(ORDERED) & set(UNIQUE)
    assert set(OPTIONAL) | PLAIN <= set(ORDERED)
    assert set(STRIDE) <= set(UNIQUE)


def test_order_is_kept_for_those_that_take_the_number_while_they_sign() -> None:
    """Whoever takes it earlier takes it before the lane, so a lane would promise too much."""
    signing = {e for e in counting() if callers(e, "incrementing_nonce") == {"sign"}}
    assert signing == (set(ORDERED) - ADDED) | ANY_ORDER
    assert set(UNIQUE) - ANY_ORDER == counting() - signing


@pytest.mark.parametrize("exchange", sorted(PLAIN))
def test_a_bare_clock_reading_is_used_for_nothing_but_signing(exchange: str) -> None:
    """Else `Wired.nonce` would count something that is no nonce."""
    assert callers(exchange, "nonce") == {"sign"}


def test_the_options_that_lift_the_order_are_those_of_ccxt() -> None:
    bitbank = inherited("bitbank", "sign")
    assert bitbank is not None
    assert says(bitbank, "authMethod")
    assert says(bitbank, "timeWindow")
    whitebit = inherited("whitebit", "sign")
    assert whitebit is not None
    assert says(whitebit, "nonceWindow")


def test_a_batch_that_counts_on_from_its_nonce_has_a_stride() -> None:
    """hibachi numbers the orders of a batch `nonce + i`."""
    counting_on = {
        exchange
        for exchange in UNIQUE
        for code in methods(exchange).values()
        if "nonce + i" in code
    }
    assert counting_on == set(STRIDE)


@pytest.mark.parametrize("exchange", sorted((set(ORDERED) | set(UNIQUE)) - {"zaif"}))
def test_instances_of_one_key_take_their_numbers_from_one_place(exchange: str) -> None:
    """Before: each instance had a counter of its own, so two of them signed with one number."""
    made = Mould(build_prototype(ExchangeProfile(name=exchange, exchange=exchange), 1000))
    first, second = made.clone(), made.clone()
    first.pacing = second.pacing = counting = Counting()
    method = "nonce" if exchange in PLAIN else "incrementing_nonce"
    taken = [getattr(each, method)() for each in (first, second, first)]
    assert taken == [HERE + 1, HERE + 2, HERE + 3]
    assert all(type(each) is int for each in counting.proposed)
    assert "lastNonce" not in first.options
    seconds = {"p2b"}
    assert (counting.proposed[0] < 10**11) is (exchange in seconds)


def test_a_signature_carries_the_number_of_the_key() -> None:
    made = Mould(build_prototype(ExchangeProfile(name="coincheck", exchange="coincheck"), 1000))
    instance = made.clone(credentials={"apiKey": "k", "secret": "s"})
    instance.pacing = Counting()
    signed = instance.sign("accounts/balance", ["private"], "GET", {})
    assert signed["headers"]["ACCESS-NONCE"] == str(HERE + 1)


@pytest.mark.parametrize("exchange", ["binance", "okx", "bitget"])
def test_a_clock_reading_that_is_no_nonce_is_left_alone(exchange: str) -> None:
    made = Mould(build_prototype(ExchangeProfile(name=exchange, exchange=exchange), 1000))
    instance = made.clone()
    instance.pacing = counting = Counting()
    assert instance.nonce() < HERE
    assert counting.proposed == []


def test_without_pacing_an_instance_counts_for_itself() -> None:
    made = Mould(build_prototype(ExchangeProfile(name="kraken", exchange="kraken"), 1000))
    instance = made.clone()
    first = instance.incrementing_nonce()
    assert instance.incrementing_nonce() > first
