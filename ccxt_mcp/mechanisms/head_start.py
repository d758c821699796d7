"""A coroutine that is begun before it is awaited.

Owns: its first step, done at once, so that what it waits for is under way while its caller does
something else. Refuses: to be a task. It goes on only while it is awaited, in the task that began
it, so it can be dropped like any coroutine and costs nothing where it has to wait for nothing.

Eager tasks (Python 3.12) begin at once as well, at the price of a task.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

__all__ = ["HeadStart"]

_T = TypeVar("_T")


class HeadStart(Generic[_T]):
    """Await it once, or ``close`` it.

    Args:
        work: how it ends, with a result or an error, is told to whoever awaits this.

    Mutable: ``_first``, what the first step waits for, until it is handed on; ``_ended``, where
    that step was the last, until it is told.
    """

    __slots__ = ("_ended", "_first", "_work")

    def __init__(self, work: Coroutine[Any, Any, _T]) -> None:
        self._work = work
        self._first: Any = None
        self._ended: BaseException | None = None
        try:
            self._first = work.send(None)
        except BaseException as end:
            self._ended = end

    def close(self) -> _T | None:
        """Drop it, as a coroutine is dropped, and what it waits for; without effect where it was
        awaited to its end.

        Returns:
            The result, where its first step was its last and nobody has awaited it: it has to be
            undone, perhaps.
        """
        self._work.close()
        first, self._first = self._first, None
        if first is not None and not first.cancel() and not first.cancelled():
            # Nobody else asks how it ended, and asyncio would complain of that.
            first.exception()
        ended, self._ended = self._ended, None
        return cast(_T, ended.value) if isinstance(ended, StopIteration) else None

    def __repr__(self) -> str:
        return f"<HeadStart of {self._work!r}>"

    # The steps of an awaitable's iterator, handed on to the coroutine but for the first one.

    def __await__(self) -> Generator[Any, Any, _T]:
        return cast(Generator[Any, Any, _T], self)

    def __iter__(self) -> HeadStart[_T]:
        return self

    def __next__(self) -> Any:
        if self._ended is not None:
            ended, self._ended = self._ended, None
            try:
                raise ended
            finally:
                # It has this frame in its traceback, which would keep both until some collection.
                del ended
        first, self._first = self._first, None
        return self._work.send(None) if first is None else first

    def throw(self, *error: Any) -> Any:
        """An exception at the place where it waits."""
        return self._work.throw(*error)
