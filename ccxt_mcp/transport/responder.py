"""The answer to one POST: one JSON object, or a stream once there is more to say.

Owns: which of the two it is and when that is decided, the order of what is written, keep-alives,
and noticing that the client left. Refuses: what the messages mean.

An answer starts as JSON and stays so for nearly all calls. It becomes an event stream, where the
client takes one, when progress or a notification is sent, or after 15 s of silence, in which
proxies and clients would give up. Once a stream has begun it ends with the reply as its last event.

The client's departure is watched only for calls that last: a task for every call would cost a tenth
of a quick one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Send

from ccxt_mcp.transport.refusal import send_json

__all__ = [
    "KEEP_ALIVE",
    "KEEP_ALIVE_COMMENT",
    "SSE_HEADERS",
    "WATCH_AFTER",
    "Closer",
    "Responder",
    "event",
]

Closer = Callable[[], Awaitable[None]]

KEEP_ALIVE = 15.0
"""Seconds of silence before a comment is sent on a stream, and before JSON becomes one."""

WATCH_AFTER = 0.02
"""Seconds after which a call is worth watching its client for."""

KEEP_ALIVE_COMMENT = b": keep-alive\n\n"

SSE_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    # Proxies such as nginx would collect the stream otherwise.
    (b"x-accel-buffering", b"no"),
)


def event(message: bytes) -> bytes:
    """One JSON-RPC message as a server-sent event; JSON of one line needs no more framing."""
    return b"event: message\ndata: " + message + b"\n\n"


class Responder:
    """Writes one answer, between ``start`` and ``close``.

    Args:
        receive, send: the request's ASGI channels; its body has been read.
        json, sse: what the client takes.
        gone: called once when the client has left, at most between ``start`` and ``stop``.
    """

    __slots__ = (
        "_gone",
        "_json",
        "_receive",
        "_send",
        "_sse",
        "_streaming",
        "_tasks",
        "_timer",
        "_writing",
    )

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        json: bool,
        sse: bool,
        gone: Callable[[], None],
    ) -> None:
        self._receive = receive
        self._send = send
        self._json = json
        self._sse = sse
        self._gone = gone
        self._streaming = False
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Lock | None = None

    @property
    def asks(self) -> bool:
        """Whether requests to the client can go this way, and their answers come back."""
        return False

    def closers(self) -> tuple[Closer | None, Closer | None]:
        """What ends the connection of this stream, and that of the session's own, early; None where
        the client could not read on."""
        return None, None

    @property
    def as_stream(self) -> bool:
        """Whether the answer is a stream by now, or can be nothing else."""
        return self._streaming or not self._json

    def start(self) -> None:
        """Begin to watch the client and the time."""
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._watch)

    async def stop(self) -> None:
        """End both, and write nothing more. Twice is fine."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()
        if self.as_stream:
            await self._stopped()

    async def _stopped(self) -> None:
        tasks, self._tasks = self._tasks, []
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """``stop``, and let go of the rest. Whoever called ``start`` calls this at the very end,
        whatever happened."""
        await self.stop()
        await self._stopped()

    async def emit(self, message: bytes) -> None:
        """Send a message ahead of the reply; dropped where the client takes no stream."""
        if self._sse:
            await self._write(event(message), more=True)

    def leave(self, message: bytes) -> None:
        """Send a message with what is sent next; where nobody has to wait for that."""

    async def finish(self, reply: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        """Send the reply. ``headers`` are those of a JSON answer or of a stream not yet begun."""
        # First, so that no keep-alive comes between or after.
        await self.stop()
        if self.as_stream:
            await self._write(event(reply), more=False, headers=headers)
        else:
            await send_json(self._send, 200, reply, headers or ())

    async def _write(
        self, chunk: bytes, *, more: bool, headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        async with self._lock():
            await self._put(chunk, more=more, headers=headers)

    def _lock(self) -> asyncio.Lock:
        if self._writing is None:
            self._writing = asyncio.Lock()
        return self._writing

    async def _put(
        self, chunk: bytes, *, more: bool, headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        """Write on the stream, which begins with the first. Under the lock."""
        if not self._streaming:
            await self._send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [*SSE_HEADERS, *(headers or ())],
                }
            )
            # Afterwards: a cancelled start was not sent, and the answer may still be JSON.
            self._streaming = True
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    def _watch(self) -> None:
        self._timer = None
        self._tasks.append(asyncio.create_task(self._listen()))
        if self._sse:
            self._tasks.append(asyncio.create_task(self._keep_alive()))

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
        self._gone()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE)
            await self._beat()

    async def _beat(self) -> None:
        await self._write(KEEP_ALIVE_COMMENT, more=True)
