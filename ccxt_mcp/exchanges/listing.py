"""What one exchange lists, and finding a market in it by whatever name a caller knows.

Owns: the names of markets (unified symbols, the exchange's own ids, both without their separators)
and the words when a name fits none or several. Refuses: requests, and any guess between two markets
that a name fits equally.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ccxt_mcp.errors import Code, Failure

__all__ = ["Listing"]

_LONGEST = 64
"""Characters of a name that are looked at: no symbol is longer."""


class Listing:
    """The markets of one profile as they were listed at one time. Shared by everybody: read only.

    Attributes:
        exchange: the profile's name.
        markets: CCXT's markets by unified symbol.
        timeframes: unified timeframes of candles → the exchange's own.
        fetched_at: when the exchange was asked, POSIX seconds.
        kind: the market that is meant where a name fits several kinds: ``spot`` or ``swap``.
    """

    def __init__(self, exchange: str, instance: Any, fetched_at: float) -> None:
        self.exchange = exchange
        self.markets: Mapping[str, Mapping[str, Any]] = MappingProxyType(instance.markets)
        self.timeframes: Mapping[str, str] = MappingProxyType(instance.timeframes or {})
        self.fetched_at = fetched_at
        self._features: Mapping[str, Any] = getattr(instance, "features", None) or {}
        # CCXT's own way to say which of two markets of one id is meant; `spot` unless configured.
        kind = instance.options.get("defaultType")
        self.kind = "swap" if kind in ("swap", "future", "delivery") else "spot"

    def __repr__(self) -> str:
        return f"<Listing {self.exchange} {len(self.markets)} markets>"

    def find(self, name: str) -> str | None:
        """The unified symbol of the market that a name means; ``None`` if it fits none.

        Besides symbols in any case, names without separators or with others (``BTCUSDT``,
        ``btc-usdt``) and the exchange's own ids are understood. One that fits a spot market and
        contracts alike means the spot market, or the contract where the profile's ``defaultType``
        says so.

        Raises:
            Failure: ``invalid_argument`` for a name that fits several; they are listed.
        """
        asked = name.strip()[:_LONGEST]
        markets = self.markets
        if asked in markets:
            return asked
        if (upper := asked.upper()) in markets:
            return upper
        fitting = self._by_plain.get(_plain(asked), ())
        if len(fitting) <= 1:
            return fitting[0] if fitting else None
        preferred = [each for each in fitting if markets[each].get("type") == self.kind]
        if len(preferred) == 1:
            return preferred[0]
        choices = sorted(preferred or fitting)[:10]
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"{asked!r} fits several markets of {self.exchange}: {', '.join(choices)}.",
            hint="Pass one of these symbols.",
            exchange=self.exchange,
            details={"similar": choices},
        )

    def market(self, symbol: str) -> Mapping[str, Any]:
        """One market by its unified symbol. Raises ``Failure`` (``unknown_symbol``)."""
        found = self.markets.get(symbol)
        if found is None:
            raise self.unknown(symbol)
        return MappingProxyType(found)

    def most(self, symbol: str, method: str) -> int | None:
        """The most rows that one request of a unified method (``fetchOHLCV``) brings of a market,
        as far as CCXT knows."""
        market = self.markets[symbol]
        found: Any = self._features.get(market.get("type") or "spot")
        if isinstance(found, Mapping) and method not in found:
            found = found.get("inverse" if market.get("inverse") else "linear")
        told = found.get(method) if isinstance(found, Mapping) else None
        most = told.get("limit") if isinstance(told, Mapping) else None
        return most if isinstance(most, int) and most > 0 else None

    def lists(self, name: str) -> bool:
        """Whether any market has this name, with whatever separators."""
        return _plain(name[:_LONGEST]) in self._by_plain

    def unknown(self, name: str) -> Failure:
        """The refusal of a name that fits no market, with the nearest ones."""
        near = self._near(name)
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        return Failure(
            Code.UNKNOWN_SYMBOL,
            f"{self.exchange} does not list {name[:_LONGEST]!r}{meant}",
            exchange=self.exchange,
            details={"similar": near} if near else None,
        )

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of its markets: ``spot``, ``swap``, ``future``, ``option``."""
        return frozenset(str(market.get("type")) for market in self.markets.values())

    def lacks(self, kind: str) -> str | None:
        """That no market is of this kind, in words; ``None`` if one is."""
        if kind in self.kinds:
            return None
        there = ", ".join(sorted(self.kinds)) or "nothing"
        return f"{self.exchange} lists no {kind} markets here (only: {there})."

    @cached_property
    def quotes(self) -> frozenset[str]:
        """The quote currencies of its markets, in capitals."""
        return frozenset(str(each.get("quote") or "").upper() for each in self.markets.values())

    @cached_property
    def _by_plain(self) -> Mapping[str, tuple[str, ...]]:
        """Name without separators → the symbols that have it as symbol or as id."""
        index: dict[str, tuple[str, ...]] = {}
        for symbol, market in self.markets.items():
            for name in {_plain(symbol), _plain(str(market.get("id") or ""))} - {""}:
                index[name] = (*index.get(name, ()), symbol)
        return index

    def _near(self, name: str) -> list[str]:
        """Up to three symbols like ``name``, in time that does not grow into a stall."""
        wanted = _plain(name[:_LONGEST])
        # difflib on thousands of symbols would hold the event loop for a tenth of a second.
        kin = [each for each in self._by_plain if wanted and each.startswith(wanted[:2])][:200]
        kin += [each for each in self._by_plain if wanted[-4:] and each.endswith(wanted[-4:])][:200]
        close = difflib.get_close_matches(wanted, dict.fromkeys(kin), n=3)
        found = (symbol for each in close for symbol in self._by_plain[each])
        return list(dict.fromkeys(found))[:3]


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).upper()
