"""Having an exchange's market tables loaded: apart if possible, here if need be.

Owns: how many helper processes run at once, the file that one writes beside its pipe, and what the
outcome is called. Refuses: deciding when (``sources``), and the load (``jobs``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.common_tables import CommonTables
from ccxt_mcp.exchanges.helper import CannotHelp, load_apart
from ccxt_mcp.exchanges.http import RoutedSession, trust_store
from ccxt_mcp.exchanges.jobs import Job, fetch_tables
from ccxt_mcp.exchanges.shelf import Shelf
from ccxt_mcp.exchanges.tables import Tables
from ccxt_mcp.settings import ExchangeProfile

__all__ = ["HELPERS", "LIMIT", "Fetching"]

HELPERS = 3
"""Helper processes at once; each takes 80 to 200 MB while it runs."""
LIMIT = 120.0
"""Seconds for a load in all. Each of its requests has CCXT's own timeout besides."""


@dataclass(frozen=True)
class Fetching:
    """What the loads of all profiles have in common.

    With ``apart`` false no helper is started: every load is done here, as where none can be. With
    ``common`` one replica loads for all.
    """

    timeout_ms: int
    redact: Callable[[str], str]
    progress: Callable[[str], None]
    shelf: Shelf | None = None
    limit: float = LIMIT
    apart: bool = True
    common: CommonTables | None = None
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HELPERS))

    async def fetch(
        self,
        profile: ExchangeProfile,
        fingerprint: str,
        *,
        pacing: Any,
        connect: Callable[[], Awaitable[RoutedSession]],
        max_age: float = 0.0,
    ) -> Tables:
        """A profile's tables, from its exchange or another replica. Raises ``Failure``.

        ``connect`` gives the profile's session, for a load that has to be done here. Another
        replica's may be ``max_age`` seconds old.
        """
        if self.common is None:
            return await self._load(profile, fingerprint, pacing, connect, None)
        return await self.common.get(
            profile.exchange,
            fingerprint,
            max_age,
            lambda frames: self._load(profile, fingerprint, pacing, connect, frames),
        )

    async def _load(
        self,
        profile: ExchangeProfile,
        fingerprint: str,
        pacing: Any,
        connect: Callable[[], Awaitable[RoutedSession]],
        frames: list[bytes] | None,
    ) -> Tables:
        name = profile.name
        async with self._places:
            self.progress(f"{name}: loading market tables")
            started = time.monotonic()
            try:
                tables = None
                if self.apart:
                    tables = await self._apart(profile, fingerprint, pacing, frames)
                if tables is None:
                    tables = await fetch_tables(
                        profile,
                        self.timeout_ms,
                        await connect(),
                        pacing=pacing,
                        redact=self.redact,
                        origin="process",
                    )
            except Failure as failure:
                self.progress(f"market tables not loaded: {failure.message}")
                raise _explained(failure, profile) from None
            took = time.monotonic() - started
            self.progress(f"{name}: {tables.markets} markets in {took:.1f} s")
            return tables

    async def _apart(
        self,
        profile: ExchangeProfile,
        fingerprint: str,
        pacing: Any,
        frames: list[bytes] | None,
    ) -> Tables | None:
        """The tables by way of a helper; ``None`` if there can be none."""
        shelf, exchange = self.shelf, profile.exchange
        spool = await shelf.reserve(exchange, fingerprint) if shelf else None
        job = Job(
            name=profile.name,
            exchange=exchange,
            fingerprint=fingerprint,
            timeout_ms=self.timeout_ms,
            trust=trust_store(profile.ca_file),
            base_url=None if profile.base_url is None else str(profile.base_url),
            proxy=None if profile.proxy is None else str(profile.proxy),
            sandbox=profile.sandbox,
            options=dict(profile.options),
            paced=pacing is not None,
            spool=None if spool is None else str(spool),
        )
        kept = False
        try:
            tables = await load_apart(
                job, limit=self.limit, pacing=pacing, redact=self.redact, frames=frames
            )
            if shelf is not None and spool is not None:
                await shelf.keep(spool, exchange, fingerprint)
                kept = True
            return tables
        except CannotHelp as reason:
            if frames is not None:
                frames.clear()
            self.progress(f"{profile.name}: loading in the server's own process: {reason}")
            return None
        finally:
            if shelf is not None and spool is not None and not kept:
                await shelf.discard(spool)


def _explained(failure: Failure, profile: ExchangeProfile) -> Failure:
    """Tables are loaded without keys; what that means where an exchange asks for one."""
    if failure.code not in (Code.AUTHENTICATION_FAILED, Code.PERMISSION_DENIED):
        return failure
    if profile.base_url:
        # Somebody else may be answering: of the exchange itself it says nothing.
        return failure
    return Failure(
        Code.NOT_SUPPORTED,
        f"{profile.name}: {profile.exchange} shows its markets to nobody without a key, and market"
        f" tables are loaded without keys, for all callers ({failure.message})",
        hint="No tool can use this exchange's public data; `list_exchanges` has others.",
        exchange=profile.name,
        operation=failure.operation,
    )
