"""The door to all exchanges: names in, leases out.

Owns: which profiles there are, one room per profile, and the end of all of them. Refuses: keys of
its own, MCP, and every question about a call that CCXT's instances can answer.
"""

from __future__ import annotations

import asyncio
import difflib
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.catalog import ExchangeFacts, catalog
from ccxt_mcp.exchanges.clocks import Reading
from ccxt_mcp.exchanges.common_tables import CommonTables
from ccxt_mcp.exchanges.fetching import Fetching
from ccxt_mcp.exchanges.http import trusting
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.exchanges.leasing import Leasing
from ccxt_mcp.exchanges.library import Library
from ccxt_mcp.exchanges.limits import Limits
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.exchanges.nonces import NonceLanes
from ccxt_mcp.exchanges.pool import AccountLike, ExchangeRoom, Surroundings
from ccxt_mcp.exchanges.probing import Reached
from ccxt_mcp.exchanges.residents import Residents
from ccxt_mcp.exchanges.shelf import Shelf
from ccxt_mcp.exchanges.sources import Policy
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.settings.sources import alike

__all__ = ["Gateway"]


class Gateway:
    """Leases on exchange instances.

    Args:
        profiles: the configured profiles by name. Every CCXT id is a profile too, with defaults.
        ccxt_timeout: seconds for one HTTP request.
        redact: takes the secrets out of a text; applied to everything an exchange says.
        on_progress: told in a short sentence when market tables start and finish loading.
        data_dir: what has to survive a restart is kept here; ``None`` for nothing on disk.
        market_max_age: seconds; market tables are loaded again before they are so old.
        max_exchanges_loaded: exchanges in memory at once, besides those in use.
        policy: how fresh tables are kept in all its details, instead of ``market_max_age``.
        limits: the authority over rate limits; by default one with the published rules.
        load_apart: whether market tables are loaded in processes of their own. A load in this one
            holds its event loop, half a second for 3,600 markets, and keeps nothing on disk.
        cluster: the replicas that share limits, keys and market tables with this one; ``None`` for
            none.

    Bound to the event loop that it is first used in. Mutable: ``_rooms`` (one per profile in
    use), ``_tls`` (one context per certificate file).
    """

    def __init__(
        self,
        profiles: Mapping[str, ExchangeProfile],
        *,
        ccxt_timeout: float = 10.0,
        redact: Callable[[str], str] = str,
        on_progress: Callable[[str], None] | None = None,
        data_dir: Path | None = None,
        market_max_age: float = 21_600.0,
        max_exchanges_loaded: int = 16,
        policy: Policy | None = None,
        limits: Limits | None = None,
        load_apart: bool = True,
        cluster: Cluster | None = None,
    ) -> None:
        self._profiles = dict(profiles)
        self._rooms: dict[str, ExchangeRoom] = {}
        self._tls: dict[str, asyncio.Task[ssl.SSLContext]] = {}
        self._closed = False
        self._nonces = NonceLanes(data_dir, cluster=cluster)
        timeout_ms, progress = round(ccxt_timeout * 1000), on_progress or _silent
        shelf = None if data_dir is None else Shelf(data_dir, progress)
        policy = policy or Policy(max_age=market_max_age)
        common = None
        if cluster is not None:
            common = CommonTables(cluster.sharing, keep=policy.max_age, progress=progress)
        self._around = Surroundings(
            timeout_ms=timeout_ms,
            redact=redact,
            progress=progress,
            tls=self._trusting,
            nonces=self._nonces,
            limits=limits or Limits(cluster=cluster),
            fetching=Fetching(timeout_ms, redact, progress, shelf, apart=load_apart, common=common),
            library=Library(policy, shelf.frames if shelf else None),
            residents=Residents(max_exchanges_loaded),
        )

    def __repr__(self) -> str:
        return f"<Gateway {list(self._rooms.values())}>"

    async def start(self) -> None:
        """Nothing is opened before it is asked for."""

    async def close(self) -> None:
        """Close every connection and stop every load. Leases still out become useless."""
        self._closed = True
        rooms, self._rooms = list(self._rooms.values()), {}
        contexts, self._tls = list(self._tls.values()), {}
        for task in contexts:
            task.cancel()
        await asyncio.gather(*(room.close() for room in rooms))
        await self._around.residents.close()
        await self._around.library.close()
        await asyncio.gather(*contexts, return_exceptions=True)
        await self._nonces.close()
        self._around.limits.close()

    def profile(self, name: str) -> ExchangeProfile:
        """A configured profile, or the default one of a CCXT id, in any case if that is one only.

        Raises ``Failure`` (``unknown_exchange``) with the likely names.
        """
        found = self._profiles.get(name)
        if found is not None:
            self._facts_of(found)
            return found
        if name in catalog().exchanges:
            return ExchangeProfile(name=name, exchange=name)
        meant = alike(name, (*self._profiles, *catalog().exchanges))
        if len(meant) != 1:
            raise self._unknown(name, meant)
        return self.profile(meant[0])

    def exchange_ids(self) -> tuple[str, ...]:
        """CCXT's exchange ids, in alphabetical order. Imports none of them."""
        return tuple(sorted(catalog().exchanges))

    def facts(self, name: str) -> ExchangeFacts:
        """What CCXT says about a profile's exchange. Loads nothing."""
        return self._facts_of(self.profile(name))

    def fingerprint(self, name: str) -> str:
        """What a profile's public answers depend on, as a hash: equal wherever they are the
        same."""
        return self._room(name).fingerprint

    def listing(self, name: str) -> Listing | None:
        """What a profile's exchange lists, if that is known without waiting; else take a lease."""
        return self._room(name).listing()

    def public(self, name: str) -> AbstractAsyncContextManager[Lease]:
        """A keyless instance made for one call, market tables loaded."""
        return Leasing(self._room(name))

    def private(self, account: AccountLike) -> AbstractAsyncContextManager[Lease]:
        """An instance made for one call with the account's keys, and dropped after it."""
        return Leasing(self._room(account.exchange), account)

    async def reach(self, name: str) -> Reached:
        """Whether there is a way to an exchange, and if not, why. Needs neither keys nor tables.

        Raises ``Failure`` for a profile that cannot be used.
        """
        return await self._room(name).reach()

    async def read_clock(self, name: str) -> Reading | None:
        """An exchange's clock, measured now; ``None`` if CCXT cannot ask it. Raises ``Failure``."""
        return await self._room(name).read_clock()

    def corrects_time(self, name: str) -> bool:
        """Whether signed requests to an exchange are corrected by its clock; known once the
        profile has been used."""
        return self._room(name).corrected

    def snapshot(self) -> dict[str, Any]:
        """The state of every profile in use, as JSON values."""
        return {name: room.snapshot() for name, room in sorted(self._rooms.items())}

    def _room(self, name: str) -> ExchangeRoom:
        if self._closed:
            raise Failure(Code.INTERNAL, "the server is shutting down")
        room = self._rooms.get(name)
        if room is None:
            profile = self.profile(name)
            if profile.name != name:
                # One room for a profile, in whatever case it is asked for.
                return self._room(profile.name)
            room = ExchangeRoom(profile, self._facts_of(profile), self._around)
            self._rooms[name] = room
        return room

    def _facts_of(self, profile: ExchangeProfile) -> ExchangeFacts:
        facts = catalog().exchanges.get(profile.exchange)
        if facts is None:
            raise Failure(
                Code.UNKNOWN_EXCHANGE,
                f"profile {profile.name!r} names the exchange {profile.exchange!r}, which CCXT"
                f" {catalog().ccxt_version} does not have{_meant(profile.exchange, ())}",
                hint=f"Correct `exchange` in [exchanges.{profile.name}].",
                exchange=profile.name,
            )
        return facts

    def _unknown(self, name: str, meant: list[str]) -> Failure:
        shown = name[:64]
        if meant:
            return Failure(
                Code.UNKNOWN_EXCHANGE,
                f"there is no exchange {shown!r}, but several of that name in another case:"
                f" {', '.join(meant)}",
                details={"profiles": sorted(self._profiles)},
            )
        return Failure(
            Code.UNKNOWN_EXCHANGE,
            f"there is no exchange {shown!r}{_meant(shown, self._profiles)}",
            details={"profiles": sorted(self._profiles)} if self._profiles else None,
        )

    async def _trusting(self, ca_file: str) -> ssl.SSLContext:
        """The TLS context for a certificate file; all profiles that trust the same share it."""
        task = self._tls.get(ca_file)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(trusting(ca_file))
            self._tls[ca_file] = task
        return await asyncio.shield(task)


def _silent(_: str) -> None:
    pass


def _meant(name: str, profiles: Mapping[str, Any] | tuple[()]) -> str:
    names = [*profiles, *catalog().exchanges]
    near = difflib.get_close_matches(name.lower(), names, n=3)
    return f"; did you mean {', '.join(dict.fromkeys(near))}?" if near else ""
