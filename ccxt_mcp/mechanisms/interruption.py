"""Ending a piece of work from outside, and telling that from every other cancellation.

Owns: one cancellation of the task that runs the work, delivered where the task waits. Refuses: to
swallow cancellations of anybody else, and to deliver more than one: a write that shields itself
must not be hit again and again.

anyio's cancel scopes would do the same, but repeat the cancellation in every loop step until the
scope ends, which spins while shielded work finishes.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Interruption"]


class Interruption:
    """``with`` around work that may be interrupted. After it, ``reason`` says whether it was.

    An interrupted body ends with ``CancelledError``, which goes no further than this context. A
    body that ends in its own way in the same moment has done so: ``reason`` is None then.
    """

    __slots__ = ("_asked", "_before", "_task", "reason")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._before = 0
        self._asked: str | None = None
        self.reason: str | None = None

    def __enter__(self) -> Interruption:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._before = self._task.cancelling()
        return self

    def interrupt(self, reason: str) -> None:
        """End the work; without effect when it has ended or is being ended."""
        if self._task is not None and self._asked is None:
            self._asked = reason
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        assert task is not None
        if self._asked is None or task.uncancel() > self._before:
            return False
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            return False
        self.reason = self._asked
        return True
