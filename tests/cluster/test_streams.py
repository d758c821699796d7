"""Streams, questions and their ends, when what belongs together comes to different replicas."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ccxt_mcp.cluster import node
from ccxt_mcp.settings import Settings
from ccxt_mcp.store.protocol import Store
from ccxt_mcp.transport import following, mirrors, responder
from tests.cluster.replicas import Replicas, replicas, sessions_of
from tests.unit.transport.asgi import Request
from tests.unit.transport.talker import Talker, call, opened, post, resume, steps
from tests.unit.transport.test_asking import accepted, asked, reply


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are watched from the first loop step, and lost replicas noticed soon."""
    monkeypatch.setattr(responder, "WATCH_AFTER", 0.0)
    monkeypatch.setattr(following, "LOOK", 0.1)
    # What a replica that was cut off has left to say is not waited for at the end.
    monkeypatch.setattr(node, "_TO_END", 0.1)


@asynccontextmanager
async def talking(
    stores: Callable[[], Store], **settings: Any
) -> AsyncIterator[tuple[Talker, Replicas]]:
    talker = Talker()
    router = replicas(Settings.model_validate(settings), talker.server(), store=stores)
    async with router.router.lifespan_context(router):
        yield talker, router
        async with asyncio.timeout(5):
            while any(s.running or s.requests for s in sessions_of(router)):
                await asyncio.sleep(0.001)


async def opened_at_first(router: Replicas) -> str:
    """A session that the first replica has opened, which gets the next request too."""
    router.only = 0
    return await opened(router)


async def begun(router: Replicas, talker: Talker) -> tuple[str, Request]:
    """A call at the first replica that has said one step."""
    session = await opened_at_first(router)
    request = post(router, session, call("say"))
    talker.tell(1)
    await talker.told(1)
    await request.until(b'"progress":1')
    return session, request


async def read_on(router: Replicas, session: str, at: int, request: Request) -> Request:
    """A stream from where its client has it, at another replica, which reads it by now."""
    router.only = at
    again = resume(router, session, request.ids()[-1])
    await again.until(b": open")
    return again


async def test_a_stream_is_read_on_at_another_replica_while_its_call_goes_on(
    stores: Callable[[], Store],
) -> None:
    async with talking(stores) as (talker, router):
        session, request = await begun(router, talker)
        request.leave()
        first = await read_on(router, session, 1, request)
        talker.tell(2)
        await first.until(b'"progress":2')
        second = await read_on(router, session, 2, first)
        await first.done()
        talker.tell(3, None)
        await second.done()
        assert [steps(each) for each in (request, first, second)] == [[1], [2], [3, "say"]]
        assert talker.cancelled == 0
        router.only = 1
        whole = await resume(router, session, request.ids()[0]).done()
        assert steps(whole) == [1, 2, 3, "say"]


