"""Connections to the store's servers.

Owns: the two ways to reach them: pipelined connections to one server (named, or found through
Sentinel), and a Redis Cluster, each with a bound in time. Refuses: repetition, and the words of
failures (``wire``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError, ResponseError

from ccxt_mcp.store.redis.pipe import Command, Pipe

__all__ = ["CONNECTIONS", "FAULTS", "Clustered", "Link", "Pipelined"]

FAULTS = (RedisError, RedisClusterException, OSError)
"""What goes wrong on the way; a cluster's exception is none of the library's others."""

CONNECTIONS = 32
"""Connections to one server of a cluster; what comes more waits for one."""
_STALE = 30.0
"""Seconds without a word after which a connection is made anew: what lies between may have
forgotten it, which would be found out by waiting in vain."""


class Link(Protocol):
    """A way to the servers."""

    async def execute(self, commands: Sequence[Command], *, large: bool = False) -> list[Any]:
        """Replies, in the order of the commands; an error reply is a ``ResponseError`` among them.

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

    Mutable: ``_pipes`` and ``_connecting``, by whether they are for what is large.
    """

    def __init__(
        self, pool: ConnectionPool, patience: float, sentinel: Sentinel | None = None
    ) -> None:
        self._pool = pool
        self._patience = patience
        self._sentinel = sentinel
        self._pipes: dict[bool, Pipe] = {}
        self._connecting: dict[bool, asyncio.Task[Pipe]] = {}

    async def execute(self, commands: Sequence[Command], *, large: bool = False) -> list[Any]:
        pipe = self._pipes.get(large)
        if pipe is not None and pipe.open and pipe.idle < _STALE:
            replies = await pipe.ask(commands)
        else:
            async with asyncio.timeout(self._patience):
                pipe = await self._connected(large)
                replies = await pipe.ask(commands)
        for each in replies:
            if isinstance(each, ResponseError) and _read_only(each):
                # No master any more: the name may lead to another one by now.
                pipe.retire()
        return replies

    async def connection(self, key: str) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()
        await connection.connect()
        return connection

    async def close(self) -> None:
        for task in self._connecting.values():
            task.cancel()
        for pipe in self._pipes.values():
            pipe.close()
        for each in [] if self._sentinel is None else self._sentinel.sentinels:
            await each.aclose()

    async def _connected(self, large: bool) -> Pipe:
        task = self._connecting.get(large)
        if task is None:
            task = self._connecting[large] = asyncio.create_task(self._connect(large))
            task.add_done_callback(self._made)
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
            async with asyncio.timeout(self._patience):
                connection = await self.connection("")
            pipe = self._pipes[large] = Pipe(connection, self._patience)
            return pipe
        finally:
            del self._connecting[large]

    def _made(self, task: asyncio.Task[Pipe]) -> None:
        # Read, though all who waited may have gone.
        if not task.cancelled():
            task.exception()


def _read_only(error: ResponseError) -> bool:
    # Older servers wrap the errors of scripts.
    return isinstance(error, ReadOnlyError) or "-READONLY " in str(error)


class Clustered:
    """Several servers, each with a part of the keys, by the library's own client.

    Args:
        patience: seconds for a round trip, with connecting.
    """

    def __init__(self, cluster: RedisCluster, patience: float) -> None:
        self._cluster = cluster
        self._patience = patience
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def execute(self, commands: Sequence[Command], *, large: bool = False) -> list[Any]:
        async with asyncio.timeout(self._patience):
            if len(commands) == 1:
                return [await self._one(commands[0])]
            return await asyncio.gather(*(self._one(each) for each in commands))

    async def _one(self, command: Command) -> Any:
        async with self._free:
            try:
                return await self._cluster.execute_command(*command)
            except ResponseError as error:
                return error

    async def connection(self, key: str) -> AbstractConnection:
        await self._cluster.initialize()
        node = self._cluster.get_node_from_key(key)
        if node is None:
            raise ConnectionError("no node of the cluster has this slot")
        connection: AbstractConnection = node.connection_class(**node.connection_kwargs)
        await connection.connect()
        return connection

    async def close(self) -> None:
        await self._cluster.aclose()
