"""One request to the server and its answer, in either era, as JSON or as an event stream.

Owns: headers and envelopes, reading the answer, and what is known of a request's fate when there is
none. Refuses: sessions, deadlines and trying again (``workflow.py``).
"""

from __future__ import annotations

import base64
import inspect
import itertools
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import httpx

from ccxt_mcp import __version__
from ccxt_mcp.client.failures import CallFailed, Fate, failed, of_rpc_error, of_status

__all__ = [
    "LEGACY",
    "MODERN",
    "Answer",
    "Era",
    "Flight",
    "OnProgress",
    "Wire",
    "base_of",
    "http_client",
    "refusal_of",
    "transport_failure",
]

Era: TypeAlias = Literal["2025-11-25", "2026-07-28"]
LEGACY: Era = "2025-11-25"
"""Handshake and session id in a header."""
MODERN: Era = "2026-07-28"
"""Every request carries all there is to know."""

OnProgress: TypeAlias = Callable[[float, float | None, str | None], Awaitable[None] | None]
"""(progress, total or None, message or None), a function or a coroutine function."""

_CONNECTING = 10.0
"""Seconds for a connection; how long an answer may take is the deadline's affair."""
_TIMEOUT = httpx.Timeout(None, connect=_CONNECTING)
_KEPT = 30.0
"""Seconds for which an idle connection is kept; the server closes it after 75 s."""
_ACCEPT = "application/json, text/event-stream"
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+", re.ASCII)
_META = "io.modelcontextprotocol/"
_WORKFLOW_META = "ccxt-mcp/workflow"
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def base_of(url: str) -> str:
    """The server's base URL, of that or of the URL of its ``/mcp``.

    Raises:
        ValueError: it is not an http or https URL.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is not the URL of a server: http://HOST:PORT or https://HOST")
    if parsed.query or parsed.fragment or parsed.userinfo:
        raise ValueError("the server's URL has no user, query or fragment; a token is `token=`")
    return url.rstrip("/").removesuffix("/mcp").rstrip("/")


def http_client(url: str, connections: int) -> httpx.AsyncClient:
    """A client with room for so many requests at once. Loopback is never behind a proxy."""
    return httpx.AsyncClient(
        timeout=_TIMEOUT,
        limits=httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEPT,
        ),
        trust_env=httpx.URL(url).host not in _LOOPBACK,
    )


@dataclass(slots=True)
class Flight:
    """How far a request has come; looked at when it is given up."""

    asked: bool = False
    """The call itself was begun, not only what has to be there before."""
    sent: bool = False
    """Its first byte may have left."""
    stream_of: int | None = None
    """The request's id, once its answer has become a stream."""

    async def trace(self, event: str, _: Any) -> None:
        if event.endswith(".send_request_headers.started"):
            self.sent = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request, and the session id that came with it."""

    result: dict[str, Any]
    session_id: str | None


class Wire:
    """The way to one server for one workflow.

    Args:
        http: shared with others or not; never closed here.
        url: the server's base URL.
        token: sent as a bearer token; None sends none.
        era: the form of every request.
        workflow: its name in modern requests, and what the server is told of this client.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        *,
        token: str | None,
        era: Era,
        client: str,
        workflow: str,
    ) -> None:
        self._http = http
        self._url = base_of(url) + "/mcp"
        self._era = era
        self._workflow: str | None = workflow
        self._ids = itertools.count(1)
        self.client_info = {"name": client, "version": __version__}
        self._headers = {"content-type": "application/json", "accept": _ACCEPT}
        self._authorization = {} if token is None else {"authorization": f"Bearer {token}"}

    def nameless(self) -> bool:
        """Leave the workflow's name out of modern requests; whether it was in them until now.

        A server that adopts no names has no sessions for modern requests.
        """
        named, self._workflow = self._workflow is not None, None
        return named

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        session: str | None = None,
        version: str | None = None,
        on_progress: OnProgress | None = None,
        flight: Flight | None = None,
    ) -> Answer:
        """Send a request and read its answer.

        Raises:
            CallFailed: with the fate of the request, whatever went wrong.
        """
        flight = flight or Flight()
        request_id = next(self._ids)
        sent = dict(params or {})
        meta = self._meta()
        if on_progress is not None:
            meta["progressToken"] = request_id
        if meta:
            sent["_meta"] = meta
        body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": sent}
        headers = self._routing(method, sent, session, version)
        try:
            async with self._http.stream(
                "POST",
                self._url,
                content=json.dumps(body, allow_nan=False),
                headers=headers,
                timeout=_TIMEOUT,
                extensions={"trace": flight.trace},
            ) as response:
                if response.status_code != 200:
                    raise await refusal_of(response, in_session=session is not None)
                return Answer(
                    await _result(response, request_id, on_progress, flight),
                    response.headers.get("mcp-session-id"),
                )
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise transport_failure(error, sent=flight.sent) from error

    async def tell(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        session: str | None,
        version: str | None = None,
    ) -> None:
        """Send a notification of the handshake era.

        Raises:
            CallFailed: it was refused, or did not arrive.
        """
        body = {"jsonrpc": "2.0", "method": method, "params": dict(params or {})}
        headers = self._routing(method, {}, session, version)
        try:
            response = await self._http.post(
                self._url, content=json.dumps(body), headers=headers, timeout=_TIMEOUT
            )
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise transport_failure(error, sent=True) from error
        if response.status_code >= 300:
            raise await refusal_of(response, in_session=True)

    async def end(self, session: str) -> None:
        """End a session. It may be gone, and the server may not know how: both are fine.

        Raises:
            CallFailed: the server could not be reached.
        """
        try:
            await self._http.delete(
                self._url,
                headers={"mcp-session-id": session} | self._authorization,
                timeout=_TIMEOUT,
            )
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise transport_failure(error, sent=True) from error

    def _meta(self) -> dict[str, Any]:
        if self._era == LEGACY:
            return {}
        meta: dict[str, Any] = {
            f"{_META}protocolVersion": MODERN,
            f"{_META}clientInfo": self.client_info,
            f"{_META}clientCapabilities": {},
        }
        return meta if self._workflow is None else meta | {_WORKFLOW_META: self._workflow}

    def _routing(
        self, method: str, params: Mapping[str, Any], session: str | None, version: str | None
    ) -> dict[str, str]:
        headers = self._headers | self._authorization
        if self._era == MODERN:
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            if isinstance(name := params.get("name"), str):
                headers["mcp-name"] = _header(name)
            return headers
        if session is not None:
            headers["mcp-session-id"] = session
        if version is not None:
            headers["mcp-protocol-version"] = version
        return headers


