"""One request to the server and its answer, in either era.

Owns: headers and envelopes, and what is known of a request's fate when there is no answer. Refuses:
the answer's form (``reading.py``), sessions (``session.py``), deadlines and trying again
(``attempts.py``).
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import httpx

from ccxt_mcp import __version__
from ccxt_mcp.client.address import TIMEOUT, authorization, base_of
from ccxt_mcp.client.failures import CallFailed, Fate, failed
from ccxt_mcp.client.reading import OnProgress, ProgressFailed, content_of, refusal_of, result_of

__all__ = [
    "LEGACY",
    "MODERN",
    "Answer",
    "Era",
    "Flight",
    "Wire",
    "transport_failure",
]

Era: TypeAlias = Literal["2025-11-25", "2026-07-28"]
LEGACY: Era = "2025-11-25"
"""Handshake and session id in a header."""
MODERN: Era = "2026-07-28"
"""Every request carries all there is to know."""

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
_PASSING = (httpx.TransportError, OSError)
"""What may be different at the next attempt."""


@dataclass(slots=True)
class Flight:
    """How far a call has come; looked at when it is given up."""

    attempts: int = 0
    """How often it was sent, or tried to be."""
    reopened: bool = False
    """Its session was opened anew for it; that is done once."""
    asked: bool = False
    """The call itself was begun, not only what has to be there before."""
    stream_of: int | None = None
    """The request's id, once its answer has become a stream."""
    handed: bool = False
    """It was given to the HTTP client."""
    _traced: bool = False
    _begun: bool = False

    def again(self) -> None:
        """Nothing of it is under way: what was sent before was not begun, or does no harm."""
        self.attempts += 1
        self.asked = self.handed = self._traced = self._begun = False
        self.stream_of = None

    @property
    def sent(self) -> bool:
        """Whether its first byte may have left.

        A client of the caller's may not tell how far it is: only one that told of a connection,
        and of no request on it, has sent nothing.
        """
        return self.handed and (self._begun or not self._traced)

    async def trace(self, event: str, _: Any) -> None:
        self._traced = True
        if event.endswith(".send_request_headers.started"):
            self._begun = True


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
        client: what the server is told of this client.
        workflow: its name in modern requests.

    Raises:
        ValueError: the URL or the token cannot be one.
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
        self._authorization = authorization(token)

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
            content = json.dumps(body, allow_nan=False)
            self._usable()
            flight.handed = True
            async with self._http.stream(
                "POST",
                self._url,
                content=content,
                headers=headers,
                timeout=TIMEOUT,
                follow_redirects=False,
                extensions={"trace": flight.trace},
            ) as response:
                if response.status_code != 200:
                    raise await refusal_of(response)

                def streamed() -> None:
                    flight.stream_of = request_id

                return Answer(
                    await result_of(response, request_id, on_progress, streamed),
                    response.headers.get("mcp-session-id"),
                )
        except (CallFailed, ProgressFailed):
            raise
        except Exception as error:
            # Not only what httpx documents: a broken TLS record is an SSLError, a client that is
            # closed meanwhile a RuntimeError. A write that was sent has its fate nevertheless.
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
            self._usable()
            async with self._http.stream(
                "POST",
                self._url,
                content=json.dumps(body),
                headers=headers,
                timeout=TIMEOUT,
                follow_redirects=False,
            ) as response:
                if response.status_code >= 300:
                    raise await refusal_of(response)
                await content_of(response)
        except CallFailed:
            raise
        except Exception as error:
            raise transport_failure(error, sent=True) from error

    async def end(self, session: str) -> None:
        """End a session. It may be gone, and the server may not know how: both are fine.

        Raises:
            CallFailed: the server could not be reached.
        """
        try:
            self._usable()
            async with self._http.stream(
                "DELETE",
                self._url,
                headers={"mcp-session-id": session} | self._authorization,
                timeout=TIMEOUT,
                follow_redirects=False,
            ) as response:
                await content_of(response)
        except CallFailed:
            raise
        except Exception as error:
            raise transport_failure(error, sent=True) from error

    def _usable(self) -> None:
        if self._http.is_closed:
            words = "the HTTP client is closed"
            raise failed("unreachable", words, Fate.NOT_STARTED, retryable=False, hint="")

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
            arguments = params.get("arguments") if method == "tools/call" else None
            if isinstance(arguments, Mapping) and isinstance(
                exchange := arguments.get("exchange"), str
            ):
                # For a server with `mirror_exchange`, which wants it; others do not look at it.
                headers["mcp-param-exchange"] = _header(exchange)
            return headers
        if session is not None:
            headers["mcp-session-id"] = session
        if version is not None:
            headers["mcp-protocol-version"] = version
        return headers


def transport_failure(error: Exception, *, sent: bool) -> CallFailed:
    """The failure in an exception of the connection, or of whatever else reads and writes there.

    Args:
        error: any exception.
        sent: whether something of the request may have left.
    """
    words = str(error) or type(error).__name__
    if isinstance(error, httpx.LocalProtocolError) and "Illegal header" in words:
        # Looked at before anything is sent. Its words repeat the header, which may be a secret.
        return failed(
            "invalid_argument",
            "a header of the HTTP client is none that can be sent",
            Fate.NOT_STARTED,
            hint="Correct the headers of the client that is given as `http=`.",
        )
    if not sent or isinstance(error, _NOT_SENT):
        certificate = "CERTIFICATE_VERIFY_FAILED" in words
        return failed(
            "unreachable",
            f"the server cannot be reached: {words}",
            Fate.NOT_STARTED,
            retryable=isinstance(error, _PASSING) and not certificate,
            hint="The server's certificate is not trusted here: correct it, or give `http=` a"
            " client that knows its authority."
            if certificate
            else None,
        )
    return failed(
        "connection_lost", f"the connection ended without an answer: {words}", Fate.UNKNOWN
    )


def _header(value: str) -> str:
    """A value as a header: as it is where that is safe, else in the protocol's base64 form."""
    if _PLAIN.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="
