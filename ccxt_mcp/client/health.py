"""``GET /health`` as typed values.

Owns: reading the answer, and what is absent where the server does not show it to this caller.
Refuses: sessions of MCP; it is one plain HTTP request.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, overload

import httpx

from ccxt_mcp.client.address import authorization, base_of, http_client
from ccxt_mcp.client.failures import CallFailed, Fate, failed
from ccxt_mcp.client.reading import content_of, json_of, refusal_of
from ccxt_mcp.client.wire import transport_failure

__all__ = ["Health", "NodeHealth", "SessionHealth", "health"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SessionHealth:
    """One session at the server.

    Attributes:
        session_id: as its client chose it, or ``#`` and a hash where the server gave it out.
        connected_at: when it was opened, ISO-8601 in UTC.
        last_activity: when its client was last heard of, ISO-8601 in UTC.
        client_ip: of the client, or None where it is not known.
        kind: ``named``, ``minted`` or ``workflow``.
        principal: the name of the token, or None without one.
        client: what the client calls itself, or None.
        protocol_version: of the session.
        in_flight: calls that run, 0 or 1.
        queued: calls that wait for their turn.
        calls: calls that ended, those that failed included.
        errors: calls that failed.
        timeouts: of these, those that took too long.
        latency_p50_ms: median of the last 64 calls in milliseconds, or None before any.
        latency_p95_ms: their 95th percentile.
    """

    session_id: str
    connected_at: str
    last_activity: str
    client_ip: str | None
    kind: str
    principal: str | None
    client: str | None
    protocol_version: str
    in_flight: int
    queued: int
    calls: int
    errors: int
    timeouts: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One of several replicas.

    Attributes:
        node_id: drawn at its start.
        address: where it listens, as it says itself.
        version: of the server.
        started_at: ISO-8601 in UTC.
        status: ``starting``, ``running`` or ``draining``.
        toolsets: what it serves.
        calls: calls under way at exchanges, at its last sign of life, some seconds ago.
        max_calls: how many there may be.
        sessions: sessions of which it has parts.
    """

    node_id: str
    address: str | None
    version: str | None
    started_at: str | None
    status: str | None
    toolsets: tuple[str, ...]
    calls: int | None
    max_calls: int | None
    sessions: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a server; all but ``status`` is None where it is not shown to this caller.

    Attributes:
        status: ``healthy``, or ``not ready`` while the server starts or stops.
        version: of the server.
        started_at: when it started, ISO-8601 in UTC.
        active_sessions: all sessions, also those that are not on this page.
        sessions: this page of them, oldest first.
        limit: most sessions on a page.
        offset: how many come before this page.
        connections: open connections of clients.
        tasks: tasks of the server's event loop.
        exchanges: the state of each exchange in use, by profile, as JSON.
        node: the id of the replica that answered; None where there is one process only.
        nodes: all replicas that live, those that began first first; None likewise.
        store_up: whether the store that they share answers; None likewise.
    """

    status: str
    version: str | None = None
    started_at: str | None = None
    active_sessions: int | None = None
    sessions: tuple[SessionHealth, ...] | None = None
    limit: int | None = None
    offset: int | None = None
    connections: int | None = None
    tasks: int | None = None
    exchanges: dict[str, Any] | None = None
    node: str | None = None
    nodes: tuple[NodeHealth, ...] | None = None
    store_up: bool | None = None


async def health(
    url: str,
    token: str | None = None,
    *,
    limit: int = 100,
    offset: int = 0,
    timeout: float = 10.0,
    http: httpx.AsyncClient | None = None,
) -> Health:
    """Ask a server how it is.

    A server without tokens shows its sessions to callers from its own machine, one with tokens to
    those whose token has the scope ``ops``; others are told the status alone.

    Args:
        url: of the server, with ``/mcp`` or without.
        token: the bearer token, where the server has tokens.
        limit: most sessions in the answer, 1 to 1000.
        offset: how many sessions to leave out at the beginning.
        timeout: seconds.
        http: a client to be used instead of an own one; it is not closed.

    Raises:
        CallFailed: ``unreachable``, ``connection_lost``, ``timeout``, ``permission_denied`` for a
            token that is missing or not known, ``invalid_argument`` for a page out of range,
            ``unexpected_answer`` from something that is not this server.
        ValueError: the URL or the token cannot be one.
    """
    base = base_of(url)
    headers = authorization(token)
    client = http or http_client(base, 1)
    try:
        async with asyncio.timeout(timeout):
            async with client.stream(
                "GET",
                f"{base}/health",
                params={"limit": limit, "offset": offset},
                headers=headers,
                timeout=httpx.Timeout(timeout),
                follow_redirects=False,
            ) as response:
                if response.status_code != 200:
                    raise await refusal_of(response)
                body = json_of(await content_of(response))
    except (TimeoutError, httpx.ReadTimeout) as error:
        late = f"/health: no answer came within {timeout:g} s"
        raise failed("timeout", late, Fate.NOT_STARTED) from error
    except CallFailed:
        raise
    except ValueError:
        raise _unexpected() from None
    except Exception as error:
        raise transport_failure(error, sent=True) from error
    finally:
        if http is None:
            await client.aclose()
    try:
        return _health(body)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _unexpected() from None


def _unexpected() -> Exception:
    return failed("unexpected_answer", "the answer is not the state of a server", Fate.ANSWERED)


def _health(body: Any) -> Health:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what has not this form."""
    shown = _as(dict, body)
    sessions = _as(list, shown.get("sessions"), None)
    nodes = _as(list, shown.get("nodes"), None)
    store = _as(dict, shown.get("store"), None) or {}
    return Health(
        status=_as(str, shown["status"]),
        version=_as(str, shown.get("version"), None),
        started_at=_as(str, shown.get("startedAt"), None),
        active_sessions=_as(int, shown.get("activeSessions"), None),
        sessions=None if sessions is None else tuple(map(_session, sessions)),
        limit=_as(int, shown.get("limit"), None),
        offset=_as(int, shown.get("offset"), None),
        connections=_as(int, shown.get("connections"), None),
        tasks=_as(int, shown.get("tasks"), None),
        exchanges=_as(dict, shown.get("exchanges"), None),
        node=_as(str, shown.get("node"), None),
        nodes=None if nodes is None else tuple(map(_node, nodes)),
        store_up=_as(bool, store.get("up"), None),
    )


