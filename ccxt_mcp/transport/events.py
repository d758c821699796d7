"""What was said on a session's streams, kept for a while so that a client can read on elsewhere.

Owns: the event ids of one session, its tracks (one for each stream: the answer to a POST, or the
session's own) and how much of them is kept. Refuses: the wire (``reading.py``, ``resuming.py``),
and to replay what is not there whole.

An id is ``<tag>-<track>-<number>``. The tag is drawn for each session, so that an id of another
one is refused rather than misread; numbers rise over all tracks of the session.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mcp_types import RequestId

from ccxt_mcp.transport.refusal import Refusal

__all__ = ["RETRY", "Events", "Mirror", "Reader", "Replay", "Track", "foreign", "not_kept"]

RETRY = b"retry: 1000\n"
"""What clients are told to wait, in milliseconds, before they ask for the rest of a stream."""

_ID = re.compile(
    r"((?:[A-Za-z0-9._]{1,64}~)?[0-9a-f]{8})-([0-9a-f]{1,15})-([0-9a-f]{1,15})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Replay:
    """How much one session keeps: events and their bytes, and for how many seconds."""

    events: int = 256
    size: int = 262_144
    window: float = 300.0


class Reader:
    """One connection's place on a track: ``after`` is the number of the last event it was sent,
    ``taken`` that of the last it was given to send.

    Mutable: ``after`` and ``taken`` (rise), ``stopped`` (never unset).
    """

    __slots__ = ("_caught_up", "_on_stop", "_track", "_wake", "after", "stopped", "taken")

    def __init__(self, track: Track, after: int, on_stop: Callable[[], None] | None) -> None:
        self.after = self.taken = after
        self.stopped = False
        self._track = track
        self._on_stop = on_stop
        self._wake = asyncio.Event()
        self._caught_up = asyncio.Event()

    def pending(self) -> tuple[bytes, int]:
        """What this connection has not been sent, and the number that it will have reached then."""
        events = []
        # From behind: it is nearly always the last one.
        for number, event in reversed(self._track.kept):
            if number <= self.after:
                break
            events.append(event)
        self.taken = max(self.after, self._track.last)
        return b"".join(reversed(events)), self.taken

    def reached(self, number: int) -> None:
        """All up to this number was sent."""
        self.after = number
        self._caught_up.set()

    def stop(self) -> None:
        """This connection reads no more; what it was not sent waits for the next one."""
        if not self.stopped:
            self.stopped = True
            self._wake.set()
            self._caught_up.set()
            if self._on_stop is not None:
                self._on_stop()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    async def woken(self) -> None:
        """Wait for ``wake`` or ``stop``."""
        await self._wake.wait()
        self._wake.clear()

    async def follow(self) -> None:
        """Wait until it has been sent everything, or reads no more: a slow client slows the call
        that speaks to it, and nothing is dropped for it."""
        while not self.stopped and self.after < self._track.last:
            self._caught_up.clear()
            await self._caught_up.wait()


class Mirror(Protocol):
    """Where what is said on a track is kept for others (``mirrors.py``)."""

    def say(self, before: int, number: int, event: bytes) -> None:
        """An event, and the number of the one before it on this track."""

    def end(self, last: int) -> None:
        """Nothing comes after the event of this number."""

    def forget(self) -> None:
        """The track is gone here."""

    async def written(self) -> None:
        """Wait until what was said is kept."""


class Track:
    """The events of one stream, and the one connection that reads them.

    Mutable: ``kept`` (rising numbers), ``last`` (rises), ``dropped`` (the last that went for room),
    ``ended`` (never unset), ``reader``. Without a reader a clock runs: at its end a track that
    has ended is forgotten, and one that goes on is given up (``abandoned``).
    """

    __slots__ = (
        "_abandoned",
        "_clock",
        "_store",
        "dropped",
        "ended",
        "kept",
        "last",
        "mirror",
        "number",
        "reader",
    )

    def __init__(self, store: Events, number: int, abandoned: Callable[[], None]) -> None:
        self.number = number
        self.kept: deque[tuple[int, bytes]] = deque()
        self.last = self.dropped = 0
        self.ended = False
        self.reader: Reader | None = None
        self._store = store
        self._abandoned = abandoned
        self._clock: asyncio.TimerHandle | None = None
        self.mirror: Mirror | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection reads it."""
        return self.reader is not None

    def prime(self) -> bytes:
        """An event that says nothing but where to read on: the track's first, and not kept."""
        before = self.last
        event = b"id: " + self._next() + b"\n" + RETRY + b"data:\n\n"
        if self.mirror is not None:
            self.mirror.say(before, self.last, b"")
        return event

    def push(self, message: bytes) -> None:
        """Say one JSON-RPC message; after the end, to nobody."""
        if self.ended:
            return
        before = self.last
        event = b"id: " + self._next() + b"\nevent: message\ndata: " + message + b"\n\n"
        if self.mirror is not None:
            self.mirror.say(before, self.last, event)
        self.kept.append((self.last, event))
        self._store.added(len(event))
        if self.reader is not None:
            self.reader.wake()

    def push_once(self, message: bytes) -> None:
        """Say it, unless an equal message waits for the reader. One that is being sent does not
        count: its client may have read it, and acted on it, a moment ago."""
        if self.reader is not None:
            for number, event in reversed(self.kept):
                if number <= self.reader.taken:
                    break
                if event.endswith(b"\ndata: " + message + b"\n\n"):
                    return
        self.push(message)

    def attach(self, after: int, on_stop: Callable[[], None] | None = None) -> Reader:
        """A connection reads from here on; the one that did before stops."""
        reader = Reader(self, after, on_stop)
        self.read_by(reader)
        return reader

    def read_by(self, reader: Reader) -> None:
        """The same, of a reader that is there."""
        before, self.reader = self.reader, reader
        if before is not None:
            before.stop()
        self.stop_clock()

    async def written(self) -> None:
        """Wait until what was said is where others can read it."""
        if self.mirror is not None:
            await self.mirror.written()

    def detach(self, reader: Reader) -> None:
        """The connection reads no more; without effect where it has been replaced."""
        reader.stop()
        if self.reader is reader:
            self.reader = None
            self._start_clock()

    def close(self) -> None:
        """Nothing more comes; whoever reads it ends after what is there."""
        if not self.ended:
            self.ended = True
            if self.mirror is not None:
                self.mirror.end(self.last)
            if self.reader is None:
                self._start_clock()
            else:
                self.reader.wake()

    def stop_clock(self) -> None:
        """Nobody is waited for, whether or not anybody reads."""
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _next(self) -> bytes:
        self.last = self._store.next_number()
        return b"%s-%x-%x" % (self._store.tag, self.number, self.last)

    def _start_clock(self) -> None:
        self.stop_clock()
        if self.ended and (self._store.closed or not self.kept):
            # Nothing to come back for; a client that opens streams and leaves has no end otherwise.
            self._store.forget(self)
        elif not self._store.closed:
            loop = asyncio.get_running_loop()
            self._clock = loop.call_later(self._store.limits.window, self._overdue)

    def _overdue(self) -> None:
        self._clock = None
        if self.ended:
            self._store.forget(self)
        else:
            self._abandoned()


