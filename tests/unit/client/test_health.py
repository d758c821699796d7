"""`health()` reads all that `/health` shows, and says what is wrong otherwise."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import respx

from ccxt_mcp.client import CallFailed, Health, SessionHealth, health
from tests.unit.client.scripted import URL, refusal

SESSION = {
    "sessionId": "wf-orders-1",
    "connectedAt": "2025-01-10T10:30:00.000Z",
    "lastActivity": "2025-01-10T10:35:22.000Z",
    "clientIp": "192.168.1.100",
    "kind": "named",
    "principal": None,
    "client": "orders/0.1.0",
    "protocolVersion": "2025-11-25",
    "inFlight": 1,
    "queued": 2,
    "calls": 3,
    "errors": 1,
    "timeouts": 0,
    "latencyMs": {"p50": 12.5, "p95": 40.0},
}
BODY: dict[str, Any] = {
    "status": "healthy",
    "version": "0.1.0",
    "startedAt": "2025-01-10T10:00:00.000Z",
    "activeSessions": 7,
    "sessions": [SESSION],
    "limit": 1,
    "offset": 4,
    "connections": 9,
    "tasks": 30,
    "exchanges": {"paper": {"loaded": True}},
}


async def test_a_page_of_sessions_is_typed(mock: respx.MockRouter) -> None:
    route = mock.get(f"{URL}/health", params={"limit": 1, "offset": 4}).respond(json=BODY)
    report = await health(f"{URL}/mcp", token="t" * 16, limit=1, offset=4)
    assert route.calls.last.request.headers["authorization"] == "Bearer " + "t" * 16
    assert report.sessions is not None
    assert report == Health(
        status="healthy",
        version="0.1.0",
        started_at="2025-01-10T10:00:00.000Z",
        active_sessions=7,
        sessions=report.sessions,
        limit=1,
        offset=4,
        connections=9,
        tasks=30,
        exchanges={"paper": {"loaded": True}},
    )
    assert report.sessions == (
        SessionHealth(
            session_id="wf-orders-1",
            connected_at="2025-01-10T10:30:00.000Z",
            last_activity="2025-01-10T10:35:22.000Z",
            client_ip="192.168.1.100",
            kind="named",
            principal=None,
            client="orders/0.1.0",
            protocol_version="2025-11-25",
            in_flight=1,
            queued=2,
            calls=3,
            errors=1,
            timeouts=0,
            latency_p50_ms=12.5,
            latency_p95_ms=40.0,
        ),
    )


async def test_a_session_without_calls_has_no_latency(mock: respx.MockRouter) -> None:
    fresh = SESSION | {"latencyMs": None}
    mock.get(f"{URL}/health").respond(json=BODY | {"sessions": [fresh]})
    report = await health(URL)
    assert report.sessions is not None
    assert report.sessions[0].latency_p50_ms is None


async def test_a_server_that_shows_the_status_alone_has_no_sessions(
    mock: respx.MockRouter,
) -> None:
    """None, and not an empty list: nothing is known of them."""
    mock.get(f"{URL}/health").respond(json={"status": "not ready"})
    report = await health(URL)
    assert report == Health("not ready")
    assert report.sessions is None


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (httpx.ConnectError("no"), "unreachable", True),
        (httpx.ReadError("cut"), "connection_lost", True),
        (httpx.ReadTimeout("slow"), "timeout", True),
        (
            refusal(401, code="permission_denied", message="token", retryable=False, hint=""),
            "permission_denied",
            False,
        ),
        (httpx.Response(400, json={"error": "`limit` must be"}), "unexpected_answer", False),
        (httpx.Response(502, text="<html>"), "connection_lost", True),
        (httpx.Response(200, text="<html>"), "unexpected_answer", False),
        (httpx.Response(200, json=[]), "unexpected_answer", False),
        *(
            (httpx.Response(200, json=body), "unexpected_answer", False)
            for body in (
                None,
                {},
                {"status": 200},
                {"status": "healthy", "version": 1},
                {"status": "healthy", "exchanges": []},
                {"status": "healthy", "sessions": 1},
                {"status": "healthy", "sessions": [{}]},
                {"status": "healthy", "sessions": [None]},
                {"status": "healthy", "sessions": [SESSION | {"latencyMs": 1}]},
                {"status": "healthy", "sessions": [SESSION | {"inFlight": "\x1b[2J"}]},
                {"status": "healthy", "sessions": [SESSION | {"calls": True}]},
                {"status": "healthy", "sessions": [SESSION | {"latencyMs": {"p50": 10**400}}]},
                {"status": "healthy", "sessions": [SESSION | {"lastActivity": "yesterday"}]},
                {"status": "healthy", "sessions": [SESSION | {"lastActivity": "2025-01-10"}]},
            )
        ),
        (httpx.Response(200, content=b"[" * 200_000), "unexpected_answer", False),
        (RuntimeError("closed"), "connection_lost", True),
    ],
)
async def test_what_is_no_state_of_a_server_is_a_failure_with_a_code(
    mock: respx.MockRouter, answer: Any, code: str, retryable: bool
) -> None:
    mock.get(f"{URL}/health").mock(side_effect=[answer])
    with pytest.raises(CallFailed) as caught:
        await health(URL)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
