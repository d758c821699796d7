"""All connections of one server.

Owns: who is connected, who of them is idle, the room for one more, and the clock that looks at each
of them. Refuses: HTTP; what a connection is doing is its own knowledge (``protocol.py``).

One clock for all: a timer for each request would cost more than the rest of this package. Bounds
of time are therefore kept to the second, or to a quarter of the shortest one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Protocol

from ccxt_mcp.connections.limits import MAX_LEAVING, ConnectionCounts, ConnectionLimits
from ccxt_mcp.connections.sockets import capacity

__all__ = ["Connections", "Member"]

logger = logging.getLogger(__name__)

_TELL_EVERY = 60.0
"""Seconds between two log lines about clients that were turned away."""


class Member(Protocol):
    """A connection, as the registry knows it."""

    def check(self, now: float) -> None:
        """Act on what is overdue at ``now`` (loop time)."""

    def begin_draining(self) -> None:
        """Let the answer under way be the last one."""

    def hang_up(self) -> None:
        """End at once, unsent data included."""

    def make_room(self) -> None:
        """End, being idle."""


class Connections:
    """The connections of one server, on one event loop.

    No address takes the room of all others: one that has half of all connections gets no further
    one, unless it stands for many clients (loopback, a trusted proxy), and then only in place of
    one of its own.

    Mutable: ``_open`` (with addresses) and ``_leaving`` (disjoint; the second holds those that were
    turned away and are being told so), ``_of`` (counts ``_open`` by address), ``_idle`` (some of
    ``_open``, longest idle first; the same again by address in ``_idle_of``), ``_clock`` (set while
    there is anybody), ``counts``, ``draining`` (never unset), ``write_timeout`` (never grows).
    """

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.counts = ConnectionCounts()
        self.draining = False
        self.write_timeout = self.limits.write_timeout
        self.capacity = self.limits.max_connections
        self._open: dict[Member, str | None] = {}
        self._leaving: set[Member] = set()
        self._of: Counter[str | None] = Counter()
        self._idle: dict[Member, None] = {}
        self._idle_of: dict[str | None, dict[Member, None]] = {}
        self._clock: asyncio.TimerHandle | None = None
        self._told = float("-inf")

    def open_for_business(self) -> None:
        """Fit the capacity to the files that the process may open now."""
        self.capacity = capacity(self.limits)

    def admit(self, member: Member, address: str | None = None) -> bool:
        """Take a connection in, if need be in place of the one that is idle for longest."""
        half = self._of[address] * 2 >= self.capacity
        full = len(self._open) >= self.capacity or (
            half and not self.limits.stands_for_many(address)
        )
        if full and not self._make_room(self._idle_of.get(address, {}) if half else self._idle):
            self.counts.refused_full += 1
            self._tell()
            return False
        self._open[member] = address
        self._of[address] += 1
        self.counts.open = len(self._open)
        self._start()
        return True

    def turn_away(self, member: Member) -> bool:
        """Keep a connection that was not admitted while it is told so; False: it cannot be."""
        if len(self._leaving) >= MAX_LEAVING:
            return False
        self._leaving.add(member)
        self._start()
        return True

    def forget(self, member: Member) -> None:
        """The connection has ended."""
        self.busy(member)
        self._leaving.discard(member)
        if member in self._open:
            address = self._open.pop(member)
            self._of[address] -= 1
            if not self._of[address]:
                del self._of[address]
        self.counts.open = len(self._open)

    def idle(self, member: Member) -> None:
        """The connection waits for a request."""
        self._idle[member] = None
        self._idle_of.setdefault(self._open.get(member), {})[member] = None

    def busy(self, member: Member) -> None:
        """The connection does not, or no longer, wait for a request."""
        if member not in self._idle:
            return
        del self._idle[member]
        address = self._open.get(member)
        of_address = self._idle_of[address]
        del of_address[member]
        if not of_address:
            del self._idle_of[address]

    def drain(self, write_timeout: float) -> None:
        """From now on every answer is its connection's last, and is to be read more quickly."""
        self.draining = True
        self.write_timeout = min(self.write_timeout, write_timeout)
        for member in list(self._open):
            member.begin_draining()

    def hang_up(self) -> None:
        """End all connections at once."""
        for member in [*self._open, *self._leaving]:
            member.hang_up()

    def _make_room(self, among: dict[Member, None]) -> bool:
        longest = next(iter(among), None)
        if longest is None:
            return False
        self.busy(longest)
        longest.make_room()
        return True

    def _start(self) -> None:
        if self._clock is None:
            self._clock = asyncio.get_running_loop().call_later(self._period(), self._look)

    def _period(self) -> float:
        limits = self.limits
        shortest = min(limits.header_timeout, limits.body_timeout, self.write_timeout)
        return min(1.0, shortest / 4)

    def _look(self) -> None:
        self._clock = None
        now = asyncio.get_running_loop().time()
        for member in [*self._open, *self._leaving]:
            member.check(now)
        if self._open or self._leaving:
            self._start()

    def _tell(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            logger.warning(
                "%d connections are open and none is idle: further clients are turned away"
                " (`max_connections`, or half of the files the process may open)",
                len(self._open),
            )

    def __repr__(self) -> str:
        return f"<Connections {len(self._open)} of {self.capacity}, {len(self._idle)} idle>"