class Events:
    """The tracks of one session, or of a replica's part of one; at most ``limits`` of events.

    Args:
        node: the replica, where there are several: ids of events begin with it.
        mirrored: keeps what is said on a track for the others.

    Mutable: ``_tracks`` (those that go on, and ended ones with kept events or a client who may come
    back), ``count`` and ``size`` (of what all tracks keep), ``_number`` (rises), ``closed``.
    """

    __slots__ = (
        "_mirrored",
        "_number",
        "_opened",
        "_tracks",
        "closed",
        "count",
        "limits",
        "size",
        "tag",
    )

    def __init__(
        self,
        limits: Replay,
        node: str | None = None,
        mirrored: Callable[[Track, Sequence[RequestId]], Mirror] | None = None,
    ) -> None:
        self.limits = limits
        self.tag = (("" if node is None else node + "~") + secrets.token_hex(4)).encode()
        self._mirrored = mirrored
        self.count = self.size = 0
        self.closed = False
        self._number = self._opened = 0
        self._tracks: dict[int, Track] = {}

    def open(self, abandoned: Callable[[], None], owed: Sequence[RequestId] = ()) -> Track:
        """A new track, which answers the requests ``owed``. ``abandoned`` is called when it goes on
        and nobody has read it for long."""
        self._opened += 1
        track = self._tracks[self._opened] = Track(self, self._opened, abandoned)
        if self._mirrored is not None:
            track.mirror = self._mirrored(track, owed)
        return track

    def owns(self, event_id: str) -> bool:
        """Whether an id is of these tracks."""
        return event_id.startswith(self.tag.decode() + "-")

    def find(self, event_id: str) -> tuple[Track, int]:
        """The track that an id names, and the number after which it is to be read on.

        Raises:
            Refusal: 400, where the id is none of this session's, or what followed it is gone.
        """
        named = _ID.fullmatch(event_id)
        if named is None or named[1].encode() != self.tag:
            raise foreign()
        track_number, seen = int(named[2], 16), int(named[3], 16)
        if not (0 < track_number <= self._opened and 0 < seen <= self._number):
            raise foreign()
        track = self._tracks.get(track_number)
        if track is not None and seen > track.last:
            raise foreign()
        if track is None or seen < track.dropped:
            raise not_kept()
        return track, seen

    def forget(self, track: Track) -> None:
        """Let go of a track that has ended."""
        if track.mirror is not None:
            track.mirror.forget()
        if self._tracks.pop(track.number, None) is not None:
            while track.kept:
                self._drop(track)

    def close(self) -> None:
        """The session has ended: no clocks any more, and nothing is found."""
        self.closed = True
        for track in list(self._tracks.values()):
            track.stop_clock()
            if track.ended and track.reader is None:
                self.forget(track)

    # The tracks' side

    def next_number(self) -> int:
        """The number of the session's next event."""
        self._number += 1
        return self._number

    def added(self, size: int) -> None:
        """Count an event that a track has kept, and drop the oldest beyond the bounds; the newest
        one stays, since a reply that nobody else has must reach its reader."""
        self.count += 1
        self.size += size
        while self.count > 1 and (self.count > self.limits.events or self.size > self.limits.size):
            oldest = min((t for t in self._tracks.values() if t.kept), key=lambda t: t.kept[0][0])
            self._drop(oldest)
            if oldest.ended and not oldest.kept and oldest.reader is None:
                oldest.stop_clock()
                self.forget(oldest)

    def _drop(self, track: Track) -> None:
        track.dropped, event = track.kept.popleft()
        self.count -= 1
        self.size -= len(event)

    def __repr__(self) -> str:
        return f"<Events {len(self._tracks)} tracks, {self.count} events, {self.size} bytes>"


def not_kept() -> Refusal:
    """An id of an event whose followers are gone."""
    return Refusal(
        400,
        "What followed this Last-Event-ID is not kept any more (`replay_events_max`,"
        " `replay_bytes_max`, `replay_window`): ask again for what you need",
    )


def foreign() -> Refusal:
    """An id that does not name an event of the session."""
    return Refusal(
        400,
        "The Last-Event-ID is not of this session: leave it out to open the session's own stream",
    )
