"""What was said on a session's streams, kept for a while so that a client can read on elsewhere.

Owns: the event ids of one session, its tracks (one for each stream: the answer to a POST, or the
session's own) and how much of them is kept. Refuses: the single stream (``track.py``), the wire
(``reading.py``, ``resuming.py``), and to replay what is not there whole.

An id is ``<tag>-<track>-<number>``. The tag is drawn for each session, so that an id of another
one is refused rather than misread; numbers rise over all tracks of the session.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mcp_types import RequestId

from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.room import Caller, Room
from ccxt_mcp.transport.track import Mirror, Track

__all__ = ["Events", "Replay", "foreign", "not_kept"]

_ID = re.compile(
    r"((?:[A-Za-z0-9._-]{1,64}~)?[0-9a-f]{8})-([0-9a-f]{1,15})-([0-9a-f]{1,15})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Replay:
    """How much one session keeps: events and their bytes, and for how many seconds; and how many
    bytes all sessions together."""

    events: int = 256
    size: int = 262_144
    window: float = 300.0
    total: int = 67_108_864


class Events:
    """The tracks of one session, or of a replica's part of one; at most ``limits`` of events.

    Args:
        limits: how much is kept.
        room: what all sessions keep.
        caller: whose session it is.
        node: the replica, where there are several: ids of events begin with it.
        mirrored: keeps what is said on a track for the others.

    Mutable: ``_tracks`` (those that go on, and ended ones with kept events or a client who may come
    back), ``count`` and ``size`` (of what all tracks keep), ``_number`` (rises), ``closed``.
    """

    __slots__ = (
        "_caller",
        "_mirrored",
        "_number",
        "_opened",
        "_room",
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
        room: Room,
        caller: Caller,
        node: str | None = None,
        mirrored: Callable[[Track, Sequence[RequestId]], Mirror] | None = None,
    ) -> None:
        self.limits = limits
        self._room = room
        self._caller = caller
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

    @property
    def window(self) -> float:
        """Seconds for which a stream without a reader is waited for."""
        return self.limits.window

    def next_number(self) -> int:
        """The number of the session's next event."""
        self._number += 1
        return self._number

    def added(self, size: int) -> None:
        """Count an event that a track has kept, and drop the oldest beyond the bounds; the newest
        one stays, since a reply that nobody else has must reach its reader."""
        self.count += 1
        self.size += size
        self._room.changed(self._caller, self, size)
        while self.count > 1 and (self.count > self.limits.events or self.size > self.limits.size):
            self._drop(min((t for t in self._tracks.values() if t.kept), key=_oldest))
        self._room.make_room(self)

    def removed(self, size: int) -> None:
        """Count an event out."""
        self.count -= 1
        self.size -= size
        self._room.changed(self._caller, self, -size)

    # The room's side

    def give_up(self, *, spare_newest: bool) -> None:
        """Let the older half go, at least one event; the newest one not where it is spared."""
        tracks = [track for track in self._tracks.values() if track.kept]
        numbers = sorted(number for track in tracks for number, _ in track.kept)
        going = min((len(numbers) + 1) // 2, len(numbers) - spare_newest)
        for track in tracks if going else ():
            while track.kept and track.kept[0][0] <= numbers[going - 1]:
                self._drop(track)

    def _drop(self, track: Track) -> None:
        track.dropped, event = track.kept.popleft()
        self.removed(len(event))
        if track.ended and not track.kept and track.reader is None:
            track.stop_clock()
            self.forget(track)

    def __repr__(self) -> str:
        return f"<Events {len(self._tracks)} tracks, {self.count} events, {self.size} bytes>"


def _oldest(track: Track) -> int:
    return track.kept[0][0]


def not_kept() -> Refusal:
    """An id of an event whose followers are gone."""
    return Refusal(
        400,
        "What followed this Last-Event-ID is not kept any more (`replay_events_max`,"
        " `replay_bytes_max`, `replay_total_bytes_max`, `replay_window`): ask again for"
        " what you need",
    )


def foreign() -> Refusal:
    """An id that does not name an event of the session."""
    return Refusal(
        400,
        "The Last-Event-ID is not of this session: leave it out to open the session's own stream",
    )
