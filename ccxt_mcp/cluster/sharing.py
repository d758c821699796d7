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
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Failure
from ccxt_mcp.mechanisms.freshness import Reading, reading

__all__ = ["Duty", "Given", "Sharing"]

_LEFT_ALONE = 1.0
"""Seconds for which a store that failed is not asked again."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value that some replica fetched. ``asked`` is when it began to, by this node's clocks."""

    data: bytes
    asked: Reading


class Duty:
    """This node fetches the value, for all. A context: left without ``deposit``, it is given up.

    Mutable: ``_done``, once.
    """

    __slots__ = ("_done", "_name", "_sharing", "_token", "asked")

    def __init__(self, sharing: Sharing, name: str, token: str, asked: Reading) -> None:
        self.asked = asked
        self._sharing = sharing
        self._name = name
        self._token = token
        self._done = False

    def __enter__(self) -> Duty:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_up()

    def deposit(self, value: bytes, *, ttl: float) -> None:
        """Let all have it, for ``ttl`` seconds. Does not wait for the store."""
        self._settle(value, ttl)

    def give_up(self) -> None:
        """Let somebody else try, unless it has been deposited."""
        self._settle(None, 0.0)

    def _settle(self, value: bytes | None, ttl: float) -> None:
        if not self._done:
            self._done = True
            self._sharing._settle(self._name, self._token, value, ttl)


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
            patience: seconds after which a replica that fetches is believed to be dead.
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
                    return Duty(self, name, token, now)
                try:
                    async with asyncio.timeout(patience):
                        await told.wait()
                except TimeoutError:
                    pass
        except Failure:
            self._away_until = time.monotonic() + _LEFT_ALONE
            return None
        except BaseException:
            # The duty may have been given while nobody waited for it any more.
            self._settle(name, token, None, 0.0)
            raise
        finally:
            waiting = self._waiting[name]
            waiting.discard(told)
            if not waiting:
                del self._waiting[name]

    def now(self) -> Reading:
        """This moment, by the clocks that ages are counted by."""
        return self._clock()

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do what nobody waits for."""
        self._node.later(work)

    def discard(self, name: str) -> None:
        """Forget a value in the store, without waiting."""
        self._node.later(self._values.discard(name))

    def _settle(self, name: str, token: str, value: bytes | None, ttl: float) -> None:
        self._node.later(self._values.deposit(name, token, value, ttl=ttl))

    def _deposited(self, name: str) -> None:
        for told in self._waiting.get(name, ()):
            told.set()

    def _missed(self) -> None:
        for waiting in self._waiting.values():
            for told in waiting:
                told.set()
