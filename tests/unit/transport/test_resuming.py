"""Streams that are read on after their connection was cut: nothing is lost and nothing doubled."""

import asyncio
import json
from typing import Any

import pytest

from ccxt_mcp.transport import following, reading, responder
from ccxt_mcp.transport.events import Events, Replay
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.room import Room
from ccxt_mcp.transport.stream import MAX_QUEUED, Stream
from tests.unit.transport.asgi import Request
from tests.unit.transport.talker import call, opened, post, resume, sessions, steps, talking

PRIMED = "2025-11-25"
IDS_ONLY = ("2025-03-26", "2025-06-18")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are watched from the first loop step."""
    monkeypatch.setattr(responder, "WATCH_AFTER", 0.0)


async def settled() -> None:
    """Let a departure be noticed: it takes a few steps of the loop."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_stream_begins_with_an_id_to_read_on_from_and_every_event_has_one() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        first, second = (post(app, session, call("say", n)) for n in (1, 2))
        talker.tell(1, None, 2, None)
        await first.done()
        await second.done()
        assert first.body.startswith(
            b"id: " + first.ids()[0].encode() + b"\nretry: 1000\ndata:\n\n"
        )
        assert steps(first) == [1, "say"]
        ids = first.ids() + second.ids()
        assert len(ids) == len(set(ids)) == 6
        streams = [
            {each.rpartition("-")[0] for each in request.ids()} for request in (first, second)
        ]
        assert len(streams[0]) == len(streams[1]) == 1
        assert streams[0] != streams[1]


@pytest.mark.parametrize("version", IDS_ONLY)
async def test_older_clients_have_ids_but_no_event_without_data(version: str) -> None:
    """They take an event's data for JSON, whatever it is."""
    async with talking() as (talker, app):
        session = await opened(app, version)
        request = post(app, session, call("say"))
        await talker.started.wait()
        assert talker.context is not None
        assert talker.context.close_sse_stream is None
        talker.tell(1)
        await talker.told(1)
        assert request.body.startswith(b"id: ")
        assert b"data:\n" not in request.body
        request.leave()
        await settled()
        talker.tell(2, None)
        again = await resume(app, session, request.ids()[-1]).done()
        assert steps(request, again) == [1, 2, "say"]


async def test_a_quick_answer_keeps_nothing() -> None:
    async with talking() as (_, app):
        session = await opened(app)
        answer = await post(app, session, call("quick")).done()
        assert answer.headers["content-type"] == "application/json"
        (record,) = sessions(app)
        assert record.events is None
        assert record.asking is None


@pytest.mark.parametrize("seen", range(7))
async def test_a_stream_is_read_on_from_any_event(seen: int) -> None:
    """After event ``seen`` of the priming one, five steps and the reply."""
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"))
        talker.tell(1, 2, 3)
        await talker.told(3)
        request.leave()
        await settled()
        if seen < 4:
            again = resume(app, session, request.ids()[seen])
            await again.until(b": open")
            talker.tell(4, 5, None)
            await again.done()
            assert steps(again) == [1, 2, 3, 4, 5, "say"][seen:]
        talker.tell(4, 5, None)
        await request.done()
        assert talker.cancelled == 0
        whole = await resume(app, session, request.ids()[0]).done()
        assert steps(whole) == [1, 2, 3, 4, 5, "say"]
        later = await resume(
            app, session, whole.ids()[seen - 1] if seen else request.ids()[0]
        ).done()
        assert steps(later) == [1, 2, 3, 4, 5, "say"][seen:]


@pytest.mark.parametrize("sends", range(1, 9))
@pytest.mark.parametrize("version", [PRIMED, "2025-06-18"])
async def test_a_client_may_be_cut_off_after_anything_it_is_sent(version: str, sends: int) -> None:
    """The call goes on, and both connections together were sent everything exactly once. A client
    that was cut off between its headers and the first event cannot come back, and nobody knows."""
    async with talking() as (talker, app):
        session = await opened(app, version)
        request = post(app, session, call("say"), leaves_after=sends)
        for step in (1, 2, 3, 4):
            talker.tell(step)
            await settled()
        talker.tell(None)
        await request.done()
        assert talker.cancelled == 0
        if sends == 1:
            assert not request.ids()
            return
        again = await resume(app, session, request.ids()[-1]).done()
        assert steps(request, again) == [1, 2, 3, 4, "say"]


