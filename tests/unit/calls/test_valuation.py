"""What amounts are worth: exact arithmetic, stated ways, nothing assumed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ccxt_mcp.calls.valuation import legs, price, prices, rate, rounded

KNOWN = {
    "BTC/USDT": "100000",
    "ETH/BTC": "0.03",
    "EUR/USDT": "1.25",
    "BTC/EUR": "80500",
    "USDC/USDT": "0.9991",
}


@pytest.mark.parametrize(
    ("currency", "target", "expected"),
    [
        ("USDT", "USDT", "1"),
        ("BTC", "USDT", "100000"),
        ("USDT", "EUR", "0.8"),
        ("ETH", "USDT", "3000.00"),
        ("BTC", "EUR", "80500"),
        ("USDC", "EUR", "0.79928"),
        ("USDC", "USDT", "0.9991"),
    ],
)
def test_a_rate_is_the_pair_its_inverse_or_one_hop(
    currency: str, target: str, expected: str
) -> None:
    """The pair itself before any way around; a stable coin is priced like any other."""
    assert rate(currency, target, KNOWN) == Decimal(expected)


@pytest.mark.parametrize("currency", ["XRP", "USD", "DAI"])
def test_what_has_no_price_has_no_rate(currency: str) -> None:
    """Never 0, and never 1 because a name sounds alike."""
    assert rate(currency, "USDT", KNOWN) is None


def test_two_hops_are_not_gone() -> None:
    """ETH → BTC → EUR is one hop; over two, rounding and spreads would add up."""
    assert rate("ETH", "GBP", {**KNOWN, "EUR/GBP": "0.8"}) is None
    assert len(list(legs("ETH", "USDT"))) == 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0", "0.00"),
        ("123456789012.345678", "123456789012.35"),
        ("1234.56789012", "1234.5679"),
        ("0.000123456789", "0.00012345679"),
        ("0.0000000000001", "0.000000000000"),
        ("1", "1.0000000"),
    ],
)
def test_values_are_rounded_to_eight_digits_and_never_coarser_than_hundredths(
    value: str, shown: str
) -> None:
    """In plain digits."""
    assert rounded(Decimal(value)) == shown


def test_prices_are_of_spot_markets_and_positive() -> None:
    """A swap's price is not the coin's, and nothing is worth 0 for want of a trade."""
    made = prices(
        {
            "A/B": {"last": 0.1},
            "A/B:B": {"last": 9},
            "C/B": {"last": 0, "close": None},
            "D/B": {"bid": 1, "ask": 2},
        }
    )
    assert made == {"A/B": "0.1", "D/B": "1.5"}
    assert price({"last": None, "bid": 1}) is None
