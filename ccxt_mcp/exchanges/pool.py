"""One exchange profile as a living thing: its session, its prototype, its instances.

Owns: the order in which a profile comes to life (class, TLS, session, tables), making an instance
for each lease, and taking it back. Refuses: choosing the profile (``gateway``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from ccxt_mcp.errors import Code, ConfigurationError, Failure
from ccxt_mcp.exchanges.account_facts import AccountFacts
from ccxt_mcp.exchanges.catalog import ExchangeFacts
from ccxt_mcp.exchanges.clocks import Clock, Reading, adjusts, measured
from ccxt_mcp.exchanges.cloning import Mould, exact, release
from ccxt_mcp.exchanges.fetching import Fetching
from ccxt_mcp.exchanges.http import RoutedSession, open_session, trust_store
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.exchanges.library import Library
from ccxt_mcp.exchanges.limits import Limits
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.exchanges.markets import Loaded, shutting_down
from ccxt_mcp.exchanges.nonces import NonceLanes
from ccxt_mcp.exchanges.pacing import Pacing
from ccxt_mcp.exchanges.probing import Reached, address_of, probe
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.exchanges.residents import Residents
from ccxt_mcp.exchanges.shelf import fingerprint
from ccxt_mcp.exchanges.sources import Source
from ccxt_mcp.exchanges.tables import Tables
from ccxt_mcp.mechanisms.deadline import remaining
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.telemetry import Step, timed

__all__ = ["AccountLike", "ExchangeRoom", "Surroundings"]


class AccountLike(Protocol):
    """What this package needs of an account (``accounts.Account`` is one)."""

    @property
    def name(self) -> str: ...
    @property
    def exchange(self) -> str: ...
    @property
    def credentials(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all profiles have in common."""

    timeout_ms: int
    redact: Callable[[str], str]
    progress: Callable[[str], None]
    tls: Callable[[str], Awaitable[Any]]
    nonces: NonceLanes
    limits: Limits
    fetching: Fetching
    library: Library
    residents: Residents


@dataclass(frozen=True, slots=True)
class _Tables:
    """A loaded prototype. Replaced as a whole, never changed: instances made from it stay valid."""

    mould: Mould
    session: RoutedSession
    tables: Tables
    listing: Listing

    @property
    def markets(self) -> Any:
        """By symbol; the very object that every instance made from these tables has."""
        return self.mould.prototype.markets


