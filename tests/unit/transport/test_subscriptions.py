"""Subscriptions of both eras: who is told, of what, how often, and what is left afterwards.

Driven at the ASGI level: who reads when is what these tests are about.
"""

import asyncio
import json
from typing import Any

import pytest
from starlette.applications import Starlette

from ccxt_mcp.errors import Failure
from ccxt_mcp.model import ANONYMOUS
from ccxt_mcp.transport import responder
from ccxt_mcp.transport.subscriptions import Quota, Subscriptions
from tests.unit.transport.asgi import Request
from tests.unit.transport.changing import (
    SUBSCRIPTION,
    Changing,
    changing_app,
    listen,
    listening,
    subscribe,
    updates,
)
from tests.unit.transport.talker import opened, resume
from tests.unit.transport.test_registry import registry

A, B = "test://a", "test://b"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are watched from the first loop step."""
    monkeypatch.setattr(responder, "WATCH_AFTER", 0.0)


async def session_of(app: Starlette, kind: str) -> str:
    return await opened(app) if kind == "minted" else "my-workflow"


BOTH = pytest.mark.parametrize("kind", ["minted", "named"])


async def started(stream: Request) -> Request:
    await stream.until(b": open")
    return stream


# Sessions


@BOTH
async def test_a_change_is_told_on_the_sessions_own_stream(kind: str) -> None:
    async with changing_app() as (changing, app):
        session = await session_of(app, kind)
        assert (await subscribe(app, session, A))["result"] == {}
        stream = await started(listening(app, session))
        changing.change(A)
        await stream.until(b"updated")
        assert updates(stream) == [A]
        changing.change(B)
        stream.leave()
        await stream.done()


@BOTH
async def test_nothing_is_watched_while_nobody_reads_the_stream(kind: str) -> None:
    """It would cost requests to an exchange, for half an hour, of which nobody hears."""
    async with changing_app() as (changing, app):
        session = await session_of(app, kind)
        await subscribe(app, session, A)
        assert changing.at_work(A) == 0
        for _ in range(2):
            stream = await started(listening(app, session))
            assert changing.at_work(A) == 1
            await subscribe(app, session, B)
            assert changing.at_work(B) == 1
            stream.leave()
            await stream.done()
            assert changing.at_work(A) == changing.at_work(B) == 0


async def test_a_client_that_reads_on_where_its_stream_was_cut_is_told_on() -> None:
    async with changing_app() as (changing, app):
        session = await opened(app)
        await subscribe(app, session, A)
        cut = await started(listening(app, session))
        changing.change(A)
        await cut.until(b"updated")
        cut.leave()
        await cut.done()
        assert changing.at_work(A) == 0
        on = resume(app, session, cut.ids()[-1])
        await started(on)
        assert changing.at_work(A) == 1
        changing.change(A)
        await on.until(b"updated")
        assert updates(on) == [A]
        other = resume(app, session, on.ids()[-1])
        await on.done()
        assert changing.at_work(A) == 1
        other.leave()
        await other.done()
        assert changing.at_work(A) == 0


@BOTH
async def test_what_nobody_has_read_yet_is_said_once(kind: str) -> None:
    """Queued one by one, the changes of a busy market would fill the memory that a slow client's
    session has, and push out what else was said to it."""
    async with changing_app() as (changing, app):
        session = await session_of(app, kind)
        await subscribe(app, session, A)
        await subscribe(app, session, B)
        slow = listening(app, session, slow=True)
        async with asyncio.timeout(5):
            await slow.blocked.wait()
        changing.change(A, times=1000)
        changing.change(B, times=1000)
        slow.let_go()
        await slow.until(b"test://b")
        assert updates(slow) == [A, B]
        slow.leave()
        await slow.done()


@BOTH
async def test_a_change_during_the_writing_of_the_last_one_is_told(kind: str) -> None:
    """The client may have read the last one, and the resource, before the second change: counted
    as unread, it would swallow that, and the client would go by an old price for ever."""
    async with changing_app() as (changing, app):
        session = await session_of(app, kind)
        await subscribe(app, session, A)
        stream = await started(listening(app, session))
        stream.stall()
        changing.change(A)
        async with asyncio.timeout(5):
            await stream.blocked.wait()
        changing.change(A, times=10)
        stream.let_go()
        async with asyncio.timeout(5):
            while len(updates(stream)) < 2:
                await asyncio.sleep(0)
        changing.change(A)
        async with asyncio.timeout(5):
            while len(updates(stream)) < 3:
                await asyncio.sleep(0)
        assert updates(stream) == [A, A, A]
        stream.leave()
        await stream.done()


async def test_updates_push_nothing_out_that_can_be_read_again() -> None:
    """A busy market would fill what a session keeps within seconds, and the answer of a call whose
    stream was cut would be gone. Of an address the last update is kept, which says all."""
    async with changing_app(replay_events_max=4) as (changing, app):
        session = await opened(app)
        await subscribe(app, session, A)
        stream = await started(listening(app, session))
        for count in range(1, 20):
            changing.change(A)
            async with asyncio.timeout(5):
                while len(updates(stream)) < count:
                    await asyncio.sleep(0)
        (record,) = app.state.registry._sessions.values()
        assert record.events.count == 1
        first = stream.ids()[0]
        stream.leave()
        await stream.done()
        again = await started(resume(app, session, first))
        await again.until(b"updated")
        assert updates(again) == [A]
        assert again.ids()[-1] == stream.ids()[-1]
        again.leave()
        await again.done()


@BOTH
async def test_a_slow_subscriber_slows_nobody(kind: str) -> None:
    """Told one after the other, all would wait for the one that does not read."""
    async with changing_app() as (changing, app):
        first, second = await session_of(app, kind), "another"
        await subscribe(app, first, A)
        await subscribe(app, second, A)
        slow = listening(app, first, slow=True)
        async with asyncio.timeout(5):
            await slow.blocked.wait()
        quick = await started(listening(app, second))
        changing.change(A)
        await quick.until(b"updated")
        assert updates(slow) == []
        for each in (slow, quick):
            each.leave()
            await each.done()


@pytest.mark.parametrize("way", ["unsubscribe", "delete", "lapse", "eviction"])
async def test_a_subscription_ends_with(way: str) -> None:
    async with changing_app(max_sessions=1) as (changing, app):
        registry = app.state.registry
        await subscribe(app, "a", A)
        stream = await started(listening(app, "a"))
        assert changing.at_work(A) == registry.quota.taken == 1
        if way == "unsubscribe":
            assert (await subscribe(app, "a", A, "unsubscribe"))["result"] == {}
            stream.leave()
        elif way == "delete":
            await Request(app, "DELETE", mcp_session_id="a").done()
        else:
            stream.leave()
        await stream.done()
        if way == "lapse":
            registry._idle_timeout = -1.0
            assert registry.expire() == 1
        elif way == "eviction":
            await subscribe(app, "b", B)
        assert changing.at_work(A) == 0
        assert registry.quota.taken == (1 if way == "eviction" else 0)


async def test_a_session_with_subscriptions_lapses_like_any_other() -> None:
    """Subscriptions alone are no sign of life of a client."""
    async with changing_app() as (_, app):
        registry = app.state.registry
        await subscribe(app, "a", A)
        registry._idle_timeout = -1.0
        assert registry.expire() == 1
        assert registry.quota.taken == 0


async def test_an_address_subscribed_to_twice_is_one_subscription() -> None:
    async with changing_app() as (changing, app):
        stream = Request(app, "GET", mcp_session_id="a", accept="text/event-stream")
        assert (await stream.done()).status == 404
        both = await asyncio.gather(subscribe(app, "a", A), subscribe(app, "a", A))
        assert [each["result"] for each in both] == [{}, {}]
        await subscribe(app, "a", A)
        assert app.state.registry.quota.taken == 1
        stream = await started(listening(app, "a"))
        assert changing.at_work(A) == 1
        await subscribe(app, "a", A, "unsubscribe")
        await subscribe(app, "a", A, "unsubscribe")
        assert changing.at_work(A) == 0
        stream.leave()
        await stream.done()


async def places_taken(app: Starlette, count: int) -> None:
    async with asyncio.timeout(5):
        while app.state.registry.quota.taken != count:
            await asyncio.sleep(0)


async def test_two_requests_for_one_address_at_once_watch_it_once() -> None:
    """The first one's watch would be forgotten, and go on for ever."""
    async with changing_app() as (changing, app):
        await subscribe(app, "a", A)
        stream = await started(listening(app, "a"))
        both = [asyncio.create_task(subscribe(app, "a", "test://slow/a")) for _ in range(2)]
        await places_taken(app, 3)
        changing.go.set()
        for each in both:
            assert (await each)["result"] == {}
        assert changing.at_work("test://slow/a") == 1
        assert app.state.registry.quota.taken == 2
        stream.leave()
        await stream.done()


