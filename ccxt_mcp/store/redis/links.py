"""Connections to the store's servers.

Owns: pipelined connections to one server (named, or found through Sentinel), with a bound in time.
Refuses: several servers (``shards``), repetition, and the words of failures (``wire``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakSet

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ReadOnlyError, RedisError

from ccxt_mcp.store.redis.pipe import Command, Pipe

__all__ = ["FAULTS", "Link", "Pipelined"]

FAULTS = (RedisError, OSError)
"""What goes wrong on the way."""

_STALE = 30.0
"""Seconds without a word after which a connection is made anew: what lies between may have
forgotten it, which would be found out by waiting in vain."""


class Link(Protocol):
    """A way to the servers."""

    async def execute(self, commands: Sequence[Command], *, large: bool = False) -> list[Any]:
        """Replies, in the order of the commands; an error reply is a ``RedisError`` among them.

        Args:
            large: whether what is said or answered may take long on its way.

        Raises:
            one of FAULTS: the connection failed, or there was no answer in time; what was asked may
                have been done.
        """

    async def connection(self, key: str) -> AbstractConnection:
        """A new connection of the caller's own to the server that has this key."""

    async def close(self) -> None:
        """Close all connections but those of callers' own."""


class Pipelined:
    """One server at a time, on two connections: what is large does not hold up what is small.

    Args:
        pool: makes connections; none is kept there.
        patience: seconds for a round trip, with connecting.

    Mutable: ``_pipes`` and ``_connecting``, by whether they are for what is large; ``_made`` (all
    there are: one that was replaced may still be awaited).
    """

    def __init__(
        self, pool: ConnectionPool, patience: float, sentinel: Sentinel | None = None
    ) -> None:
        self._pool = pool
        self._patience = patience
        self._sentinel = sentinel
        self._pipes: dict[bool, Pipe] = {}
        self._connecting: dict[bool, asyncio.Task[Pipe]] = {}
        self._made: WeakSet[Pipe] = WeakSet()

    async def execute(self, commands: Sequence[Command], *, large: bool = False) -> list[Any]:
        pipe = self._pipes.get(large)
        if pipe is not None and pipe.open and pipe.idle < _STALE:
            replies = await pipe.ask(commands)
        else:
            async with asyncio.timeout(self._patience):
                pipe = await self._connected(large)
                replies = await pipe.ask(commands)
        for each in replies:
            if isinstance(each, RedisError) and _of_connection(each):
                pipe.retire()
        return replies

    async def connection(self, key: str) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()
        async with asyncio.timeout(self._patience):
            await connection.connect()
        return connection

    async def close(self) -> None:
        for task in list(self._connecting.values()):
            while not task.done():
                # One that comes as a step of connecting ends is lost (`asyncio.wait_for`, 3.11).
                task.cancel()
                await asyncio.sleep(0)
        for pipe in list(self._made):
            pipe.close()
        for each in [] if self._sentinel is None else self._sentinel.sentinels:
            await each.aclose()

    async def _connected(self, large: bool) -> Pipe:
        task = self._connecting.get(large)
        if task is None:
            task = self._connecting[large] = asyncio.create_task(self._connect(large))
            task.add_done_callback(self._connected_or_not)
        # Whoever leaves does not take it away from the others.
        await asyncio.wait([task])
        if task.cancelled():
            raise Disconnected("the store was left")
        return task.result()

    async def _connect(self, large: bool) -> Pipe:
        try:
            before = self._pipes.pop(large, None)
            if before is not None:
                before.retire()
            # Ends with those who wait for it, so that whoever comes next begins anew.
            async with asyncio.timeout(self._patience):
                connection = await self.connection("")
            pipe = self._pipes[large] = Pipe(connection, self._patience)
            self._made.add(pipe)
            return pipe
        finally:
            del self._connecting[large]

    def _connected_or_not(self, task: asyncio.Task[Pipe]) -> None:
        # Read, though all who waited may have gone.
        if not task.cancelled():
            task.exception()


def _of_connection(error: RedisError) -> bool:
    """Whether a new connection may lead further: to another server where this one is no master any
    more (older ones wrap the errors of scripts), or into one that does not let this one in."""
    return isinstance(error, ReadOnlyError | Disconnected) or "-READONLY " in str(error)