def _node(each: Any) -> NodeHealth:
    # Replicas of other versions may say less.
    shown = _as(dict, each)
    load = _as(dict, shown.get("load"), None) or {}
    most = _as(dict, shown.get("max"), None) or {}
    return NodeHealth(
        node_id=_as(str, shown["id"]),
        address=_as(str, shown.get("address"), None),
        version=_as(str, shown.get("version"), None),
        started_at=_as(str, shown.get("startedAt"), None),
        status=_as(str, shown.get("status"), None),
        toolsets=tuple(_as(str, name) for name in _as(list, shown.get("toolsets"), None) or ()),
        calls=_as(int, load.get("calls"), None),
        max_calls=_as(int, most.get("calls"), None),
        sessions=_as(int, load.get("sessions"), None),
    )


def _session(each: Any) -> SessionHealth:
    shown = _as(dict, each)
    latency = _as(dict, shown.get("latencyMs"), None) or {}
    return SessionHealth(
        session_id=_as(str, shown["sessionId"]),
        connected_at=_moment(shown["connectedAt"]),
        last_activity=_moment(shown["lastActivity"]),
        client_ip=_as(str, shown.get("clientIp"), None),
        kind=_as(str, shown["kind"]),
        principal=_as(str, shown.get("principal"), None),
        client=_as(str, shown.get("client"), None),
        protocol_version=_as(str, shown["protocolVersion"]),
        in_flight=_as(int, shown["inFlight"]),
        queued=_as(int, shown["queued"]),
        calls=_as(int, shown["calls"]),
        errors=_as(int, shown["errors"]),
        timeouts=_as(int, shown["timeouts"]),
        latency_p50_ms=_number(latency.get("p50")),
        latency_p95_ms=_number(latency.get("p95")),
    )


def _number(value: Any) -> float | None:
    return _as(float, float(value) if type(value) is int else value, None)


def _moment(value: Any) -> str:
    if datetime.fromisoformat(_as(str, value)).tzinfo is None:
        raise ValueError("a time without a zone")
    return str(value)


@overload
def _as(kind: type[_T], value: Any) -> _T: ...


@overload
def _as(kind: type[_T], value: Any, absent: None) -> _T | None: ...


def _as(kind: type[_T], value: Any, absent: Any = ...) -> _T | None:
    """The value, if it is of that very kind: a bool is no number here."""
    if type(value) is kind:
        return value
    if value is None and absent is None:
        return None
    raise TypeError(f"not a {kind.__name__}")
