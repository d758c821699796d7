"""What exchanges tell about an account once, and CCXT would ask again on every fresh instance.

Owns: the list of such facts, and a small cache of them per account. Refuses: everything that is not
on the list (a token, a key or a cookie that an exchange keeps in ``options`` dies with its
instance), and facts that may be wrong: learned from a call with parameters of its own, or while the
exchange did not answer properly.

CCXT learns these while it works: whether the account is unified, which sub-accounts it has. It
keeps them on the instance, and ours live for one call; bybit alone costs two more requests each
time. The cache is keyed by a hash of the key, so a fact never reaches another account. It is
forgotten after ten minutes, and as soon as the exchange refuses a call that relied on it: an
account may have been upgraded meanwhile.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ccxt_mcp.errors import Code

__all__ = ["FACTS", "AccountFacts", "Fact"]

TTL = 600.0
"""Seconds for which a fact is believed."""

LIMIT = 1024
"""Accounts at most; the longest unused goes first."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact.

    Attributes:
        name: the option, or the attribute, in which CCXT keeps it.
        attribute: whether it is an attribute of the instance rather than an option.
        regardless: whether it is the same whatever parameters the call had.
        only: the values worth keeping; all if empty. Others mean "could not be found out".
        bare: whether it is kept without the ``info`` of its rows, which holds balances.
    """

    name: str
    attribute: bool = False
    regardless: bool = False
    only: tuple[Any, ...] = ()
    bare: bool = False


def _option(*names: str, regardless: bool = False, only: tuple[Any, ...] = ()) -> tuple[Fact, ...]:
    return tuple(Fact(name, regardless=regardless, only=only) for name in names)


_ACCOUNTS = (Fact("accounts", attribute=True), Fact("accountsById", attribute=True))
_BARE_ACCOUNTS = tuple(Fact(each.name, attribute=True, bare=True) for each in _ACCOUNTS)

FACTS: Mapping[str, tuple[Fact, ...]] = {
    "apex": _option("accountId"),
    "bitget": _option("uta", regardless=True),
    "bittrade": _ACCOUNTS,
    "bullish": _option("tradingAccountId"),
    "bybit": _option(
        *("enableUnifiedMargin", "enableUnifiedAccount", "unifiedMarginStatus"), regardless=True
    ),
    "coinbase": _BARE_ACCOUNTS,
    "coinbaseexchange": _BARE_ACCOUNTS,
    "gate": _option("unifiedAccount", regardless=True),
    "grvt": _option("userMainAccountId", "accountId"),
    "htx": _ACCOUNTS,
    "hyperliquid": _option("enableUnifiedMargin", only=(True, False)),
    "kucoin": _option("uta", "hf", regardless=True),
    "lighter": _option("accountIndex"),
    "luno": _BARE_ACCOUNTS,
    "nado": _option("gatewayContracts"),
    "ndax": _BARE_ACCOUNTS,
    "paradex": _option("systemConfig"),
}
"""CCXT's class of an exchange → facts. A test finds each in the class's source, as written during a
call. A subclass (``bybiteu``) has its base's.

Left out, with the requests that it costs: binance's and aster's ``leverageBrackets`` (of linear
*or* inverse contracts, whichever was asked for first, so that the other kind would read an empty
table; large), pacifica's ``settings`` and dydx's ``dydxAccount`` (they change with use),
coinbaseexchange's ``coinbaseAccounts`` (balances), extended's ``account`` (the account's whole
record), derive's ``subaccount_id`` (an argument of one call)."""


class Finished(Protocol):
    """What this module needs to know of a lease that ends (``lease.Lease`` is one)."""

    key_id: str
    given: frozenset[Fact]
    with_params: bool
    succeeded: bool
    failed: Code | None


_NONE: frozenset[Fact] = frozenset()
_NOT_THE_ACCOUNTS = frozenset(
    (
        *(Code.TIMEOUT, Code.RATE_LIMITED, Code.OVERLOADED, Code.EXCHANGE_UNAVAILABLE),
        *(Code.BAD_RESPONSE, Code.INTERNAL),
    )
)
"""Failures that no wrong fact about an account can cause."""


class AccountFacts:
    """The cache of one profile.

    Mutable: ``_known`` (key → time of learning and facts; at most ``LIMIT``, longest unused first).
    Values go in and out as copies: what CCXT does to its instance stays there.
    """

    def __init__(
        self, exchange_class: type[Any], *, now: Callable[[], float] = time.monotonic
    ) -> None:
        names = (cls.__name__ for cls in exchange_class.__mro__)
        self._facts = next((FACTS[name] for name in names if name in FACTS), ())
        self._now = now
        self._known: OrderedDict[str, tuple[float, dict[Fact, Any]]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<AccountFacts of {len(self._known)} accounts>"

    def __len__(self) -> int:
        return len(self._known)

    def restore(self, key_id: str, instance: Any) -> frozenset[Fact]:
        """Give a fresh instance what is known of its account. Returns which facts have a value now.

        The profile's own options win: a fact only fills what CCXT would have asked for.
        """
        if not self._facts:
            return _NONE
        known: dict[Fact, Any] = {}
        entry = self._known.get(key_id)
        if entry is not None and self._now() - entry[0] >= TTL:
            del self._known[key_id]
        elif entry is not None:
            self._known.move_to_end(key_id)
            known = entry[1]
        given = []
        for fact in self._facts:
            place = _place(fact, instance)
            if place.get(fact.name) is None:
                if fact not in known:
                    continue
                place[fact.name] = _copied(known[fact])
            given.append(fact)
        return frozenset(given)

    def learn(
        self, key_id: str, instance: Any, given: frozenset[Fact], *, with_params: bool
    ) -> None:
        """Keep what an instance found out during a call that went well.

        Args:
            key_id: the account's key.
            instance: as the call left it.
            given: what ``restore`` returned: these were not found out.
            with_params: whether the call had parameters of its own.
        """
        found: dict[Fact, Any] = {}
        for fact in self._facts:
            if fact in given or (with_params and not fact.regardless):
                continue
            value = _place(fact, instance).get(fact.name)
            if value is not None and (not fact.only or value in fact.only):
                found[fact] = _copied(value, bare=fact.bare)
        if not found:
            return
        learned_at, known = self._known.get(key_id) or (self._now(), {})
        # The entry ages from its first fact on, however often it is used and added to.
        self._known[key_id] = (learned_at, {**known, **found})
        self._known.move_to_end(key_id)
        while len(self._known) > LIMIT:
            self._known.popitem(last=False)

    def settle(self, lease: Finished, instance: Any) -> None:
        """At the end of a lease: keep what it found out, or doubt what it was given."""
        if lease.failed is None:
            if lease.succeeded and not instance.doubtful:
                self.learn(lease.key_id, instance, lease.given, with_params=lease.with_params)
        elif lease.given and lease.failed not in _NOT_THE_ACCOUNTS:
            self.forget(lease.key_id)

    def forget(self, key_id: str) -> None:
        """Believe nothing of an account any more."""
        self._known.pop(key_id, None)


def _copied(value: Any, *, bare: bool = False) -> Any:
    """A copy of what came out of JSON. (``copy.deepcopy`` takes ten times as long.)"""
    if isinstance(value, dict):
        return {
            key: _copied(each, bare=bare)
            for key, each in value.items()
            if not (bare and key == "info")
        }
    return [_copied(each, bare=bare) for each in value] if isinstance(value, list) else value


def _place(fact: Fact, instance: Any) -> dict[str, Any]:
    place: dict[str, Any] = instance.__dict__ if fact.attribute else instance.options
    return place
