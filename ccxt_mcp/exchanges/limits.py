"""The one authority over what may be sent to an exchange.

Owns: one limiter per limit of an exchange and way out (``base_url``, proxy), and per API key where
the exchange counts by key; shared by all profiles that meet at the same exchange by the same way,
and with a cluster by all its replicas.
Refuses: the rules (``budgets``), the arithmetic (``mechanisms/rate_limit``), and knowing requests
from answers (``pacing``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Protocol
from urllib.parse import urlsplit

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.cluster.limiter import SharedLimiter
from ccxt_mcp.exchanges.budgets import (
    VENUES,
    Budget,
    Pool,
    budget_of,
    default_pool,
    is_public,
    joined,
)
from ccxt_mcp.mechanisms.rate_limit import Limiter

__all__ = ["AnyLimiter", "Limits", "Place"]

AnyLimiter = Limiter | SharedLimiter
"""A limit of this process, or one that replicas have in common."""

_Key = tuple[Hashable, str, str, str, str | None, bool]
"""Place, pool, what it counts by, path (if that has a limit of its own), key (if that has one), and
whether it is common to replicas."""


class _Profile(Protocol):
    @property
    def exchange(self) -> str: ...
    @property
    def base_url(self) -> Any: ...
    @property
    def proxy(self) -> str | None: ...
    @property
    def sandbox(self) -> bool: ...


class Place:
    """One exchange as reached by one way; equal for profiles that share it.

    Mutable: ``_chosen``, a memo of ``pools``, bounded by CCXT's endpoints; ``banned_until``
    (event-loop time, never lowered), which ``Limits.ban`` sets.
    """

    __slots__ = ("_chosen", "_default", "banned_until", "budget", "exchange", "key")

    def __init__(self, profile: _Profile, budget: Budget, rate_limit: float) -> None:
        self.exchange = VENUES.get(profile.exchange, profile.exchange)
        self.budget = budget
        self.key = (self.exchange, profile.sandbox, _origin(profile.base_url), profile.proxy or "")
        self.banned_until = 0.0
        default = default_pool(rate_limit)
        self._default = () if default is None else (default,)
        self._chosen: dict[tuple[str, str, str, bool], tuple[Pool, ...]] = {}

    def __repr__(self) -> str:
        # Without the proxy, which may hold a password.
        return f"<Place {self.exchange}>"

    def pools(self, api: Any, method: str, path: str, *, keyed: bool) -> tuple[Pool, ...]:
        """Where a request counts; what counts by key comes first."""
        name = joined(api)
        asked = (name, method, path, keyed)
        found = self._chosen.get(asked)
        if found is None:
            found = self._chosen[asked] = self._choose(name, method, path, keyed)
        return found

    def _choose(self, api: str, method: str, path: str, keyed: bool) -> tuple[Pool, ...]:
        signed = keyed and not is_public(api)
        matching = [
            each for each in self.budget.pools if each.matches(api, method, path, signed=signed)
        ]
        general: dict[str, Pool] = {}
        for each in matching:
            if not each.paths:
                general.setdefault(each.per, each)
        if not general:
            general = {each.per: each for each in self._default}
        chosen = [each for each in matching if each.paths] + list(general.values())
        return tuple(sorted(chosen, key=lambda each: each.per, reverse=True))


class Limits:
    """All limiters of the process.

    Args:
        budgets: the budget of a CCXT id.
        most: how many limiters are kept. The least recently used are dropped, but none in which
            anybody waits or anything is remembered, so that nothing is forgotten too early.
        cluster: the replicas that spend the same budgets; ``None`` for this process alone.

    Bound to the event loop it is used in. Mutable: ``_places`` (one per way to an exchange),
    ``_limiters`` (least recently used first).
    """

    def __init__(
        self,
        *,
        budgets: Callable[[str], Budget] = budget_of,
        most: int = 4096,
        cluster: Cluster | None = None,
    ) -> None:
        self._budgets = budgets
        self._cluster = cluster
        self._most = most
        self._places: dict[Hashable, Place] = {}
        self._limiters: OrderedDict[_Key, AnyLimiter] = OrderedDict()

    def __repr__(self) -> str:
        waiting = sum(each.waiting for each in self._limiters.values())
        return f"<Limits {len(self._limiters)} limiters, {waiting} waiting>"

    def place(self, profile: _Profile, rate_limit: float) -> Place:
        """Where a profile's requests count. ``rate_limit`` is CCXT's, in milliseconds."""
        made = Place(profile, self._budgets(profile.exchange), rate_limit)
        return self._places.setdefault(made.key, made)

    def limiter(self, place: Place, pool: Pool, path: str, key_id: str | None) -> AnyLimiter:
        """The limiter of one pool, for the path and the key where the pool makes a difference."""
        return self._limiter(place, pool, path, key_id, self._cluster)

    def counter(self, place: Place, pool: Pool, path: str, key_id: str | None) -> Limiter:
        """The same for requests that do not wait: nobody else is asked, or told."""
        found = self._limiter(place, pool, path, key_id, None)
        assert isinstance(found, Limiter)
        return found

    def ban(self, place: Place, until: float) -> None:
        """The exchange turned this address away: nothing goes there before ``until``."""
        place.banned_until = max(place.banned_until, until)
        told = False
        for key, limiter in self._limiters.items():
            if key[0] != place.key:
                continue
            if isinstance(limiter, SharedLimiter) and not told:
                limiter.ban(until)
                told = True
            else:
                limiter.keep_back(until)

    def close(self) -> None:
        """Let other replicas know at once what they have yet to hear."""
        for limiter in self._limiters.values():
            if isinstance(limiter, SharedLimiter):
                limiter.flush()

    def _limiter(
        self, place: Place, pool: Pool, path: str, key_id: str | None, cluster: Cluster | None
    ) -> AnyLimiter:
        own_path = path if pool.per_path else ""
        own_key = key_id if pool.per == "key" else None
        key = (place.key, pool.name, pool.per, own_path, own_key, cluster is not None)
        found = self._limiters.get(key)
        if found is None:
            self._make_room()
            name = f"{place.exchange} {pool.name}" + (f" {path}" if pool.per_path else "")
            if cluster is None:
                found = Limiter(pool.rules(), name=name)
            else:
                where = f"{place.exchange}/{cluster.hidden(*map(str, place.key))}"
                part = "/".join((pool.name.replace(" ", "-"), pool.per, own_path, own_key or ""))
                found = SharedLimiter(cluster.node, where, part, pool.rules(), name=name)
            found.keep_back(place.banned_until)
            self._limiters[key] = found
        else:
            self._limiters.move_to_end(key)
        return found

    def snapshot(self, place: Place) -> dict[str, Any]:
        """The limits of a place that are in use, by name, as JSON values. Keys are summed up."""
        out: dict[str, Any] = {}
        for key, limiter in self._limiters.items():
            if key[0] != place.key or limiter.idle:
                continue
            now = limiter.snapshot()
            name = limiter.name.removeprefix(f"{place.exchange} ")
            row = out.setdefault(name, {**now, "limiters": 0})
            row["limiters"] += 1
            if row["limiters"] > 1:
                for field in ("used", "blockedMs"):
                    row[field] = max(row[field], now[field])
                for field in ("waiting", "granted", "refused"):
                    row[field] += now[field]
        return out

    def _make_room(self) -> None:
        if len(self._limiters) < self._most:
            return
        for key in [key for key, each in self._limiters.items() if each.idle][: self._most // 8]:
            del self._limiters[key]


def _origin(base_url: Any) -> str:
    if base_url is None:
        return ""
    parts = urlsplit(str(base_url))
    return f"{parts.scheme}://{parts.netloc}".lower()
