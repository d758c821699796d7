"""Turns: order, cancellation at every await, and what a waiter is told about its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.mechanisms.turns import Turns


def refusal(others: int, wait: float) -> Failure:
    return Failure(Code.RATE_LIMITED, f"behind {others}", retry_after=wait)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    token = DEADLINE.set(asyncio.get_running_loop().time() + seconds)
    try:
        yield
    finally:
        DEADLINE.reset(token)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    turns = Turns(refusal)
    order: list[int] = []

    async def take(number: int) -> None:
        await turns.take()
        order.append(number)
        await asyncio.sleep(0)
        turns.give()

    async with asyncio.timeout(5):
        await asyncio.gather(*(take(number) for number in range(20)))
    assert order == list(range(20))
    assert repr(turns) == "<Turns free waiting=0>"


async def test_a_cancelled_waiter_leaves_nothing() -> None:
    turns = Turns(refusal)
    await turns.take()
    waiters = [asyncio.create_task(turns.take()) for _ in range(3)]
    await settle()
    waiters[1].cancel()
    await settle()
    assert repr(turns) == "<Turns taken waiting=2>"
    turns.give()
    await settle()
    assert (waiters[0].done(), waiters[2].done()) == (True, False)
    turns.give()
    await settle()
    assert waiters[2].done()
    turns.give()
    assert repr(turns) == "<Turns free waiting=0>"


async def test_a_turn_that_meets_a_cancellation_is_passed_on() -> None:
    """Before: the turn went to a task that no longer wanted it, and nobody got one again."""
    turns = Turns(refusal)
    await turns.take()
    first, second = (asyncio.create_task(turns.take()) for _ in range(2))
    await settle()
    turns.give()
    first.cancel()
    async with asyncio.timeout(5):
        await second
    assert first.cancelled()
    turns.give()
    assert not turns.busy


async def test_a_waiter_whose_deadline_comes_is_told_so_before_it() -> None:
    turns = Turns(refusal)
    await turns.take()
    with within(0.06), pytest.raises(Failure, match="behind 0") as caught:
        async with asyncio.timeout(5):
            await turns.take()
    assert caught.value.code is Code.RATE_LIMITED
    assert repr(turns) == "<Turns taken waiting=0>"
    turns.give()
    assert not turns.busy


async def test_a_turn_that_cannot_end_before_the_deadline_is_refused_at_once() -> None:
    turns = Turns(refusal)
    turns._took.extend([2.0, 2.0])
    await turns.take()
    with within(60):
        waiter = asyncio.create_task(turns.take())
    await settle()
    with within(5), pytest.raises(Failure, match="behind 1") as caught:
        # 2 s each for the holder and the waiter, and 2 s of its own.
        await turns.take()
    assert caught.value.retry_after == pytest.approx(4, abs=0.1)
    with within(6.5):
        last = asyncio.create_task(turns.take())
        await settle()
        assert turns.waiting == 2
    for each in (waiter, last):
        turns.give()
        async with asyncio.timeout(5):
            await each
    turns.give()


async def test_one_turn_that_hung_does_not_make_the_next_ones_hopeless() -> None:
    turns = Turns(refusal)
    for history in ([10.0], [10.0, 0.03], [0.03, 10.0, 0.03]):
        turns._took.clear()
        turns._took.extend(history)
        await turns.take()
        with within(5):
            waiter = asyncio.create_task(turns.take())
            await settle()
        turns.give()
        async with asyncio.timeout(5):
            await waiter
        turns.give()


async def test_without_a_deadline_a_waiter_waits() -> None:
    turns = Turns(refusal)
    turns._took.extend([100.0, 100.0])
    await turns.take()
    waiter = asyncio.create_task(turns.take())
    await settle()
    assert turns.waiting == 1
    turns.give()
    async with asyncio.timeout(5):
        await waiter
