"""What a write's failure says of it is true, whatever goes wrong, and no write is sent again.

The server is scripted: a real one cannot be made to say most of this.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

import httpx
import pytest
import respx

from ccxt_mcp.client import CallFailed, Workflow, health
from ccxt_mcp.client.failures import Fate, failed
from tests.unit.client.scripted import (
    PROGRESS,
    READ,
    URL,
    WRITE,
    Scripted,
    Way,
    refusal,
    streamed,
    tool_failure,
)

FINE = {"content": [], "structuredContent": {"fine": True}}
GONE: dict[str, Any] = {"code": "session_not_found", "message": "gone", "retryable": True}
INTERNAL: dict[str, Any] = {"code": "internal", "message": "m", "retryable": True}


def reply(**more: Any) -> httpx.Response:
    return httpx.Response(200, json={"jsonrpc": "2.0", "id": 3, "result": FINE} | more)


DEEP = httpx.Response(200, content=b"[" * 200_000)
UNKNOWN: dict[str, Any] = {
    "a broken TLS record": ssl.SSLError("bad record mac"),
    "a client that is closed under the call": RuntimeError("closed"),
    "JSON without a bottom": DEEP,
    "an answer that is no JSON for its NaN": httpx.Response(200, content=b'{"a": NaN}'),
    "an answer to another request": reply(id=4),
    "an answer of another protocol": reply(jsonrpc="1.0"),
    "a proxy's 408": httpx.Response(408),
    "a proxy's 499": httpx.Response(499),
    "a 500 that describes a failure": refusal(500, **INTERNAL),
    "a 502 that describes a failure": refusal(502, **INTERNAL),
    "a 503 that describes another failure": refusal(503, **INTERNAL),
}


@pytest.mark.parametrize("case", UNKNOWN)
async def test_a_write_that_may_have_arrived_has_an_unknown_outcome(
    mock: respx.MockRouter, case: str
) -> None:
    """Anything else that came out was no `CallFailed`, or said that the write may be repeated."""
    server = Scripted(mock, UNKNOWN[case])
    async with Workflow("w", URL) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call(WRITE)
        assert workflow.unsettled == WRITE
    assert (caught.value.code, caught.value.retryable) == ("outcome_unknown", False)
    assert server.calls == 1


async def test_a_write_is_settled_by_the_next_answer(mock: respx.MockRouter) -> None:
    Scripted(mock, httpx.ReadError("cut"), FINE)
    async with Workflow("w", URL) as workflow:
        with pytest.raises(CallFailed, match="outcome_unknown"):
            await workflow.call(WRITE)
        await workflow.call(READ)
        assert workflow.unsettled is None


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
async def test_a_client_that_does_not_tell_how_far_it_is_may_have_sent_the_write(how: str) -> None:
    """`http=` may have a transport of its own: without its word a write that had arrived was a
    `timeout`, `retryable`."""
    server = Scripted(None, FINE)
    way = Way(server, asyncio.Event())
    async with httpx.AsyncClient(transport=way) as http, Workflow("w", URL, http=http) as workflow:
        call = asyncio.create_task(workflow.call(WRITE, timeout=0.2 if how == "timeout" else 60))
        async with asyncio.timeout(5):
            await way.called.wait()
            if how == "cancelled":
                call.cancel()
            await asyncio.wait({call})
        assert workflow.unsettled == WRITE
        if how == "timeout":
            error = call.exception()
            assert isinstance(error, CallFailed)
            assert (error.code, error.retryable) == ("outcome_unknown", False)
    assert server.calls == 1


async def test_a_connection_that_is_not_made_in_time_has_sent_nothing() -> None:
    """The client's own word for it: it told of the connection, and of no request on it."""

    class Connecting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if b"tools/call" not in await request.aread():
                return server.answer(request)
            await request.extensions["trace"]("connection.connect_tcp.started", {})
            await asyncio.Event().wait()
            raise AssertionError

    server = Scripted(None, FINE)
    async with httpx.AsyncClient(transport=Connecting()) as http:
        workflow = Workflow("w", URL, http=http)
        with pytest.raises(CallFailed) as caught:
            await workflow.call(WRITE, timeout=0.2)
        assert (caught.value.code, caught.value.retryable) == ("timeout", True)
        assert workflow.unsettled is None


