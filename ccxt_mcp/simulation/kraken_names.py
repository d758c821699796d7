"""Kraken's own names: assets (`XXBT`), pairs (`XXBTZEUR`, `XBTUSDT`), transaction ids, secrets.

Owns the translation between the venue's words and Kraken's, both ways. Refuses answers and checks.
Source: Kraken support, "Bitcoin currency code: XBT vs BTC" and "Asset X and Z prefixes"; Kraken
REST documentation, "Get Tradable Asset Pairs".
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ccxt_mcp.simulation.accounts import derive_keys
from ccxt_mcp.simulation.markets import Market
from ccxt_mcp.simulation.orders import Fill, Order

__all__ = ["Names", "Pair", "asset_altname", "asset_id", "kraken_keys", "kraken_secret"]

# asset: (id, altname). Only the first listed assets carry a prefix; newer ones are named as they
# are everywhere else.
_LEGACY: Final[dict[str, tuple[str, str]]] = {
    "BTC": ("XXBT", "XBT"),
    "DOGE": ("XXDG", "XDG"),
    "ETH": ("XETH", "ETH"),
    "EUR": ("ZEUR", "EUR"),
    "LTC": ("XLTC", "LTC"),
    "USD": ("ZUSD", "USD"),
    "XRP": ("XXRP", "XRP"),
}

_BITS = 80  # sixteen letters of five bits each
_MASK = (1 << _BITS) - 1
_SCATTER = 0x9E3779B97F4A7C15F39D  # odd, so that it can be undone
_GATHER = pow(_SCATTER, -1, 1 << _BITS)
_NUMBER_BITS = 48
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_TXID = re.compile(r"([OT])([A-Z2-7]{5})-([A-Z2-7]{5})-([A-Z2-7]{6})")


def asset_id(asset: str) -> str:
    return _LEGACY.get(asset, (asset, asset))[0]


def asset_altname(asset: str) -> str:
    return _LEGACY.get(asset, (asset, asset))[1]


def kraken_secret(secret: str) -> str:
    """The secret with which an account signs Kraken's way: base64 of 64 bytes, from its own one."""
    return base64.b64encode(hashlib.sha512(b"kraken:" + secret.encode()).digest()).decode()


def kraken_keys(seed: int, name: str) -> tuple[str, str]:
    """(api_key, secret) in the Kraken dialect of the account that `derive_keys` names."""
    key, secret = derive_keys(seed, name)
    return key, kraken_secret(secret)


@dataclass(frozen=True, slots=True)
class Pair:
    """One market in Kraken's words."""

    market: Market
    id: str
    altname: str
    wsname: str


def _pair(market: Market) -> Pair:
    base, quote = asset_altname(market.base), asset_altname(market.quote)
    old = market.base in _LEGACY and market.quote in _LEGACY
    name = asset_id(market.base) + asset_id(market.quote) if old else base + quote
    return Pair(market, name, base + quote, f"{base}/{quote}")


class Names:
    """The names of one venue's spot markets and of what happens on them. Immutable.

    Transaction ids are computed, not remembered: (market, number) scattered over 80 bits.
    """

    def __init__(self, markets: Iterable[Market]) -> None:
        listed = [_pair(market) for market in markets]
        self.pairs: dict[str, Pair] = {pair.id: pair for pair in listed}
        self._of: dict[str, Pair] = {pair.market.id: pair for pair in listed}
        self._index: dict[str, int] = {pair.market.id: n for n, pair in enumerate(listed)}
        self._listed = listed
        self._known = {
            name: pair for pair in listed for name in (pair.id, pair.altname, pair.wsname)
        }

    def pair(self, name: str) -> Pair | None:
        """The pair with this id, altname or WebSocket name."""
        return self._known.get(name)

    def of(self, market: Market) -> Pair:
        return self._of[market.id]

    def order_id(self, order: Order) -> str:
        return self._txid("O", order.market, order.id)

    def fill_order_id(self, fill: Fill) -> str:
        """The id of the order that a fill belongs to."""
        return self._txid("O", fill.market, fill.order_id)

    def fill_id(self, fill: Fill) -> str:
        return self._txid("T", fill.market, fill.id)

    def resolve(self, txid: str) -> tuple[str, int] | None:
        """(market id, number) of a transaction id; None when it cannot be one of this venue."""
        found = _TXID.fullmatch(txid)
        if found is None:
            return None
        scattered = 0
        for letter in "".join(found.groups()[1:]):
            scattered = scattered << 5 | _LETTERS.index(letter)
        index, number = divmod(scattered * _GATHER & _MASK, 1 << _NUMBER_BITS)
        return (self._listed[index].market.id, number) if index < len(self._listed) else None

    def _txid(self, kind: str, market: Market, number: int) -> str:
        rest = (self._index[market.id] << _NUMBER_BITS | number) * _SCATTER & _MASK
        letters = ""
        for _ in range(16):
            rest, last = divmod(rest, 32)
            letters = _LETTERS[last] + letters
        return f"{kind}{letters[:5]}-{letters[5:10]}-{letters[10:]}"
