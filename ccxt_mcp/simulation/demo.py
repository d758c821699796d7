"""A venue to try things on: two funded accounts with resting orders and a past.

Owns the names and shape of the demonstration accounts. Their keys follow from the seed alone, so
that another process can know them without asking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from ccxt_mcp.simulation.accounts import derive_keys
from ccxt_mcp.simulation.kraken_names import kraken_keys
from ccxt_mcp.simulation.venue import Venue, system_clock

__all__ = ["DEMO_CONTRACTS", "DEMO_NAMES", "DemoAccount", "demo_accounts", "demo_venue"]

DEMO_NAMES = ("main", "second")
DEMO_CONTRACTS = 8
"""Perpetual contracts that the demonstration lists."""


class DemoAccount(NamedTuple):
    name: str
    api_key: str
    secret: str


def demo_accounts(
    seed: int = 1, *, dialect: Literal["binance", "kraken"] = "binance"
) -> tuple[DemoAccount, ...]:
    """Names, keys and secrets of the demonstration accounts, fixed by `seed`.

    They are the same accounts in every dialect, with the same keys; only the secrets differ.
    """
    keys = kraken_keys if dialect == "kraken" else derive_keys
    return tuple(DemoAccount(name, *keys(seed, name)) for name in DEMO_NAMES)


def demo_venue(
    seed: int = 1,
    *,
    clock: Callable[[], int] = system_clock,
    extra_symbols: int = 0,
    linear_symbols: int = 0,
    burst: int = 1,
) -> tuple[Venue, tuple[DemoAccount, ...]]:
    """A venue with the demonstration accounts in it: 7 and 4 resting orders, past orders, trades.

    `clock` returns Unix milliseconds; the past of the accounts ends at its present. The rest is as
    in `Venue`.
    """
    venue = Venue(
        seed=seed,
        extra_symbols=extra_symbols,
        linear_symbols=linear_symbols,
        burst=burst,
        clock=clock,
    )
    accounts = demo_accounts(seed)
    for account, resting, currencies in zip(accounts, (7, 4), (9, 6), strict=True):
        venue.add_account(
            account.api_key,
            account.secret,
            name=account.name,
            open_orders=resting,
            past_orders=3 * resting,
            currencies=currencies,
        )
    return venue, accounts
