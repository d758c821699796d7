"""What the tests of both stores ask of a store besides the protocol."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Claimed, Store

__all__ = ["LENGTH", "World", "opened", "until"]

LENGTH = 0.6
"""Seconds of a lease in these tests."""


class World(ABC):
    """A store as two replicas see it, and time.

    Attributes:
        store: as one replica sees it.
        other: as another sees it.
    """

    def __init__(self, store: Store, other: Store) -> None:
        self.store = store
        self.other = other

    @abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the store."""

    @abstractmethod
    async def flush(self) -> None:
        """Take away all that the store knows."""

    async def claim(self, token: str, name: str = "lane", length: float = LENGTH) -> Claimed:
        return await self.store.leases.claim(name, token, node="a", length=length)

    async def hear(self, node: str, *, other: bool = False) -> list[str]:
        """What a node hears from now on."""
        heard: list[str] = []
        await (self.other if other else self.store).mail.listen(node, heard.append)
        return heard


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what nothing announces."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(
    url: str, prefix: str, timeout: float, count: int = 2
) -> AsyncIterator[list[Store]]:
    """One store, as so many replicas see it."""
    stores = [store_at(url, prefix=prefix, timeout=timeout) for _ in range(count)]
    for store in stores:
        await store.open()
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()
