"""An event loop whose time passes only when nobody has anything to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualLoop", "run"]

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    advance: Callable[[float], None]

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, and for nothing that is planned")
        found = super().select(0)
        if not found:
            self.advance(max(0.0, timeout))
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours pass in milliseconds, always the same."""

    def __init__(self) -> None:
        selector = _Selector()
        self.now = 1000.0
        selector.advance = self._advance
        super().__init__(selector)

    def _advance(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
