"""A caller that asked for progress is told of long work, in values that only grow."""

import asyncio

import pytest

from ccxt_mcp.calls import progress as module
from ccxt_mcp.calls.progress import Progress


class Told:
    def __init__(self) -> None:
        self.values: list[tuple[float, float | None, str | None]] = []
        self.twice = asyncio.Event()

    async def __call__(self, value: float, total: float | None, message: str | None) -> None:
        self.values.append((value, total, message))
        if len(self.values) >= 2:
            self.twice.set()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST", 0.0)
    monkeypatch.setattr(module, "EVERY", 0.01)


async def test_a_wait_is_told_again_and_again_and_rows_after_it_are_more() -> None:
    """MCP demands values that grow; clients drop a progress that goes back."""
    told = Told()
    progress = Progress(told)
    async with asyncio.timeout(5), progress.waiting("loading"):
        await told.twice.wait()
    await progress.count(0, 500, "0 of 500")
    await progress.count(300, 500, "300 of 500")
    await progress.count(300, 500, "again")
    values = [value for value, _, _ in told.values]
    assert values == sorted(set(values))
    assert told.values[0][1:] == (None, "loading")
    assert told.values[-1] == (300.0, 500.0, "300 of 500")


async def test_what_is_quick_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A progress turns the answer into a stream: not for a call that takes a millisecond."""
    monkeypatch.setattr(module, "FIRST", 60.0)
    told = Told()
    async with Progress(told).waiting("loading"):
        pass
    assert told.values == []


async def test_a_caller_that_cannot_be_told_fails_nothing() -> None:
    broke = asyncio.Event()

    async def broken(*_: object) -> None:
        broke.set()
        raise ConnectionResetError

    async with asyncio.timeout(5), Progress(broken).waiting("loading"):
        await broke.wait()


async def test_a_caller_that_does_not_listen_holds_nothing_up() -> None:
    """The telling goes on beside the wait; awaited in it, one slow reader would hold its call."""
    stuck = asyncio.Event()

    async def never(*_: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(5), Progress(never).waiting("loading"):
        await stuck.wait()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
