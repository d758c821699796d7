"""One workflow: a session of its own at the server, and the calls that run in it.

Owns: the line of its calls. Refuses: their deadlines and retries (``attempts.py``), the life of the
session (``session.py``) and sharing it with others (``pool.py``).

Calls go out one at a time, in the order in which they were made, and not before the one before has
its answer. The server would run them one after the other anyway; but requests that are under way on
several connections at once arrive in any order, and a read that is tried again would come after
what was to follow it.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, overload

import httpx

from ccxt_mcp.client.address import base_of, http_client
from ccxt_mcp.client.attempts import Attempts
from ccxt_mcp.client.calls import Asked, Catalogue, in_order
from ccxt_mcp.client.failures import CallFailed
from ccxt_mcp.client.reading import OnProgress
from ccxt_mcp.client.session import OPENING, Session
from ccxt_mcp.client.wire import LEGACY, MODERN, Era, Flight, Wire

__all__ = ["Workflow"]


_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)
_CONNECTIONS = 4
"""Of a workflow alone: one for its call, the others for what goes beside it."""


class Workflow:
    """A session of its own: its calls run in order, those of other workflows beside it.

    Use it as an async context manager, which opens the session and ends it, or call ``open`` and
    ``aclose``. One object belongs to one event loop; its methods may be called by several tasks at
    once.

    Args:
        name: 1 to 100 characters of ``A-Z a-z 0-9 . _ : -``. The session is shown in ``/health`` as
            ``wf-<name>-<8 hex digits>``, or by a hash where the server gives out ids itself.
        url: of the server, with ``/mcp`` or without.
        token: the bearer token, where the server has tokens.
        era: the protocol's form; the server speaks both.
        timeout: seconds for one call from its turn on, retries included. The server itself answers
            within its ``tool_timeout`` (15 s).
        retries: how often a read is tried again after a failure that is ``retryable``. Writes, and
            tools that the server does not declare to be reads, never are.
        http: a client to be used instead of an own one, for instance with a certificate authority
            or a proxy of yours; it is not closed.
        catalogue: the server's tools as others have asked for them already; a pool shares one.

    Raises:
        ValueError: the name, the URL or the token cannot be one, or a number is out of range.
    """

    # Mutable: `in_flight`; `_ending` (the end under way, set once); whose turn it is, `_line` says,
    # and all else the session and its attempts.

    def __init__(
        self,
        name: str,
        url: str,
        *,
        token: str | None = None,
        era: Era = LEGACY,
        timeout: float = 90.0,
        retries: int = 2,
        http: httpx.AsyncClient | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        if _NAME.fullmatch(name) is None:
            raise ValueError(
                f"{name!r} is not a workflow's name: 1 to 100 characters of A-Z a-z 0-9 . _ : -"
            )
        if era not in (LEGACY, MODERN):
            raise ValueError(f"era must be {LEGACY!r} or {MODERN!r}, not {era!r}")
        if not timeout > 0 or retries < 0:
            raise ValueError("timeout must be above 0 s and retries not negative")
        self.name = name
        self.url = base_of(url)
        self.era: Era = era
        self.timeout = timeout
        self.retries = retries
        self.in_flight = 0
        """Calls that run or wait in this workflow's line."""
        self._own_http = http is None
        self._http = http or http_client(self.url, _CONNECTIONS)
        chosen = f"wf-{name}-{secrets.token_hex(4)}"
        self._ending: asyncio.Task[None] | None = None
        wire = Wire(self._http, self.url, token=token, era=era, client=name, workflow=chosen)
        self._session = Session(wire, chosen, era)
        self._catalogue = catalogue or Catalogue()
        self._attempts = Attempts(self._session, self._catalogue, retries)
        self._line = asyncio.Lock()

    @property
    def session_id(self) -> str:
        """The id of the session in use: the chosen one, or one that the server gave out."""
        return self._session.id

    @property
    def closed(self) -> bool:
        """Whether ``aclose`` was called."""
        return self._session.closed

    @property
    def unsettled(self) -> str | None:
        """The tool of a write that was sent and may still run at the server, or None.

        So it is after ``outcome_unknown`` and after a cancellation, until a later call of the
        workflow has its answer.
        """
        return self._attempts.unsettled

    async def __aenter__(self) -> Workflow:
        try:
            return await self.open()
        except BaseException:
            await self.aclose()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self) -> Workflow:
        """Open the session; tried again like a read. Without it the first call does the same.

        Raises:
            CallFailed: the server cannot be reached, refuses the token, or has no room.
            RuntimeError: the workflow is closed.
        """
        self._check()
        async with self._line:
            await self._attempts.within("initialize", self.timeout, self._prepared)
        return self

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **keywords: Any,
    ) -> dict[str, Any]:
        """Run one tool when it is this call's turn; its structured result.

        Arguments are an object or keywords, or both (an argument named ``timeout`` or
        ``on_progress`` goes into the object). A tool without a structured result gives
        ``{"text": …}``.

        Args:
            timeout: seconds from the call's turn on; the workflow's when omitted.
            on_progress: told of long work, where the server has something to tell. What it raises
                ends the call and comes out as it is; a write may then have been carried out.

        Raises:
            CallFailed: with the server's code, or one of this side's: ``unreachable``,
                ``connection_lost``, ``timeout``, ``unexpected_answer``, and for a write that may
                have arrived ``outcome_unknown``.
            TypeError: an argument is given twice, or is no JSON value; nothing was sent.
            RuntimeError: the workflow is closed.

        A cancelled call ends at the server as well, unless it is a write that has begun there: that
        runs to its end.
        """
        given = dict(arguments or {})
        if twice := given.keys() & keywords.keys():
            raise TypeError(f"given twice: {', '.join(sorted(twice))}")
        given |= keywords
        _check_json(tool, given)
        seconds = self.timeout if timeout is None else timeout
        self.in_flight += 1
        try:
            self._check()
            async with self._line:

                async def work(flight: Flight) -> dict[str, Any]:
                    await self._prepared(flight)
                    asked = {"name": tool, "arguments": given}
                    return await self._session.ask("tools/call", asked, flight, on_progress)

                return await self._attempts.within(tool, seconds, work, tool)
        finally:
            self.in_flight -= 1

    @overload
    async def gather(
        self, *calls: Asked, return_exceptions: Literal[False] = False
    ) -> list[dict[str, Any]]: ...

    @overload
    async def gather(
        self, *calls: Asked, return_exceptions: Literal[True]
    ) -> list[dict[str, Any] | CallFailed]: ...

    @overload
    async def gather(
        self, *calls: Asked, return_exceptions: bool
    ) -> list[dict[str, Any] | CallFailed] | list[dict[str, Any]]: ...

    async def gather(
        self, *calls: Asked, return_exceptions: bool = False
    ) -> list[dict[str, Any] | CallFailed] | list[dict[str, Any]]:
        """Several calls of this one session: they run one after the other, in this order.

        Nothing runs in parallel here; a session has one line. For calls that are to run beside each
        other use several workflows or a ``SessionPool``.

        Each call is ``(tool, arguments)`` or a tool's name. If one fails the others are made
        nevertheless; then the first failure is raised, or all outcomes are returned in the calls'
        order where ``return_exceptions`` is set.

        Raises:
            CallFailed: the first failure, in the calls' order.
        """
        return await in_order(self, calls, return_exceptions=return_exceptions)

    async def tools(self) -> list[dict[str, Any]]:
        """The server's tools as ``tools/list`` has them; asked for once.

        Raises:
            CallFailed: the list could not be read.
        """
        self._check()
        async with self._line:
            await self._attempts.within("tools/list", self.timeout, self._prepared)
        return list(await self._catalogue.ask(self._session.ask))

    async def check(self) -> None:
        """Ask the server whether the session lives, and open it anew where it does not.

        Raises:
            CallFailed: the server cannot be reached, or does not let the session be opened.
        """
        self._check()

        async def alive(_: Flight) -> None:
            await self._session.ping()

        async with self._line:
            await self._attempts.within("ping", min(self.timeout, OPENING), alive)

    async def aclose(self) -> None:
        """End the session at the server, as well as that can be done in 5 s; twice is fine.

        Calls that are under way end with a failure. All who call it wait for the same end, which
        goes on where one of them is cancelled.
        """
        await asyncio.shield(self.close_soon())

    def close_soon(self) -> asyncio.Task[None]:
        """Begin the end of the session, and return it; nothing more is sent in the session."""
        if self._ending is None:
            self._session.closed = True
            self._ending = asyncio.create_task(self._end())
        return self._ending

    async def _end(self) -> None:
        try:
            await self._session.close()
        finally:
            if self._own_http:
                await self._http.aclose()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self._session.opened else "not open"
        return f"<Workflow {self.name} {state}, {self.in_flight} in flight>"

    async def _prepared(self, _: Flight) -> None:
        """What a call needs before it is sent: the session, and to know what is a read."""
        await self._session.open()
        await self._catalogue.ask(self._session.ask)

    def _check(self) -> None:
        if self.closed:
            raise RuntimeError(f"the workflow {self.name!r} is closed")


def _check_json(tool: str, arguments: Mapping[str, Any]) -> None:
    """Before anything begins: later it would be asked what became of the call."""
    try:
        tool.encode()
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{tool!r} cannot be called with what is no JSON: {error}") from None
