"""The pool: who gets which session, and what it leaves behind.

The server is a toy behind this project's own transport, in process; `hold` answers when it is let
go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import respx

from ccxt_mcp.client import CallFailed, SessionPool, Workflow
from ccxt_mcp.client.pool import Strategy
from tests.unit.client.scripted import READ, Scripted
from tests.unit.client.scripted import URL as SCRIPTED
from tests.unit.transport.toy import Toy, toy_client

URL = "http://localhost:3000"


@asynccontextmanager
async def pooled(
    size: int, **more: Any
) -> AsyncIterator[tuple[Toy, httpx.AsyncClient, SessionPool]]:
    async with toy_client() as (toy, http), SessionPool(size, URL, http=http, **more) as pool:
        yield toy, http, pool


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def sessions(http: httpx.AsyncClient) -> dict[str, int]:
    """Session id → calls that ended, as `/health` shows them."""
    shown = (await http.get(f"{URL}/health")).json()["sessions"]
    return {each["sessionId"]: each["calls"] for each in shown}


@pytest.mark.parametrize("strategy", ["round_robin", "least_busy"])
async def test_as_many_calls_run_at_once_as_there_are_sessions(strategy: Strategy) -> None:
    async with pooled(3, strategy=strategy) as (toy, http, pool):
        calls = asyncio.create_task(
            pool.gather(*[("hold", {"value": str(number)}) for number in range(10)])
        )
        await until(lambda: toy.running == 3)
        assert pool.stats().busy == 3
        assert pool.stats().waiting == 7
        toy.go.set()
        answers = await calls
        assert [answer["value"] for answer in answers] == [str(number) for number in range(10)]
        assert toy.most_running == 3
        stats = pool.stats()
        assert (stats.busy, stats.waiting, stats.calls, stats.failed) == (0, 0, 10, 0)
        assert len(await sessions(http)) == 3
    async with toy_client(toy) as (_, http):
        assert await sessions(http) == {}


async def test_the_sessions_are_ended_with_the_pool() -> None:
    async with toy_client() as (_, http):
        async with SessionPool(3, URL, http=http) as pool:
            await pool.gather(*[("echo", {"value": "x"})] * 6)
            assert len(await sessions(http)) == 3
        assert await sessions(http) == {}
        with pytest.raises(RuntimeError, match="closed"):
            await pool.call("echo")
        await pool.aclose()


async def test_round_robin_uses_all_alike_and_least_busy_no_more_than_needed() -> None:
    async with pooled(3) as (_, http, pool):
        for _each in range(9):
            await pool.call("echo")
        assert sorted((await sessions(http)).values()) == [3, 3, 3]
    async with pooled(3, strategy="least_busy") as (toy, http, pool):
        for _each in range(9):
            await pool.call("echo")
        assert list((await sessions(http)).values()) == [9]
        held = asyncio.create_task(pool.call("hold"))
        await until(lambda: toy.running == 1)
        await pool.call("echo")
        assert pool.stats().opened == 2
        toy.go.set()
        await held


async def test_who_waits_is_served_in_the_order_of_arrival() -> None:
    """Calls and holders of a session in one line, so that neither starves the other."""
    served: list[str] = []
    async with pooled(1) as (toy, _, pool):

        async def call(name: str) -> None:
            await pool.call("echo", value=name)
            served.append(name)

        async def hold(name: str) -> None:
            async with pool.session() as workflow:
                await workflow.gather(("echo", {"value": name}), ("echo", {"value": name}))
                served.append(name)

        first = asyncio.create_task(pool.call("hold"))
        await until(lambda: toy.running == 1)
        tasks = []
        for number, kind in enumerate([call, hold, call, hold, call]):
            tasks.append(asyncio.create_task(kind(str(number))))
            await until(lambda number=number: pool.stats().waiting == number + 1)  # type: ignore[misc]
        tasks[2].cancel()
        toy.go.set()
        await first
        await asyncio.gather(*tasks, return_exceptions=True)
        assert served == ["0", "1", "3", "4"]
        assert pool.stats().busy == 0


async def test_a_session_that_is_handed_to_a_caller_who_just_left_is_not_lost() -> None:
    """Cancelled in the very moment of its turn, a waiter took the session with it: a pool of one
    was then busy for ever."""
    async with pooled(1) as (_, _, pool):
        async with pool.session():
            waiting = asyncio.create_task(pool.call("echo"))
            await until(lambda: pool.stats().waiting == 1)
        # Its turn has come, and it does not know yet.
        assert pool.stats().waiting == 0
        waiting.cancel()
        await asyncio.wait({waiting})
        assert pool.stats().busy == 0
        assert await pool.call("echo", value="x") == {"value": "x"}


async def test_nobody_waits_longer_than_allowed() -> None:
    async with pooled(1, wait_max=0.02) as (toy, _, pool):
        async with pool.session():
            with pytest.raises(CallFailed) as caught:
                await pool.call("echo")
        assert (caught.value.code, caught.value.retryable) == ("overloaded", True)
        assert pool.stats().failed == 1
        assert pool.stats().waiting == 0
        assert toy.order == []


async def test_related_steps_share_one_session_that_nobody_else_gets() -> None:
    async with pooled(2) as (_, http, pool), pool.session() as mine, pool.session() as other:
        assert mine is not other
        for _each in range(3):
            await mine.call("echo")
        counts = await sessions(http)
        assert counts[mine.session_id] == 3


async def test_closing_ends_those_who_wait_and_waits_for_nobody() -> None:
    async with toy_client() as (toy, http):
        pool = SessionPool(1, URL, http=http)
        running = asyncio.create_task(pool.call("hold"))
        await until(lambda: toy.running == 1)
        waiting = asyncio.create_task(pool.call("echo"))
        await until(lambda: pool.stats().waiting == 1)
        async with asyncio.timeout(5):
            await pool.aclose()
            outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
        assert [type(each) for each in outcomes] == [CallFailed, CallFailed]
        assert isinstance(outcomes[0], CallFailed)
        assert isinstance(outcomes[1], CallFailed)
        # What runs may be an order: the toy declares nothing to be a read.
        assert outcomes[0].code == "outcome_unknown"
        assert outcomes[1].code == "cancelled"
        assert await sessions(http) == {}


async def test_a_doubtful_session_is_looked_at_before_its_next_use(
    mock: respx.MockRouter,
) -> None:
    """After a lost connection the session may be gone; a call would find that out too late."""
    server = Scripted(mock, httpx.ReadError("cut"), {"structuredContent": {"fine": True}})
    async with SessionPool(1, SCRIPTED, retries=0) as pool:
        with pytest.raises(CallFailed, match="connection_lost"):
            await pool.call(READ)
        assert server.seen["ping"] == 0
        assert await pool.call(READ) == {"fine": True}
        assert server.seen["ping"] == 1
        assert await pool.call(READ) == {"fine": True}
        assert server.seen["ping"] == 1
        assert pool.stats().reopened == 1
    assert server.seen["DELETE"] == 1


async def test_a_session_that_was_closed_by_its_holder_is_replaced() -> None:
    async with pooled(1) as (_, _, pool):
        async with pool.session() as workflow:
            await workflow.aclose()
        assert await pool.call("echo", value="x") == {"value": "x"}


async def test_the_tools_are_asked_for_once_by_all_sessions(mock: respx.MockRouter) -> None:
    server = Scripted(mock, {"structuredContent": {"fine": True}})
    async with SessionPool(4, SCRIPTED) as pool:
        await pool.gather(*[READ] * 12)
    assert server.seen["tools/list"] == 1
    assert server.seen["initialize"] == 4


async def test_a_workflow_that_is_closed_refuses_what_waits_in_its_line() -> None:
    async with toy_client() as (toy, http):
        workflow = Workflow("w", URL, http=http)
        running = asyncio.create_task(workflow.call("hold"))
        await until(lambda: toy.running == 1)
        waiting = asyncio.create_task(workflow.call("echo"))
        await until(lambda: workflow.in_flight == 2)
        async with asyncio.timeout(5):
            await workflow.aclose()
            outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
        assert [getattr(each, "code", each) for each in outcomes] == [
            "outcome_unknown",
            "cancelled",
        ]
        assert toy.order == []
        assert await sessions(http) == {}


class _Slow(httpx.AsyncBaseTransport):
    """Calls take a moment to the server, also those whose caller has left; all else is quick."""

    def __init__(self, server: httpx.AsyncClient) -> None:
        self.server = server
        self.sent: list[asyncio.Task[httpx.Response]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()

        async def deliver() -> httpx.Response:
            if b"tools/call" in content:
                await asyncio.sleep(0.03)
            copy = self.server.build_request(
                request.method, request.url, content=content, headers=request.headers
            )
            return await self.server.send(copy)

        self.sent.append(asyncio.create_task(deliver()))
        answer = await asyncio.shield(self.sent[-1])
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


async def test_a_call_that_is_given_up_just_before_the_end_leaves_no_session() -> None:
    """Its request is on its way still. Arriving after the end of its session it opened that again,
    by its name, and nobody ended it."""
    async with toy_client() as (toy, server):
        way = _Slow(server)
        async with httpx.AsyncClient(transport=way) as http:
            async with Workflow("w", URL, http=http) as workflow:
                call = asyncio.create_task(workflow.call("echo"))
                before = len(way.sent)
                await until(lambda: len(way.sent) > before)
                call.cancel()
            await asyncio.wait(way.sent)
        assert toy.order == [""]
        assert await sessions(server) == {}


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"wait_max": 0}, {"strategy": "random"}, {"name": "a b"}]
)
def test_what_cannot_be_is_refused_at_once(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"size": 1} | wrong
    with pytest.raises(ValueError, match=r"\w"):
        SessionPool(given.pop("size"), URL, **given)
