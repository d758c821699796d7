"""Asking again and again, once for everybody who wants to know of a change.

Owns: the pollers (one task for each key, only while somebody watches), their pauses, also after
failures, and who is told. Refuses: knowing what is asked; it keeps and compares fingerprints.

A watcher is told that something changed, never what: whoever is told ten times before it looks has
missed nothing. It remembers what it was told last, so that one that pauses hears of a change made
meanwhile when it goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from ccxt_mcp.errors import Code, Failure

__all__ = ["LONGEST_PAUSE", "Over", "Polling", "Topic", "Watch"]

_log = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0
"""Seconds between two attempts while they fail, unless the interval itself is longer."""

_AT_ONCE = 500
"""Watchers that are told before others have their turn: two milliseconds' work."""


class Over(Exception):
    """Raised by a question that must not be asked again: whoever watched is told once more, and no
    more after that."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be watched.

    Attributes:
        key: equal for what is the same.
        interval: seconds between an answer and the next question.
        ask: a fingerprint of what there is now; raises ``Failure`` or ``Over``. It runs in a
            context of its own, in which nothing of a subscriber's request is left.
    """

    key: Hashable
    interval: float
    ask: Callable[[], Coroutine[Any, Any, bytes]]


class Watch:
    """One watcher's part in a topic; idle until ``first`` or ``start``.

    Mutable: ``over`` (never unset), ``_seen`` (what the watcher was told of last), and whether it
    is among the watches of its poller.
    """

    __slots__ = ("_polling", "_seen", "changed", "over", "topic")

    def __init__(self, polling: Polling, topic: Topic, changed: Callable[[], None]) -> None:
        self.topic = topic
        self.changed = changed
        self.over = False
        self._polling = polling
        self._seen: bytes | None = None

    async def first(self) -> None:
        """Start, and wait until there is something to compare with.

        Raises:
            Failure: it could not be asked; the watch is idle again.
        """
        self.start()
        if self._seen is None:
            try:
                await self._polling.first(self)
            except BaseException:
                self.stop()
                raise

    def start(self) -> None:
        """Be told of changes from now on, and at once of one since this watch was told last."""
        if not self.over:
            self._polling.join(self)

    def stop(self) -> None:
        """Be told nothing until ``start``; the last one to stop ends the poller. Twice is fine."""
        self._polling.leave(self)

    def see(self, fingerprint: bytes) -> None:
        """For the poller: this is what there is now."""
        before, self._seen = self._seen, fingerprint
        if before is not None and before != fingerprint:
            self.changed()

    def end(self) -> None:
        """For the poller: nothing more can be said."""
        self.over = True
        self.stop()
        if self._seen is not None:
            self.changed()


class _Poller:
    """One topic's task. It exists exactly while ``watches`` is not empty.

    Mutable: ``watches``, ``value`` (the latest fingerprint), ``failure`` (of the latest attempt, if
    it failed), ``firsts`` (who waits for the outcome of the first attempt).
    """

    __slots__ = ("failure", "firsts", "task", "topic", "value", "watches")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.watches: dict[Watch, None] = {}
        self.value: bytes | None = None
        self.failure: Failure | None = None
        self.firsts: list[asyncio.Future[Failure | None]] = []
        # A context of its own: a subscriber's would keep its session alive, and would say that
        # what is asked for all is asked by one.
        self.task = asyncio.create_task(self._run(), context=Context())

    async def _run(self) -> None:
        failures = 0
        while True:
            pause = self.topic.interval
            try:
                value = await self.topic.ask()
            except Over as over:
                self._end(over.failure)
            except Failure as failure:
                failures += 1
                # A bound on the exponent, too: floats end at 2 ** 1023.
                pause = min(pause * 2.0 ** min(failures, 20), max(pause, LONGEST_PAUSE))
                pause = max(pause, failure.retry_after or 0.0)
                self._failed(failure)
            except (Exception, asyncio.CancelledError) as error:
                # A cancellation may be that of what was waited for, which ends no poller.
                if isinstance(error, asyncio.CancelledError) and self.task.cancelling():
                    raise
                failures += 1
                _log.exception("a poll failed unexpectedly")
                pause = max(pause, LONGEST_PAUSE)
                self._failed(Failure(Code.INTERNAL, "This server failed at asking."))
            else:
                failures = 0
                await self._answered(value)
            # Also where a question took no notice of being cancelled.
            if not self.watches:
                return
            await asyncio.sleep(pause)

    async def _answered(self, value: bytes) -> None:
        self.value, self.failure = value, None
        for count, watch in enumerate(list(self.watches), 1):
            if watch in self.watches:
                watch.see(value)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        self._settle(None)

    def _failed(self, failure: Failure) -> None:
        self.failure = failure.with_traceback(None)
        self._settle(self.failure)

    def _end(self, failure: Failure) -> None:
        self._failed(failure)
        for watch in list(self.watches):
            watch.end()

    def _settle(self, outcome: Failure | None) -> None:
        firsts, self.firsts = self.firsts, []
        for first in firsts:
            if not first.done():
                first.set_result(outcome)


class Polling:
    """The pollers by key.

    Mutable: ``_pollers`` (each has watches), ``_tasks`` (theirs, until they have ended).
    """

    def __init__(self) -> None:
        self._pollers: dict[Hashable, _Poller] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many topics are polled."""
        return len(self._pollers)

    def watch(self, topic: Topic, changed: Callable[[], None]) -> Watch:
        """A watch, idle as yet.

        Args:
            topic: of several with the same key, the one that is started first is asked.
            changed: called on the event loop; it must neither raise nor wait.
        """
        return Watch(self, topic, changed)

    async def close(self) -> None:
        """End all pollers, and wait for what they have under way."""
        for poller in list(self._pollers.values()):
            for watch in list(poller.watches):
                self.leave(watch)
        if self._tasks:
            await asyncio.wait(self._tasks)

    # The watches' side

    def join(self, watch: Watch) -> None:
        """Count a watch in; the first one starts the poller."""
        key = watch.topic.key
        poller = self._pollers.get(key)
        if poller is None:
            poller = self._pollers[key] = _Poller(watch.topic)
            self._tasks.add(poller.task)
            poller.task.add_done_callback(self._tasks.discard)
        if watch not in poller.watches:
            poller.watches[watch] = None
            if poller.value is not None:
                watch.see(poller.value)

    def leave(self, watch: Watch) -> None:
        """Count a watch out; the last one ends the poller and what it has under way."""
        key = watch.topic.key
        poller = self._pollers.get(key)
        if poller is None or watch not in poller.watches:
            return
        del poller.watches[watch]
        if not poller.watches:
            del self._pollers[key]
            poller.task.cancel()

    async def first(self, watch: Watch) -> None:
        """Wait for the outcome of the first attempt at a topic.

        Raises:
            Failure: of that attempt, or of the latest one if none has succeeded yet.
        """
        poller = self._pollers[watch.topic.key]
        failure = poller.failure
        if failure is None:
            first: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
            poller.firsts.append(first)
            failure = await first
        if failure is not None:
            raise failure.again()

    def __repr__(self) -> str:
        return f"<Polling {len(self._pollers)} topics>"
