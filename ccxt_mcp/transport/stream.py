"""The stream of messages that belong to a session rather than to one call (GET), of a session that
keeps no events (``events.py`` for those that do).

Owns: a bounded queue of messages, and writing it out with keep-alives until the client leaves or
the session ends. Refuses: keeping messages for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from starlette.types import Receive, Send

from ccxt_mcp.transport.responder import KEEP_ALIVE, KEEP_ALIVE_COMMENT, SSE_HEADERS, event

__all__ = ["MAX_QUEUED", "Standing", "Stream"]

MAX_QUEUED = 256
"""Messages that wait for a slow client; beyond it the oldest are dropped: notifications advise."""


class Standing(Protocol):
    """What a session's own stream is to those who have something to say on it."""

    @property
    def connected(self) -> bool:
        """Whether somebody reads it."""

    def push(self, message: bytes) -> None:
        """Say one JSON-RPC message."""

    def push_once(self, message: bytes) -> None:
        """The same, unless an equal message is there that nobody has begun to read."""

    def close(self) -> None:
        """Nothing more comes."""


class Stream:
    """One open GET. Mutable: ``_queue`` (at most ``MAX_QUEUED``), ``_closed`` (never unset)."""

    __slots__ = ("_closed", "_queue", "_wake")

    connected = True
    """There is one as long as its connection."""

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque(maxlen=MAX_QUEUED)
        self._wake = asyncio.Event()
        self._closed = False

    def push(self, message: bytes) -> None:
        """Queue one JSON-RPC message."""
        self._queue.append(message)
        self._wake.set()

    def push_once(self, message: bytes) -> None:
        """Queue one, unless an equal one is queued."""
        if message not in self._queue:
            self.push(message)

    def close(self) -> None:
        """End the stream after what is queued; for the client it simply ends."""
        self._closed = True
        self._wake.set()

    async def serve(self, receive: Receive, send: Send) -> None:
        """Write until the client leaves or ``close`` is called."""
        await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]})
        # Tells proxies and clients at once that the stream stands.
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        leaving = asyncio.create_task(self._until_gone(receive))
        try:
            while not (self._closed and not self._queue):
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        await self._wake.wait()
                except TimeoutError:
                    chunk = KEEP_ALIVE_COMMENT
                else:
                    self._wake.clear()
                    chunk = b"".join(map(event, self._queue))
                    self._queue.clear()
                if leaving.done():
                    return
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.close()
