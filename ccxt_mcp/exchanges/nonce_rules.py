"""Which exchanges demand what of nonces, as data.

Owns: the tables. Refuses: acting on them (``nonces``). A test recomputes them from CCXT's source:
every class that calls ``incrementing_nonce`` is in one of the two, in ``ORDERED`` if it takes the
number while it signs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["OPTIONAL", "ORDERED", "PLAIN", "STRIDE", "UNIQUE"]

ORDERED: Mapping[str, str] = {
    "bit2c": "answers 'not bigger than last nonce'",
    "bitbank": "only with the option authMethod = 'nonce'; CCXT's default sends a time window",
    "bitfinex": "error 10114, not greater than the previous nonce of the key",
    "bitso": "error 104, 'nonce must be higher than …'",
    "btcbox": "error 106, invalid nonce",
    "coincheck": "its API overview: increases with every request, managed per API key",
    "coinmate": "each nonce greater than the previous one of the key",
    "coinspot": "has to increase",
    "gemini": "'Out-of-sequence nonce … precedes previously used nonce …'",
    "independentreserve": "has to increase",
    "kraken": "EAPI:Invalid nonce; its support page 'Why am I getting invalid nonce errors?'",
    "mercado": "tapi_nonce has to increase",
    "paymium": "Api-Nonce has to increase",
    "whitebit": "greater than the previous one, unless the option nonceWindow is on",
    "zaif": "has to increase",
}
"""Exchanges that refuse a request whose nonce is not above that of the last *arrival* → evidence,
where no other source is named: CCXT's own comments and tables of errors."""

UNIQUE: Mapping[str, str] = {
    "derive": "error 11017 for a number used before",
    "hibachi": "part of the signed order; a batch counts on from it",
    "hyperliquid": "its API docs, Nonces: new, and above the lowest of the highest 20 to 100 used",
    "p2b": "error 1016 for a number repeated within 10 s; in seconds",
}
"""Exchanges that want every number once, in any order. Their requests need not wait for each other;
most take the number before the request is paced, where no lane could keep an order anyway."""

PLAIN = frozenset(("btcbox", "coincheck"))
"""Exchanges of ``ORDERED`` that sign with ``nonce()``, in CCXT a bare reading of the clock. (zaif
formats its clock reading itself; there the lane alone keeps the order.)"""

OPTIONAL: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "bitbank": lambda options: options.get("authMethod", "timeWindow") != "timeWindow",
    "whitebit": lambda options: not options.get("nonceWindow", False),
}
"""Exchanges that mind the order only with certain options of CCXT → whether they do."""

STRIDE: Mapping[str, int] = {"hibachi": 64}
"""How many numbers one nonce stands for, where a class counts on from it."""