@pytest.mark.parametrize(
    "gone",
    [
        tool_failure("session_not_found", retryable=True),
        refusal(404),
        httpx.Response(404, json={"error": {"message": "no such route"}}),
    ],
    ids=["a tool's failure", "a gateway's 404", "another gateway's"],
)
async def test_only_the_servers_own_refusal_lets_a_write_be_sent_again(
    mock: respx.MockRouter, gone: Any
) -> None:
    """What merely has the name of it was taken for it: the write was sent up to six times."""
    server = Scripted(mock, gone)
    async with Workflow("w", URL) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call(WRITE)
    assert (server.calls, server.seen["initialize"], caught.value.attempts) == (1, 1, 1)


async def test_a_session_is_opened_anew_once_for_a_call(mock: respx.MockRouter) -> None:
    server = Scripted(mock, refusal(404, **GONE))
    async with Workflow("w", URL, retries=5) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call(WRITE)
    assert (caught.value.code, caught.value.attempts, server.calls) == ("session_not_found", 2, 2)


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("mine"),
        TimeoutError("mine"),
        failed("unreachable", "mine", Fate.NOT_STARTED),
        CallFailed("session_not_found", "mine", retryable=True, fate=Fate.NOT_STARTED),
    ],
    ids=repr,
)
@pytest.mark.parametrize("tool", [READ, WRITE])
async def test_what_on_progress_raises_is_the_callers_own(
    mock: respx.MockRouter, raised: Exception, tool: str
) -> None:
    """Taken for the call's own failure it had a write sent again, or told that nothing was sent."""
    server = Scripted(mock, streamed(PROGRESS, {"jsonrpc": "2.0", "id": 3, "result": FINE}))

    def progress(*_: Any) -> None:
        raise raised

    async with Workflow("w", URL) as workflow:
        with pytest.raises(type(raised)) as caught:
            await workflow.call(tool, on_progress=progress)
        assert caught.value is raised
        assert workflow.unsettled == (WRITE if tool == WRITE else None)
    assert (server.calls, server.seen["notifications/cancelled"]) == (1, 1)


@pytest.mark.parametrize("token", ["", "SECRET\n", " SECRET", "SECRÉT", "SEC\x7fRET"])
async def test_a_token_that_cannot_be_sent_is_refused_without_its_words(token: str) -> None:
    """The words of what refused the header had it in them: `Illegal header value b'Bearer …`."""
    with pytest.raises(ValueError, match="a token") as caught:
        Workflow("w", URL, token=token)
    assert "SEC" not in str(caught.value)
    with pytest.raises(ValueError, match="a token"):
        await health(URL, token)


async def test_a_header_that_cannot_be_sent_is_not_repeated(mock: respx.MockRouter) -> None:
    words = "Illegal header value b'SECRET\\n'"
    server = Scripted(mock, httpx.LocalProtocolError(words))
    async with Workflow("w", URL) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call(READ)
    assert (caught.value.code, server.calls) == ("invalid_argument", 1)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("wait", [10**400, -(10**400), 1e300])
async def test_a_wait_beyond_measure_is_a_long_one(mock: respx.MockRouter, wait: float) -> None:
    Scripted(mock, tool_failure("rate_limited", retryable=True, retryAfterMs=wait))
    async with Workflow("w", URL, retries=0) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call(READ)
    assert caught.value.retry_after == (0 if wait < 0 else 1e9)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), {1}], ids=["nan", "inf", "object", "set"]
)
async def test_arguments_that_are_no_json_are_refused_before_anything_begins(value: Any) -> None:
    """Later it would be asked what became of the call."""
    server = Scripted(None, FINE)
    async with httpx.AsyncClient(transport=Way(server)) as http:
        workflow = Workflow("w", URL, http=http)
        with pytest.raises(TypeError, match="no JSON"):
            await workflow.call(WRITE, amount=value)
        round_about: dict[str, Any] = {}
        round_about["a"] = round_about
        with pytest.raises(TypeError, match="no JSON"):
            await workflow.call(WRITE, round_about)
    assert server.seen.total() == 0


