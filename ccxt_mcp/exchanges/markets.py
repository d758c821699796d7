"""Loading once, for everybody who waits.

Owns: the single flight of a load and the outcome that all its waiters get. Refuses: knowing how to
load (its caller says), and keeping market tables fresh (``sources``).

CCXT's own ``load_markets`` shares one task among its waiters without a shield: one waiter's timeout
cancels the load for everybody (github.com/ccxt/ccxt/issues/29926). Here the task is the server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.telemetry import apart

__all__ = ["Loaded", "landed", "shutting_down"]

T = TypeVar("T")


class Loaded(Generic[T]):
    """A value that is made on first use by a task of its own.

    Invariants: at most one task at a time; ``value`` is only ever set to a complete value; a
    waiter's cancellation reaches nobody else; after a failure the next caller starts anew.
    """

    def __init__(self, load: Callable[[], Awaitable[T]], *, name: str) -> None:
        self._load = load
        self._name = name
        self._task: asyncio.Task[T | Failure] | None = None
        self._closed = False
        self.value: T | None = None

    @property
    def loading(self) -> bool:
        return self._task is not None

    async def get(self) -> T:
        """The value; waits for it if need be. Raises the ``Failure`` of the load."""
        if self.value is not None:
            return self.value
        if self._closed:
            raise shutting_down(self._name)
        if self._task is None:
            # A context of its own: the first caller's deadline is not everybody's.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"load {self._name}", context=apart()
            )
            self._task.add_done_callback(self._done)
        outcome = await landed(self._task, self._name)
        if isinstance(outcome, Failure):
            raise outcome.again()
        return outcome

    async def close(self) -> None:
        """Stop a load under way; its waiters get a ``Failure``."""
        self._closed = True
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> T | Failure:
        # A Failure is returned, not raised: it has many readers, or none, and an exception that is
        # raised in several places at once collects the frames of all of them.
        try:
            self.value = await self._load()
        except Failure as failure:
            return failure.with_traceback(None)
        return self.value

    def _done(self, task: asyncio.Task[T | Failure]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()


async def landed(task: asyncio.Task[T | Failure], name: str) -> T | Failure:
    """What a task of the server's came to. Cancelling this wait reaches nobody else."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        waiter = asyncio.current_task()
        if not task.cancelled() or (waiter is not None and waiter.cancelling()):
            raise
        return shutting_down(name)


def shutting_down(name: str) -> Failure:
    return Failure(Code.INTERNAL, f"{name}: the server is shutting down", retryable=True)