async def test_a_watch_that_comes_after_its_sessions_end_is_stopped() -> None:
    """It is there in the same moment: too late for the end, too early for the cancellation."""
    changing, quota = Changing(), Quota()
    subscriptions = Subscriptions(quota, ("", None), lambda message: True)
    adding = asyncio.create_task(subscriptions.add("test://slow/a", changing, heard=True))
    await changing.asked.wait()
    changing.go.set()
    subscriptions.end()
    await adding
    assert quota.taken == len(subscriptions) == changing.at_work("test://slow/a") == 0


async def test_a_session_that_has_ended_takes_no_subscription() -> None:
    """Nobody would end it: its place would be taken for as long as the server runs."""
    changing, quota = Changing(), Quota()
    table = registry()
    session = table.mint(ANONYMOUS, None)
    table.close(session)
    await session.subscribed(quota).add(A, changing, heard=False)
    assert quota.taken == changing.at_work(A) == 0


async def test_a_session_that_ends_while_it_subscribes_leaves_nothing() -> None:
    async with changing_app() as (changing, app):
        asking = asyncio.create_task(subscribe(app, "a", "test://slow/a"))
        await changing.asked.wait()
        await Request(app, "DELETE", mcp_session_id="a").done()
        assert "error" in await asking
        assert app.state.registry.quota.taken == 0
        assert changing.at_work("test://slow/a") == 0