async def test_a_closed_client_of_the_callers_has_sent_nothing() -> None:
    server = Scripted(None, FINE)
    async with httpx.AsyncClient(transport=Way(server)) as http:
        workflow = Workflow("w", URL, http=http)
        await workflow.call(READ)
    with pytest.raises(CallFailed) as caught:
        await workflow.call(WRITE)
    assert (caught.value.code, caught.value.retryable) == ("unreachable", False)
    await workflow.aclose()


async def test_a_redirect_is_not_followed_even_by_a_client_that_does() -> None:
    """The write went to another place, and its answer was taken for the server's."""
    server = Scripted(None, httpx.Response(307, headers={"location": "/other"}), FINE)
    async with (
        httpx.AsyncClient(transport=Way(server), follow_redirects=True) as http,
        Workflow("w", URL, http=http) as workflow,
    ):
        with pytest.raises(CallFailed, match="unexpected_answer"):
            await workflow.call(WRITE)
    assert server.calls == 1


async def test_an_event_without_data_and_a_form_in_capitals_are_understood(
    mock: respx.MockRouter,
) -> None:
    event = json.dumps({"jsonrpc": "2.0", "id": 3, "result": FINE})
    body = f"id: 1\ndata:\n\ndata: {event}\n\n".encode()
    form = {"content-type": "Text/Event-Stream; charset=utf-8"}
    Scripted(mock, httpx.Response(200, headers=form, content=body))
    async with Workflow("w", URL) as workflow:
        assert await workflow.call(READ) == {"fine": True}


@pytest.mark.parametrize("form", ["application/json", "text/event-stream"])
async def test_an_answer_without_end_is_not_read_to_it(
    mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A few kilobytes of it, unpacked, were all of the machine's memory."""
    monkeypatch.setattr("ccxt_mcp.client.reading._MOST_BYTES", 10_000)
    event = json.dumps({"jsonrpc": "2.0", "id": 3, "result": {"content": ["A" * 20_000]}})
    body = f"data: {event}\n\n" if "stream" in form else event
    headers = {"content-type": form}
    Scripted(mock, httpx.Response(200, headers=headers, content=body.encode()))
    mock.get(f"{URL}/health").respond(json={"status": "healthy", "version": "x" * 20_000})
    async with Workflow("w", URL) as workflow:
        with pytest.raises(CallFailed, match="larger than"):
            await workflow.call(READ)
    with pytest.raises(CallFailed, match="larger than"):
        await health(URL)


@pytest.mark.parametrize(
    "url",
    [
        f"{URL}/mcp?",
        f"{URL}/#",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://bob:SECRET@host",
        "https//bob:SECRET@host",
        "ftp://bob:SECRET@host/",
        "http://bob:SECRET@host:x",
    ],
)
def test_a_url_that_cannot_be_one_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        Workflow("w", url)
    assert "SECRET" not in str(caught.value)


async def test_all_who_close_a_workflow_wait_for_the_end_of_its_session() -> None:
    """The second came back while the session stood, and one that was cancelled left it there."""
    server = Scripted(None, FINE)
    held, ending = asyncio.Event(), asyncio.Event()

    class Slow(Way):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "DELETE":
                ending.set()
                await held.wait()
            return await super().handle_async_request(request)

    async with httpx.AsyncClient(transport=Slow(server)) as http:
        workflow = Workflow("w", URL, http=http)
        await workflow.call(READ)
        first, second = (asyncio.create_task(workflow.aclose()) for _ in range(2))
        async with asyncio.timeout(5):
            await ending.wait()
            first.cancel()
            await asyncio.wait({first})
            assert not second.done()
            held.set()
            await second
        assert first.cancelled()
    assert server.seen["DELETE"] == 1


async def test_a_modern_server_that_adopts_no_names_is_asked_once_more_without(
    mock: respx.MockRouter,
) -> None:
    """There is no handshake in which it could have said so; of the next call it is a failure."""
    server = Scripted(mock, tool_failure("session_not_found", retryable=True), FINE)
    async with Workflow("w", URL, era="2026-07-28") as workflow:
        assert await workflow.call(WRITE) == {"fine": True}
        assert server.calls == 2
        server.script = [tool_failure("session_not_found", retryable=True)]
        with pytest.raises(CallFailed, match="session_not_found"):
            await workflow.call(WRITE)
    assert server.calls == 3
