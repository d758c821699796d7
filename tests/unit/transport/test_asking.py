"""Requests of the server to its client: whose stream they go on, whose call an answer reaches."""

import asyncio
import json
from typing import Any

import pytest
from mcp.shared.exceptions import NoBackChannelError

from ccxt_mcp.transport import asking, responder
from tests.unit.transport.asgi import Request
from tests.unit.transport.talker import call, opened, post, resume, sessions, talking


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are watched from the first loop step."""
    monkeypatch.setattr(responder, "WATCH_AFTER", 0.0)


async def asked(request: Request, count: int = 1) -> list[dict[str, Any]]:
    """The questions on a stream, once there are so many."""
    async with asyncio.timeout(5):
        while True:
            found = [e for e in request.events() if e.get("method") == "elicitation/create"]
            if len(found) >= count:
                return found
            assert not request.task.done(), request.body
            request.changed.clear()
            await request.changed.wait()


def accepted(question: dict[str, Any], name: str = "Ann") -> dict[str, Any]:
    result = {"action": "accept", "content": {"name": name}}
    return {"jsonrpc": "2.0", "id": question["id"], "result": result}


def reply(request: Request) -> Any:
    """The answer to the call itself: its text, or its error's message."""
    last = request.events()[-1]
    return last["result"]["content"][0]["text"] if "result" in last else last["error"]["message"]


async def test_a_call_asks_on_its_own_stream_and_the_answer_comes_back_to_it() -> None:
    """The call holds its session's lane: an answer that waited in it would wait for ever."""
    async with talking() as (_, app):
        session = await opened(app)
        request = post(app, session, call("ask"))
        (question,) = await asked(request)
        assert question["params"]["message"] == "Your name?"
        assert isinstance(question["id"], str)
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert json.loads((await post(app, session, ping).done()).body)["result"] == {}
        assert (await post(app, session, accepted(question)).done()).status == 202
        await request.done()
        assert reply(request) == "accept {'name': 'Ann'}"


@pytest.mark.parametrize(
    ("named", "accept"), [(True, "*/*"), (False, "application/json"), (True, "application/json")]
)
async def test_who_cannot_be_asked_is_not(named: bool, accept: str) -> None:
    """Otherwise the call would wait for an answer that cannot come."""
    async with talking() as (talker, app):
        session = "named" if named else await opened(app)
        request = await post(app, session, call("ask"), accept=accept).done()
        error = json.loads(request.body)["error"]
        assert "no back-channel" in error["message"]
        (record,) = sessions(app)
        assert record.asking is None
        assert talker.context is not None
        assert not talker.context.session.can_send_request


async def test_what_a_call_left_running_asks_nobody() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("say"))
        await talker.started.wait()
        context = talker.context
        assert context is not None
        could = [context.session.can_send_request]
        talker.tell(None)
        await request.done()
        could.append(context.session.can_send_request)
        assert could == [True, False]
        with pytest.raises(NoBackChannelError):
            await context.session.elicit_form("?", {"type": "object"}, 1)


async def test_an_answer_reaches_no_other_session() -> None:
    """Not even one that its client posts into the wrong session."""
    async with talking() as (_, app):
        mine, theirs = await opened(app), await opened(app)
        requests = [post(app, session, call("ask")) for session in (mine, theirs)]
        questions = [(await asked(request))[0] for request in requests]
        for session, question in ((mine, questions[1]), (theirs, questions[0])):
            assert (await post(app, session, accepted(question, "Eve")).done()).status == 202
        assert not any(each.task.done() for each in requests)
        for session, question, name in zip((mine, theirs), questions, ("Ann", "Bob"), strict=True):
            await post(app, session, accepted(question, name)).done()
        for request in requests:
            await request.done()
        assert [reply(each) for each in requests] == [
            "accept {'name': 'Ann'}",
            "accept {'name': 'Bob'}",
        ]


