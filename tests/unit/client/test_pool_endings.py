"""The pool when its end comes, and where a write may still run in a session."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from ccxt_mcp.client import CallFailed, SessionPool
from ccxt_mcp.client.pool import Strategy
from tests.unit.client.scripted import READ, URL, WRITE, Scripted, Way

FINE = {"content": [], "structuredContent": {"fine": True}}


async def settled(pool: SessionPool) -> None:
    async with asyncio.timeout(5):
        while not pool.stats().waiting:
            await asyncio.sleep(0)


async def test_a_call_whose_turn_comes_just_before_the_end_is_not_sent() -> None:
    """Its session was opened after the end, the order sent in it, and nobody ended the session."""
    server = Scripted(None, FINE)
    async with httpx.AsyncClient(transport=Way(server)) as http:
        async with SessionPool(1, URL, http=http) as pool, pool.session() as workflow:
            await workflow.call(READ)
            waiting = asyncio.create_task(pool.call(WRITE))
            await settled(pool)
            # Its turn has come, and it does not know yet.
        with pytest.raises(CallFailed, match="cancelled"):
            await waiting
        assert server.calls == 1
        assert server.seen["initialize"] == server.seen["DELETE"] == 1


async def test_from_the_end_on_no_session_sends_anything() -> None:
    """Also one that is in somebody's hands: each end took its time to begin."""
    server = Scripted(None, FINE)
    async with httpx.AsyncClient(transport=Way(server)) as http:
        pool = SessionPool(2, URL, http=http)
        async with pool.session() as one, pool.session() as other:
            await one.call(READ)
            ending = asyncio.create_task(pool.aclose())
            await asyncio.sleep(0)
            assert one.closed
            assert other.closed
            await ending


async def test_all_who_close_a_pool_wait_for_the_same_end() -> None:
    server = Scripted(None, FINE)
    async with httpx.AsyncClient(transport=Way(server)) as http:
        pool = SessionPool(1, URL, http=http)
        await pool.call(READ)
        first, second = (asyncio.create_task(pool.aclose()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(5):
            await second
        assert first.cancelled()
        assert server.seen["DELETE"] == 1


@pytest.mark.parametrize("strategy", ["round_robin", "least_busy"])
@pytest.mark.parametrize("how", ["timeout", "cancelled"])
async def test_nobody_gets_a_session_in_which_a_write_may_still_run(
    how: str, strategy: Strategy
) -> None:
    """The next call there waited in the server's line until the write had ended."""
    server = Scripted(None, FINE)
    way = Way(server, asyncio.Event())
    async with httpx.AsyncClient(transport=way) as http:
        async with SessionPool(2, URL, http=http, strategy=strategy) as pool:
            call = asyncio.create_task(pool.call(WRITE, timeout=0.2 if how == "timeout" else 60))
            async with asyncio.timeout(5):
                await way.called.wait()
                if how == "cancelled":
                    call.cancel()
                await asyncio.wait({call})
            assert way.go is not None
            way.go.set()
            (doubtful,) = {each.headers["mcp-session-id"] for each in server.requests}
            before = len(server.requests)
            for _each in range(6):
                await pool.call(READ)
            used = {each.headers["mcp-session-id"] for each in server.requests[before:]}
            assert doubtful not in used
        assert server.seen["DELETE"] == server.seen["initialize"]


async def test_a_session_whose_caller_left_is_taken_last_and_looked_at() -> None:
    """A read that was given up may be ending still; another session is free at once."""
    server = Scripted(None, FINE)
    way = Way(server, asyncio.Event())
    async with (
        httpx.AsyncClient(transport=way) as http,
        SessionPool(2, URL, http=http, strategy="least_busy") as pool,
    ):
        call = asyncio.create_task(pool.call(READ))
        async with asyncio.timeout(5):
            await way.called.wait()
        call.cancel()
        await asyncio.wait({call})
        assert way.go is not None
        way.go.set()
        await pool.call(READ)
        assert (pool.stats().opened, server.seen["ping"]) == (2, 0)
        async with pool.session():
            await pool.call(READ)
        assert server.seen["ping"] == 1
