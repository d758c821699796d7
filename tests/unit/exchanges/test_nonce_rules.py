"""The tables of nonce rules against the source of the pinned CCXT."""

from __future__ import annotations

import ast

import pytest

from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.nonce_rules import OPTIONAL, ORDERED, PLAIN, STRIDE, UNIQUE
from tests.unit.exchanges.source import callers, inherited, methods, texts

COUNTING = {exchange for exchange in catalog().exchanges if callers(exchange, "incrementing_nonce")}
ADDED = {"btcbox", "coincheck", "zaif"}
"""Not counting in CCXT, which signs with the bare clock there; the exchanges demand it all the same
(`ORDERED` has the evidence)."""
ANY_ORDER = {"p2b"}
"""Takes the number while signing, yet asks only that it is new: see the class's own comment."""


def test_every_class_that_counts_its_nonces_has_a_rule() -> None:
    assert (set(ORDERED) - ADDED) | set(UNIQUE) == COUNTING
    assert not set(ORDERED) & set(UNIQUE)
    assert set(OPTIONAL) | PLAIN <= set(ORDERED)
    assert set(STRIDE) <= set(UNIQUE)


def test_order_is_kept_for_those_that_take_the_number_while_they_sign() -> None:
    """Whoever takes it earlier takes it before the lane, so a lane would promise too much."""
    signing = {e for e in COUNTING if callers(e, "incrementing_nonce") == {"sign"}}
    assert signing == (set(ORDERED) - ADDED) | ANY_ORDER
    assert set(UNIQUE) - ANY_ORDER == COUNTING - signing


@pytest.mark.parametrize("exchange", sorted(PLAIN))
def test_a_bare_clock_reading_is_used_for_nothing_but_signing(exchange: str) -> None:
    """Else `Wired.nonce` would count something that is no nonce."""
    assert callers(exchange, "nonce") == {"sign"}


def test_the_options_that_lift_the_order_are_those_of_ccxt() -> None:
    bitbank = inherited("bitbank", "sign")
    assert bitbank is not None
    assert {"authMethod", "timeWindow"} <= texts(bitbank)
    whitebit = inherited("whitebit", "sign")
    assert whitebit is not None
    assert "nonceWindow" in texts(whitebit)


def test_a_batch_that_counts_on_from_its_nonce_has_a_stride() -> None:
    """hibachi numbers the orders of a batch `nonce + i`."""
    counting_on = {
        exchange
        for exchange in UNIQUE
        for node in methods(exchange).values()
        if "nonce + i" in ast.unparse(node)
    }
    assert counting_on == set(STRIDE)