@pytest.mark.parametrize("again", [False, True])
async def test_who_unsubscribes_while_the_subscription_is_made_has_none(again: bool) -> None:
    """A client that does not wait for the first answer of a slow exchange would be told on and on,
    after a success that says the contrary. Who then subscribes again has one."""
    async with changing_app() as (changing, app):
        slow = "test://slow/a"
        asking = [asyncio.create_task(subscribe(app, "a", slow))]
        await places_taken(app, 1)
        assert (await subscribe(app, "a", slow, "unsubscribe"))["result"] == {}
        if again:
            asking.append(asyncio.create_task(subscribe(app, "a", slow)))
            await places_taken(app, 2)
        changing.go.set()
        assert all(said["result"] == {} for said in await asyncio.gather(*asking))
        assert app.state.registry.quota.taken == again


async def test_a_stream_that_opens_while_its_session_subscribes_is_told() -> None:
    async with changing_app() as (changing, app):
        await subscribe(app, "a", A)
        asking = asyncio.create_task(subscribe(app, "a", "test://slow/a"))
        await places_taken(app, 2)
        stream = await started(listening(app, "a"))
        changing.go.set()
        assert (await asking)["result"] == {}
        changing.change("test://slow/a")
        await stream.until(b"updated")
        stream.leave()
        await stream.done()


async def test_refusals_are_errors_that_say_what_is_wrong() -> None:
    async with changing_app(max_subscriptions_per_session=2, max_subscriptions=6) as (_, app):
        refused = (await subscribe(app, "a", "test://no/a"))["error"]
        assert (refused["code"], refused["message"]) == (-32602, "not for you")
        await subscribe(app, "a", A)
        await subscribe(app, "a", B)
        error = (await subscribe(app, "a", "test://c"))["error"]
        assert error["data"]["uri"] == "test://c"
        assert error["data"]["ccxt-mcp/failure"]["code"] == "overloaded"
        assert "`max_subscriptions_per_session`" in error["message"]
        await subscribe(app, "b", A)
        error = (await subscribe(app, "b", B))["error"]
        assert "`max_subscriptions`" in error["message"]
        assert error["data"]["ccxt-mcp/failure"]["retryAfterMs"] == 5000
        await subscribe(app, "a", A, "unsubscribe")
        assert "result" in await subscribe(app, "b", B)
        stream = await listen(app, A).done()
        assert json.loads(stream.body)["error"]["data"]["ccxt-mcp/failure"]["code"] == "overloaded"