async def test_a_client_that_leaves_before_any_event_ends_its_call() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"))
        await talker.started.wait()
        request.leave()
        await request.done()
        assert talker.cancelled == 1
        (record,) = sessions(app)
        assert record.events is None


async def test_silence_of_an_older_client_promises_nothing_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its stream has begun with a comment, without an id: it could not come back."""
    monkeypatch.setattr(responder, "KEEP_ALIVE", 0.01)
    async with talking() as (talker, app):
        for version, cancelled in (("2025-06-18", 1), (PRIMED, 1)):
            session = await opened(app, version)
            request = post(app, session, call("say"))
            await request.until(b": keep-alive\n\n: keep-alive\n\n")
            assert len(request.ids()) == (version == PRIMED)
            request.leave()
            await settled()
            assert talker.cancelled == cancelled
            if version == PRIMED:
                talker.tell(None)
            await request.done()


async def test_events_that_come_while_others_are_replayed_come_once_and_in_order() -> None:
    """Replay first and register for what is live afterwards, and what comes between is lost."""
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"))
        talker.tell(1, 2, 3)
        await talker.told(3)
        request.leave()
        await settled()
        slow = resume(app, session, request.ids()[0], slow=True)
        await slow.blocked.wait()
        talker.tell(4)
        await settled()
        assert talker.heard.empty()  # the call waits for whoever reads it
        slow.let_go()
        await talker.told(1)
        talker.tell(5, None)
        await slow.done()
        assert steps(slow) == [1, 2, 3, 4, 5, "say"]


async def test_what_is_being_written_is_not_sent_yet() -> None:
    """A place that moves before its event is written tells the call that a client has taken what
    still waits for it: the call runs ahead of a slow one, and no bound of what is kept holds."""
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"))
        talker.tell(1)
        await talker.told(1)
        request.leave()
        await settled()
        slow = resume(app, session, request.ids()[-1])
        await slow.until(b": open")
        slow.hold()
        talker.tell(2, 3)
        await slow.blocked.wait()
        await settled()
        assert talker.heard.empty()
        slow.let_go()
        await talker.told(2)
        talker.tell(None)
        await slow.done()
        assert steps(slow) == [2, 3, "say"]


async def test_a_slow_reader_of_the_own_stream_is_cut_off_rather_than_kept_in_the_dark() -> None:
    """It would go on with what is left, and never know that the oldest had gone for room."""
    async with talking(replay_events_max=5) as (_, app):
        session = await opened(app)
        slow = Request(app, "GET", mcp_session_id=session)
        await slow.until(b"data:\n\n")
        slow.hold()
        await post(app, session, call("announce")).done()
        await slow.blocked.wait()
        for _ in range(9):
            await post(app, session, call("announce")).done()
        slow.let_go()
        await slow.done()
        assert len(slow.events()) == 1
        told = await resume(app, session, slow.ids()[-1]).done()
        assert told.status == 400
        assert "not kept any more" in json.loads(told.body)["error"]["message"]
        anew = Request(app, "GET", mcp_session_id=session)
        await anew.until(b"data:\n\n")
        anew.leave()
        await anew.done()


@pytest.mark.parametrize("version", [PRIMED, "2025-06-18"])
async def test_an_answer_that_outruns_its_slow_client_ends_where_the_gap_would_be(
    version: str,
) -> None:
    """A call that speaks from many tasks at once is not slowed by its client."""
    async with talking(replay_events_max=5) as (_, app):
        session = await opened(app, version)
        slow = post(app, session, call("chorus", count=50), slow=True)
        await slow.blocked.wait()
        await settled()
        slow.let_go()
        await slow.done()
        seen = steps(slow)
        assert seen == list(range(len(seen)))
        assert 0 < len(seen) < 50
        told = await resume(app, session, slow.ids()[-1]).done()
        assert told.status == 400
        assert "not kept any more" in json.loads(told.body)["error"]["message"]


async def test_all_sessions_together_keep_to_a_bound_and_whoever_floods_loses_its_own() -> None:
    """Bounded by the session alone, one address with its 500 sessions has 130 MB kept."""
    tokens = {"one": {"token": "1" * 32}, "two": {"token": "2" * 32}}
    limit = 65_536
    async with talking(tokens=tokens, replay_total_bytes_max=limit) as (talker, app):
        modest, greedy = ({"authorization": f"Bearer {str(n) * 32}"} for n in (1, 2))
        session = await opened(app, **modest)
        talker.tell(*range(20), None)
        mine = await post(app, session, call("say"), **modest).done()
        floods = []
        for _ in range(10):
            flooding = await opened(app, **greedy)
            flooded = await post(app, flooding, call("flood", count=200), **greedy).done()
            assert steps(flooded) == [*range(200), "flood"]
            assert app.state.registry.room.size <= limit
            floods.append((flooding, flooded))
        whole = await resume(app, session, mine.ids()[0], **modest).done()
        assert steps(whole) == [*range(20), "say"]
        ends = [
            await resume(app, flooding, flooded.ids()[0], **greedy).done()
            for flooding, flooded in floods
        ]
        lost = [each for each in ends if each.status == 400]
        assert lost
        for each in lost:
            assert "replay_total_bytes_max" in json.loads(each.body)["error"]["message"]
        assert all(steps(each) == [*range(200), "flood"] for each in ends if each not in lost)


async def test_a_message_whose_sending_was_cancelled_comes_with_the_next() -> None:
    """A message counted as sent before it is written is lost when the call is ended meanwhile."""
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"), slow=True)
        talker.tell(1)
        await request.blocked.wait()
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        await post(app, session, cancel).done()
        request.let_go()
        await request.done()
        assert steps(request) == [1]
        assert request.events()[-1]["error"]["code"] == -32800
        assert len(request.ids()) == 3


async def test_of_two_connections_the_newer_reads_on() -> None:
    """Two readers of one stream would each see half, or everything twice."""
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"))
        talker.tell(1)
        await talker.told(1)
        second = resume(app, session, request.ids()[-1])
        await request.over()
        talker.tell(2)
        await talker.told(1)
        await second.until(b'"progress":2')
        third = resume(app, session, second.ids()[-1])
        await second.done()
        talker.tell(3, None)
        await third.done()
        await request.done()
        assert [steps(each) for each in (request, second, third)] == [[1], [2], [3, "say"]]


async def test_a_call_closes_its_stream_so_that_the_client_polls() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        request = await post(app, session, call("poll")).over()
        assert request.headers["content-type"] == "text/event-stream"
        assert steps(request) == []
        (primer,) = request.ids()
        talker.tell(1)
        await talker.told(1)
        polled = resume(app, session, primer)
        await polled.until(b'"progress":1')
        assert b"retry: 1000\n" in polled.body
        assert talker.context is not None
        assert talker.context.close_sse_stream is not None
        await talker.context.close_sse_stream()
        await polled.done()
        talker.tell(2, None)
        last = await resume(app, session, polled.ids()[-1]).done()
        assert steps(polled, last) == [1, 2, "poll"]
        await talker.context.close_sse_stream()


async def test_a_client_that_takes_no_stream_is_not_left_with_a_closed_one() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"), accept="application/json")
        await talker.started.wait()
        assert talker.context is not None
        assert talker.context.close_sse_stream is None
        talker.tell(1, None)
        await request.done()
        assert request.headers["content-type"] == "application/json"


async def test_the_sessions_own_stream_keeps_what_comes_while_nobody_reads_it() -> None:
    async with talking() as (_, app):
        session = await opened(app)
        listening = Request(app, "GET", mcp_session_id=session)
        await listening.until(b"data:\n\n")
        beside = await Request(app, "GET", mcp_session_id=session).done()
        assert beside.status == 409
        await post(app, session, call("announce")).done()
        await listening.until(b"list_changed")
        await post(app, session, call("close")).done()
        await listening.done()
        await post(app, session, call("announce")).done()
        again = resume(app, session, listening.ids()[-1])
        await again.until(b"list_changed")
        assert app.state.registry.counts()["streams"] == 1
        again.leave()
        await again.done()
        assert app.state.registry.counts()["streams"] == 0
        anew = Request(app, "GET", mcp_session_id=session)
        await anew.until(b"data:\n\n")
        await Request(app, "DELETE", mcp_session_id=session).done()
        await anew.done()
        assert len(listening.events()) == len(again.events()) == 1
        assert anew.events() == []


async def test_an_empty_id_is_none() -> None:
    """An event source that was told no id yet has an empty one, and some send it."""
    async with talking() as (_, app):
        session = await opened(app)
        stream = resume(app, session, "")
        await stream.until(b": open")
        assert stream.status == 200
        stream.leave()
        await stream.done()


async def test_an_id_of_another_session_is_refused() -> None:
    """Ids that are numbers alone would name a stream of the asking session."""
    async with talking() as (talker, app):
        one, two = await opened(app), await opened(app)
        requests = []
        for session in (one, two):
            talker.tell(1, None)
            requests.append(await post(app, session, call("say")).done())
        theirs = requests[1].ids()
        tag = requests[0].ids()[0].partition("-")[0]
        malformed = ["x", f"{tag}", f"{tag}-1", f"{tag}-9-1", f"{tag}-1-99", f"{tag}-0-0"]
        for event_id in [*theirs, *malformed, "ÿ", tag + "-1" * 500]:
            refused = await resume(app, one, event_id).done()
            assert refused.status == 400, event_id
            assert "Last-Event-ID" in json.loads(refused.body)["error"]["message"]
        assert (await resume(app, "named", theirs[0]).done()).status == 404
        await post(app, "named", call("quick")).done()
        assert (await resume(app, "named", theirs[0]).done()).status == 400


async def test_a_session_and_its_events_are_its_principals() -> None:
    tokens = {"one": {"token": "1" * 32}, "two": {"token": "2" * 32}}
    async with talking(tokens=tokens) as (talker, app):
        mine, theirs = ({"authorization": f"Bearer {str(n) * 32}"} for n in (1, 2))
        session = await opened(app, **mine)
        talker.tell(1, None)
        request = await post(app, session, call("say"), **mine).done()
        event_id = request.ids()[0]
        assert (await resume(app, session, event_id, **theirs).done()).status == 404
        own = await opened(app, **theirs)
        assert (await resume(app, own, event_id, **theirs).done()).status == 400
        again = await resume(app, session, event_id, **mine).done()
        assert steps(again) == [1, "say"]


async def test_streams_that_are_opened_and_left_leave_nothing() -> None:
    """Each would be remembered for the whole window: memory without end."""
    async with talking() as (_, app):
        session = await opened(app)
        for _ in range(20):
            listening = Request(app, "GET", mcp_session_id=session)
            await listening.until(b"data:\n\n")
            listening.leave()
            await listening.done()
        (record,) = sessions(app)
        assert record.events is not None
        assert len(record.events._tracks) == 1


async def test_a_flood_keeps_to_its_bounds_and_what_went_for_room_is_refused_in_words() -> None:
    async with talking(replay_events_max=10, replay_bytes_max=1024) as (_, app):
        session = await opened(app)
        flooded = await post(app, session, call("flood", count=300)).done()
        assert steps(flooded) == [*range(300), "flood"]
        (record,) = sessions(app)
        store = record.events
        assert store is not None
        assert store.count <= 10
        assert store.size <= 1024
        refused = await resume(app, session, flooded.ids()[0]).done()
        assert refused.status == 400
        assert "replay_events_max" in json.loads(refused.body)["error"]["message"]
        rest = await resume(app, session, flooded.ids()[-3]).done()
        assert steps(rest) == [299, "flood"]


async def test_a_flood_that_nobody_reads_is_bounded_too() -> None:
    async with talking(replay_events_max=10) as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"))
        talker.tell(0)
        await talker.told(1)
        request.leave()
        await settled()
        talker.tell(*range(1, 500), None)
        await request.done()
        (record,) = sessions(app)
        assert record.events is not None
        assert record.events.count == 10
        assert (await resume(app, session, request.ids()[-1]).done()).status == 400


async def test_many_streams_share_one_sessions_room() -> None:
    async with talking(replay_events_max=10) as (talker, app):
        session = await opened(app)
        for number in range(30):
            talker.tell(number, None)
            await post(app, session, call("say")).done()
        (record,) = sessions(app)
        assert record.events is not None
        assert record.events.count == 10
        assert len(record.events._tracks) == 5


async def test_the_reply_is_kept_whatever_its_size() -> None:
    store = Events(Replay(events=5, size=1024), Room(1 << 20), ("", None))
    track = store.open(lambda: None)
    primer = track.prime().split()[1].decode()
    for _ in range(20):
        track.push(b"x")
    track.push(b"y" * 5000)
    assert store.count == 1
    with pytest.raises(Refusal):
        store.find(primer)
    assert store.find(f"{store.tag.decode()}-1-{track.last - 1:x}") == (track, track.last - 1)


async def test_ending_the_session_ends_everything_on_its_streams() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        own = Request(app, "GET", mcp_session_id=session)
        await own.until(b"data:\n\n")
        request = post(app, session, call("say"))
        talker.tell(1)
        await talker.told(1)
        reading_on = resume(app, session, request.ids()[0])
        await reading_on.until(b'"progress":1')
        (record,) = sessions(app)
        await Request(app, "DELETE", mcp_session_id=session).done()
        for each in (own, request, reading_on):
            await each.done()
        assert reading_on.events()[-1]["error"]["message"] == "The session was ended"
        assert talker.cancelled == 1
        assert (await resume(app, session, request.ids()[0]).done()).status == 404
        assert not any(isinstance(each, asyncio.TimerHandle) for each in clocks(record.events))


def clocks(store: Events | None) -> list[Any]:
    assert store is not None
    return [track._clock for track in store._tracks.values()]


async def test_a_call_whose_client_does_not_come_back_is_given_up() -> None:
    """It would hold its lane, and its session, for as long as it likes."""
    async with talking(replay_window=0.05) as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"))
        talker.tell(1)
        await talker.told(1)
        request.leave()
        await request.done()
        assert talker.cancelled == 1
        (record,) = sessions(app)
        assert not record.lane.busy
        again = await resume(app, session, request.ids()[-1]).done()
        assert again.events()[0]["error"]["message"] == "Nobody came back for the answer"


async def test_what_is_kept_is_let_go_after_a_while() -> None:
    async with talking(replay_window=0.05) as (talker, app):
        session = await opened(app)
        own = Request(app, "GET", mcp_session_id=session)
        await own.until(b"data:\n\n")
        own.leave()
        await own.done()
        talker.tell(1, None)
        request = await post(app, session, call("say")).done()
        (record,) = sessions(app)
        store = record.events
        assert store is not None
        async with asyncio.timeout(5):
            while store._tracks:
                await asyncio.sleep(0.01)
        assert (store.count, store.size) == (0, 0)
        assert record.stream is None
        refused = await resume(app, session, request.ids()[0]).done()
        assert refused.status == 400
        assert "replay_window" in json.loads(refused.body)["error"]["message"]


async def test_a_reader_holds_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of those who do not come back stops while somebody is there."""
    for place in (reading, following):
        monkeypatch.setattr(place, "KEEP_ALIVE", 0.02)
    async with talking(replay_window=0.05) as (talker, app):
        session = await opened(app)
        request = await post(app, session, call("poll")).over()
        polled = resume(app, session, request.ids()[0])
        await polled.until(b": keep-alive\n\n" * 5)
        talker.tell(None)
        await polled.done()
        assert steps(polled) == ["poll"]


