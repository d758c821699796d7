"""What questions about markets have in common: their arguments, and an answer of several requests.

Owns: the arguments of a question about one market, the age of an answer that was put together, and
the bounds of the putting together (requests, time). Refuses: knowing what is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.public_reads import Found, Read
from ccxt_mcp.errors import Failure
from ccxt_mcp.mechanisms.deadline import remaining
from ccxt_mcp.tools.arguments import Arguments, Exchange, MaxAge, Symbol

__all__ = ["MAX_REQUESTS", "Aged", "Enough", "OfMarket", "Walk", "together"]

MAX_REQUESTS = 20
"""Requests to an exchange that one answer may cost."""

_RESERVE = 1.0
"""Seconds before the deadline after which an answer makes do with what it has."""


class Aged(Arguments):
    """A question with ``maxAgeMs`` among its arguments; each has it where it is to be listed."""

    @property
    def max_age(self) -> float | None:
        """The oldest answer to accept, in seconds."""
        asked: int | None = getattr(self, "maxAgeMs", None)
        return None if asked is None else asked / 1000


class OfMarket(Aged):
    """What every question about one market takes."""

    symbol: Symbol
    exchange: Exchange | None = None
    maxAgeMs: MaxAge | None = None


def together(reads: list[Read]) -> dict[str, Any]:
    """The age of an answer that was put together: that of its oldest part."""
    if not reads:
        return {"fetchedAt": round(time.time() * 1000), "cached": False}
    return {
        "fetchedAt": min(read.fetched_at for read in reads),
        "cached": any(read.found is not Found.NEW for read in reads),
    }


class Enough(Exception):
    """An answer has to make do with what it has; ``Walk.stopped`` says why."""


class Walk:
    """The requests of one answer. The first may fail; after it, what is there is worth more.

    Args:
        call: the call under way.
        exchange: the profile's name.
        method: what is asked.
        project: as for ``Call.read``.
        max_age: the oldest answer to accept at this moment, in seconds.

    Mutable: ``reads``, those that came; ``stopped``, why there are no more, as a clause.
    """

    def __init__(
        self,
        call: Call,
        exchange: str,
        method: str,
        project: Callable[..., Any],
        max_age: Callable[[], float | None],
    ) -> None:
        self._call = call
        self._question = (exchange, method)
        self._project = project
        self._max_age = max_age
        self.reads: list[Read] = []
        self.stopped: str | None = None

    async def ask(self, *args: Hashable, params: Mapping[str, Any] | None = None) -> Any:
        """One request.

        Raises:
            Failure: the first one failed.
            Enough: a later one failed, would come too late, or would be one too many.
        """
        if not self.reads:
            return await self._read(args, params)
        if len(self.reads) >= MAX_REQUESTS:
            raise self._enough("as many requests were made as one answer may cost")
        left = remaining()
        try:
            async with asyncio.timeout(None if left is None else left - _RESERVE):
                return await self._read(args, params)
        except TimeoutError:
            raise self._enough("time ran short") from None
        except Failure as failure:
            raise self._enough(f"the exchange's next answer was `{failure.code.value}`") from None

    async def told(self, done: int, total: int, what: str) -> None:
        """Tell the caller, if it asked, that ``done`` of ``total`` rows are there."""
        if self._call.progress is not None:
            await self._call.progress.count(done, total, f"{done} of {total} {what}")

    def shown(self, count: int, what: str) -> str:
        """The words of an answer that is not known to be all."""
        why = f", since {self.stopped}" if self.stopped is not None else ""
        return f"Shown: {count} {what}{why}; there may be more."

    async def _read(self, args: tuple[Hashable, ...], params: Mapping[str, Any] | None) -> Any:
        read = await self._call.read(
            *self._question,
            *args,
            project=self._project,
            max_age=self._max_age(),
            params=params,
        )
        self.reads.append(read)
        return read.value

    def _enough(self, why: str) -> Enough:
        self.stopped = why
        return Enough(why)