def test_one_caller_leaves_half_of_the_subscriptions_to_others() -> None:
    """Otherwise a hundred sessions of it, or a hundred streams, are all that the server has."""
    one, other, third = ("", "10.0.0.1"), ("", "10.0.0.2"), ("bot", "10.0.0.1")
    quota = Quota(each=50, most=100)
    quota.take(one, 50)
    with pytest.raises(Failure, match="One caller"):
        quota.take(one, 1)
    quota.take(other, 49)
    quota.take(third, 1)
    with pytest.raises(Failure, match="All 100"):
        quota.take(third, 1)
    quota.give(one, 50)
    quota.take(one, 50)
    for caller, count in ((one, 50), (other, 49), (third, 1)):
        quota.give(caller, count)
    assert (quota.taken, quota._of_caller) == (0, {})
    Quota(each=50, most=1).take(one, 1)


async def test_what_may_not_be_seen_any_more_is_told_once_and_its_place_is_free() -> None:
    async with changing_app() as (changing, app):
        await subscribe(app, "a", A)
        stream = await started(listening(app, "a"))
        changing.forbid(A)
        await stream.until(b"updated")
        assert updates(stream) == [A]
        assert app.state.registry.quota.taken == 0
        stream.leave()
        await stream.done()


async def test_a_change_between_two_streams_waits_for_the_next_one() -> None:
    """A watch may have found a change in the moment in which its stream ended."""
    async with changing_app() as (changing, app):
        await subscribe(app, "a", A)
        stream = await started(listening(app, "a"))
        (watch,) = changing.watches[A]
        stream.leave()
        await stream.done()
        watch.changed()
        watch.changed()
        stream = await started(listening(app, "a"))
        await stream.until(b"updated")
        assert updates(stream) == [A]
        stream.leave()
        await stream.done()


async def test_a_server_says_that_it_can_be_subscribed_to() -> None:
    async with changing_app() as (_, app):
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        answer = json.loads((await Request(app, "POST", body).done()).body)
        assert answer["result"]["capabilities"]["resources"]["subscribe"] is True


# Streams of their own (2026-07-28)


def stamps(events: list[dict[str, Any]]) -> set[Any]:
    said = [each["params"] if "params" in each else each["result"] for each in events]
    return {each["_meta"][SUBSCRIPTION] for each in said}


async def test_a_modern_client_is_told_after_an_acknowledgement() -> None:
    """Of what was asked for, the acknowledgement has what will be told, and why not the rest."""
    async with changing_app() as (changing, app):
        stream = listen(app, A, "test://no/b", A, request_id="seven")
        await stream.until(b"acknowledged")
        changing.change(A)
        await stream.until(b"updated")
        first = stream.events()[0]
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["notifications"] == {"resourceSubscriptions": [A]}
        assert first["params"]["_meta"]["ccxt-mcp/refused"] == {"test://no/b": "not for you"}
        assert updates(stream) == [A]
        assert stamps(stream.events()) == {"seven"}
        stream.leave()
        await stream.done()
        assert changing.at_work(A) == 0


async def test_a_stream_of_which_nothing_can_be_told_is_an_error() -> None:
    async with changing_app() as (_, app):
        stream = await listen(app, "test://no/a", "test://no/b").done()
        assert json.loads(stream.body)["error"]["message"] == "not for you"


