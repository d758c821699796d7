"""Streams of answers as the common store keeps them, so that they are read on at any replica.

Owns: the log of each track (``events.py``) of a session that replicas share: its entries, their
order, and who follows it from elsewhere. Refuses: to hold up a call for a store that is away: its
stream goes on here, and cannot be read on elsewhere.

A track is its replica's. What is said on it goes into the log before it is sent, so that a client
has never seen what is not there. Who reads on at another replica follows the log, is told by mail
when there is more, and counts as the track's reader here as any connection does: the newest reads,
and a call whose client reads on elsewhere is not given up.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import orjson
from mcp_types import RequestId

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Failure
from ccxt_mcp.transport.events import Replay
from ccxt_mcp.transport.reach import Reach
from ccxt_mcp.transport.track import Mirror, Reader, Track

__all__ = ["FOLLOWED", "Entry", "Mirrors", "Writer"]

FOLLOWED = 15.0
"""Seconds after which a reader elsewhere that has not been heard of is taken to have gone."""

_AGAIN = 0.5
"""Seconds after which what the store did not take is tried again."""

_LONGEST_OWED = 512
"""Bytes of the ids that an entry names; of more it names none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a track as its log has it.

    Attributes:
        before: the number of the event before it on the same track: whether one is missing.
        number: its own.
        event: as it is sent; nothing for the priming one, which is not repeated.
        ended: nothing comes after it.
        owed: JSON-RPC ids of the requests that the stream answers.
    """

    before: int
    number: int
    event: bytes
    ended: bool = False
    owed: tuple[RequestId, ...] = ()

    def encoded(self) -> bytes:
        """For the store."""
        head = orjson.dumps([self.before, self.number, self.ended, self.owed])
        return head + b"\n" + self.event

    @classmethod
    def decoded(cls, raw: bytes) -> Entry:
        """From the store."""
        head, _, event = raw.partition(b"\n")
        before, number, ended, owed = orjson.loads(head)
        return cls(before, number, event, ended, tuple(owed))


class Writer:
    """Appends to one log, in order, while nobody waits.

    Args:
        said: awaited after each entry that is there.

    Mutable: ``_queue``, within the log's own bounds; ``_size``, its bytes; ``_busy``, whether it is
    being appended; ``_written``, unset exactly while it is and the store answers. What the store
    did not take is tried again for as long as it would be kept: a reader elsewhere may wait for it,
    while the call goes on. What then had no room is not written: readers see the gap.
    """

    def __init__(
        self, node: Node, log: str, replay: Replay, said: Callable[[], Awaitable[None]]
    ) -> None:
        self._node = node
        self._log = log
        self._replay = replay
        self._said = said
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._busy = False
        self._written = asyncio.Event()
        self._written.set()

    def put(self, entry: bytes) -> None:
        """Append one."""
        self._queue.append(entry)
        self._size += len(entry)
        while len(self._queue) > self._replay.events or self._size > self._replay.size:
            self._size -= len(self._queue.popleft())
        if not self._busy:
            self._busy = True
            self._written.clear()
            self._node.later(self._write())

    def put_once(self, entry: bytes) -> None:
        """Append one, unless an equal one is about to be."""
        if entry not in self._queue:
            self.put(entry)

    @property
    def last(self) -> bool:
        """Whether nothing is left to be appended."""
        return not self._queue

    async def written(self) -> None:
        """Wait until all of it is there, or the store has failed."""
        await self._written.wait()

    async def _write(self) -> None:
        limits, answered = self._replay, time.monotonic()
        try:
            while self._queue and time.monotonic() - answered <= limits.window:
                entry = self._queue[0]
                try:
                    await self._node.store.logs.append(
                        self._log, entry, most=limits.events, size=limits.size, ttl=limits.window
                    )
                except Failure:
                    self._written.set()
                    await asyncio.sleep(_AGAIN)
                    continue
                answered = time.monotonic()
                self._written.clear()
                if self._queue and self._queue[0] is entry:
                    self._size -= len(self._queue.popleft())
                with suppress(Failure):
                    await self._said()
        finally:
            self._queue.clear()
            self._size, self._busy = 0, False
            self._written.set()


class _Follower(Reader):
    """A connection at another replica: the log is what it reads, so it never holds the call up."""

    def __init__(self, track: Track, node: str, token: str, tell: Callable[[str, str], None]):
        super().__init__(track, track.last, None)
        self.node = node
        self.token = token
        self._tell = tell
        self._clock: asyncio.TimerHandle | None = None
        self._done = False

    def done(self) -> None:
        """It has the rest from the log, and need not be told."""
        self._done = True
        self._track.detach(self)

    def heard_of(self) -> None:
        """It is still there."""
        if self._clock is not None:
            self._clock.cancel()
        self._clock = asyncio.get_running_loop().call_later(FOLLOWED, self._track.detach, self)

    def stop(self) -> None:
        if not self.stopped and self._clock is not None:
            self._clock.cancel()
            if not self._done:
                self._tell(self.node, f"unread {self.token}")
        super().stop()

    async def follow(self) -> None:
        """Nobody waits for it."""


class _Mirror:
    """What is said on one track."""

    def __init__(
        self, mirrors: Mirrors, log: str, track: Track, owed: Sequence[RequestId], replay: Replay
    ) -> None:
        self._mirrors = mirrors
        self._log = log
        self._track = track
        ids = tuple(owed)
        self._owed = ids if len(orjson.dumps(ids)) <= _LONGEST_OWED else ()
        self._writer = Writer(mirrors.node, log, replay, self._said)

    def say(self, before: int, number: int, event: bytes) -> None:
        self._writer.put(Entry(before, number, event, owed=self._owed).encoded())

    def end(self, last: int) -> None:
        self._writer.put(Entry(last, last, b"", ended=True).encoded())

    def forget(self) -> None:
        self._mirrors.tracks.pop(self._log, None)

    async def written(self) -> None:
        await self._writer.written()

    async def _said(self) -> None:
        reader = self._track.reader
        if isinstance(reader, _Follower):
            self._mirrors.node.tell(reader.node, f"more {self._log}")
            if self._track.ended and self._writer.last:
                reader.done()


class Mirrors:
    """The tracks of this replica that others may read on. Mutable: ``tracks``, by their logs."""

    def __init__(self, reach: Reach) -> None:
        self.node = reach.node
        self.tracks: dict[str, Track] = {}
        reach.on("follow", self._follow)
        reach.on("unfollow", self._unfollow)

    def log(self, record: str, tag: str, number: int) -> str:
        """The name of a track's log."""
        return f"stream/{record}/{tag}-{number:x}"

    def mirror(
        self, record: str, tag: str, track: Track, owed: Sequence[RequestId], replay: Replay
    ) -> Mirror:
        """Keep what is said on a track from here on."""
        log = self.log(record, tag, track.number)
        self.tracks[log] = track
        return _Mirror(self, log, track, owed, replay)

    def _follow(self, log: str, node: str, token: str, seen: str) -> str:
        """Somebody at another replica reads on, or does so still (``seen`` is ``-``)."""
        track = self.tracks.get(log)
        if track is None:
            return "unknown"
        if track.ended:
            # All that is left of it is in the log, or about to be.
            return "ok" if seen == "-" or int(seen) <= track.last else "foreign"
        reader = track.reader
        if seen == "-":
            if not isinstance(reader, _Follower) or reader.token != token:
                return "replaced"
            reader.heard_of()
            return "ok"
        if int(seen) > track.last:
            return "foreign"
        follower = _Follower(track, node, token, self.node.tell)
        track.read_by(follower)
        follower.heard_of()
        return "ok"

    def _unfollow(self, log: str, token: str) -> str:
        track = self.tracks.get(log)
        if track is not None:
            reader = track.reader
            if isinstance(reader, _Follower) and reader.token == token:
                track.detach(reader)
        return "ok"
