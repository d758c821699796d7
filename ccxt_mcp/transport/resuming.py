"""The answer to one POST of a session that went through the handshake.

Owns: what such an answer can do beyond a plain one: carry requests to the client, and, once it has
become a stream and an event id was sent, go on without its connection: its client may come back
with a GET (``reading.py``). Refuses: to keep anything for answers that stay JSON, as nearly all do.

Before an event id was sent, a client that leaves ends its call, as everywhere: it could not come
back for the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from mcp_types import RequestId
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, is_version_at_least
from starlette.types import Receive, Send

from ccxt_mcp.transport.own_stream import Own
from ccxt_mcp.transport.refusal import send_json
from ccxt_mcp.transport.responder import KEEP_ALIVE_COMMENT, Closer, Responder
from ccxt_mcp.transport.session import Session
from ccxt_mcp.transport.track import Reader, Track

__all__ = ["PRIMED", "Resumable"]

PRIMED = frozenset(
    version for version in HANDSHAKE_PROTOCOL_VERSIONS if is_version_at_least(version, "2025-11-25")
)
"""Revisions whose clients understand an event without data, so that they can read on from the very
start of a stream and streams may be closed early."""


class Resumable(Responder):
    """Writes one answer onto a track, and from there to its connection for as long as there is one.

    Args:
        session: whose answer; its handshake has succeeded.
        gone: called once when the client has left and cannot come back.
        abandoned: called when the client could have come back, and did not for long.
        owed: ids of the requests that are answered.

    Mutable: ``_track`` and ``_reader`` (made together, when the answer becomes a stream), ``_told``
    (an event id was sent), ``_over`` (the HTTP response has ended); none is ever unset.
    """

    __slots__ = (
        "_abandoned",
        "_opening",
        "_over",
        "_owed",
        "_reader",
        "_session",
        "_told",
        "_track",
    )

    def __init__(
        self,
        receive: Receive,
        send: Send,
        session: Session,
        *,
        json: bool,
        sse: bool,
        gone: Callable[[], None],
        abandoned: Callable[[], None],
        owed: Sequence[RequestId] = (),
    ) -> None:
        super().__init__(receive, send, json=json, sse=sse, gone=gone)
        self._session = session
        self._abandoned = abandoned
        self._owed = owed
        self._track: Track | None = None
        self._reader: Reader | None = None
        self._opening = b""
        self._told = self._over = False

    @property
    def asks(self) -> bool:
        """A stream can carry a request, and the session's id leads its answer back."""
        return self._sse and not self._session.closed

    @property
    def as_stream(self) -> bool:
        """Also where a message could not be written yet."""
        return self._track is not None or super().as_stream

    def closers(self) -> tuple[Closer | None, Closer | None]:
        """Both, for clients that read on from a stream's start."""
        if self._sse and self._session.protocol_version in PRIMED:
            return self._close_early, self._close_standing
        return None, None

    async def emit(self, message: bytes) -> None:
        """Send a message ahead of the reply, and wait for whoever reads it to take it; without a
        reader it is kept."""
        if not self._sse:
            return
        track, reader = self._open()
        track.push(message)
        await self._flush(more=True)
        if track.reader is not None and track.reader is not reader:
            await track.reader.follow()

    def leave(self, message: bytes) -> None:
        """Send a message with what is sent next."""
        if self._track is not None:
            self._track.push(message)

    async def finish(self, reply: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        """Send the reply, as JSON or as the track's last event, which is kept for a while."""
        await self.stop()
        if not self.as_stream:
            await send_json(self._send, 200, reply, headers or ())
            return
        track, _ = self._open()
        track.push(reply)
        track.close()
        await self._flush(more=False, headers=headers)
        await self._hang_up()

    async def close(self) -> None:
        """End the track as well, where the answer did not."""
        await super().close()
        if self._track is not None and self._reader is not None:
            self._over = True
            self._track.close()
            self._track.detach(self._reader)

    def _open(self) -> tuple[Track, Reader]:
        """The track and this connection's place on it."""
        if self._track is None or self._reader is None:
            self._track = track = self._session.open_track(self._abandoned, self._owed)
            if self._session.protocol_version in PRIMED:
                self._opening = track.prime()
            self._reader = track.attach(track.last, self._replaced)
        return self._track, self._reader

    async def _flush(
        self,
        *,
        more: bool,
        more_bytes: bytes = b"",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """Write what this connection has not been sent, unless it is not the one that reads."""
        track, reader = self._open()
        # What a client has seen it can ask for, at any replica.
        await track.written()
        async with self._lock():
            if self._over or reader.stopped:
                return
            if reader.missed:
                # It was too slow for what is kept. That is told when it comes for the rest.
                await self._put(self._opening, more=False)
                self._over = True
                track.detach(reader)
                return
            # Asked for under the lock: whoever was before may have written it already.
            chunk, reached = reader.pending()
            chunk = self._opening + chunk
            told = bool(chunk)
            chunk += more_bytes
            if chunk or not more:
                await self._put(chunk, more=more, headers=headers)
            # Afterwards: what was cancelled was not sent, and is sent with what comes next.
            self._told |= told
            self._opening = b""
            self._over = not more
            reader.reached(reached)

    async def _beat(self) -> None:
        await self._flush(more=True, more_bytes=KEEP_ALIVE_COMMENT)

    async def _hang_up(self) -> None:
        """End the HTTP response, which others may read on."""
        async with self._lock():
            if self._streaming and not self._over:
                await self._put(b"", more=False)
                self._over = True

    def _left(self) -> None:
        if self._told and self._track is not None and self._reader is not None:
            self._over = True
            self._track.detach(self._reader)
        else:
            self._gone()

    def _replaced(self) -> None:
        if not self._over:
            self._tasks.append(asyncio.create_task(self._hang_up()))

    async def _close_early(self) -> None:
        track, reader = self._open()
        reading = track.reader
        if track.ended or reading is None:
            return
        if reading is reader:
            await self._flush(more=False)
        track.detach(reading)

    async def _close_standing(self) -> None:
        stream = self._session.stream
        if isinstance(stream, Track) and stream.reader is not None:
            stream.detach(stream.reader)
        elif isinstance(stream, Own):
            await stream.hang_up()
