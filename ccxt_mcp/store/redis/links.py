"""Connections to the store's servers.

Owns: the two ways to reach them: pooled connections to one server (named, or found through
Sentinel), and a Redis Cluster. Refuses: bounds in time and the words of failures (``wire``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from hiredis import pack_command
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError, ResponseError

__all__ = ["CONNECTIONS", "FAULTS", "Clustered", "Link", "Pooled"]

FAULTS = (RedisError, RedisClusterException, OSError)
"""What goes wrong on the way; a cluster's exception is none of the library's others."""

CONNECTIONS = 32
"""Connections to one server for round trips; what comes more waits for one."""

Command = tuple[str | bytes | int | float, ...]


class Link(Protocol):
    """A way to the servers."""

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Replies, in the order of the commands; an error reply is a ``ResponseError`` among them.

        Raises:
            one of FAULTS: the connection failed; what was asked may have been done.
        """

    async def connection(self, key: str) -> AbstractConnection:
        """A new connection of the caller's own to the server that has this key."""

    async def close(self) -> None:
        """Close all connections but those of callers' own."""


class Pooled:
    """One server at a time."""

    def __init__(self, pool: ConnectionPool, sentinel: Sentinel | None = None) -> None:
        self._pool = pool
        self._sentinel = sentinel
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        async with self._free:
            connection = await self._pool.get_connection()
            replies: list[Any] = []
            try:
                # In C: the library's own way is a third of a round trip's cost.
                packed = [pack_command(each) for each in commands]  # type: ignore[arg-type]
                await connection.send_packed_command(b"".join(packed))
                for _ in commands:
                    try:
                        replies.append(await connection.read_response())
                    except ResponseError as error:
                        replies.append(error)
                if any(_read_only(each) for each in replies):
                    # No master any more: the name may lead to another one by now.
                    await connection.disconnect(nowait=True)
            except BaseException:
                # Replies of this may still come: nobody else may read them as theirs.
                await connection.disconnect(nowait=True)
                raise
            finally:
                await self._pool.release(connection)
            return replies

    async def connection(self, key: str) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()
        await connection.connect()
        return connection

    async def close(self) -> None:
        await self._pool.disconnect()
        for each in [] if self._sentinel is None else self._sentinel.sentinels:
            await each.aclose()


def _read_only(reply: Any) -> bool:
    # Older servers wrap the errors of scripts.
    return isinstance(reply, ReadOnlyError) or (
        isinstance(reply, ResponseError) and "-READONLY " in str(reply)
    )


class Clustered:
    """Several servers, each with a part of the keys."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
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