async def test_an_answer_reaches_no_other_principal() -> None:
    tokens = {"one": {"token": "1" * 32}, "two": {"token": "2" * 32}}
    async with talking(tokens=tokens) as (_, app):
        headers = [{"authorization": f"Bearer {str(n) * 32}"} for n in (1, 2)]
        session = await opened(app, **headers[0])
        request = post(app, session, call("ask"), **headers[0])
        (question,) = await asked(request)
        assert (
            await post(app, session, accepted(question, "Eve"), **headers[1]).done()
        ).status == 404
        await post(app, session, accepted(question), **headers[0]).done()
        await request.done()
        assert reply(request) == "accept {'name': 'Ann'}"


async def test_answers_that_nobody_waits_for_are_taken_and_dropped() -> None:
    async with talking() as (_, app):
        session = await opened(app)
        request = post(app, session, call("ask"))
        (question,) = await asked(request)
        for stray in ("ask-1", 1, -1, question["id"].replace("ask", "ASK")):
            assert (await post(app, session, accepted({"id": stray})).done()).status == 202
        assert not request.task.done()
        for name in ("Ann", "Bob"):
            assert (await post(app, session, accepted(question, name)).done()).status == 202
        await request.done()
        assert (await post(app, session, accepted(question)).done()).status == 202
        assert reply(request) == "accept {'name': 'Ann'}"
        assert (await post(app, "named", accepted(question)).done()).status == 404


async def test_ids_of_two_processes_do_not_meet() -> None:
    """A counter alone makes both ask with 1: an answer to the first process, which is gone, would
    be taken for one to the second."""
    tables = [asking.Asking(), asking.Asking()]
    sent: list[dict[str, Any]] = []

    async def send(message: bytes) -> None:
        sent.append(json.loads(message))

    tasks = [asyncio.create_task(t.ask(send, lambda _: None, "ping", None)) for t in tables]
    await asyncio.sleep(0)
    assert sent[0]["id"] != sent[1]["id"]
    for table, question in zip(tables, sent, strict=True):
        for other in sent:
            table.answered(other["id"], {"result": {"to": other["id"]}})
        assert await tasks[tables.index(table)] == {"to": question["id"]}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"error": {"code": -1, "message": "not now"}}, "not now"),
        ({"error": {"code": "x"}}, "neither a result nor an error"),
        ({"error": 7}, "neither a result nor an error"),
        ({"result": []}, "neither a result nor an error"),
        ({"result": {"action": "perhaps"}}, "Invalid request parameters"),
    ],
)
async def test_a_refusal_and_nonsense_are_the_calls_to_deal_with(
    answer: dict[str, Any], told: str
) -> None:
    async with talking() as (_, app):
        session = await opened(app)
        request = post(app, session, call("ask"))
        (question,) = await asked(request)
        body = {"jsonrpc": "2.0", "id": question["id"], **answer}
        assert (await post(app, session, body).done()).status == 202
        await request.done()
        assert told in reply(request)


def withdrawn(request: Request) -> list[Any]:
    return [
        event["params"]["requestId"]
        for event in request.events()
        if event.get("method") == "notifications/cancelled"
    ]


async def test_a_cancelled_call_withdraws_its_question() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("ask"))
        (question,) = await asked(request)
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        await post(app, session, cancel).done()
        await request.done()
        assert withdrawn(request) == [question["id"]]
        assert reply(request) == "Request cancelled"
        assert talker.cancelled == 1


async def test_a_deadline_of_the_call_holds_while_it_asks() -> None:
    async with talking() as (_, app):
        session = await opened(app)
        request = await post(app, session, call("ask-within-a-deadline")).done()
        assert reply(request) == "too late"
        assert len(withdrawn(request)) == 1


async def test_a_question_with_a_time_limit_is_withdrawn_after_it() -> None:
    async with talking() as (_, app):
        session = await opened(app)
        request = await post(app, session, call("ask-briefly")).done()
        assert "did not answer" in reply(request)
        assert len(withdrawn(request)) == 1


