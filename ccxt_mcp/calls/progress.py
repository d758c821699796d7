"""Telling a caller that asked for it how its call gets on.

Owns: when progress is reported and that its value only grows, as MCP demands. Refuses: to fail or
hold up a call: what cannot be told is dropped, and who waits waits beside the telling.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["EVERY", "FIRST", "Progress", "Report"]

Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""(progress, total, message) to the caller."""

FIRST = 0.25
"""Seconds of waiting before a caller is told: what is quicker needs no words."""
EVERY = 2.0
"""Seconds between two reports of the same wait."""


class Progress:
    """The progress of one call.

    What is counted (``count``) is reported as a number of rows; a wait before that as a fraction
    of one that approaches it, so that the value grows whatever the call does.

    Mutable: ``_told``, the last value reported, which only grows.
    """

    __slots__ = ("_report", "_since", "_told")

    def __init__(self, report: Report) -> None:
        self._report = report
        self._since = asyncio.get_running_loop().time()
        self._told = -1.0

    async def count(self, done: int, total: int | None, message: str) -> None:
        """Report that ``done`` of ``total`` rows are there."""
        await self._tell(float(done), None if total is None else float(total), message)

    @asynccontextmanager
    async def waiting(self, message: str) -> AsyncIterator[None]:
        """Report ``message`` for as long as the block takes, beside it."""
        telling = asyncio.create_task(self._repeat(message))
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.wait([telling])

    async def _repeat(self, message: str) -> None:
        await asyncio.sleep(FIRST)
        loop = asyncio.get_running_loop()
        while True:
            elapsed = loop.time() - self._since
            await self._tell(max(0.0, self._told) + elapsed / (elapsed + 60) / 16, None, message)
            await asyncio.sleep(EVERY)

    async def _tell(self, value: float, total: float | None, message: str) -> None:
        value = round(value, 4)
        if value <= self._told:
            return
        self._told = value
        # A client that has left, or a transport that cannot say it: no reason for a call to fail.
        with contextlib.suppress(Exception):
            await self._report(value, total, message)
