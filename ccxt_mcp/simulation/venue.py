"""The simulated venue: markets, accounts, time. It knows no wire format and no HTTP.

Owns all mutable trading state, on one event loop without locks: every method decides and changes
synchronously. Dialects (`binance.py`, `kraken.py`) read it and translate; all of them speak of the
same accounts, each by the same key.

Refuses order entry for now. The seam: a `matching.py` that decides against `Venue.book()` and
changes an account through `Account.put`, `Account.record` and `Account.credit` only; ids come from
`Venue.next_id`. Until it exists a dialect answers an order with its venue's own error.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

from ccxt_mcp.simulation.accounts import history
from ccxt_mcp.simulation.book import Book
from ccxt_mcp.simulation.markets import Market, linear_markets, spot_markets
from ccxt_mcp.simulation.orders import Account

__all__ = ["Venue", "system_clock"]

_FIRST_ID = 100_000
_FIRST_ACCOUNT_ID = 90_001
_EARLIEST, _LATEST = 1_514_764_800_000, 4_102_444_800_000


def system_clock() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def _check_time(now: int) -> None:
    if not _EARLIEST <= now <= _LATEST:
        raise ValueError(f"the venue's time must be in the years 2018 to 2100, not {now} ms")


class Venue:
    """One seeded venue.

    `extra_symbols` adds synthetic spot markets, `linear_symbols` lists perpetual contracts (prices
    and funding, no orders). Each second `burst` public trades come in one millisecond. `clock`
    returns Unix milliseconds between 2018 and 2100; prices are a function of it and of `seed`.
    Raises `ValueError` when a count or the time is out of range.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        extra_symbols: int = 0,
        linear_symbols: int = 0,
        burst: int = 1,
        clock: Callable[[], int] = system_clock,
    ) -> None:
        if burst < 1:
            raise ValueError(f"burst must be at least 1, not {burst}")
        self.seed = seed
        self._burst = burst
        self.markets: Mapping[str, Market] = {m.id: m for m in spot_markets(extra_symbols)}
        self.linear: Mapping[str, Market] = {m.id: m for m in linear_markets(linear_symbols)}
        _check_time(clock())
        self._clock = clock
        self._clock_offset = 0
        self._accounts: dict[str, Account] = {}
        self._books: dict[tuple[str, str], Book] = {}
        self._ids: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Venue seed={self.seed} markets={len(self.markets)} keys={len(self._accounts)}>"

    @property
    def assets(self) -> list[str]:
        """Every asset of a listed spot market, in listing order."""
        return list(dict.fromkeys(a for m in self.markets.values() for a in (m.base, m.quote)))

    @property
    def accounts(self) -> Mapping[str, Account]:
        """Accounts by API key."""
        return self._accounts

    def now(self) -> int:
        """The venue's time, Unix milliseconds."""
        return self._clock() + self._clock_offset

    def set_clock_offset(self, milliseconds: int) -> None:
        """Put the venue's clock ahead (or, negative, behind) of the clock it was given.

        Raises `ValueError`, changing nothing, when that leaves the years 2018 to 2100.
        """
        _check_time(self._clock() + milliseconds)
        self._clock_offset = milliseconds

    def book(self, market: Market) -> Book:
        """The price process of a market."""
        key = (market.kind, market.id)
        found = self._books.get(key)
        if found is None:
            found = self._books[key] = Book(self.seed, market, self._burst)
        return found

    def next_id(self, market: Market) -> int:
        """A fresh id for an order or a fill, rising per market across all accounts."""
        self._ids[market.id] += 1
        return _FIRST_ID + self._ids[market.id]

    def add_account(
        self,
        api_key: str,
        secret: str,
        *,
        name: str,
        seed: int | None = None,
        open_orders: int = 5,
        past_orders: int = 12,
        currencies: int = 8,
        symbols: tuple[str, ...] | None = None,
    ) -> Account:
        """Open an account with a seeded past and return it.

        `name` (1 to 12 letters and digits) starts each of its client order ids. Orders are spread
        over `symbols`, by default the first eight markets. Assets held by resting orders are funded
        on top of `currencies` free balances. Raises `ValueError` for a key that exists, an unknown
        symbol or a name that does not fit.
        """
        if not api_key or api_key in self._accounts:
            raise ValueError("an API key must be new and not empty")
        if unknown := [s for s in symbols or () if s not in self.markets]:
            raise ValueError(f"unknown symbols: {', '.join(unknown)}")
        now = self.now()
        past = history(
            seed=self.seed if seed is None else seed,
            name=name,
            now=now,
            markets=[self.markets[s] for s in symbols or tuple(self.markets)[:8]],
            assets=self.assets,
            book=self.book,
            next_id=self.next_id,
            open_orders=open_orders,
            past_orders=past_orders,
            currencies=currencies,
        )
        account = Account(api_key, secret, name, _FIRST_ACCOUNT_ID + len(self._accounts), now)
        for asset, amount in past.free.items():
            account.credit(asset, amount)
        for order in past.orders:
            account.credit(*order.hold)
            account.put(order)
        for fill in past.fills:
            account.record(fill)
        self._accounts[api_key] = account
        return account
