"""When tables are loaded, again, and not: one source of tables and its users."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.library import Library
from ccxt_mcp.exchanges.snapshots import write
from ccxt_mcp.exchanges.sources import Frames, Policy, Source
from ccxt_mcp.exchanges.tables import Tables
from ccxt_mcp.mechanisms.deadline import DEADLINE
from tests.unit.exchanges.conftest import until

QUIET = Policy(max_age=3600)


def tables(age: float = 0.0, *symbols: str) -> Tables:
    markets = {symbol: {"symbol": symbol} for symbol in symbols or ("A/B",)}
    return Tables({"markets": markets}, {}, (), time.time() - age, "test", len(markets))


class User:
    """A profile whose loads the test lets succeed or fail."""

    def __init__(self) -> None:
        self.outcomes: list[Tables | Exception] = []
        self.loads = self.told = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.deadlines: list[float | None] = []

    async def fetch(self, max_age: float) -> Tables:
        self.loads += 1
        self.deadlines.append(DEADLINE.get())
        await self.gate.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else tables()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def changed(self) -> None:
        self.told += 1


def down() -> Failure:
    return Failure(Code.EXCHANGE_UNAVAILABLE, "x: down", operation="loadMarkets")


@asynccontextmanager
async def keeping(
    policy: Policy = QUIET, disk: list[Tables] | None = None
) -> AsyncIterator[tuple[Library, Source, User]]:
    async def stored(exchange: str, fingerprint: str) -> Frames:
        for each in disk or ():
            for data in write(each, fingerprint):
                yield data[4:5], data[5:]

    library, user = Library(policy, stored if disk is not None else None), User()
    source = library.join("f", "x", user)
    try:
        async with asyncio.timeout(5):
            yield library, source, user
    finally:
        await library.close()


async def test_many_first_users_cause_one_load() -> None:
    async with keeping() as (_, source, user):
        found = await asyncio.gather(*(source.get() for _ in range(50)))
        assert user.loads == 1
        assert len({id(each) for each in found}) == 1


async def test_the_first_callers_deadline_is_not_the_loads() -> None:
    """A load serves everybody; in the first caller's context it would be refused with its end."""
    async with keeping() as (_, source, user):
        DEADLINE.set(1.0)
        await source.get()
        assert user.deadlines == [None]


async def test_a_cancelled_waiter_cancels_nobody() -> None:
    async with keeping() as (_, source, user):
        user.gate.clear()
        first, second = (asyncio.create_task(source.get()) for _ in range(2))
        await until(lambda: user.loads == 1)
        first.cancel()
        await until(first.done)
        user.gate.set()
        assert (await second).markets == 1
        assert user.loads == 1


async def test_a_failure_is_everybodys_and_the_next_caller_tries_anew() -> None:
    async with keeping() as (_, source, user):
        user.outcomes = [down()]
        found: list[Any] = await asyncio.gather(
            *(source.get() for _ in range(3)), return_exceptions=True
        )
        assert [each.code for each in found] == [Code.EXCHANGE_UNAVAILABLE] * 3
        assert len({id(each) for each in found}) == 3
        assert (await source.get()).markets == 1
        assert user.loads == 2


async def test_loads_that_fail_and_fail_are_bounded() -> None:
    """Callers that poll a venue that is down would start a process for each of their calls."""
    async with keeping(Policy(starts=3, window=60)) as (_, source, user):
        user.outcomes = [down() for _ in range(9)]
        for _ in range(9):
            with pytest.raises(Failure) as caught:
                await source.get()
        assert user.loads == 3
        assert caught.value.code is Code.EXCHANGE_UNAVAILABLE
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 60
        assert source.snapshot()["marketsFailure"] == "exchange_unavailable"


async def test_tables_are_refreshed_before_they_age_out() -> None:
    async with keeping(Policy(max_age=0.2)) as (_, source, user):
        first = await source.get()
        await until(lambda: source.tables is not first)
        assert user.told == 2
        assert source.snapshot()["marketsStale"] is False


async def test_what_nobody_uses_is_refreshed_at_its_next_use() -> None:
    """The tables are there meanwhile: nobody waits for a refresh."""
    async with keeping(Policy(max_age=0.2)) as (_, source, user):
        await source.get()
        await until(lambda: source._due)
        second = source.tables
        assert user.loads == 2
        user.gate.clear()
        assert await source.get() is second
        await until(lambda: user.loads == 3)
        assert await source.get() is second
        user.gate.set()
        await until(lambda: source.tables is not second)


