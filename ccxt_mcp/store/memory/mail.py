"""Mail between nodes that share a store in memory.

Owns: who listens. Refuses: to keep what nobody hears. A message is heard on the loop of whoever
listens, after whoever sent it has gone on: as it is with a store that is elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ccxt_mcp.store.memory.ground import Ground

__all__ = ["MemoryMail"]


class MemoryMail:
    """See ``protocol.Mail``."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._listening: dict[str, tuple[asyncio.AbstractEventLoop, Callable[[str], None]]] = {}

    async def listen(self, node: str, heard: Callable[[str], None]) -> None:
        self._listening[node] = (asyncio.get_running_loop(), heard)

    async def unlisten(self, node: str) -> None:
        self._listening.pop(node, None)

    async def tell(self, node: str, message: str) -> bool:
        await self._ground.ready()
        return self.send(node, message)

    def send(self, node: str, message: str) -> bool:
        listening = self._listening.get(node)
        if listening is None or listening[0].is_closed():
            return False
        listening[0].call_soon(self._deliver, node, message)
        return True

    def missed(self) -> None:
        """As after a connection that was lost."""
        for node in self._listening:
            self.send(node, "")

    def _deliver(self, node: str, message: str) -> None:
        listening = self._listening.get(node)
        if listening is not None:
            listening[1](message)
