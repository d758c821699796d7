"""What is read from exchanges' answers about a key."""

from __future__ import annotations

from typing import Any

import pytest

from ccxt_mcp.exchanges.key_permissions import QUESTIONS
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.settings import ExchangeProfile

BINANCE = {"ipRestrict": True, "createTime": 1, "enableReading": True, "enableWithdrawals": False}
BYBIT = {
    "readOnly": 0,
    "ips": ["*"],
    "permissions": {"Spot": ["SpotTrade"], "Wallet": ["Withdraw"]},
}
OKX = {"perm": "read_only,withdraw,trade", "ip": ""}
KUCOIN = {"permission": "General, Spot, InnerTransfer", "ipWhitelist": "10.0.0.1"}
KRAKEN = {"permissions": ["query-funds", "withdraw-funds"], "ipAllowlist": []}


@pytest.mark.parametrize(
    ("exchange", "raw", "withdraw", "bound", "named"),
    [
        ("binance", BINANCE, False, True, "enableReading"),
        ("binance", {**BINANCE, "enableWithdrawals": True}, True, True, "enableWithdrawals"),
        ("bybit", {"result": BYBIT}, True, False, "SpotTrade"),
        ("bybit", {"result": {**BYBIT, "readOnly": 1}}, False, False, "SpotTrade"),
        ("okx", {"data": [OKX]}, True, False, "trade"),
        ("okx", {"data": [{"perm": "read_only", "ip": "1.2.3.4"}]}, False, True, "read_only"),
        ("kucoin", {"data": KUCOIN}, False, True, "Spot"),
        ("kucoin", {"data": {**KUCOIN, "permission": "General,Transfer"}}, True, True, "Transfer"),
        ("kraken", {"result": KRAKEN}, True, False, "query-funds"),
        ("coinbase", {"can_view": True, "can_trade": True, "can_transfer": False}, False, None,
         "can_trade"),
    ],
)  # fmt: skip
def test_an_answer_is_read(
    exchange: str, raw: Any, withdraw: bool, bound: bool | None, named: str
) -> None:
    told = QUESTIONS[exchange].read(raw)
    assert (told.withdraw, told.bound) == (withdraw, bound)
    assert named in told.named


@pytest.mark.parametrize("exchange", sorted(QUESTIONS))
@pytest.mark.parametrize("raw", [{}, [], None, {"result": None}, {"data": []}, {"data": {}}])
def test_an_answer_of_another_form_is_not_read_as_a_no(exchange: str, raw: Any) -> None:
    """ "may not withdraw" of an empty answer would be the one wrong answer that matters."""
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        QUESTIONS[exchange].read(raw)


@pytest.mark.parametrize("exchange", sorted(QUESTIONS))
def test_ccxt_has_the_endpoint_and_it_is_a_read(exchange: str) -> None:
    """Kraken's private endpoints are all POST; its reference says of this one that it retrieves."""
    prototype = build_prototype(ExchangeProfile(name=exchange, exchange=exchange), 1000)
    endpoint = QUESTIONS[exchange].endpoint
    assert callable(getattr(prototype, endpoint))
    assert "Get" in endpoint
    assert ("Post" in endpoint) is (exchange == "kraken")
