"""What clients have subscribed to: a session's record, a stream's, and the bounds on both.

Owns: which addresses are watched for whom, for how long, and that what nobody has read yet is said
once. Refuses: knowing what an address means and when it changes (``Changes``, which the application
passes in), and the protocol's words (``subscribing.py``).

A session's subscriptions are at work only while a connection reads the session's own stream: nobody
would hear of a change otherwise, and finding it out costs requests to an exchange. What changed in
between is found by the watch when it goes on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.transport.refusal import encode
from ccxt_mcp.transport.room import Caller

__all__ = ["Changes", "Listener", "Quota", "Subscriptions", "Watch"]


class Watch(Protocol):
    """One address that is watched for one subscriber."""

    @property
    def over(self) -> bool:
        """Whether nothing more can be said, because the subscriber may not see it any more."""

    def start(self) -> None:
        """Go on."""

    def stop(self) -> None:
        """Pause, or end; twice is fine."""


class Changes(Protocol):
    """Who knows what changes."""

    async def watch(self, uri: str, changed: Callable[[], None]) -> Watch:
        """Watch an address for the caller of this moment; the watch is started.

        Raises:
            MCPError: it cannot be watched, or not by this caller.
        """


class Quota:
    """How many subscriptions there may be. One caller gets at most half of them, so that it cannot
    keep everybody else from subscribing.

    Mutable: ``taken`` (never negative), ``_of_caller`` (its parts; who has none is not in it).

    Args:
        each: of one session, or one stream.
        most: in all.
    """

    __slots__ = ("_each", "_most", "_of_caller", "taken")

    def __init__(self, each: int = 50, most: int = 5000) -> None:
        self._each = each
        self._most = most
        self._of_caller: Counter[Caller] = Counter()
        self.taken = 0

    def take(self, caller: Caller, count: int, held: int = 0) -> None:
        """Take ``count`` where ``held`` are taken already.

        Raises:
            Failure: ``overloaded``; nothing is taken.
        """
        if held + count > self._each:
            raise Failure(
                Code.OVERLOADED,
                f"A session, or one `subscriptions/listen`, has at most {self._each} subscriptions",
                hint="End one that is not needed any more, or raise `max_subscriptions_per_session`"
                " on the server.",
                retryable=False,
            )
        share = (self._most + 1) // 2
        if self._of_caller[caller] + count > share:
            raise Failure(
                Code.OVERLOADED,
                f"One caller has at most {share} of the server's {self._most} subscriptions",
                hint="Try again later, or raise `max_subscriptions` on the server.",
                retry_after=5.0,
            )
        if self.taken + count > self._most:
            raise Failure(
                Code.OVERLOADED,
                f"All {self._most} subscriptions of this server are in use",
                hint="Try again later, or raise `max_subscriptions` on the server.",
                retry_after=5.0,
            )
        self.taken += count
        self._of_caller[caller] += count

    def give(self, caller: Caller, count: int) -> None:
        """Give back what was taken."""
        self.taken -= count
        self._of_caller[caller] -= count
        if not self._of_caller[caller]:
            del self._of_caller[caller]


class Subscriptions:
    """Those of one session.

    Args:
        quota: the bounds, shared by all sessions.
        caller: whose session it is.
        say: says a message on the session's own stream unless an equal one waits there; False where
            there is no stream.

    Mutable: ``_watches`` (at work exactly while ``_heard``, but for the moment of their making),
    ``_making`` (those that are being made, with their addresses; None once that is not wanted any
    more), ``_unsaid`` (addresses that changed while there was no stream), ``_ended`` (never unset).
    Each watch, and each that is being made, has its part of the quota.
    """

    __slots__ = ("_caller", "_ended", "_heard", "_making", "_quota", "_say", "_unsaid", "_watches")

    def __init__(self, quota: Quota, caller: Caller, say: Callable[[bytes], bool]) -> None:
        self._quota = quota
        self._caller = caller
        self._say = say
        self._watches: dict[str, Watch] = {}
        self._making: dict[object, str | None] = {}
        self._unsaid: set[str] = set()
        self._heard = self._ended = False

    def __len__(self) -> int:
        return len(self._watches)

    async def add(self, uri: str, changes: Changes, *, heard: bool) -> None:
        """Subscribe the caller of this moment; what is subscribed to already stays as it is.

        Args:
            heard: whether somebody reads the session's own stream.

        Raises:
            Failure: there is no room.
            MCPError: it cannot be watched, or not by this caller.
        """
        if uri in self._watches:
            return
        self._quota.take(self._caller, 1, len(self._watches) + len(self._making))
        made = object()
        self._making[made] = uri
        self._heard = heard
        kept = False
        watch: Watch | None = None
        message = _updated(uri)
        try:
            watch = await changes.watch(uri, lambda: self._changed(uri, message))
            wanted = not self._ended and self._making[made] is not None
            if wanted and uri not in self._watches:
                self._watches[uri] = watch
                kept = True
        finally:
            del self._making[made]
            if not kept:
                self._quota.give(self._caller, 1)
            if watch is not None and not (kept and self._heard):
                watch.stop()

    def remove(self, uri: str) -> None:
        """Unsubscribe, also from what is being subscribed to; without effect where that is not."""
        for made, address in self._making.items():
            if address == uri:
                self._making[made] = None
        watch = self._watches.pop(uri, None)
        if watch is not None:
            watch.stop()
            self._quota.give(self._caller, 1)
            self._unsaid.discard(uri)

    def resume(self) -> None:
        """Somebody reads the session's own stream."""
        self._heard = True
        unsaid, self._unsaid = self._unsaid, set()
        for uri in unsaid:
            self._say(_updated(uri))
        for watch in list(self._watches.values()):
            watch.start()

    def pause(self) -> None:
        """Nobody reads it."""
        self._heard = False
        for watch in self._watches.values():
            watch.stop()

    def end(self) -> None:
        """The session has ended."""
        self._ended = True
        for uri in list(self._watches):
            self.remove(uri)

    def _changed(self, uri: str, message: bytes) -> None:
        watch = self._watches.get(uri)
        if watch is not None and watch.over:
            self.remove(uri)
        if not self._say(message) and not self._ended:
            self._unsaid.add(uri)


