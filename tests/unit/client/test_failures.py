"""Whatever a server or a connection answers, a read is repeated where that helps and a write never.

The server is scripted: a real one cannot be made to say most of this.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
import respx

from ccxt_mcp.client import CallFailed, Workflow
from tests.unit.client.scripted import (
    READ,
    URL,
    WRITE,
    Scripted,
    refusal,
    rpc_error,
    tool_failure,
)

FINE = {"content": [], "structuredContent": {"fine": True}}
OVERLOADED: dict[str, Any] = {
    "code": "overloaded",
    "message": "full",
    "retryable": True,
    "hint": "wait",
}
GONE: dict[str, Any] = {
    "code": "session_not_found",
    "message": "gone",
    "retryable": True,
    "hint": "",
}
DENIED: dict[str, Any] = {
    "code": "permission_denied",
    "message": "who?",
    "retryable": False,
    "hint": "",
}

CASES: dict[str, tuple[Any, tuple[str, int], tuple[str, int]]] = {
    # what comes: (code and requests of a read), (of a write)
    "refused connection": (httpx.ConnectError("no"), ("unreachable", 3), ("unreachable", 1)),
    "slow connection": (httpx.ConnectTimeout("no"), ("unreachable", 3), ("unreachable", 1)),
    "cut while sending": (
        httpx.WriteError("cut"),
        ("connection_lost", 3),
        ("outcome_unknown", 1),
    ),
    "cut while waiting": (httpx.ReadError("cut"), ("connection_lost", 3), ("outcome_unknown", 1)),
    "half an answer": (
        httpx.RemoteProtocolError("half"),
        ("connection_lost", 3),
        ("outcome_unknown", 1),
    ),
    "drained": (refusal(503, **OVERLOADED), ("overloaded", 3), ("overloaded", 1)),
    "stopped in the middle": (refusal(503), ("connection_lost", 3), ("outcome_unknown", 1)),
    "a proxy's 502": (
        httpx.Response(502, text="<html>"),
        ("connection_lost", 3),
        ("outcome_unknown", 1),
    ),
    "a proxy's 429": (httpx.Response(429), ("overloaded", 3), ("overloaded", 1)),
    "500": (httpx.Response(500), ("internal", 1), ("outcome_unknown", 1)),
    "no token": (refusal(401, **DENIED), ("permission_denied", 1), ("permission_denied", 1)),
    "403": (refusal(403), ("permission_denied", 1), ("permission_denied", 1)),
    "too large": (refusal(413), ("invalid_argument", 1), ("invalid_argument", 1)),
    "a foreign 404": (
        httpx.Response(404, text="nothing here"),
        ("unexpected_answer", 1),
        ("unexpected_answer", 1),
    ),
    "a redirect": (
        httpx.Response(302, headers={"location": "/login"}),
        ("unexpected_answer", 1),
        ("unexpected_answer", 1),
    ),
    "a page": (
        httpx.Response(200, text="<html>"),
        ("unexpected_answer", 1),
        ("outcome_unknown", 1),
    ),
    "not a result": (
        httpx.Response(200, json={"jsonrpc": "2.0", "id": 1}),
        ("unexpected_answer", 1),
        ("outcome_unknown", 1),
    ),
    "an empty stream": (
        httpx.Response(200, headers={"content-type": "text/event-stream"}, text=": hi\n\n"),
        ("connection_lost", 3),
        ("outcome_unknown", 1),
    ),
    "bad parameters": (rpc_error(-32602), ("invalid_argument", 1), ("invalid_argument", 1)),
    "ended with its session": (rpc_error(-32800), ("cancelled", 3), ("outcome_unknown", 1)),
    "a fault": (rpc_error(-32603), ("internal", 1), ("outcome_unknown", 1)),
    "a tool's retryable failure": (
        tool_failure("exchange_unavailable", retryable=True),
        ("exchange_unavailable", 3),
        ("exchange_unavailable", 1),
    ),
    "a tool's final failure": (
        tool_failure("unknown_symbol", retryable=False),
        ("unknown_symbol", 1),
        ("unknown_symbol", 1),
    ),
    "a modern call that ended with its session": (
        tool_failure("cancelled", retryable=True),
        ("cancelled", 3),
        ("outcome_unknown", 1),
    ),
    "another server's error": (
        {"isError": True, "content": [{"type": "text", "text": "oh"}]},
        ("unexpected_answer", 1),
        ("unexpected_answer", 1),
    ),
}


@pytest.mark.parametrize("tool", [READ, WRITE])
@pytest.mark.parametrize("case", CASES)
async def test_every_way_to_fail_has_its_code_and_number_of_requests(
    mock: respx.MockRouter, case: str, tool: str
) -> None:
    """A write that is sent twice is an order too many: everything but a read is sent once."""
    comes, of_read, of_write = CASES[case]
    code, requests = of_read if tool == READ else of_write
    server = Scripted(mock, comes)
    async with Workflow("w", URL) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call(tool)
    assert (caught.value.code, server.calls) == (code, requests)
    assert caught.value.attempts == requests
    assert str(caught.value).startswith(f"{code}: ")
    if code == "outcome_unknown":
        assert not caught.value.retryable
        assert "get_open_orders" in caught.value.hint


async def test_a_read_that_is_repeated_may_succeed(mock: respx.MockRouter) -> None:
    server = Scripted(mock, httpx.ReadError("cut"), refusal(503, **OVERLOADED), FINE)
    async with Workflow("w", URL) as workflow:
        assert await workflow.call(READ) == {"fine": True}
    assert server.calls == 3


async def test_without_retries_a_read_is_sent_once(mock: respx.MockRouter) -> None:
    server = Scripted(mock, httpx.ReadError("cut"))
    async with Workflow("w", URL, retries=0) as workflow:
        with pytest.raises(CallFailed, match="connection_lost"):
            await workflow.call(READ)
    assert server.calls == 1


async def test_a_tool_that_is_not_listed_counts_as_a_write(mock: respx.MockRouter) -> None:
    server = Scripted(mock, httpx.ReadError("cut"))
    async with Workflow("w", URL) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call("brand_new")
    assert (caught.value.code, server.calls) == ("outcome_unknown", 1)


@pytest.mark.parametrize("tool", [READ, WRITE])
async def test_a_session_that_has_ended_is_opened_anew_and_the_call_made(
    mock: respx.MockRouter, tool: str
) -> None:
    """A 404 refuses before anything is begun, so an order may be sent again as well."""
    server = Scripted(mock, refusal(404, **GONE), FINE)
    async with Workflow("w", URL, retries=0) as workflow:
        assert await workflow.call(tool) == {"fine": True}
    assert server.seen["initialize"] == 2
    assert server.calls == 2


async def test_a_session_that_ends_again_and_again_is_given_up(mock: respx.MockRouter) -> None:
    server = Scripted(mock, refusal(404, **GONE))
    async with Workflow("w", URL, retries=1) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call(READ)
    assert caught.value.code == "session_not_found"
    assert (server.calls, server.seen["initialize"]) == (3, 3)
    assert caught.value.attempts == 3


@pytest.mark.parametrize(
    "comes",
    [
        refusal(503, {"retry-after": "1"}, **OVERLOADED),
        tool_failure("rate_limited", retryable=True, retryAfterMs=300),
        tool_failure("rate_limited", retryable=True, details={"retryAfterMs": 300}),
    ],
)
async def test_the_servers_wait_is_waited(mock: respx.MockRouter, comes: Any) -> None:
    Scripted(mock, comes, FINE)
    async with Workflow("w", URL) as workflow:
        began = time.monotonic()
        await workflow.call(READ)
        assert time.monotonic() - began >= 0.3


async def test_a_wait_beyond_the_calls_time_is_not_begun(mock: respx.MockRouter) -> None:
    server = Scripted(mock, tool_failure("rate_limited", retryable=True, retryAfterMs=60_000))
    async with Workflow("w", URL, timeout=5) as workflow:
        async with asyncio.timeout(4):
            with pytest.raises(CallFailed) as caught:
                await workflow.call(READ)
    assert caught.value.retry_after == 60
    assert server.calls == 1


async def test_a_failure_carries_all_that_the_server_said(mock: respx.MockRouter) -> None:
    more = {"exchange": "paper", "operation": "fetchTicker", "details": {"similar": ["A/B"]}}
    Scripted(mock, tool_failure("unknown_symbol", retryable=False, **more))
    async with Workflow("w", URL) as workflow:
        with pytest.raises(CallFailed) as caught:
            await workflow.call(READ)
    failure = caught.value
    assert (failure.message, failure.hint, failure.retryable) == ("it failed", "h", False)
    assert (failure.exchange, failure.operation) == ("paper", "fetchTicker")
    assert failure.details == {"similar": ["A/B"]}
    assert str(failure) == "unknown_symbol: it failed. Hint: h"


async def test_a_tool_without_a_structured_result_gives_its_text(mock: respx.MockRouter) -> None:
    Scripted(mock, {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    async with Workflow("w", URL) as workflow:
        assert await workflow.call(READ) == {"text": "a\nb"}


async def test_a_line_separator_inside_a_streamed_answer_does_not_end_it(
    mock: respx.MockRouter,
) -> None:
    """httpx's own `aiter_lines` also splits at U+2028, which JSON may hold as it is: the answer
    was cut in two and the call failed."""
    data = '{"jsonrpc":"2.0","id":3,"result":{"structuredContent":{"said":"a\u2028b"}}}'
    stream = httpx.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=f": hi\r\n\r\nevent: message\r\ndata: {data}\r\n\r\n".encode(),
    )
    Scripted(mock, stream)
    async with Workflow("w", URL) as workflow:
        assert await workflow.call(READ) == {"said": "a\u2028b"}


async def test_a_failing_start_leaves_nothing_open(mock: respx.MockRouter) -> None:
    mock.post(f"{URL}/mcp").mock(side_effect=httpx.ConnectError("no"))
    mock.delete(f"{URL}/mcp").mock(side_effect=httpx.ConnectError("no"))
    workflow = Workflow("w", URL, retries=1)
    with pytest.raises(CallFailed) as caught:
        await workflow.__aenter__()
    assert (caught.value.code, caught.value.attempts) == ("unreachable", 2)
    assert workflow.closed
    with pytest.raises(RuntimeError, match="closed"):
        await workflow.call(READ)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"},
        {"name": ""},
        {"url": "127.0.0.1:3000"},
        {"url": "ftp://host"},
        {"url": "http://user:secret@host"},
        {"era": "2024-11-05"},
        {"timeout": 0},
        {"retries": -1},
    ],
)
def test_what_cannot_be_is_refused_at_once(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"name": "w", "url": URL} | wrong
    with pytest.raises(ValueError, match=r"\w"):
        Workflow(given.pop("name"), given.pop("url"), **given)


async def test_arguments_given_twice_are_refused(mock: respx.MockRouter) -> None:
    server = Scripted(mock, FINE)
    async with Workflow("w", URL) as workflow:
        with pytest.raises(TypeError, match="symbol"):
            await workflow.call(READ, {"symbol": "A"}, symbol="B")
        with pytest.raises(TypeError, match="not a call"):
            await workflow.gather(READ, 7)  # type: ignore[call-overload]
    assert server.calls == 0


@pytest.mark.parametrize("url", [URL, f"{URL}/", f"{URL}/mcp", f"{URL}/mcp/"])
async def test_the_servers_url_may_name_mcp_or_not(mock: respx.MockRouter, url: str) -> None:
    Scripted(mock, FINE)
    async with Workflow("w", url) as workflow:
        assert await workflow.call(READ) == {"fine": True}
