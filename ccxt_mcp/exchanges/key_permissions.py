"""What an exchange tells about the API key that asks.

Owns: the exchanges that tell it, by which endpoint, and how their answer is read. CCXT has no
unified method for this. Refuses: guessing: where an answer does not say whether a key may withdraw,
nobody here does.

Every endpoint is a read that CCXT's class has (a test looks) and that needs no more than a valid
key. What each answer holds is in the exchanges' API references, under the endpoint's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["QUESTIONS", "KeyPermissions", "Question"]


@dataclass(frozen=True, slots=True)
class KeyPermissions:
    """What a key may do.

    Attributes:
        named: what is permitted, in the exchange's own words.
        withdraw: whether funds can leave with this key; ``None`` where the answer does not say.
        bound: whether the key works from listed addresses only; ``None`` likewise.
    """

    named: tuple[str, ...]
    withdraw: bool | None
    bound: bool | None


@dataclass(frozen=True, slots=True)
class Question:
    """CCXT's name of the endpoint, and what makes of its answer ``KeyPermissions``; that raises
    ``LookupError``, ``TypeError``, ``ValueError`` or ``AttributeError`` for an answer of another
    form."""

    endpoint: str
    read: Callable[[Any], KeyPermissions]


def _binance(raw: Any) -> KeyPermissions:
    permitted = tuple(key for key, value in raw.items() if value is True and key != "ipRestrict")
    return KeyPermissions(permitted, bool(raw["enableWithdrawals"]), bool(raw["ipRestrict"]))


def _bybit(raw: Any) -> KeyPermissions:
    result = raw["result"]
    permitted = tuple(dict.fromkeys(each for row in result["permissions"].values() for each in row))
    withdraw = "Withdraw" in permitted and not int(result.get("readOnly") or 0)
    ips = result.get("ips")
    return KeyPermissions(permitted, withdraw, None if ips is None else "*" not in ips)


def _okx(raw: Any) -> KeyPermissions:
    record = raw["data"][0]
    permitted = _listed(record["perm"])
    return KeyPermissions(permitted, "withdraw" in permitted, bool(record.get("ip")))


def _kucoin(raw: Any) -> KeyPermissions:
    record = raw["data"]
    permitted = _listed(record["permission"])
    # `Transfer` is theirs for deposits and withdrawals; `InnerTransfer` stays within.
    withdraw = bool({"Transfer", "Withdrawal"} & set(permitted))
    return KeyPermissions(permitted, withdraw, bool(record.get("ipWhitelist")))


def _kraken(raw: Any) -> KeyPermissions:
    result = raw["result"]
    permitted = tuple(map(str, result["permissions"]))
    addresses = result.get("ipAllowlist")
    bound = None if addresses is None else bool(addresses)
    return KeyPermissions(permitted, "withdraw-funds" in permitted, bound)


def _coinbase(raw: Any) -> KeyPermissions:
    permitted = tuple(key for key, value in raw.items() if key.startswith("can_") and value is True)
    return KeyPermissions(permitted, bool(raw["can_transfer"]), None)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _same(names: str, question: Question) -> dict[str, Question]:
    return dict.fromkeys(names.split(), question)


QUESTIONS: Mapping[str, Question] = {
    **_same(
        "binance binanceusdm binancecoinm", Question("sapiGetAccountApiRestrictions", _binance)
    ),
    **_same("bybit", Question("privateGetV5UserQueryApi", _bybit)),
    **_same("okx myokx okxus", Question("privateGetAccountConfig", _okx)),
    **_same("kucoin", Question("privateGetUserApiKey", _kucoin)),
    **_same("kraken", Question("privatePostGetApiKeyInfo", _kraken)),
    **_same("coinbase", Question("v3PrivateGetBrokerageKeyPermissions", _coinbase)),
}
"""CCXT's id of an exchange → how it is asked. All others do not tell, as far as is known here."""
