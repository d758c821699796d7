"""The lane: one at a time, in order of arrival, with every way out of the queue."""

import asyncio

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.lane import Lane


async def settle() -> None:
    """Let every task that can run do so until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_calls_run_one_at_a_time_in_arrival_order() -> None:
    lane = Lane(10)
    running: list[int] = []
    order: list[int] = []

    async def call(number: int) -> None:
        await lane.acquire(5)
        try:
            running.append(number)
            assert running == [number]
            await asyncio.sleep(0)
            order.append(number)
            running.remove(number)
        finally:
            lane.release()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(call(number))
    assert order == list(range(8))
    assert repr(lane) == "<Lane free, 0 waiting>"


async def test_a_full_queue_refuses_the_next_call_at_once() -> None:
    lane = Lane(1)
    await lane.acquire(5)
    waiter = asyncio.create_task(lane.acquire(5))
    await settle()
    with pytest.raises(Failure) as refused:
        await lane.acquire(5)
    assert refused.value.code is Code.OVERLOADED
    assert refused.value.retryable
    assert refused.value.retry_after is not None
    lane.release()
    await waiter
    lane.release()
    assert not lane.busy


async def test_a_call_that_waited_too_long_is_refused_and_leaves_the_queue() -> None:
    lane = Lane(5)
    await lane.acquire(5)
    with pytest.raises(Failure) as refused:
        await lane.acquire(0.01)
    assert refused.value.code is Code.OVERLOADED
    assert lane.waiting == 0
    assert lane.busy


async def test_a_cancelled_waiter_is_passed_over() -> None:
    lane = Lane(5)
    await lane.acquire(5)
    first = asyncio.create_task(lane.acquire(5))
    second = asyncio.create_task(lane.acquire(5))
    await settle()
    first.cancel()
    await settle()
    assert lane.waiting == 1
    lane.release()
    await second
    lane.release()
    assert not lane.busy


async def test_a_waiter_cancelled_in_the_step_of_its_grant_passes_the_lane_on() -> None:
    """Without the hand-over in `acquire` the lane stays busy for ever."""
    lane = Lane(5)
    await lane.acquire(5)
    first = asyncio.create_task(lane.acquire(5))
    second = asyncio.create_task(lane.acquire(5))
    await settle()
    lane.release()
    first.cancel()
    async with asyncio.timeout(5):
        await second
    assert first.cancelled()
    lane.release()
    assert repr(lane) == "<Lane free, 0 waiting>"