async def test_a_call_whose_client_reads_on_elsewhere_is_not_given_up(
    stores: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own replica sees nobody, and would end it after the window."""
    monkeypatch.setattr(following, "KEEP_ALIVE", 0.05)
    async with talking(stores, replay_window=0.3) as (talker, router):
        session, request = await begun(router, talker)
        request.leave()
        router.only = 1
        again = resume(router, session, request.ids()[-1])
        await again.until(b": keep-alive\n\n" * 10)
        talker.tell(None)
        await again.done()
        assert steps(again) == ["say"]
        assert talker.cancelled == 0


async def test_an_answer_that_the_store_did_not_take_is_told_as_soon_as_it_does(
    stores: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said in that moment was missing from the log for good: who read on elsewhere waited
    for it until the replica forgot the call, five minutes, and was told that it had died."""
    monkeypatch.setattr(following, "LOOK", 60.0)
    monkeypatch.setattr(mirrors, "_AGAIN", 0.05)
    async with talking(stores) as (talker, router):
        session, request = await begun(router, talker)
        request.leave()
        again = await read_on(router, session, 1, request)
        router.stores[0].dead = True
        talker.tell(2, None)
        async with asyncio.timeout(5):
            while any(s.running for s in sessions_of(router)):
                await asyncio.sleep(0.001)
        router.stores[0].dead = False
        async with asyncio.timeout(5):
            await again.done()
        assert steps(again) == [2, "say"]


async def test_a_client_that_leaves_the_other_replica_starts_the_window(
    stores: Callable[[], Store],
) -> None:
    async with talking(stores, replay_window=0.2) as (talker, router):
        session, request = await begun(router, talker)
        request.leave()
        again = await read_on(router, session, 1, request)
        again.leave()
        await again.done()
        async with asyncio.timeout(5):
            while not talker.cancelled:
                await asyncio.sleep(0.01)


async def test_the_answer_of_a_replica_that_died_is_told_to_be_lost(
    stores: Callable[[], Store],
) -> None:
    """Its client would wait for an answer that nobody will give."""
    async with talking(stores) as (talker, router):
        session, request = await begun(router, talker)
        await router.kill(0)
        request.leave()
        router.only = 1
        again = await resume(router, session, request.ids()[0]).done()
        assert steps(again) == [1]
        error = again.events()[-1]
        assert error["id"] == 1
        assert error["error"]["data"]["retryable"] is True
        talker.tell(None)


async def test_a_replica_that_dies_while_it_is_read_from_elsewhere_is_noticed(
    stores: Callable[[], Store],
) -> None:
    async with talking(stores) as (talker, router):
        session, request = await begun(router, talker)
        request.leave()
        again = await read_on(router, session, 1, request)
        talker.tell(2)
        await again.until(b'"progress":2')
        await router.kill(0)
        await again.done()
        assert steps(again) == [2]
        assert again.events()[-1]["error"]["data"]["retryable"] is True
        talker.tell(None)


@pytest.mark.parametrize("answering", [0, 1, 2])
async def test_a_question_is_answered_through_any_replica(
    stores: Callable[[], Store], answering: int
) -> None:
    async with talking(stores) as (talker, router):
        session = await opened_at_first(router)
        request = post(router, session, call("ask-with-progress"))
        (question,) = await asked(request)
        router.only = answering
        token = question["params"]["_meta"]["progressToken"]
        params = {"progressToken": token, "progress": 1, "total": 2, "message": "half"}
        body = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        assert (await post(router, session, body).done()).status == 202
        async with asyncio.timeout(5):
            while not talker.progress:
                await asyncio.sleep(0.001)
        assert (await post(router, session, accepted(question)).done()).status == 202
        await request.done()
        assert reply(request) == "accept"
        assert talker.progress == [(1.0, 2.0, "half")]


async def test_the_own_stream_is_open_at_one_replica_and_spoken_on_by_all(
    stores: Callable[[], Store],
) -> None:
    async with talking(stores) as (_, router):
        session = await opened_at_first(router)
        router.only = 1
        await post(router, session, call("quick")).done()
        router.only = 0
        listening = Request(router, "GET", mcp_session_id=session)
        await listening.until(b"data:\n\n")
        for at in (1, 2):
            router.only = at
            assert (await Request(router, "GET", mcp_session_id=session).done()).status == 409
            await post(router, session, call("announce")).done()
            await listening.until(b"list_changed")
        router.only = 2
        request = post(router, session, call("ask-aloud"))
        (question,) = [e for e in await asked(listening) if e.get("method") == "elicitation/create"]
        router.only = 1
        await post(router, session, accepted(question)).done()
        await request.done()
        assert "Ann" in request.body.decode()
        assert len(listening.events()) == 3
        again = resume(router, session, listening.ids()[0])
        await again.until(b"elicitation/create")
        await listening.done()
        assert again.events() == listening.events()
        router.only = 2
        await Request(router, "DELETE", mcp_session_id=session).done()
        await again.done()


async def test_the_own_stream_of_a_dead_replica_is_read_on_where_it_ended(
    stores: Callable[[], Store],
) -> None:
    """No event is lost or doubled, whether or not there is one to come."""
    async with talking(stores) as (_, router):
        session = await opened_at_first(router)
        listening = Request(router, "GET", mcp_session_id=session)
        await listening.until(b"data:\n\n")
        router.only = 1
        await post(router, session, call("announce")).done()
        await listening.until(b"list_changed")
        await router.kill(0)
        listening.leave()
        await post(router, session, call("announce")).done()
        router.only = 2
        second = resume(router, session, listening.ids()[-1])
        await second.until(b"list_changed")
        second.leave()
        await second.done()
        third = await read_on(router, session, 2, second)
        router.only = 1
        await post(router, session, call("announce")).done()
        await third.until(b"list_changed")
        numbers = [
            [int(each.partition("~")[2], 16) for each in one.ids()]
            for one in (listening, second, third)
        ]
        assert [len(each) for each in numbers] == [2, 1, 1]
        told = [number for each in numbers for number in each]
        assert told == sorted(set(told))
        third.leave()
        await third.done()


async def test_an_answer_that_comes_twice_through_two_replicas_is_taken_once(
    stores: Callable[[], Store],
) -> None:
    async with talking(stores) as (_, router):
        session = await opened_at_first(router)
        request = post(router, session, call("ask"))
        (question,) = await asked(request)
        answers = []
        for at in (1, 2):
            router.only = at
            answers.append(post(router, session, accepted(question)))
        assert [(await each.done()).status for each in answers] == [202, 202]
        await request.done()
        assert reply(request) == "accept {'name': 'Ann'}"
        router.only = 0
        again = post(router, session, call("ask", 2))
        (other,) = await asked(again)
        assert other["id"] != question["id"]
        # What answered the first question is no answer to the second.
        router.only = 1
        assert (await post(router, session, accepted(question)).done()).status == 202
        assert not again.ended.is_set()
        await post(router, session, accepted(other)).done()
        assert reply(await again.done()) == "accept {'name': 'Ann'}"
