"""How late the event loop is.

Owns: the sampling. Refuses: saying why; a span or a profiler does that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["INTERVAL", "watch_loop"]

INTERVAL = 0.1
"""Seconds between samples: a stall as long as this is always seen, a shorter one by chance."""


async def watch_loop(tell: Callable[[float], None]) -> None:
    """Tell, ten times a second, by how many seconds a timer was late. Runs until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL
        await asyncio.sleep(INTERVAL)
        # Timers may come a hair early: their clock is coarser than `time`.
        tell(max(0.0, loop.time() - due))