class Listener:
    """One stream of subscriptions (``subscriptions/listen``).

    Mutable: ``_changed`` (addresses in the order of their changes, each once), ``_watches``,
    ``_closed`` (never unset).
    """

    __slots__ = ("_changed", "_closed", "_wake", "_watches")

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._watches: dict[str, Watch] = {}
        self._wake = asyncio.Event()
        self._closed = False

    async def add(self, uri: str, changes: Changes) -> None:
        """Watch an address for the caller of this moment.

        Raises:
            MCPError: it cannot be watched, or not by this caller.
        """
        self._watches[uri] = await changes.watch(uri, lambda: self._note(uri))

    async def next(self) -> str | None:
        """The next address to tell of; None once nothing more will come."""
        while True:
            if self._changed:
                uri = next(iter(self._changed))
                del self._changed[uri]
                return uri
            ended = bool(self._watches) and all(each.over for each in self._watches.values())
            if self._closed or ended:
                return None
            self._wake.clear()
            await self._wake.wait()

    def close(self) -> None:
        """The stream ends after what is to be told."""
        self._closed = True
        self._wake.set()

    def end(self) -> None:
        """Nothing is watched any more."""
        for watch in self._watches.values():
            watch.stop()

    def _note(self, uri: str) -> None:
        self._changed[uri] = None
        self._wake.set()


def _updated(uri: str) -> bytes:
    message = {
        "jsonrpc": "2.0",
        "method": "notifications/resources/updated",
        "params": {"uri": uri},
    }
    return encode(message)
