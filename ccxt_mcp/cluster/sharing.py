"""Values that one replica fetches for all.

Owns: who fetches and who waits, as this node sees it, and how old what it is given is by its own
clocks. Refuses: fetching, and what the values mean.

A value's age is the store's word; it is counted back from before the store was asked, so that it is
rather too old here than too young. Who waits for another's fetching does so for a value that was
young enough when the waiting began, as within one process. A failure is no value: those who waited
ask again, and the store lets them one by one.

The store is needed for sharing alone. Where it is away, whoever asks is told to fetch by itself,
and it is left alone for a moment, so that not every question waits for it in vain.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Failure
from ccxt_mcp.mechanisms.freshness import Reading, reading

__all__ = ["Duty", "Given", "Sharing"]

_ANY_AGE = 86_400.0
_LEFT_ALONE = 1.0
"""Seconds for which a store that failed is not asked again."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value that some replica fetched. ``asked`` is when it began to, by this node's clocks."""

    data: bytes
    asked: Reading


class Duty:
    """This node fetches the value, for all. A context: left without ``deposit``, it is given up.

    Mutable: ``_done``, set once; ``_upholding``, what tells the store that this node lives.
    """

    __slots__ = ("_done", "_name", "_patience", "_sharing", "_token", "_upholding", "asked")

    def __init__(
        self, sharing: Sharing, name: str, token: str, asked: Reading, patience: float
    ) -> None:
        self.asked = asked
        self._sharing = sharing
        self._name = name
        self._token = token
        self._patience = patience
        self._done = asyncio.Event()
        self._upholding: asyncio.Task[None] | None = None

    def __enter__(self) -> Duty:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_up()

    def uphold(self, longest: float) -> None:
        """Let nobody believe that this node is dead while it fetches, which may take longer than
        others wait for one that is silent; but for ``longest`` seconds at most."""
        self._upholding = self._sharing.later(self._uphold(longest))

    def deposit(self, value: bytes, *, ttl: float) -> None:
        """Let all have it, for ``ttl`` seconds. Does not wait for the store."""
        self._settle(value, ttl)

    def give_up(self) -> None:
        """Let somebody else try, unless it has been deposited."""
        self._settle(None, 0.0)

    def _settle(self, value: bytes | None, ttl: float) -> None:
        if not self._done.is_set():
            self._done.set()
            self._sharing.later(self._told(value, ttl))

    async def _told(self, value: bytes | None, ttl: float) -> None:
        if self._upholding is not None:
            # Asked for after it was given up, the duty would be this node's again.
            await asyncio.wait([self._upholding])
        await self._sharing._values.deposit(self._name, self._token, value, ttl=ttl)

    async def _uphold(self, longest: float) -> None:
        sharing, end = self._sharing, time.monotonic() + longest
        while time.monotonic() < end:
            try:
                async with asyncio.timeout(self._patience / 3):
                    await self._done.wait()
                return
            except TimeoutError:
                pass
            with suppress(Failure):
                await sharing._values.consult(
                    self._name,
                    self._token,
                    node=sharing.node,
                    max_age=_ANY_AGE,
                    patience=self._patience,
                )


class Sharing:
    """What this node shares of what is fetched.

    Args:
        node: this replica.
        clock: this moment; for tests.

    Mutable: ``_waiting`` (by name: those of this node who wait for another's fetching),
    ``_away_until`` (steady seconds before which a store that failed is not asked).
    """

    def __init__(self, node: Node, *, clock: Callable[[], Reading] = reading) -> None:
        self._node = node
        self._values = node.store.values
        self._clock = clock
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._away_until = 0.0
        self._tokens = itertools.count(1)
        node.on("deposited", self._deposited)
        node.on_missed(self._missed)

    def __repr__(self) -> str:
        return f"<Sharing {len(self._waiting)} waited for>"

    async def ask(self, name: str, *, max_age: float, patience: float) -> Given | Duty | None:
        """A value that was at most ``max_age`` seconds old now, or the duty to fetch it, or None:
        the store is away, and everybody fetches by themselves.

        Args:
            patience: seconds after which a replica that fetches, and has not said since that it
                still does (``Duty.uphold``), is believed to be dead.
        """
        if time.monotonic() < self._away_until:
            return None
        token = f"{self._node.id}-v{next(self._tokens)}"
        told = asyncio.Event()
        self._waiting.setdefault(name, set()).add(told)
        began = self._clock()
        try:
            while True:
                now = self._clock()
                told.clear()
                found = await self._values.consult(
                    name,
                    token,
                    node=self._node.id,
                    # What was young enough when the wait began is so at its end.
                    max_age=max_age + max(0.0, now.steady - began.steady),
                    patience=patience,
                )
                if found.value is not None:
                    asked = Reading(now.steady - found.age, now.wall - found.age)
                    return Given(found.value, asked)
                if found.mine:
                    return Duty(self, name, token, now, patience)
                try:
                    # Of one that dies nobody tells.
                    async with asyncio.timeout(patience / 2):
                        await told.wait()
                except TimeoutError:
                    pass
        except Failure:
            self._away_until = time.monotonic() + _LEFT_ALONE
            return None
        except BaseException:
            # The duty may have been given while nobody waited for it any more.
            self.later(self._values.deposit(name, token, None, ttl=0.0))
            raise
        finally:
            waiting = self._waiting[name]
            waiting.discard(told)
            if not waiting:
                del self._waiting[name]

    def now(self) -> Reading:
        """This moment, by the clocks that ages are counted by."""
        return self._clock()

    @property
    def node(self) -> str:
        """The id of this replica."""
        return self._node.id

    def later(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Do what nobody waits for."""
        return self._node.later(work)

    def discard(self, name: str) -> None:
        """Forget a value in the store, without waiting."""
        self._node.later(self._values.discard(name))

    def _deposited(self, name: str) -> None:
        for told in self._waiting.get(name, ()):
            told.set()

    def _missed(self) -> None:
        for waiting in self._waiting.values():
            for told in waiting:
                told.set()
