"""The order of requests under one API key, where an exchange demands one.

Owns: which keys have a lane. Refuses: the rules of exchanges (``nonce_rules``), clocks
other than the machine's (CCXT proposes the number, in whatever unit), pacing (``limits``), and
choosing which requests are signed (``pacing``).

Some exchanges take a request only if its nonce is greater than that of the last one *that arrived*.
A unique number is not enough: two requests on two connections overtake each other. So a key has a
lane, and a request holds it from before its signature until its answer has been read.

**A request that is abandoned** (cancelled, timed out) gives the lane back as soon as CCXT has
closed its connection. The exchange may still receive it, even after the next one. That hurts nobody
who is left: the next request carries a higher nonce, so it is accepted whichever comes first, and
the abandoned one is then either processed or refused, with nobody waiting for the answer. Holding
the lane any longer would make the living wait for the dead.

**The number** is ``max(what CCXT proposes, last + 1)``, so it rises even when the clock is set
back, and its unit is CCXT's. Marks on disk (``nonce_marks``) carry it over restarts and kills. They
are reserved two seconds ahead of use: seldom enough to cost nothing, and so little that another
program with the same key is not locked out after a crash.

With a cluster the lane of a key is one for all replicas (``shared_nonces``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.exchanges.nonce_lane import NonceLane
from ccxt_mcp.exchanges.nonce_marks import KeyIds, marks_of
from ccxt_mcp.exchanges.nonce_rules import OPTIONAL, ORDERED, UNIQUE
from ccxt_mcp.exchanges.shared_nonces import SharedNonceLane

__all__ = ["NonceLane", "NonceLanes"]

_log = logging.getLogger("ccxt_mcp.nonces")


class NonceLanes:
    """All lanes of the process. One authority: two profiles with the same key share a lane.

    Args:
        data_dir: where marks are kept; ``None`` for memory alone.
        now: Unix time in seconds; the clock that proposals are compared with.
        cluster: the replicas that use the same keys; ``None`` for this process alone.

    Mutable: ``_lanes`` (one per key in use; never removed, since a mark may not be forgotten).
    """

    def __init__(
        self,
        data_dir: Path | None,
        *,
        now: Callable[[], float] = time.time,
        cluster: Cluster | None = None,
    ) -> None:
        self.keys = KeyIds(data_dir, None if cluster is None else cluster.salt)
        self._cluster = cluster
        self._now = now
        self._lanes: dict[tuple[str, str], NonceLane] = {}

    def __repr__(self) -> str:
        return f"<NonceLanes {list(self._lanes.values())}>"

    def key_id(self, exchange: str, sandbox: bool, credentials: Mapping[str, str]) -> str:
        """A name for an account's key that says nothing about it."""
        return self.keys.of(exchange, sandbox, credentials)

    def lane(
        self,
        exchange_id: str,
        key_id: str,
        options: Mapping[str, Any] | None = None,
        propose: Callable[[], Any] | None = None,
    ) -> NonceLane | None:
        """The lane of a key; ``None`` where the exchange demands nothing of nonces.

        Args:
            exchange_id: CCXT's id.
            key_id: the key's name, from ``key_id``.
            options: CCXT's options of the profile; two exchanges can be told not to mind.
            propose: what CCXT would take for a nonce now, from which the unit is known.
        """
        if exchange_id in UNIQUE:
            ordered = False
        elif exchange_id in ORDERED:
            ordered = True
            if exchange_id in OPTIONAL and not OPTIONAL[exchange_id](options or {}):
                return None
        else:
            return None
        found = self._lanes.get((exchange_id, key_id))
        if found is None:
            if not self._lanes:
                # Not before: to most exchanges it does not matter.
                self._report()
            file = self.keys.file(exchange_id, key_id)
            floor = 0
            renamed = self._cluster is not None and file is not None and not file.path.exists()
            if (self.keys.estranged or renamed) and self.keys.folder is not None:
                floor = marks_of(self.keys.folder, exchange_id)
            if self._cluster is None:
                found = NonceLane(exchange_id, file, ordered=ordered, floor=floor, now=self._now)
            else:
                found = SharedNonceLane(
                    *(exchange_id, file, self._cluster.leases, f"nonce/{exchange_id}/{key_id}"),
                    *(ordered, floor, self._now, propose),
                )
            self._lanes[exchange_id, key_id] = found
        return found

    def _report(self) -> None:
        if self.keys.problem is not None:
            _log.warning(
                "nonces cannot be kept on disk (%s): they are right until this process ends, and"
                " after a restart as long as the clock was not set back",
                self.keys.problem,
            )
        if self.keys.estranged:
            _log.warning(
                "the salt in %s was missing or damaged: keys continue above the highest nonce of"
                " any key of their exchange",
                self.keys.folder,
            )

    def snapshot(self) -> dict[str, Any]:
        """Per exchange: keys in use, requests waiting, whether a restart will know, as JSON."""
        out: dict[str, Any] = {}
        for (exchange, _), lane in self._lanes.items():
            row = out.setdefault(exchange, {"keys": 0, "waiting": 0, "onDisk": True})
            row["keys"] += 1
            row["waiting"] += lane.waiting
            row["onDisk"] = row["onDisk"] and lane.on_disk
        return out

    async def close(self) -> None:
        """Store the numbers really used, so that a clean restart skips none."""
        lanes = list(self._lanes.values())
        await asyncio.to_thread(_settle, lanes)


def _settle(lanes: Iterable[NonceLane]) -> None:
    for lane in lanes:
        lane.settle()
