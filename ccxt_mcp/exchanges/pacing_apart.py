"""Pacing the requests that a helper process makes.

Owns: the conversation in which the process asks before each request and tells of each answer, so
that its requests count where all others do. Refuses: limits (``limits``), and the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any

import orjson

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges import jobs

__all__ = ["PacedFromAfar"]


class _Unanswered(Failure):
    """A request came to nothing, as far as anybody knows."""

    def __init__(self) -> None:
        super().__init__(Code.EXCHANGE_UNAVAILABLE, "the request was not answered")


class PacedFromAfar:
    """One process's requests.

    Mutable: ``_requests`` and ``_ends`` (requests under way, by the process's numbers), ``_tasks``
    (one for each), ``wait`` (seconds that the exchange last told to wait, if it did).
    """

    def __init__(self, pacing: Any, say: Callable[[bytes], None]) -> None:
        self._pacing = pacing
        self._say = say
        self._requests: dict[int, Any] = {}
        self._ends: dict[int, asyncio.Future[bool]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.wait: float | None = None

    def take(self, kind: bytes, body: dict[str, Any]) -> None:
        """Heed what the process says. Raises ``LookupError`` or ``TypeError`` for nonsense."""
        number = body["request"]
        if kind == jobs.ASKING:
            end = self._ends[number] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._admit(number, body, end))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind == jobs.DONE:
            end = self._ends.pop(number)
            if not end.done():
                end.set_result(bool(body["answered"]))
        elif (request := self._requests.get(number)) is not None:
            if kind == jobs.ANSWERED:
                request.answered(body["status"], body["headers"])
            else:
                error = getattr(import_module("ccxt.base.errors"), body["kind"])(body["words"])
                self.wait = request.refused(error, body["status"])

    async def close(self) -> None:
        """The process is gone; what it had under way is not known to be answered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _admit(self, number: int, body: dict[str, Any], end: asyncio.Future[bool]) -> None:
        asked = body["api"], body["path"], body["method"], body["cost"]
        try:
            async with self._pacing.request(*asked) as request:
                self._requests[number] = request
                self._say(orjson.dumps({"request": number}) + b"\n")
                if not await end:
                    raise _Unanswered
        except _Unanswered:
            pass
        except Exception as error:
            failure = error if isinstance(error, Failure) else _unpaced(error)
            answer = {"request": number, "failure": jobs.failure_words(failure)}
            self._say(orjson.dumps(answer) + b"\n")
        finally:
            self._requests.pop(number, None)


def _unpaced(error: Exception) -> Failure:
    return Failure(Code.INTERNAL, f"a request could not be paced ({type(error).__name__})")
