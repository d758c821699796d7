"""Work that ends by itself, whatever happens to whoever asked for it.

Owns: keeping a cancellation away from work that must not be cut in the middle, until the work has
ended. Refuses: bounds in time; such work has a deadline of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

__all__ = ["finishing"]

_T = TypeVar("_T")


async def finishing(work: Coroutine[Any, Any, _T]) -> _T:
    """The outcome of ``work``, which always runs to its end.

    A cancellation of the caller takes effect only then: whatever the caller holds (a lane, a slot)
    is held for as long as the work goes on. It arrives as ``CancelledError``, in place of the
    outcome.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    # anyio repeats its cancellations in every loop step; under a shield it waits for its end.
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()
