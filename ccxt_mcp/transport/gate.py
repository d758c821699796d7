"""Whether the server takes work, and how much of it is under way.

Owns: the one switch from serving to draining and the count of requests being served. Refuses: new
requests while draining, as retryable and with ``Connection: close``, so that a load balancer or a
client's next attempt goes elsewhere.
"""

from __future__ import annotations

import asyncio

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.transport.refusal import Refusal

__all__ = ["Gate"]


class Gate:
    """Open until ``drain``, and never again. Mutable: ``draining``, ``serving`` (not negative)."""

    __slots__ = ("_empty", "draining", "serving")

    def __init__(self) -> None:
        self.draining = False
        self.serving = 0
        self._empty: asyncio.Event | None = None

    def check(self) -> None:
        """Raises ``Refusal`` (503) while draining."""
        if self.draining:
            message = "The server is stopping; try again"
            raise Refusal(
                503,
                message,
                headers=[(b"retry-after", b"1"), (b"connection", b"close")],
                failure=Failure(
                    Code.OVERLOADED,
                    message,
                    hint="Send the call again: another server, or this one restarted, takes it.",
                    retry_after=1.0,
                ),
            )

    def enter(self, requests: int = 1) -> None:
        """A request is being served, or all those of a batch."""
        self.serving += requests

    def leave(self, requests: int = 1) -> None:
        """The request of ``enter`` has been answered or given up, or all of them have."""
        self.serving -= requests
        if self.serving == 0 and self._empty is not None:
            self._empty.set()

    async def drain(self, grace: float) -> bool:
        """Take no more work, and wait at most ``grace`` seconds for what is under way to end.

        Returns whether all of it has ended.
        """
        self.draining = True
        if self.serving:
            self._empty = asyncio.Event()
            try:
                async with asyncio.timeout(grace):
                    await self._empty.wait()
            except TimeoutError:
                return False
        return True

    def __repr__(self) -> str:
        return f"<Gate {'draining' if self.draining else 'open'}, {self.serving} serving>"
