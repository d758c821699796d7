"""Market tables that one replica loads for all.

Owns: what tables are called in the store, their form there (the very frames that a file holds),
and their bounds. Refuses: loading (``fetching``), when (``sources``), and to believe what it reads:
each replica reads the frames as it reads a file's, format, fingerprint and checksum included.

Whoever can write into the store can change what a price and an amount mean, as can whoever writes
into ``data_dir``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ccxt_mcp.cluster.packing import Unpackable, packed, unpacked
from ccxt_mcp.cluster.sharing import Duty, Given, Sharing
from ccxt_mcp.exchanges.ingestion import Ingestion, Unreadable
from ccxt_mcp.exchanges.shelf import whole
from ccxt_mcp.exchanges.snapshots import Unsendable, write
from ccxt_mcp.exchanges.tables import Tables

__all__ = ["MOST_PACKED", "CommonTables", "Loading"]

MOST_PACKED = 8_000_000
"""Bytes of one exchange's tables in the store; larger ones are loaded by each replica."""
_MOST = 128 * 1024 * 1024
_PATIENCE = 6.0
"""Seconds after which a replica that loads and says nothing any more is believed to be dead."""
_LONGEST = 60.0
"""Seconds after which others load too, whatever it says."""

Loading = Callable[[list[bytes]], Awaitable[Tables]]
"""Loads tables; puts their frames into the list, if they came as frames."""


class CommonTables:
    """Tables by fingerprint, in the store.

    Args:
        sharing: who loads.
        keep: seconds for which tables are kept there.
        progress: told in a short sentence what came from another replica.
    """

    def __init__(self, sharing: Sharing, *, keep: float, progress: Callable[[str], None]) -> None:
        self._sharing = sharing
        self._keep = keep
        self._progress = progress

    async def get(self, exchange: str, fingerprint: str, max_age: float, load: Loading) -> Tables:
        """Tables that are at most ``max_age`` seconds old, by whichever replica.

        Raises:
            Failure: what this replica's own loading came to.
        """
        name = f"tables/{exchange}/{fingerprint}"
        turn = await self._sharing.ask(name, max_age=max_age, patience=_PATIENCE)
        if isinstance(turn, Given):
            try:
                tables = await _read(turn.data, fingerprint)
            except (Unpackable, Unreadable):
                # Nobody shall trip over them again.
                self._sharing.discard(name)
                return await load([])
            self._progress(f"{exchange}: {tables.markets} markets, loaded by another replica")
            # When they were asked for is told by the store: the other's clock may be wrong.
            age = turn.asked.age(self._sharing.now())
            return replace(tables, fetched_at=time.time() - age)
        if turn is None:
            return await load([])
        frames: list[bytes] = []
        turn.uphold(_LONGEST)
        try:
            tables = await load(frames)
        except BaseException:
            turn.give_up()
            raise
        # Who waits here need not wait for that.
        self._sharing.later(self._deposit(turn, frames, tables, fingerprint))
        return tables

    async def _deposit(
        self, duty: Duty, frames: list[bytes], tables: Tables, fingerprint: str
    ) -> None:
        with duty:
            if not frames:
                try:
                    for each in write(tables, fingerprint):
                        frames.append(each)
                        await asyncio.sleep(0)
                except Unsendable:
                    return
            kept = await packed(b"".join(frames))
            if len(kept) <= MOST_PACKED:
                duty.deposit(kept, ttl=self._keep)


async def _read(kept: bytes, fingerprint: str) -> Tables:
    data = await unpacked(kept, most=_MOST)
    ingestion = Ingestion(fingerprint, "replica")
    at = 0
    while (end := whole(data, at)) is not None:
        ingestion.feed(data[at + 4 : at + 5], data[at + 5 : end])
        at = end
        # A millisecond's work; then it is the others' turn.
        await asyncio.sleep(0)
    if ingestion.tables is None or at < len(data):
        raise Unreadable("it is cut off")
    return ingestion.tables
