"""One stream of a session, event by event, and the connection that reads it.

Owns: a stream's kept events in their order, its one reader's place among them, and the clock that
runs while it has none. Refuses: how much is kept (``events.py``), the wire (``reading.py``,
``resuming.py``), and to go on as if nothing had been lost: a connection that was not sent what went
for room has ``missed`` it, and is ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["RETRY", "Mirror", "Reader", "Store", "Track"]

RETRY = b"retry: 1000\n"
"""What clients are told to wait, in milliseconds, before they ask for the rest of a stream."""


class Store(Protocol):
    """What of a session's events (``events.py``) one of its streams uses."""

    tag: bytes
    closed: bool

    @property
    def window(self) -> float:
        """Seconds for which a stream without a reader is waited for."""

    def next_number(self) -> int:
        """The number of the session's next event."""

    def added(self, size: int) -> None:
        """An event of so many bytes has been kept."""

    def removed(self, size: int) -> None:
        """An event of so many bytes is not kept any more."""

    def forget(self, track: Track) -> None:
        """Let go of a stream that has ended."""


class Mirror(Protocol):
    """Where what is said on a track is kept for other replicas (``mirrors.py``)."""

    def say(self, before: int, number: int, event: bytes) -> None:
        """An event, and the number of the one before it on this track."""

    def end(self, last: int) -> None:
        """Nothing comes after the event of this number."""

    def forget(self) -> None:
        """The track is gone here."""

    async def written(self) -> None:
        """Wait until what was said is kept."""


class Reader:
    """One connection's place on a track: ``after`` is the number of the last event it was sent.

    Mutable: ``after`` (rises), ``stopped`` (never unset).
    """

    __slots__ = ("_caught_up", "_on_stop", "_track", "_wake", "after", "stopped")

    def __init__(self, track: Track, after: int, on_stop: Callable[[], None] | None) -> None:
        self.after = after
        self.stopped = False
        self._track = track
        self._on_stop = on_stop
        self._wake = asyncio.Event()
        self._caught_up = asyncio.Event()

    @property
    def missed(self) -> bool:
        """Whether events went for room that this connection was not sent."""
        return self.after < self._track.dropped

    def pending(self) -> tuple[bytes, int]:
        """What this connection has not been sent, and the number that it will have reached then."""
        events = []
        # From behind: it is nearly always the last one.
        for number, event in reversed(self._track.kept):
            if number <= self.after:
                break
            events.append(event)
        return b"".join(reversed(events)), max(self.after, self._track.last)

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

    def __init__(self, store: Store, number: int, abandoned: Callable[[], None]) -> None:
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
        """Say it in the place of an equal message that is kept, if there is one. Unread, that would
        say the same; read, it shall not push out what else is kept. One that is just being sent
        goes its way, and this one follows: its client may have acted on it a moment ago. After the
        end, to nobody; the one that is kept stays."""
        if self.ended:
            return
        end = b"\ndata: " + message + b"\n\n"
        for place, (_, event) in enumerate(self.kept):
            if event.endswith(end):
                del self.kept[place]
                self._store.removed(len(event))
                break
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
        if self.ended and (not self.kept or self._store.closed):
            # Nothing to come back for; a client that opens streams and leaves has no end otherwise.
            self._store.forget(self)
        elif not self._store.closed:
            loop = asyncio.get_running_loop()
            self._clock = loop.call_later(self._store.window, self._overdue)

    def _overdue(self) -> None:
        self._clock = None
        if self.ended:
            self._store.forget(self)
        else:
            self._abandoned()
