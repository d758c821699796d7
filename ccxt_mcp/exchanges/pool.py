"""One exchange profile as a living thing: its session, its prototype, its instances.

Owns: the order in which a profile comes to life (class, TLS, session, tables), the shared public
instance, and taking instances back. Refuses: choosing the profile (``gateway``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from ccxt_mcp.errors import Code, ConfigurationError, Failure
from ccxt_mcp.exchanges.account_facts import AccountFacts
from ccxt_mcp.exchanges.catalog import ExchangeFacts
from ccxt_mcp.exchanges.clocks import Clock, adjusts
from ccxt_mcp.exchanges.cloning import Mould, exact, release
from ccxt_mcp.exchanges.http import RoutedSession, open_session, trust_store
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.exchanges.markets import Loaded
from ccxt_mcp.exchanges.nonces import NonceLanes
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.settings import ExchangeProfile

__all__ = ["AccountLike", "ExchangeRoom", "Leasing", "Surroundings"]


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


@dataclass(frozen=True, slots=True)
class _Tables:
    """A loaded prototype. Replaced as a whole, never changed: instances made from it stay valid."""

    mould: Mould
    shared: Any
    session: RoutedSession
    markets: int
    loaded_at: float


class ExchangeRoom:
    """Everything of one profile.

    Mutable: ``_session`` (made once), ``_tables`` (see ``Loaded``), ``_leases`` (never negative).
    """

    def __init__(
        self, profile: ExchangeProfile, facts: ExchangeFacts, surroundings: Surroundings
    ) -> None:
        self.profile = profile
        self.facts = facts
        self._around = surroundings
        self._blank: Mould | None = None
        self._session: RoutedSession | None = None
        self._tables: Loaded[_Tables] = Loaded(self._load, name=profile.name)
        self._leases = 0
        self._clock: Clock | None = None
        self._account_facts: AccountFacts | None = None

    def __repr__(self) -> str:
        state = "loaded" if self._tables.value else "loading" if self._tables.loading else "cold"
        return f"<ExchangeRoom {self.profile.name} {state} leases={self._leases}>"

    async def public(self) -> Lease:
        tables = await self._tables.get()
        return self._lease(tables.shared, private=False)

    async def private(self, account: AccountLike) -> Lease:
        # First of all: a request with half a key would only be answered with less clear words.
        self._require_credentials(account)
        tables = await self._tables.get()
        instance = tables.mould.clone(
            session=tables.session, credentials=account.credentials, number=exact
        )
        instance.clock = self._clock
        lease = self._lease(instance, private=True)
        lease.key_id = self._around.nonces.key_id(
            self.profile.exchange, self.profile.sandbox, account.credentials
        )
        if self._account_facts is None:
            self._account_facts = AccountFacts(type(instance))
        lease.given = self._account_facts.restore(lease.key_id, instance)
        return lease

    def take_back(self, lease: Lease) -> None:
        """End a lease. A private instance loses its keys and is freed with the last reference."""
        instance = lease._end()
        if instance is None:
            return
        self._leases -= 1
        if lease.private:
            if self._account_facts is not None:
                self._account_facts.settle(lease, instance)
            release(instance)

    def snapshot(self) -> dict[str, Any]:
        """The profile's state as JSON values; ages in seconds."""
        tables, session = self._tables.value, self._session
        return {
            "exchange": self.profile.exchange,
            "markets": tables.markets if tables else None,
            "marketsAgeSeconds": round(time.monotonic() - tables.loaded_at, 1) if tables else None,
            "loading": self._tables.loading,
            "leases": self._leases,
            "clock": self._clock.snapshot() if self._clock else None,
            "upstreamRequests": session.requests if session else 0,
            "connectionsOpened": session.connections if session else 0,
            "tlsHandshakes": session.handshakes if session else 0,
            "openConnections": session.open_connections if session else 0,
        }

    async def close(self) -> None:
        await self._tables.close()
        if self._clock is not None:
            await self._clock.close()
        tables, self._tables.value = self._tables.value, None
        if tables is not None:
            release(tables.shared)
        if self._session is not None:
            await self._session.close()

    def _lease(self, instance: Any, *, private: bool) -> Lease:
        lease = Lease(
            instance, exchange=self.profile.name, private=private, redact=self._around.redact
        )
        self._leases += 1
        return lease

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

    async def _load(self) -> _Tables:
        """Bring the profile to life. The one place where market tables are loaded."""
        name, started = self.profile.name, time.monotonic()
        self._around.progress(f"{name}: loading market tables")
        if self._blank is None:
            prototype = await asyncio.to_thread(
                build_prototype, self.profile, self._around.timeout_ms
            )
            self._blank = Mould(prototype)
        session = self._session
        if session is None:
            session = self._session = await self._connect()
        if self._clock is None and self._adjusts(self._blank.prototype):
            self._clock = Clock(self._ask_time)
        if self._clock is not None:
            self._clock.begin()
        # A clone does the loading, so that a failed load leaves no trace on the prototype.
        loader = self._blank.clone(session=session)
        lease = Lease(loader, exchange=name, private=False, redact=self._around.redact)
        try:
            await lease.call("load_markets")
            if not loader.markets:
                # Accepted, an empty table would make CCXT load it again inside every call.
                raise Failure(Code.BAD_RESPONSE, f"{name}: no markets listed", exchange=name)
        except Failure as failure:
            self._around.progress(f"market tables not loaded: {failure.message}")
            raise
        if self._clock is not None:
            await self._clock.settled()
        mould = Mould(loader)
        shared = mould.clone(session=session)
        # Last writer wins on a shared instance, and it would keep the last body alive.
        shared.enableLastHttpResponse = False
        made = _Tables(mould, shared, session, len(loader.markets), time.monotonic())
        took = made.loaded_at - started
        self._around.progress(f"{name}: {made.markets} markets in {took:.1f} s")
        return made

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
        lease = Lease(asking, exchange=self.profile.name, private=False, redact=self._around.redact)
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


class Leasing:
    """``async with`` around one lease. Whatever ends the block gives the instance back."""

    __slots__ = ("_account", "_lease", "_room")

    def __init__(self, room: ExchangeRoom, account: AccountLike | None = None) -> None:
        self._room = room
        self._account = account
        self._lease: Lease | None = None

    async def __aenter__(self) -> Lease:
        if self._lease is not None:
            raise RuntimeError("a lease serves one `async with`; ask the gateway for another")
        if self._account is None:
            self._lease = await self._room.public()
        else:
            self._lease = await self._room.private(self._account)
        return self._lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lease is not None:
            self._room.take_back(self._lease)