class ExchangeRoom:
    """Everything of one profile.

    Mutable: ``_alive`` (class and session, see ``Loaded``) with ``_blank`` and ``_session``, which
    it sets; ``_source`` (the tables' keeper, shared with equal profiles); ``_made`` (what instances
    are made from; ``None`` when cold and after new tables came, until the next use); ``_leases``
    and ``_waiting`` (never negative; neither is sent away while they are not 0).
    """

    def __init__(
        self, profile: ExchangeProfile, facts: ExchangeFacts, surroundings: Surroundings
    ) -> None:
        self.profile = profile
        self.facts = facts
        self._around = surroundings
        self._place = surroundings.limits.place(profile, facts.rate_limit)
        self._pacing = self._paced(None, None)
        self._blank: Mould | None = None
        self._session: RoutedSession | None = None
        self.fingerprint = fingerprint(
            profile.exchange,
            base_url=None if profile.base_url is None else str(profile.base_url),
            sandbox=profile.sandbox,
            options=profile.options,
        )
        self._alive: Loaded[RoutedSession] = Loaded(self._come_alive, name=profile.name)
        self._source: Source | None = None
        self._made: _Tables | None = None
        self._closed = False
        self._leases = self._waiting = 0
        self._clock: Clock | None = None
        self._account_facts: AccountFacts | None = None

    def __repr__(self) -> str:
        state = "loaded" if self._made else "loading" if self._waiting else "cold"
        return f"<ExchangeRoom {self.profile.name} {state} leases={self._leases}>"

    async def public(self) -> Lease:
        tables = await self._ready()
        # Public data too: some classes keep what one call's parameters said (coinbaseinternational
        # its route), and all of them the last address, headers and body.
        instance = tables.mould.clone(session=tables.session)
        instance.enableLastHttpResponse = False
        instance.pacing = self._pacing
        return self._lease(instance, tables.listing, private=False)

    def listing(self) -> Listing | None:
        """What the exchange lists, if that is known without waiting."""
        made = self._warm()
        return None if made is None else made.listing

    async def private(self, account: AccountLike) -> Lease:
        # First of all: a request with half a key would only be answered with less clear words.
        self._require_credentials(account)
        tables = await self._ready()
        instance = tables.mould.clone(
            session=tables.session, credentials=account.credentials, number=exact
        )
        instance.clock = self._clock
        nonces = self._around.nonces
        key_id = nonces.key_id(self.profile.exchange, self.profile.sandbox, account.credentials)
        lane: Any = nonces.lane(self.profile.exchange, key_id, instance.options, instance.nonce)
        if lane is not None and lane.common:
            # Others are asked: the profile is in use meanwhile.
            self._waiting += 1
            try:
                lane = await lane.prepared()
            finally:
                self._waiting -= 1
        instance.pacing = self._paced(key_id, lane)
        lease = self._lease(instance, tables.listing, private=True)
        lease.key_id = key_id
        if self._account_facts is None:
            self._account_facts = AccountFacts(type(instance))
        lease.given = self._account_facts.restore(lease.key_id, instance)
        return lease

    def take_back(self, lease: Lease) -> None:
        """End a lease. Its instance loses its keys and is freed with the last reference."""
        instance = lease._end()
        if instance is None:
            return
        self._leases -= 1
        if lease.private and self._account_facts is not None:
            self._account_facts.settle(lease, instance)
        release(instance)
        if self.idle:
            self._around.residents.trim()

    async def renew(self, lease: Lease, account: AccountLike | None) -> bool:
        """Have the markets listed again for a lease that misses one, if that may be. Whether it
        has other tables now; the lease goes on with an instance made from them."""
        made, held = self._made, lease._held()
        if made is not None and self._source is not None and made.markets is held.markets:
            left = remaining()
            try:
                # The rest of the call's time is for saying so, or for the call itself.
                async with asyncio.timeout(None if left is None else left * _SHARE):
                    await self._source.look_again(made.tables)
            except TimeoutError:
                return False
        made = await self._ready()
        if made.markets is held.markets:
            return False
        other = await (self.public() if account is None else self.private(account))
        lease._instance, other._instance = other._instance, lease._instance
        lease._listing = other._listing
        lease.given = other.given
        self.take_back(other)
        return True

    def snapshot(self) -> dict[str, Any]:
        """The profile's state as JSON values; ages in seconds."""
        source, session = self._source, self._session
        return {
            "exchange": self.profile.exchange,
            **(source.snapshot() if source else COLD),
            "leases": self._leases,
            "limits": self._around.limits.snapshot(self._place),
            "clock": self._clock.snapshot() if self._clock else None,
            "nonces": self._around.nonces.snapshot().get(self.profile.exchange),
            "upstreamRequests": session.requests if session else 0,
            "connectionsOpened": session.connections if session else 0,
            "tlsHandshakes": session.handshakes if session else 0,
            "openConnections": session.open_connections if session else 0,
        }

    @property
    def corrected(self) -> bool:
        """Whether signed requests are corrected by the exchange's clock, once the profile is
        alive."""
        return self._clock is not None

    @property
    def idle(self) -> bool:
        """Whether nobody has a lease or waits for one."""
        return self._leases == 0 and self._waiting == 0

    def shed(self) -> Coroutine[Any, Any, None]:
        """Back to cold: no tables, no connections. The coroutine does what takes time."""
        alive, self._alive = self._alive, Loaded(self._come_alive, name=self.profile.name)
        source, self._source = self._source, None
        self._made = None
        session, self._session = self._session, None
        clock, self._clock = self._clock, None
        self._blank = None
        return self._take_apart(alive, source, session, clock)

    async def close(self) -> None:
        self._closed = True
        await self.shed()

    async def _take_apart(
        self,
        alive: Loaded[RoutedSession],
        source: Source | None,
        session: RoutedSession | None,
        clock: Clock | None,
    ) -> None:
        await alive.close()
        if clock is not None:
            await clock.close()
        if source is not None:
            await self._around.library.leave(source, self)
        if session is not None:
            await session.close()

    def _lease(self, instance: Any, listing: Listing, *, private: bool) -> Lease:
        lease = Lease(
            instance,
            listing,
            exchange=self.profile.name,
            private=private,
            redact=self._around.redact,
        )
        self._leases += 1
        return lease

    def _paced(self, key_id: str | None, lane: Any) -> Pacing:
        return Pacing(
            self._around.limits,
            self._place,
            exchange=self.profile.name,
            key_id=key_id,
            lane=lane,
            waits=self.profile.rate_limit == "on",
        )

    def _require_credentials(self, account: AccountLike) -> None:
        missing = [k for k in self.facts.required_credentials if not account.credentials.get(k)]
        if missing:
            raise Failure(
                Code.AUTHENTICATION_FAILED,
                f"account {account.name!r} lacks {', '.join(missing)}, which"
                f" {self.profile.exchange} requires",
                hint="Complete the account in the server's configuration.",
                exchange=self.profile.name,
                details={"missing": missing},
            )

    async def fetch(self, max_age: float) -> Tables:
        """Have the tables loaded from the exchange; for the keeper of tables."""
        return await self._around.fetching.fetch(
            self.profile,
            self.fingerprint,
            pacing=self._pacing,
            connect=self._alive.get,
            max_age=max_age,
        )

    async def reach(self) -> Reached:
        """Ask for the root of the exchange's address: whether there is a way there at all.

        Raises ``Failure`` where the profile itself makes that impossible.
        """
        async with self._awake() as session:
            assert self._blank is not None
            base_url = None if self.profile.base_url is None else str(self.profile.base_url)
            return await probe(
                session,
                address_of(self._blank.prototype),
                base_url=base_url,
                timeout=self._around.timeout_ms / 1000,
            )

    async def read_clock(self) -> Reading | None:
        """Measure the exchange's clock, whether or not requests are corrected by it; ``None`` if
        CCXT cannot ask for its time. Raises ``Failure``."""
        async with self._awake():
            assert self._blank is not None
            if not self._blank.prototype.has.get("fetchTime"):
                return None
            return await measured(self._ask_time)

    @asynccontextmanager
    async def _awake(self) -> AsyncIterator[RoutedSession]:
        """The profile with its class and its session, but without tables."""
        self._waiting += 1
        try:
            if self._closed:
                raise shutting_down(self.profile.name)
            yield await self._alive.get()
        finally:
            self._waiting -= 1

    def changed(self) -> None:
        """There are new tables. Leases keep what they have; the next one is made from these."""
        self._made = None

    async def _ready(self) -> _Tables:
        """What instances are made from. Without waiting, once the profile is alive."""
        made = self._warm()
        if made is not None:
            return made
        self._around.residents.used(self)
        self._waiting += 1
        try:
            if self._closed:
                raise shutting_down(self.profile.name)
            if self._source is None:
                self._source = self._around.library.join(
                    self.fingerprint, self.profile.exchange, self
                )
            source = self._source
            # The tables are read or loaded while the class is imported.
            source.begin()
            # New tables of an exchange that is alive make nobody wait.
            waits = self._alive.value is None or source.tables is None
            with timed(Step.MARKETS, self.profile.name) if waits else nullcontext():
                session = await self._alive.get()
                tables = await source.get()
            if self._closed or self._blank is None:
                raise shutting_down(self.profile.name)
            # Others may have waited too, and new tables may have come meanwhile.
            if self._made is None:
                self._made = self._make(self._blank, session, source.tables or tables)
            return self._made
        finally:
            self._waiting -= 1

    def _warm(self) -> _Tables | None:
        if self._made is None or self._source is None:
            return None
        self._around.residents.used(self)
        self._source.touch()
        return self._made

    def _make(self, blank: Mould, session: RoutedSession, tables: Tables) -> _Tables:
        prototype = blank.clone()
        tables.onto(prototype)
        listing = Listing(self.profile.name, prototype, tables.fetched_at)
        return _Tables(Mould(prototype), session, tables, listing)

    async def _come_alive(self) -> RoutedSession:
        """The exchange's class, a keyless instance without tables, and a way out."""
        prototype = await asyncio.to_thread(build_prototype, self.profile, self._around.timeout_ms)
        self._blank = Mould(prototype)
        session = self._session = await self._connect()
        if self._adjusts(prototype):
            self._clock = Clock(self._ask_time)
            self._clock.begin()
        return session

    def _adjusts(self, prototype: Any) -> bool:
        # Who configures a difference has measured it.
        if "timeDifference" in self.profile.options:
            return False
        return adjusts(self.profile.exchange, prototype.options, prototype.has)

    async def _ask_time(self) -> Any:
        """The exchange's time, asked without keys and without tables."""
        if self._blank is None or self._session is None:
            raise Failure(Code.INTERNAL, f"{self.profile.name}: not connected")
        asking = self._blank.clone(session=self._session)
        asking.pacing = self._pacing
        lease = Lease(
            asking, None, exchange=self.profile.name, private=False, redact=self._around.redact
        )
        return await lease.call("fetch_time")

    async def _connect(self) -> RoutedSession:
        profile = self.profile
        base_url = None if profile.base_url is None else str(profile.base_url)
        plain = base_url is not None and base_url.startswith("http:")
        try:
            tls = None if plain else await self._around.tls(trust_store(profile.ca_file))
            return open_session(base_url=base_url, proxy=profile.proxy, tls=tls)
        except ConfigurationError as error:
            raise Failure(
                Code.INTERNAL,
                f"{profile.name}: {error}",
                hint=f"Correct [exchanges.{profile.name}] in the server's configuration.",
                exchange=profile.name,
            ) from None


_SHARE = 0.8
"""Of a call's time, what may be spent on having markets listed again."""

COLD: Mapping[str, Any] = {"markets": None, "marketsAgeSeconds": None, "loading": False}