async def test_a_modern_client_that_reads_slowly_is_told_once_and_slows_nobody() -> None:
    """The SDK's own handler queues a thousand events for such a client and then cuts its stream."""
    async with changing_app() as (changing, app):
        slow, quick = listen(app, A, B), listen(app, A)
        for stream in (slow, quick):
            await stream.until(b"acknowledged")
        slow.stall()
        changing.change(A)
        await quick.until(b"updated")
        async with asyncio.timeout(5):
            await slow.blocked.wait()
        for _ in range(1000):
            changing.change(A)
            changing.change(B)
            await asyncio.sleep(0)
        slow.let_go()
        await slow.until(b'test://b"}')
        async with asyncio.timeout(5):
            while len(updates(slow)) < 3:
                await asyncio.sleep(0)
        # One that was being written, one more that the SDK's channel had taken, and what is left.
        assert len(updates(slow)) <= 5
        assert set(updates(slow)) == {A, B}
        for stream in (slow, quick):
            stream.leave()
            await stream.done()


async def test_a_modern_client_that_leaves_while_it_subscribes_leaves_nothing() -> None:
    async with changing_app() as (changing, app):
        stream = listen(app, A, "test://slow/a")
        await changing.asked.wait()
        stream.leave()
        await stream.done()
        assert app.state.registry.quota.taken == 0
        assert changing.at_work(A) == changing.at_work("test://slow/a") == 0


async def test_streams_end_with_a_result_when_the_server_drains() -> None:
    """Otherwise the server would wait for them for all of its grace, and their clients would take
    the end for an accident."""
    async with changing_app() as (changing, app):
        streams = [listen(app, A), listen(app)]
        for stream in streams:
            await stream.until(b"acknowledged")
        async with asyncio.timeout(5):
            await app.state.drain(60.0)
        for stream in streams:
            last = (await stream.done()).events()[-1]
            assert last["result"]["resultType"] == "complete"
            assert stamps([last]) == {7}
        assert changing.at_work(A) == 0


async def test_what_a_slow_client_has_not_read_when_the_server_drains_is_still_told() -> None:
    """A change in the meantime would take the place of the one that waits, and not be said either:
    the stream is closed."""
    async with changing_app() as (changing, app):
        session = await opened(app)
        await subscribe(app, session, A)
        slow = listening(app, session, slow=True)
        async with asyncio.timeout(5):
            await slow.blocked.wait()
        changing.change(A)
        await app.state.drain(0.0)
        changing.change(A)
        slow.let_go()
        assert updates(await slow.done()) == [A]


@pytest.mark.parametrize("steps", range(4))
async def test_a_stream_that_begins_just_before_the_server_drains_ends_as_well(steps: int) -> None:
    """It has been let in and is not known yet: missed, it is waited for all the grace."""
    async with changing_app() as (_, app):
        stream = listen(app, A)
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await app.state.drain(60.0)
        assert "result" in (await stream.done()).events()[-1]


async def test_a_stream_of_what_may_not_be_seen_any_more_ends_with_a_result() -> None:
    async with changing_app() as (changing, app):
        stream = listen(app, A, B)
        await stream.until(b"acknowledged")
        changing.forbid(A)
        await stream.until(b"updated")
        changing.change(B)
        await stream.until(b'test://b"}')
        changing.forbid(B)
        assert "result" in (await stream.done()).events()[-1]
        assert updates(stream) == [A, B, B]


async def test_a_stream_that_asks_for_nothing_is_acknowledged_and_counted() -> None:
    async with changing_app(max_subscriptions=1) as (_, app):
        stream = listen(app)
        await stream.until(b"acknowledged")
        assert stream.events()[0]["params"]["notifications"] == {}
        assert app.state.registry.quota.taken == 1
        assert "error" in json.loads((await listen(app).done()).body)
        stream.leave()
        await stream.done()


async def test_subscriptions_that_came_and_went_leave_no_task_and_no_place_taken() -> None:
    async with changing_app() as (changing, app):
        registry = app.state.registry

        async def come_and_go(number: int) -> None:
            name = f"s{number}"
            await subscribe(app, name, A)
            stream = await started(listening(app, name))
            await Request(app, "DELETE", mcp_session_id=name).done()
            await stream.done()

        await come_and_go(0)
        before = asyncio.all_tasks()
        await asyncio.gather(*(come_and_go(number) for number in range(100)))
        assert asyncio.all_tasks() == before
        assert len(registry) == registry.quota.taken == changing.at_work(A) == 0
