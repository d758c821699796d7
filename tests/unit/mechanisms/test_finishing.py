"""Work that must not be cut in the middle runs to its end; its caller's cancellation waits."""

import asyncio

import anyio
import pytest

from ccxt_mcp.mechanisms.finishing import finishing
from ccxt_mcp.mechanisms.interruption import Interruption


class Work:
    """Waits until it is let go, and notes that it ended."""

    def __init__(self) -> None:
        self.started, self.go = asyncio.Event(), asyncio.Event()
        self.ended = False

    async def run(self) -> str:
        self.started.set()
        await self.go.wait()
        self.ended = True
        return "done"


async def test_the_outcome_is_the_works() -> None:
    work = Work()
    work.go.set()
    assert await finishing(work.run()) == "done"


async def test_an_error_is_passed_on() -> None:
    async def broken() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await finishing(broken())


async def test_cancellations_take_effect_when_the_work_has_ended() -> None:
    """Awaited plainly, the work would end at its next await: an order half sent."""
    work = Work()
    caller = asyncio.create_task(finishing(work.run()))
    await work.started.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
        assert not caller.done()
    work.go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.ended


async def test_a_cancelled_scope_waits_without_spinning() -> None:
    """anyio repeats a cancellation in every loop step: without the shield, a busy loop."""
    work = Work()
    steps = 0

    async def count() -> None:
        nonlocal steps
        while not work.ended:
            steps += 1
            await asyncio.sleep(0.01)

    counting = asyncio.create_task(count())
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0.02, scope.cancel)
        asyncio.get_running_loop().call_later(0.1, work.go.set)
        await finishing(work.run())
        await asyncio.sleep(0)
    assert scope.cancelled_caught
    assert work.ended
    await counting
    assert steps < 50


async def test_an_interruption_is_told_after_the_work() -> None:
    work = Work()
    interruption = Interruption()

    async def caller() -> None:
        with interruption:
            await finishing(work.run())

    task = asyncio.create_task(caller())
    await work.started.wait()
    interruption.interrupt("The client left")
    await asyncio.sleep(0)
    work.go.set()
    await task
    assert work.ended
    assert interruption.reason == "The client left"


async def test_a_failure_after_a_cancellation_is_not_left_unread() -> None:
    """asyncio would log "exception was never retrieved", with the work's frames and their keys."""
    go = asyncio.Event()

    async def broken() -> None:
        await go.wait()
        raise ValueError("no")

    caller = asyncio.create_task(finishing(broken()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