async def test_a_cut_off_call_is_read_on_while_the_server_drains() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        request = await post(app, session, call("poll")).over()
        draining = asyncio.create_task(app.state.drain(5))
        await settled()
        polled = resume(app, session, request.ids()[0])
        await polled.until(b": open")
        assert (await Request(app, "GET", mcp_session_id=session).done()).status == 503
        assert not draining.done()
        talker.tell(None)
        await polled.done()
        assert steps(polled) == ["poll"]
        await draining


async def test_a_named_session_keeps_nothing() -> None:
    async with talking() as (talker, app):
        request = post(app, "named", call("say"))
        talker.tell(1)
        await talker.told(1)
        assert request.ids() == []
        request.leave()
        await request.done()
        assert talker.cancelled == 1
        (record,) = sessions(app)
        assert record.events is None


async def test_the_stream_of_a_named_session_ends_rather_than_leaving_messages_out() -> None:
    """It keeps nothing to read on from; a queue that drops its oldest for a slow client would leave
    that with a stream that looks whole."""
    async with talking() as (_, app):
        await post(app, "named", call("quick")).done()
        slow = Request(app, "GET", mcp_session_id="named")
        await slow.until(b": open")
        slow.hold()
        (record,) = sessions(app)
        assert isinstance(record.stream, Stream)
        for number in range(MAX_QUEUED + 5):
            record.stream.push(b'{"number": %d}' % number)
        slow.let_go()
        await slow.done()
        assert [event["number"] for event in slow.events()] == list(range(MAX_QUEUED))
        anew = Request(app, "GET", mcp_session_id="named")
        await anew.until(b": open")
        anew.leave()
        await anew.done()
