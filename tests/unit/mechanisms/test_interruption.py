"""Interruption: one cancellation, told from every other."""

import asyncio

import pytest

from ccxt_mcp.mechanisms.interruption import Interruption


async def test_an_interrupted_body_ends_and_says_why() -> None:
    waiting = asyncio.Event()
    interruption = Interruption()

    async def work() -> str:
        with interruption:
            waiting.set()
            await asyncio.Event().wait()
        return f"after: {interruption.reason}"

    task = asyncio.create_task(work())
    await waiting.wait()
    interruption.interrupt("enough")
    interruption.interrupt("again")
    async with asyncio.timeout(5):
        assert await task == "after: enough"


async def test_a_cancellation_from_elsewhere_passes_through() -> None:
    waiting = asyncio.Event()
    interruption = Interruption()

    async def work() -> None:
        with interruption:
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert interruption.reason is None


async def test_both_at_once_is_a_cancellation() -> None:
    waiting = asyncio.Event()
    interruption = Interruption()

    async def work() -> None:
        with interruption:
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await waiting.wait()
    interruption.interrupt("enough")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_interruption_after_the_end_does_nothing() -> None:
    with Interruption() as interruption:
        pass
    interruption.interrupt("late")
    await asyncio.sleep(0)
    assert interruption.reason is None


async def test_shielded_work_is_hit_once_and_finishes() -> None:
    """A scope that cancels again and again would spin until the shielded work is done."""
    hits, go = 0, asyncio.Event()
    waiting = asyncio.Event()
    interruption = Interruption()

    async def work() -> str:
        nonlocal hits
        inner = asyncio.create_task(go.wait())
        with interruption:
            while not inner.done():
                try:
                    waiting.set()
                    await asyncio.shield(inner)
                except asyncio.CancelledError:
                    hits += 1
        return "written"

    task = asyncio.create_task(work())
    await waiting.wait()
    interruption.interrupt("enough")
    for _ in range(20):
        await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(5):
        assert await task == "written"
    assert hits == 1
