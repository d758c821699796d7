"""This replica on the list of all, and the list.

Owns: when a replica says of itself that it lives, what it says, and how the list is read. Refuses:
to decide by the list: it is for people and for balancing; who holds what is the leases' to say.

A replica is on the list from its start to its end, and no longer than ``TTL`` after its last sign
of life, whatever became of it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Failure

__all__ = ["BEAT", "TTL", "Membership", "Status"]

_log = logging.getLogger("ccxt_mcp.cluster")

BEAT = 5.0
"""Seconds between signs of life."""
TTL = 15.0
_COUNT = 6
"""Beats between looks at how many there are: that grows with their number, for each of them."""
_AGAIN = 1.0
"""Seconds after which it is tried again where the store is away."""


class Status(StrEnum):
    """How far a replica is. It takes work while it is running."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


class Membership:
    """One replica among all.

    Mutable: ``status``, ``address``, ``_facts`` and ``_load`` (what it says of itself), ``known``
    (how many live, as last heard), ``_changed`` (to be told at once), ``_ending``, ``_task``.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.status = Status.STARTING
        self.address: str | None = None
        self.known: int | None = None
        self._facts: Mapping[str, Any] = {}
        self._load: Callable[[], Mapping[str, int]] = dict
        self._since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._changed = asyncio.Event()
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Membership {self._node.id} {self.status.value}>"

    def introduce(
        self, facts: Mapping[str, Any], load: Callable[[], Mapping[str, int]] = dict
    ) -> None:
        """Say this of the replica, as JSON values; ``load`` is what it has to do now, by kind."""
        self._facts, self._load = facts, load

    def turn(self, status: Status) -> None:
        """Have another status, and let the others know."""
        self.status = status
        self._changed.set()

    async def start(self) -> None:
        """Go on the list, as soon as the store is there."""
        self._task = asyncio.create_task(self._live())

    async def stop(self) -> None:
        """Go off the list."""
        if self._task is None:
            return
        # The last sign of life has to have arrived before it is taken back.
        self._ending = True
        self._changed.set()
        await self._task
        try:
            await self._node.store.nodes.gone(self._node.id)
        except Failure as failure:
            _log.debug("this replica is forgotten by itself: %s", failure)

    async def all(self) -> list[dict[str, Any]]:
        """All replicas that live, those that began first first.

        Raises:
            Failure: ``store_unavailable``.
        """
        found = []
        for node, info in (await self._node.store.nodes.all()).items():
            try:
                said = orjson.loads(info)
            except ValueError:
                continue
            if isinstance(said, dict):
                found.append({"id": node, **said})
        self.known = len(found)
        return sorted(found, key=lambda each: (str(each.get("startedAt")), each["id"]))

    def said(self) -> dict[str, Any]:
        """What this replica says of itself."""
        return {
            "address": self.address,
            **self._facts,
            "startedAt": self._since,
            "status": self.status.value,
            "load": dict(self._load()),
        }

    async def _live(self) -> None:
        for number in itertools.count():
            if self._ending:
                return
            self._changed.clear()
            began = time.monotonic()
            pause = BEAT
            try:
                await self._node.store.nodes.beat(self._node.id, orjson.dumps(self.said()), ttl=TTL)
                if self.known is None or number % _COUNT == 0:
                    await self.all()
            except Failure:
                pause = _AGAIN
            try:
                async with asyncio.timeout(max(0.0, pause - (time.monotonic() - began))):
                    await self._changed.wait()
            except TimeoutError:
                pass