async def test_a_failing_refresh_keeps_the_old_tables_and_marks_them() -> None:
    async with keeping(Policy(max_age=0.2, retry_after=0.01)) as (_, source, user):
        first = await source.get()
        user.outcomes = [down(), down()]
        await until(lambda: source.failed is not None)
        assert await source.get() is first
        assert source.snapshot()["marketsFailure"] == "exchange_unavailable"
        # The next attempts come by themselves.
        await until(lambda: source.tables is not first)
        assert user.loads == 4
        assert source.snapshot()["marketsFailure"] is None


async def test_an_unknown_symbol_has_the_markets_listed_again() -> None:
    async with keeping(Policy(look_again_after=0.0)) as (_, source, user):
        first = await source.get()
        answers = await asyncio.gather(*(source.look_again(first) for _ in range(20)))
        assert answers == [True] * 20
        assert user.loads == 2
        # Somebody has looked already.
        assert await source.look_again(first) is True
        assert user.loads == 2


async def test_unknown_symbols_do_not_have_the_markets_listed_every_time() -> None:
    """A caller who makes up symbols would have the exchange asked for all of its markets again."""
    async with keeping(Policy(look_again_after=3600)) as (_, source, user):
        first = await source.get()
        assert [await source.look_again(first) for _ in range(5)] == [False] * 5
        assert user.loads == 1


async def test_an_unknown_symbol_while_the_exchange_is_down_stays_unknown() -> None:
    async with keeping(Policy(look_again_after=0.0)) as (_, source, user):
        first = await source.get()
        user.outcomes = [down()]
        assert await source.look_again(first) is False
        assert await source.get() is first


async def test_tables_on_disk_serve_at_once_and_are_refreshed_when_old() -> None:
    async with keeping(Policy(max_age=1000), [tables(10)]) as (_, source, user):
        assert (await source.get()).origin == "disk"
        assert user.loads == 0
    async with keeping(Policy(max_age=0.5), [tables(10)]) as (_, source, user):
        user.gate.clear()
        assert (await source.get()).origin == "disk"
        assert source.snapshot()["marketsStale"] is True
        await until(lambda: user.loads == 1)
        assert (await source.get()).origin == "disk"
        user.gate.set()
        await until(lambda: source.tables is not None and source.tables.origin == "test")


async def test_tables_on_disk_that_are_too_old_or_damaged_are_loaded_instead() -> None:
    for disk in ([tables(2000)], [tables(), tables()], []):
        async with keeping(Policy(disk_max_age=1000), disk) as (_, source, user):
            assert (await source.get()).origin == "test"
            assert user.loads == 1


async def test_equal_profiles_share_tables() -> None:
    """Two profiles of one exchange, for two accounts or two proxies, have one table in memory."""
    async with keeping() as (library, source, user):
        other = User()
        assert library.join("f", "x", other) is source
        assert library.join("g", "x", other) is not source
        first = await source.get()
        assert (user.told, other.told) == (1, 1)
        await library.leave(source, user)
        assert await source.get() is first
        await library.leave(source, other)
        assert source.tables is None
        assert library.join("f", "x", user) is not source


async def test_leaving_and_closing_end_a_load_and_its_waiters() -> None:
    for end in ("leave", "close"):
        async with keeping() as (library, source, user):
            user.gate.clear()
            waiter = asyncio.create_task(source.get())
            await until(lambda: user.loads == 1)
            await (library.close() if end == "close" else library.leave(source, user))
            with pytest.raises(Failure, match="shutting down"):
                await waiter
            with pytest.raises(Failure, match="shutting down"):
                await source.get()


async def test_replaced_tables_are_let_go_after_the_calls_that_use_them() -> None:
    async with keeping(Policy(look_again_after=0.0, grace=0.05)) as (_, source, user):
        first = await source.get()
        gone = weakref.ref(first)
        await source.look_again(first)
        user.outcomes.clear()
        assert gone() is first
        del first
        gc.disable()
        try:
            await until(lambda: gone() is None)
        finally:
            gc.enable()


async def test_a_fault_of_ours_is_a_failure_too_and_the_next_caller_tries_anew() -> None:
    """Raised as it was, all waiters shared one exception, and refreshing stopped for good."""
    async with keeping() as (_, source, user):
        user.outcomes = [RuntimeError("can't start new thread")]
        found: list[Any] = await asyncio.gather(
            *(source.get() for _ in range(3)), return_exceptions=True
        )
        assert [each.code for each in found] == [Code.INTERNAL] * 3
        assert len({id(each) for each in found}) == 3
        assert (await source.get()).markets == 1


async def test_tables_from_the_future_are_not_taken_from_the_disk() -> None:
    """They would count as new for ever: a clock that was set back, or a damaged file."""
    async with keeping(QUIET, [tables(-1e6)]) as (_, source, user):
        await source.get()
        assert user.loads == 1
