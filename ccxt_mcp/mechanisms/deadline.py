"""The deadline that travels with a call.

Owns: the one context variable that says until when the call in progress may take. Refuses: setting
it (``calls/pipeline.py`` does) and ending anything; whoever waits reads it and decides.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

__all__ = ["DEADLINE", "remaining"]

DEADLINE: ContextVar[float | None] = ContextVar("ccxt_mcp_deadline", default=None)
"""When the call in progress has to be over, in the event loop's time; ``None`` for no limit."""


def remaining() -> float | None:
    """Seconds until the deadline, negative once it has passed; ``None`` if there is none."""
    deadline = DEADLINE.get()
    return None if deadline is None else deadline - asyncio.get_running_loop().time()
