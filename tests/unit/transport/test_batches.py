"""JSON-RPC batches, which one revision has: what is in them, who may send them, how they end."""

import asyncio
import json
from typing import Any

import httpx
import mcp_types as types
import pytest
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from ccxt_mcp.settings import Settings
from ccxt_mcp.transport import batch as batches
from ccxt_mcp.transport import responder
from ccxt_mcp.transport.batch import MAX_BATCH
from tests.cluster.replicas import served
from tests.unit.transport.asgi import Request
from tests.unit.transport.talker import call, opened, post, resume, sessions, talking
from tests.unit.transport.toy import INITIALIZE, Toy, running, toy_client
from tests.unit.transport.toy import call as echo

BATCHING = "2025-03-26"
NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
PING = {"jsonrpc": "2.0", "id": "p", "method": "ping"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are watched from the first loop step."""
    monkeypatch.setattr(responder, "WATCH_AFTER", 0.0)


async def handshake(client: httpx.AsyncClient, version: str = BATCHING) -> dict[str, str]:
    params = {**INITIALIZE["params"], "protocolVersion": version}
    answer = await client.post("/mcp", json={**INITIALIZE, "params": params})
    return {"Mcp-Session-Id": answer.headers["mcp-session-id"]}


def said(request: Request) -> list[dict[str, Any]]:
    """The replies in a batch's answer."""
    replies = json.loads(request.body)
    assert isinstance(replies, list)
    return replies


async def test_the_requests_of_a_batch_are_answered_as_one_array() -> None:
    async with toy_client() as (_, client):
        headers = await handshake(client)
        batch = [echo("echo", "a", 1), NOTE, PING, echo("echo", "b", 2)]
        answer = await client.post("/mcp", json=batch, headers=headers)
        assert answer.headers["content-type"] == "application/json"
        replies = {each["id"]: each["result"] for each in answer.json()}
        assert set(replies) == {1, "p", 2}
        assert replies[2]["structuredContent"] == {"value": "b"}


async def test_calls_of_a_batch_take_their_lane_in_their_order() -> None:
    async with toy_client() as (toy, client):
        headers = await handshake(client)
        batch = [echo("hold", str(number), number) for number in range(10)]
        toy.go.set()
        await client.post("/mcp", json=batch, headers=headers)
        assert toy.order == [str(number) for number in range(10)]
        assert toy.most_running == 1


async def test_without_requests_there_is_nothing_to_answer() -> None:
    async with toy_client() as (_, client):
        headers = await handshake(client)
        stray = {"jsonrpc": "2.0", "id": "ask-1", "result": {}}
        answer = await client.post("/mcp", json=[NOTE, NOTE, stray], headers=headers)
        assert (answer.status_code, answer.content) == (202, b"")


async def test_what_is_no_message_is_told_in_its_place() -> None:
    async with toy_client() as (_, client):
        headers = await handshake(client)
        batch = [PING, 7, {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": []}, []]
        replies = (await client.post("/mcp", json=batch, headers=headers)).json()
        told = {str(each["id"]): each.get("error", {}).get("code") for each in replies}
        assert told == {"p": None, "None": -32600, "5": -32602}
        assert len(replies) == 4
        alone = (await client.post("/mcp", json=[1], headers=headers)).json()
        assert [each["error"]["code"] for each in alone] == [-32600]


@pytest.mark.parametrize(
    ("batch", "word"),
    [
        ([], "empty array"),
        ([PING] * (MAX_BATCH + 1), f"at most {MAX_BATCH}"),
        ([PING, INITIALIZE], "by itself"),
    ],
)
async def test_a_batch_as_a_whole_may_be_refused(batch: list[Any], word: str) -> None:
    async with toy_client() as (_, client):
        headers = await handshake(client)
        answer = await client.post("/mcp", json=batch, headers=headers)
        assert answer.status_code == 400
        assert word in answer.json()["error"]["message"]
        most = await client.post("/mcp", json=[PING] * MAX_BATCH, headers=headers)
        assert len(most.json()) == MAX_BATCH


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_other_revisions_have_no_batches(version: str) -> None:
    async with toy_client() as (toy, client):
        headers = await handshake(client, version)
        for batch in ([echo("echo")], [NOTE]):
            answer = await client.post("/mcp", json=batch, headers=headers)
            assert answer.status_code == 400
            message = answer.json()["error"]["message"]
            assert BATCHING in message
            assert version in message
        assert toy.order == []


async def test_a_named_session_says_that_it_speaks_the_revision() -> None:
    async with toy_client() as (_, client):
        says = {"MCP-Protocol-Version": BATCHING}
        named = {"Mcp-Session-Id": "a"}
        unknown = await client.post("/mcp", json=[PING], headers=named)
        assert unknown.status_code == 404
        answer = await client.post("/mcp", json=[PING], headers=named | says)
        assert answer.json() == [{"jsonrpc": "2.0", "id": "p", "result": {}}]
        other = {"MCP-Protocol-Version": "2025-11-25"}
        for batch in ([PING], [NOTE], [7]):
            # Before, what the session's last request had said counted.
            refused = await client.post("/mcp", json=batch, headers=named | other)
            assert refused.status_code == 400
            assert "this is 2025-11-25" in refused.json()["error"]["message"]
        silent = await client.post("/mcp", json=[PING], headers=named)
        assert silent.status_code == 400
        nameless = await client.post("/mcp", json=[PING], headers=says)
        assert "Mcp-Session-Id is missing" in nameless.json()["error"]["message"]
        gone = await client.post("/mcp", json=[PING], headers={"Mcp-Session-Id": "ccxtmcp-0"})
        assert gone.status_code == 404


async def test_a_batch_that_has_more_to_say_is_a_stream_of_replies() -> None:
    async with talking() as (talker, app):
        session = await opened(app, BATCHING)
        request = post(app, session, [call("say", 1), call("say", 2), PING])
        talker.tell(1)
        await talker.told(1)
        talker.tell(None, 2, None)
        await request.done()
        assert request.headers["content-type"] == "text/event-stream"
        told = [e["params"]["progress"] for e in request.events() if "method" in e]
        assert told == [1, 2]
        replies = [event["id"] for event in request.events() if "result" in event]
        assert sorted(map(str, replies)) == ["1", "2", "p"]
        assert len(request.ids()) == len(request.events()) == 5


async def test_a_client_of_streams_only_gets_each_reply_as_an_event() -> None:
    async with toy_client() as (_, client):
        headers = await handshake(client) | {"Accept": "text/event-stream"}
        answer = await client.post("/mcp", json=[PING, echo("echo")], headers=headers)
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        assert [json.loads(each)["id"] for each in data] == ["p", 1]


async def test_one_request_of_a_batch_is_cancelled_and_the_others_go_on() -> None:
    async with talking() as (talker, app):
        session = await opened(app, BATCHING)
        request = post(app, session, [call("say", 1), call("say", 2)])
        await talker.started.wait()
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        await post(app, session, [cancel]).done()
        talker.tell(None)
        await request.done()
        replies = {each["id"]: each for each in json.loads(request.body)}
        assert replies[1]["error"]["code"] == -32800
        assert "result" in replies[2]


async def test_a_cancellation_in_the_batch_itself_ends_what_stands_before_it() -> None:
    async with talking() as (talker, app):
        session = await opened(app, BATCHING)
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        request = await post(app, session, [call("say", 1), cancel]).done()
        assert json.loads(request.body)[0]["error"]["code"] == -32800
        assert talker.cancelled == 1


async def test_a_client_that_leaves_ends_all_of_its_batch() -> None:
    async with talking() as (talker, app):
        session = await opened(app, BATCHING)
        request = post(app, session, [call("say", 1), call("say", 2)])
        await talker.started.wait()
        request.leave()
        await request.done()
        assert request.status is None
        (record,) = sessions(app)
        assert (talker.cancelled, record.lane.busy, record.lane.waiting) == (1, False, 0)


async def test_a_batch_that_was_cut_off_is_read_on() -> None:
    async with talking() as (talker, app):
        session = await opened(app, BATCHING)
        request = post(app, session, [call("say", 1), call("say", 2)])
        talker.tell(1)
        await talker.told(1)
        request.leave()
        talker.tell(None, None)
        await request.done()
        again = await resume(app, session, request.ids()[-1]).done()
        assert {event["id"] for event in again.events()} == {1, 2}


async def test_the_end_of_the_session_ends_its_batch() -> None:
    async with talking() as (talker, app):
        session = await opened(app, BATCHING)
        request = post(app, session, [call("say", 1), call("say", 2)])
        await talker.started.wait()
        await Request(app, "DELETE", mcp_session_id=session).done()
        await request.done()
        codes = [each["error"]["code"] for each in json.loads(request.body)]
        assert codes == [-32800, -32800]


@pytest.mark.parametrize("way", ["leaves", "DELETE", "cancels"])
async def test_what_waits_for_its_turn_in_a_batch_does_not_begin_when_nobody_wants_it(
    way: str,
) -> None:
    """It would be done all the same, one after the other, for a client that is gone or in the name
    of a session that has ended."""
    began: list[str] = []
    waits, go = asyncio.Event(), asyncio.Event()

    async def read(
        ctx: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        began.append(str(params.uri))
        waits.set()
        await go.wait()
        return types.ReadResourceResult(contents=[])

    app = served(Settings(), Server("reads", on_read_resource=read))
    async with app.router.lifespan_context(app):
        session = await opened(app, BATCHING)
        batch = [
            {"jsonrpc": "2.0", "id": n, "method": "resources/read", "params": {"uri": f"a://{n}"}}
            for n in range(5)
        ]
        request = post(app, session, batch)
        await waits.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        if way == "leaves":
            request.leave()
        elif way == "DELETE":
            await Request(app, "DELETE", mcp_session_id=session).done()
        else:
            for n in range(1, 5):
                told = {"method": "notifications/cancelled", "params": {"requestId": n}}
                await post(app, session, {"jsonrpc": "2.0", **told}).done()
            go.set()
        await request.done()
        assert began == ["a://0"]
        if way != "leaves":
            codes = {each["id"]: each.get("error", {}).get("code") for each in said(request)}
            first = None if way == "cancels" else -32800
            assert codes == {0: first, 1: -32800, 2: -32800, 3: -32800, 4: -32800}


async def test_what_comes_to_be_after_its_sessions_end_does_not_begin() -> None:
    """A batch is begun one request per step of the loop: between two of them the session can end,
    and what is made for it then nobody ends any more."""
    async with talking() as (talker, app):
        session = await opened(app, BATCHING)
        (record,) = sessions(app)
        request = post(app, session, [call("say", number) for number in range(50)])
        await talker.started.wait()
        assert len(record.running) < 50
        app.state.registry.close(record)
        await request.done()
        assert {each["error"]["code"] for each in said(request)} == {-32800}
        assert record.usage.calls <= 1


async def test_a_draining_server_takes_no_batch_but_answers() -> None:
    async with talking() as (_, app):
        session = await opened(app, BATCHING)
        async with asyncio.timeout(5):
            await app.state.drain(5)
        assert (await post(app, session, [call("say")]).done()).status == 503
        assert (await post(app, session, [NOTE]).done()).status == 202


async def test_what_a_batch_asks_for_beyond_its_bound_is_refused_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred lists are five kilobytes to ask for and three megabytes to hold and to send. What
    has begun is answered: a call that has done something must say so."""
    monkeypatch.setattr(batches, "MAX_ANSWER", 1500)
    async with toy_client() as (toy, client):
        headers = await handshake(client)
        calls = [echo("echo", str(number) * 200, number) for number in range(1, 9)]
        lists = [
            {"jsonrpc": "2.0", "id": f"l{number}", "method": "tools/list"} for number in range(20)
        ]
        for batch in (calls, lists, [*calls, *lists]):
            toy.order.clear()
            answer = await client.post("/mcp", json=batch, headers=headers)
            assert len(answer.content) < 3000 + 500 * len(batch)
            replies = answer.json()
            assert len(replies) == len(batch)
            done = [each for each in replies if not refused(each)]
            told = sum(len(json.dumps(each, separators=(",", ":"))) for each in done)
            # The last one of the lane, and the last one of the others, were under way.
            assert told < 1500 + 2 * 700
            assert 0 < len(done) < len(batch)
            # Nothing that was refused has been carried out, and nothing else was left out.
            assert toy.order == [
                each["result"]["content"][0]["text"] for each in done if "content" in each["result"]
            ]
            for each in replies:
                if refused(each):
                    assert "not begun" in json.dumps(each)
                    assert "smaller batch" in json.dumps(each)
        # By itself each is answered.
        alone = await client.post("/mcp", json=lists[-1:], headers=headers)
        assert "result" in alone.json()[0]


def refused(reply: dict[str, Any]) -> bool:
    return "error" in reply or reply["result"].get("isError", False)


async def test_the_bound_holds_for_calls_that_wait_in_their_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They have been handed over long before the answers that fill the bound exist."""
    monkeypatch.setattr(batches, "MAX_ANSWER", 1000)
    toy = Toy()
    async with toy_client(toy) as (_, client):
        headers = await handshake(client)
        batch = [echo("hold", str(number) * 400, number) for number in range(1, 7)]
        answering = asyncio.create_task(client.post("/mcp", json=batch, headers=headers))
        await toy.started.wait()
        toy.go.set()
        replies = (await answering).json()
        assert len(toy.order) == 2
        assert sum(refused(each) for each in replies) == 4
        # The lane is free, and a call that is no batch's is asked nothing.
        assert "result" in (await client.post("/mcp", json=batch[0], headers=headers)).json()


async def test_the_bound_holds_for_what_takes_its_time_without_a_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Begun side by side, all of a hundred long texts would be made before the first is counted."""
    monkeypatch.setattr(batches, "MAX_ANSWER", 1000)
    made = 0

    async def read(
        ctx: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        nonlocal made
        made += 1
        for _ in range(20):
            await asyncio.sleep(0)
        text = types.TextResourceContents(uri=params.uri, text="x" * 400)
        return types.ReadResourceResult(contents=[text])

    app = served(Settings(), Server("reads", on_read_resource=read))
    async with running(app) as client:
        headers = await handshake(client)
        params = {"uri": "a://b"}
        batch = [
            {"jsonrpc": "2.0", "id": number, "method": "resources/read", "params": params}
            for number in range(10)
        ]
        replies = (await client.post("/mcp", json=batch, headers=headers)).json()
        assert sum("result" in each for each in replies) == made == 3


async def test_each_request_of_a_batch_is_counted_until_it_is_answered() -> None:
    """Counted as one, a hundred requests under way are one in `/metrics`."""
    toy = Toy()
    async with toy_client(toy) as (_, client):
        headers = await handshake(client)
        batch = [echo("hold", "a", 1), NOTE, PING, echo("echo", "b", 2), 7]
        answering = asyncio.create_task(client.post("/mcp", json=batch, headers=headers))
        await toy.started.wait()
        assert await serving(client) == 3
        toy.go.set()
        assert len((await answering).json()) == 4
        assert await serving(client) == 0


async def serving(client: httpx.AsyncClient) -> int:
    lines = (await client.get("/metrics")).text.splitlines()
    (value,) = [
        each.split()[1] for each in lines if each.startswith("ccxt_mcp_requests_in_progress ")
    ]
    return int(float(value))