async def refusal_of(response: httpx.Response, *, in_session: bool = False) -> CallFailed:
    """The failure in an answer with another status than 200."""
    await response.aread()
    try:
        body = json.loads(response.content)
    except ValueError:
        body = None
    after = response.headers.get("retry-after", "")
    wait = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else None
    return of_status(response.status_code, body, wait, in_session=in_session)


def transport_failure(error: Exception, *, sent: bool) -> CallFailed:
    """The failure in an exception of the connection."""
    words = str(error) or type(error).__name__
    if isinstance(error, _NOT_SENT) or (isinstance(error, httpx.LocalProtocolError) and not sent):
        certificate = "CERTIFICATE_VERIFY_FAILED" in words
        return failed(
            "unreachable",
            f"the server cannot be reached: {words}",
            Fate.NOT_STARTED,
            retryable=not certificate and not isinstance(error, httpx.LocalProtocolError),
            hint="The server's certificate is not trusted here: correct it, or give `http=` a"
            " client that knows its authority."
            if certificate
            else None,
        )
    return failed(
        "connection_lost", f"the connection ended without an answer: {words}", Fate.UNKNOWN
    )


async def _result(
    response: httpx.Response, request_id: int, on_progress: OnProgress | None, flight: Flight
) -> dict[str, Any]:
    if response.headers.get("content-type", "").partition(";")[0].strip() == "text/event-stream":
        flight.stream_of = request_id
        async with aclosing(_events(response)) as events:
            async for data in events:
                message = _parsed(data)
                if message.get("method") == "notifications/progress" and on_progress is not None:
                    await _tell_progress(on_progress, message.get("params"))
                elif message.get("id") == request_id and "method" not in message:
                    return _reply(message)
        raise failed("connection_lost", "the stream ended before the answer came", Fate.UNKNOWN)
    await response.aread()
    return _reply(_parsed(response.content))


def _reply(message: dict[str, Any]) -> dict[str, Any]:
    if "error" in message:
        raise of_rpc_error(message["error"])
    result = message.get("result")
    if not isinstance(result, dict):
        raise failed("unexpected_answer", "the answer has no result", Fate.UNKNOWN)
    return result


def _parsed(data: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise failed("unexpected_answer", "the answer is not a JSON object", Fate.UNKNOWN)
    return message


async def _events(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event.

    Not by ``aiter_lines``: that also splits at U+2028 and its like, which JSON may contain.
    """
    data: list[bytes] = []
    rest: list[bytes] = []
    async for chunk in response.aiter_bytes():
        *lines, last = chunk.split(b"\n")
        for part in lines:
            line = b"".join((*rest, part)).removesuffix(b"\r")
            rest.clear()
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data = []
        rest.append(last)


async def _tell_progress(on_progress: OnProgress, params: Any) -> None:
    if not isinstance(params, Mapping):
        return
    progress, total, message = (params.get(key) for key in ("progress", "total", "message"))
    if isinstance(progress, int | float):
        told = on_progress(
            progress,
            total if isinstance(total, int | float) else None,
            message if isinstance(message, str) else None,
        )
        if inspect.isawaitable(told):
            await told


def _header(value: str) -> str:
    """A value as a header: as it is where that is safe, else in the protocol's base64 form."""
    if _PLAIN.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="
