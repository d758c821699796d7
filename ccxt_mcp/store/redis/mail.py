"""Mail by the store's own messages, on a connection of its own.

Owns: the connection on which nodes listen: made again when it is lost or says nothing any more.
Refuses: to keep what was said meanwhile; who listens is told that something may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from redis.asyncio.connection import AbstractConnection

from ccxt_mcp.errors import Failure
from ccxt_mcp.store.redis.keys import Keys
from ccxt_mcp.store.redis.links import FAULTS
from ccxt_mcp.store.redis.scripts import Script
from ccxt_mcp.store.redis.wire import Wire

__all__ = ["RedisMail"]

_log = logging.getLogger("ccxt_mcp.store")

_TELL = Script("tell")
_ROUND = 2.0
"""Seconds after which this is told something by itself, the way others would: it finds out that its
connection is dead, or leads to a server that has the mail no more (a slot that was moved, a primary
that was replaced). That one may still pass on what is said, but says that nobody listens."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class RedisMail:
    """See ``protocol.Mail``.

    Mutable: ``_heard`` (by channel), ``_connection`` (while subscribed), ``_subscribed`` (set while
    all that is listened to is), ``_missing`` (whether anybody has listened while nothing could be
    heard).
    """

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._keys = keys
        self._own = self._channel(f"?{secrets.token_hex(8)}").encode()
        self._heard: dict[bytes, Callable[[str], None]] = {}
        self._connection: AbstractConnection | None = None
        self._awaited: set[bytes] = set()
        self._subscribed = asyncio.Event()
        self._missing = False
        self._task: asyncio.Task[None] | None = None
        self.on_return: Callable[[], None] = lambda: None
        """Called when the connection has been made again."""

    def __repr__(self) -> str:
        return f"<RedisMail {len(self._heard)} {'hear' if self._connection else 'deaf'}>"

    def _channel(self, node: str) -> str:
        return self._keys.mail + node

    async def listen(self, node: str, heard: Callable[[str], None]) -> None:
        channel = self._channel(node).encode()
        self._heard[channel] = heard
        self._awaited.add(channel)
        self._subscribed.clear()
        if self._task is None:
            self._task = asyncio.create_task(self._hear())
        elif self._connection is not None:
            try:
                await self._connection.send_command("SUBSCRIBE", channel)
            except FAULTS:
                _log.debug("the store is subscribed to with the next connection")
        try:
            async with asyncio.timeout(self._wire.timeout):
                await self._subscribed.wait()
        except TimeoutError:
            # It listens as soon as the store is back, and is told that it has missed something.
            self._missing = True

    async def unlisten(self, node: str) -> None:
        self._heard.pop(self._channel(node).encode(), None)

    async def tell(self, node: str, message: str) -> bool:
        said: int = await self._wire.run(_TELL, [self._channel(node)], [message], again=False)
        return said > 0

    async def close(self) -> None:
        task, self._task = self._task, None
        while task is not None and not task.done():
            # One that comes as a step of connecting ends is lost (`asyncio.wait_for`, 3.11).
            task.cancel()
            await asyncio.wait([task], timeout=0.05)

    async def _hear(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                connection = await self._wire.connection(self._keys.mail)
                try:
                    # Whatever is listened to from here on is subscribed to by ``listen``.
                    self._connection = connection
                    self._awaited = {self._own, *self._heard}
                    async with asyncio.timeout(self._wire.timeout):
                        await connection.send_command("SUBSCRIBE", *sorted(self._awaited))
                    await self._read(connection)
                finally:
                    if self._subscribed.is_set():
                        pause = _FIRST_PAUSE
                    self._connection = None
                    self._subscribed.clear()
                    self._missing = True
                    await connection.disconnect(nowait=True)
            except (Failure, *FAULTS) as error:
                _log.debug("mail of the store is lost: %s", type(error).__name__)
            except Exception:
                _log.exception("mail of the store is lost")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _read(self, connection: AbstractConnection) -> None:
        """Until nothing more is to be heard here, or who tells would not find this connection."""
        loop = asyncio.get_running_loop()
        awaiting, due = True, loop.time() + self._wire.timeout
        while True:
            left = max(due - loop.time(), 0.001)
            message = await connection.read_response(timeout=left)
            if message is not None:
                if message[0] == b"subscribe":
                    self._awaited.discard(message[1])
                    if not self._awaited:
                        self._complete()
                elif message[0] == b"message" and message[1] != self._own:
                    self._deliver(message[1], message[2])
                if awaiting and not self._awaited:
                    awaiting, due = False, loop.time() + _ROUND
            if loop.time() >= due:
                if awaiting:
                    # Subscribing, or what was told to oneself, has not been heard: nothing else
                    # would be either.
                    return
                if not await self._wire.run(_TELL, [self._own.decode()], [""], again=False):
                    # What is said is said to another server by now.
                    return
                awaiting, due = True, loop.time() + self._wire.timeout

    def _complete(self) -> None:
        self._subscribed.set()
        if self._missing:
            self._missing = False
            for channel in list(self._heard):
                self._deliver(channel, b"")
            self.on_return()

    def _deliver(self, channel: bytes, message: bytes) -> None:
        heard = self._heard.get(channel)
        if heard is not None:
            try:
                heard(message.decode())
            except Exception:
                _log.exception("a message could not be handled")
