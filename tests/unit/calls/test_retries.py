"""Which failures are tried again, how often, when not; and what a failed write is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ccxt_mcp.calls.policy import Effect
from ccxt_mcp.calls.retries import (
    PAUSE_MAX,
    RULES,
    after_a_write,
    full_jitter,
    persistently,
)
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.failures import Wire
from ccxt_mcp.mechanisms.deadline import DEADLINE

SILENT = Wire(sent=1, answered=0)
ANSWERED = Wire(sent=1, answered=1)


def none(_: float) -> float:
    return 0.0


@contextmanager
def left(seconds: float | None) -> Iterator[None]:
    """A deadline that far ahead."""
    at = None if seconds is None else asyncio.get_running_loop().time() + seconds
    token = DEADLINE.set(at)
    try:
        yield
    finally:
        DEADLINE.reset(token)


async def tries(
    failure: Failure, wire: Wire = ANSWERED, jitter: Callable[[float], float] = none
) -> int:
    """How often a read that always fails like this is tried."""
    count = 0

    async def attempt() -> None:
        nonlocal count
        count += 1
        raise failure

    async with asyncio.timeout(5):
        with pytest.raises(Failure) as caught:
            await persistently(attempt, wire=lambda: wire, ccxt_timeout=10.0, jitter=jitter)
    assert caught.value is failure
    assert failure.__context__ is None
    return count


@pytest.mark.parametrize("code", Code)
async def test_the_table_says_how_often_each_failure_is_tried(code: Code) -> None:
    """Among those tried once: `rate_limited` (the limiter's business), credentials, arguments."""
    expected = {
        Code.EXCHANGE_UNAVAILABLE: 3,
        Code.TIMEOUT: 3,
        Code.BAD_RESPONSE: 2,
        Code.EXCHANGE_ERROR: 2,
    }
    assert await tries(Failure(code, "x", retryable=True)) == expected.get(code, 1)
    assert set(expected) == set(RULES)


@pytest.mark.parametrize("code", [Code.EXCHANGE_UNAVAILABLE, Code.BAD_RESPONSE])
async def test_what_cannot_help_is_not_tried_again(code: Code) -> None:
    """An untrusted certificate, an answer beyond all bounds."""
    assert await tries(Failure(code, "x", retryable=False)) == 1


async def test_a_refusal_of_the_exchange_is_not_tried_again() -> None:
    assert await tries(Failure(Code.EXCHANGE_ERROR, "x")) == 1


async def test_a_silence_is_not_tried_again() -> None:
    """A hang ends as CCXT's timeout after 10 s; the exchange's own 504 came at once."""
    assert await tries(Failure(Code.TIMEOUT, "x"), SILENT) == 1
    assert await tries(Failure(Code.TIMEOUT, "x"), Wire(sent=2, answered=1)) == 1
    assert await tries(Failure(Code.TIMEOUT, "x"), Wire()) == 1


async def test_nothing_is_tried_again_when_less_than_a_ccxt_timeout_is_left() -> None:
    """The last try must be able to end in the exchange's words, not in the tool's deadline."""
    failure = Failure(Code.EXCHANGE_UNAVAILABLE, "x")
    with left(10.5):
        assert await tries(failure) == 3
    with left(9.9):
        assert await tries(failure) == 1
    with left(10.1):
        assert await tries(failure, jitter=lambda bound: bound) == 1
    with left(None):
        assert await tries(failure) == 3


async def test_a_wait_that_the_exchange_names_is_kept_or_nothing_is_tried() -> None:
    patient = Failure(Code.EXCHANGE_UNAVAILABLE, "x", retry_after=0.01)
    with left(15):
        assert await tries(patient) == 3
    long = Failure(Code.EXCHANGE_UNAVAILABLE, "x", retry_after=6)
    with left(15):
        assert await tries(long) == 1


async def test_pauses_grow_are_bounded_and_are_jittered() -> None:
    bounds: list[float] = []

    def jitter(bound: float) -> float:
        bounds.append(bound)
        return 0.0

    await tries(Failure(Code.EXCHANGE_UNAVAILABLE, "x"), jitter=jitter)
    assert bounds == [0.25, 0.5]
    assert all(0 <= full_jitter(PAUSE_MAX) <= PAUSE_MAX for _ in range(100))
    assert len({full_jitter(1.0) for _ in range(10)}) > 1


async def test_a_later_success_is_the_outcome() -> None:
    outcomes: Iterator[Failure | str] = iter([Failure(Code.BAD_RESPONSE, "x"), "fine"])

    async def attempt() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Failure):
            raise outcome
        return outcome

    assert await persistently(attempt, wire=Wire, ccxt_timeout=1, jitter=none) == "fine"


async def test_a_cancellation_while_pausing_ends_the_call() -> None:
    paused = asyncio.Event()

    def jitter(_: float) -> float:
        paused.set()
        return 60.0

    task = asyncio.create_task(tries(Failure(Code.BAD_RESPONSE, "x"), jitter=jitter))
    async with asyncio.timeout(5):
        await paused.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancellation_that_came_out_as_a_failure_is_one_all_the_same() -> None:
    """CCXT makes an error of its own of it now and then: the read went on, for nobody."""
    began, count = asyncio.Event(), 0

    async def attempt() -> None:
        nonlocal count
        count += 1
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Failure(Code.EXCHANGE_UNAVAILABLE, "x") from None

    task = asyncio.create_task(
        persistently(attempt, wire=lambda: ANSWERED, ccxt_timeout=1.0, jitter=none)
    )
    async with asyncio.timeout(5):
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert count == 1


@pytest.mark.parametrize("code", Code)
def test_a_write_that_was_sent_and_not_refused_has_an_unknown_outcome(code: Code) -> None:
    """A truncated, misshapen or missing answer says nothing about the order."""
    open_ended = {
        *(Code.TIMEOUT, Code.EXCHANGE_UNAVAILABLE, Code.BAD_RESPONSE, Code.CANCELLED),
        Code.INTERNAL,
    }
    failure = Failure(code, "paper: x.", exchange="paper", operation="createOrder")
    told = after_a_write(Effect.WRITE, failure, ANSWERED)
    if code in open_ended:
        assert told.code is Code.OUTCOME_UNKNOWN
        assert told.message == "paper: x; it may have been carried out all the same"
        assert (told.exchange, told.operation) == ("paper", "createOrder")
        assert "client order id" in told.hint
        assert not told.retryable
    else:
        assert told is failure
    assert after_a_write(Effect.READ, failure, ANSWERED) is failure
    # Refused while connecting: certainly not carried out.
    assert after_a_write(Effect.WRITE, failure, Wire()) is failure