async def test_the_clients_progress_on_a_question_is_told() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("ask-with-progress"))
        (question,) = await asked(request)
        token = question["params"]["_meta"]["progressToken"]
        for params in (
            {"progressToken": token, "progress": 1, "total": 2, "message": "half"},
            {"progressToken": "other", "progress": 2},
            {"progressToken": token},
        ):
            body = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
            assert (await post(app, session, body).done()).status == 202
        await post(app, session, accepted(question)).done()
        await request.done()
        assert talker.progress == [(1.0, 2.0, "half")]


@pytest.mark.parametrize("tool", ["ask", "ask-and-go-on"])
async def test_the_end_of_the_session_ends_the_question(tool: str) -> None:
    """Also of a call that goes on, as a write does: nobody could answer it any more."""
    async with talking() as (_, app):
        session = await opened(app)
        request = post(app, session, call(tool))
        (question,) = await asked(request)
        (record,) = sessions(app)
        await Request(app, "DELETE", mcp_session_id=session).done()
        await request.done()
        assert record.asking is not None
        assert len(record.asking) == 0
        assert withdrawn(request) == [question["id"]]
        assert (await post(app, session, accepted(question)).done()).status == 404


async def test_draining_ends_questions_and_lets_no_more_be_asked() -> None:
    """A person who thinks would hold the exit up for all of the grace."""
    async with talking() as (talker, app):
        asking_one, calling = await opened(app), await opened(app)
        request = post(app, asking_one, call("ask"))
        await asked(request)
        late = post(app, calling, call("say"))
        async with asyncio.timeout(5):
            while talker.context is None or len(sessions(app)[1].running) < 1:
                await asyncio.sleep(0)
        draining = asyncio.create_task(app.state.drain(5))
        await request.done()
        assert reply(request) == "The server is stopping"
        record = next(s for s in sessions(app) if s.id == calling)
        assert record.asking is not None
        talker.tell(None)
        await late.done()
        await draining


async def test_too_many_questions_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_ASKED", 3)
    async with talking() as (_, app):
        session = await opened(app)
        request = await post(app, session, call("ask-often", count=4)).done()
        assert len(await_questions(request)) == 3
        assert len(withdrawn(request)) == 3


def await_questions(request: Request) -> list[Any]:
    return [e for e in request.events() if e.get("method") == "elicitation/create"]


async def test_without_a_related_request_the_sessions_own_stream_is_asked() -> None:
    async with talking() as (_, app):
        session = await opened(app)
        deaf = await post(app, session, call("ask-aloud")).done()
        assert "no back-channel" in json.loads(deaf.body)["error"]["message"]
        listening = Request(app, "GET", mcp_session_id=session)
        await listening.until(b"data:\n\n")
        request = post(app, session, call("ask-aloud"))
        (question,) = await asked(listening)
        await post(app, session, accepted(question)).done()
        await request.done()
        assert json.loads(request.body)["result"]["content"][0]["text"] == "accept {'name': 'Ann'}"
        listening.leave()
        await listening.done()


async def test_a_question_survives_the_stream_that_carried_it() -> None:
    """Cut off before it could read: the question is read on, and the answer still wanted."""
    async with talking() as (_, app):
        session = await opened(app)
        listening = Request(app, "GET", mcp_session_id=session)
        await listening.until(b"data:\n\n")
        primer = listening.ids()[0]
        listening.leave()
        await listening.done()
        request = post(app, session, call("ask-aloud"))
        again = resume(app, session, primer)
        (question,) = await asked(again)
        again.leave()
        await again.done()
        await post(app, session, accepted(question)).done()
        await request.done()
        assert "Ann" in request.body.decode()


async def test_a_call_that_was_cut_off_asks_and_is_answered_elsewhere() -> None:
    async with talking() as (talker, app):
        session = await opened(app)
        request = post(app, session, call("ask"))
        (question,) = await asked(request)
        request.leave()
        again = resume(app, session, request.ids()[0])
        (repeated,) = await asked(again)
        assert repeated == question
        await post(app, session, accepted(question)).done()
        await again.done()
        assert reply(again) == "accept {'name': 'Ann'}"
        assert talker.cancelled == 0
