"""Markets are found by the names that people write, and never by a guess between two."""

from types import SimpleNamespace
from typing import Any

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.listing import Listing


def listing(*markets: tuple[str, str, str], **options: Any) -> Listing:
    table = {
        symbol: {"symbol": symbol, "id": market_id, "type": kind}
        for symbol, market_id, kind in markets
    }
    instance = SimpleNamespace(markets=table, timeframes={"1h": "60"}, options=options)
    return Listing("paper", instance, 0.0)


BINANCE = (
    ("BTC/USDT", "BTCUSDT", "spot"),
    ("BTC/USDT:USDT", "BTCUSDT", "swap"),
    ("BTC/USD:BTC", "BTCUSD_PERP", "swap"),
    ("ETH/BTC", "ETHBTC", "spot"),
)


@pytest.mark.parametrize(
    "name",
    [
        "BTC/USDT",
        "btc/usdt",
        " BTC/USDT ",
        "BTCUSDT",
        "btcusdt",
        "BTC-USDT",
        "btc_usdt",
        "BTC:USDT",
    ],
)
def test_a_spot_market_is_found_however_it_is_written(name: str) -> None:
    assert listing(*BINANCE).find(name) == "BTC/USDT"


def test_contracts_are_found_by_symbol_and_by_id() -> None:
    found = listing(*BINANCE)
    assert found.find("btc/usdt:usdt") == "BTC/USDT:USDT"
    assert found.find("BTCUSD_PERP") == "BTC/USD:BTC"
    assert found.find("btcusdperp") == "BTC/USD:BTC"


def test_a_profile_for_contracts_means_the_contract() -> None:
    """CCXT's own rule: an id of two markets is the one of `defaultType`."""
    assert listing(*BINANCE, defaultType="swap").find("BTCUSDT") == "BTC/USDT:USDT"


def test_a_name_of_several_is_refused_with_all_of_them() -> None:
    """A price of the wrong one of two would be a wrong price."""
    two = listing(("A/BUSD:X", "1", "swap"), ("AB/USD:X", "2", "swap"))
    with pytest.raises(Failure) as refused:
        two.find("ABUSDX")
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.details == {"similar": ["A/BUSD:X", "AB/USD:X"]}


def test_a_name_of_none_is_none_and_the_nearest_are_named() -> None:
    found = listing(*BINANCE)
    assert found.find("DOGE/MOON") is None
    assert "BTC/USDT" in found.unknown("BTC/USTD").message
    for empty in ("", "   ", "/", "🚀"):
        assert found.find(empty) is None
        assert found.unknown(empty).code is Code.UNKNOWN_SYMBOL


def test_an_endless_name_is_cut() -> None:
    found = listing(*BINANCE)
    assert found.find("B" * 1_000_000) is None
    assert len(found.unknown("B" * 1_000_000).message) < 200
