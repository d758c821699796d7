"""What is begun before it is awaited goes on only where it is awaited, and ends as all that is."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from ccxt_mcp.mechanisms.head_start import HeadStart
from ccxt_mcp.mechanisms.interruption import Interruption


class Work:
    """Waits twice, and notes how far it got."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        loop = asyncio.get_running_loop()
        self.turns = [loop.create_future(), loop.create_future()]

    async def run(self) -> list[str]:
        self.steps.append("begun")
        try:
            for turn in self.turns:
                self.steps.append(await turn)
        except asyncio.CancelledError:
            self.steps.append("cancelled")
            raise
        finally:
            self.steps.append("left")
        return self.steps


async def test_it_has_begun_when_it_is_made_and_goes_on_where_it_is_awaited() -> None:
    work = Work()
    begun = HeadStart(work.run())
    assert work.steps == ["begun"]
    loop = asyncio.get_running_loop()
    work.turns[0].set_result("one")
    for _ in range(3):
        await asyncio.sleep(0)
    assert work.steps == ["begun"]
    loop.call_later(0.01, work.turns[1].set_result, "two")
    assert await begun == ["begun", "one", "two", "left"]


async def test_what_ends_at_once_tells_its_end_when_it_is_awaited() -> None:
    async def ends() -> str:
        return "ended"

    async def fails() -> str:
        raise ValueError("no")

    assert await HeadStart(ends()) == "ended"
    begun = HeadStart(fails())
    with pytest.raises(ValueError, match="no"):
        await begun


async def test_it_is_cancelled_where_it_waits() -> None:
    """Thrown into the awaiting frame alone, the work would never hear of it."""
    for waited in (0, 1):
        work = Work()

        async def wait(work: Work = work) -> None:
            await HeadStart(work.run())

        task = asyncio.create_task(wait())
        for turn in work.turns[:waited]:
            turn.set_result("waited")
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.steps[1 + waited :] == ["cancelled", "left"]


async def test_an_interruption_and_a_timeout_within_it_end_what_they_are_around() -> None:
    async def slow() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "in time"
        raise AssertionError

    assert await HeadStart(slow()) == "in time"
    work = Work()
    interruption = Interruption()
    with interruption:
        asyncio.get_running_loop().call_later(0.01, interruption.interrupt, "enough")
        await HeadStart(work.run())
    assert interruption.reason == "enough"
    assert work.steps == ["begun", "cancelled", "left"]


async def test_what_is_dropped_cleans_up_at_once_and_may_be_dropped_again() -> None:
    work = Work()
    begun = HeadStart(work.run())
    begun.close()
    begun.close()
    assert work.steps == ["begun", "left"]


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_how_it_ended_what_it_waited_for_is_not_asked_of_who_dropped_it(fails: str) -> None:
    """A store that goes while nobody waits for it would be an error in the log for each call."""
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    work = Work()
    begun = HeadStart(work.run())
    if fails == "before":
        work.turns[0].set_exception(ValueError("no"))
    begun.close()
    if not work.turns[0].done():
        work.turns[0].set_exception(ValueError("no"))
    del begun, work
    gc.collect()
    assert told == []


async def test_an_error_that_was_told_is_kept_by_nothing() -> None:
    class Broken(Exception):
        pass

    async def fails() -> None:
        error = Broken()
        kept.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    kept: list[weakref.ref[Broken]] = []
    gc.disable()
    try:
        with pytest.raises(Broken):
            await HeadStart(fails())
        assert kept[0]() is None
    finally:
        gc.enable()


async def test_a_result_that_nobody_awaited_is_told_to_whoever_drops_it() -> None:
    """Forgotten, what it took would be held for ever."""

    async def takes() -> str:
        return "taken"

    begun = HeadStart(takes())
    assert [begun.close(), begun.close()] == ["taken", None]
    begun = HeadStart(takes())
    assert await begun == "taken"
    assert begun.close() is None
