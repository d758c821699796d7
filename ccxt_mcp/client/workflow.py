"""One workflow: a session of its own at the server, and the calls that run in it.

Owns: the session's life (opened, opened anew, ended), the line of its calls, their deadline, and
which of them are tried again. Refuses: the wire (``wire.py``) and sharing sessions (``pool.py``).

Calls go out one at a time, in the order in which they were made, and not before the one before has
its answer. The server would run them one after the other anyway; but requests that are under way on
several connections at once arrive in any order, and a read that is tried again would come after
what was to follow it.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

import httpx

from ccxt_mcp.client.failures import CallFailed, Fate, answered, failed, outcome_unknown
from ccxt_mcp.client.wire import (
    LEGACY,
    MODERN,
    Era,
    Flight,
    OnProgress,
    Wire,
    base_of,
    http_client,
)

__all__ = ["Asked", "Catalogue", "Workflow", "in_order"]

Asked: TypeAlias = str | tuple[str] | tuple[str, Mapping[str, Any]]
"""A call for ``gather``: ``("get_ticker", {"symbol": "BTC/USDT"})``, or a tool's name alone."""

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)
_HANDSHAKE = 15.0
"""Seconds that opening a session may take."""
_ENDING = 5.0
"""Seconds that ending it may take; what is not ended then ends at the server by its idleness."""
_CONNECTIONS = 4
"""Of a workflow alone: one for its call, the others for what goes beside it."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
"""Seconds; the pause before a retry is random, from 0 to a longest one that doubles."""
_MOST_PAGES = 100


_T = TypeVar("_T")


class Catalogue:
    """The server's tools, asked for once by whoever is first. Mutable: ``tools``, set once."""

    def __init__(self) -> None:
        self.tools: list[dict[str, Any]] | None = None
        self.lock = asyncio.Lock()

    def reads(self, tool: str) -> bool:
        """Whether a tool is known to change nothing. An unknown one may be an order."""
        for entry in self.tools or ():
            if entry.get("name") == tool:
                annotations = entry.get("annotations")
                return isinstance(annotations, Mapping) and annotations.get("readOnlyHint") is True
        return False


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

    Raises:
        ValueError: the name or the URL cannot be one, or a number is out of range.
    """

    # Mutable: `_opened` (whether `_session` and `_version` are those of a handshake, or need none),
    # `_opening` (the handshake under way, at most one), `_begun` (the server may know the session),
    # `_errands` (cancellations on their way), `_closed` (never unset), `in_flight`.

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
        self._id = f"wf-{name}-{secrets.token_hex(4)}"
        self._own_http = http is None
        self._http = http or http_client(self.url, _CONNECTIONS)
        self._wire = Wire(
            self._http, self.url, token=token, era=era, client=name, workflow=self._id
        )
        self._catalogue = catalogue or Catalogue()
        self._line = asyncio.Lock()
        self._session: str | None = self._id
        self._version: str | None = None
        self._opened = False
        self._opening: asyncio.Task[None] | None = None
        self._begun = False
        self._errands: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def session_id(self) -> str:
        """The id of the session in use: the chosen one, or one that the server gave out."""
        return self._session or self._id

    @property
    def closed(self) -> bool:
        """Whether ``aclose`` was called."""
        return self._closed

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
        """
        async with self._line:
            await self._within("initialize", self.timeout, self._prepared)
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
                ends the call.

        Raises:
            CallFailed: with the server's code, or one of this side's: ``unreachable``,
                ``connection_lost``, ``timeout``, ``unexpected_answer``, and for a write that may
                have arrived ``outcome_unknown``.
            TypeError: an argument is given twice, or is no JSON value.
            RuntimeError: the workflow is closed.

        A cancelled call ends at the server as well, unless it is a write that has begun there: that
        runs to its end.
        """
        given = dict(arguments or {})
        if twice := given.keys() & keywords.keys():
            raise TypeError(f"given twice: {', '.join(sorted(twice))}")
        given |= keywords
        seconds = self.timeout if timeout is None else timeout
        self.in_flight += 1
        try:
            self._check()
            async with self._line:
                self._check()

                async def work(flight: Flight) -> dict[str, Any]:
                    await self._prepared(flight)
                    asked = {"name": tool, "arguments": given}
                    return await self._ask("tools/call", asked, flight, on_progress)

                return await self._within(tool, seconds, work, tool)
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
            await self._within("tools/list", self.timeout, self._prepared)
        return list(self._catalogue.tools or ())

    async def check(self) -> None:
        """Ask the server whether the session lives, and open it anew where it does not.

        Raises:
            CallFailed: the server cannot be reached, or does not let the session be opened.
        """
        self._check()

        async def alive(flight: Flight) -> None:
            await self._in_session()
            if self.era == LEGACY:
                await self._ask("ping", {}, flight)

        async with self._line:
            await self._within("ping", min(self.timeout, _HANDSHAKE), alive)

    async def aclose(self) -> None:
        """End the session at the server, as well as that can be done within 5 s; twice is fine.

        Calls that are under way end with a failure.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._opening is not None:
                await asyncio.wait({self._opening}, timeout=_ENDING)
            if self._begun:
                with suppress(CallFailed, TimeoutError):
                    async with asyncio.timeout(_ENDING):
                        await self._wire.end(self.session_id)
            if self._errands:
                await asyncio.wait(self._errands, timeout=1.0)
        finally:
            for task in (*self._errands, *filter(None, [self._opening])):
                task.cancel()
            if self._own_http:
                await self._http.aclose()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._opened else "not open"
        return f"<Workflow {self.name} {state}, {self.in_flight} in flight>"

    # One call

    async def _within(
        self,
        what: str,
        seconds: float,
        work: Callable[[Flight], Awaitable[_T]],
        tool: str | None = None,
    ) -> _T:
        """Do some work within its time, again where that can help and does no harm.

        ``tool`` is the one that is called, None for what changes nothing.
        """
        loop = asyncio.get_running_loop()
        deadline, attempts, flight = loop.time() + seconds, 0, Flight()
        try:
            async with asyncio.timeout_at(deadline) as scope:
                while True:
                    attempts += 1
                    flight = Flight()
                    try:
                        return await work(flight)
                    except CallFailed as failure:
                        told = self._judged(failure, tool, flight)
                        told.attempts = attempts
                        pause = self._pause(told, attempts)
                        # Before the call itself is begun there is nothing that could be repeated.
                        harmless = not flight.asked or self._reads(tool)
                        if not harmless or pause is None or loop.time() + pause >= deadline:
                            raise told from (None if told is failure else failure)
                    await asyncio.sleep(pause)
        except TimeoutError as error:
            if not scope.expired():
                raise
            self._give_up(flight)
            late = f"no answer came within {seconds:g} s"
            if tool is not None and flight.asked and flight.sent and not self._reads(tool):
                unknown = outcome_unknown(tool, late)
                unknown.attempts = attempts
                raise unknown from error
            overdue = failed("timeout", f"{what}: {late}", Fate.NOT_STARTED)
            overdue.attempts = attempts
            raise overdue from error
        except asyncio.CancelledError:
            self._give_up(flight)
            raise

    def _judged(self, failure: CallFailed, tool: str | None, flight: Flight) -> CallFailed:
        """The failure as it is for this tool: a write that may have arrived is none to repeat."""
        if tool is None or not flight.asked or self._reads(tool):
            return failure
        # A call that ended with its session may have been waiting or running, and a write runs on.
        if failure.fate is Fate.UNKNOWN or failure.code == "cancelled":
            return outcome_unknown(tool, failure.message)
        return failure

    def _reads(self, tool: str | None) -> bool:
        return tool is None or self._catalogue.reads(tool)

    def _pause(self, failure: CallFailed, attempts: int) -> float | None:
        """Seconds before the next attempt; None for none."""
        if self._closed or not failure.retryable or attempts > self.retries:
            return None
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempts - 1))
        return (failure.retry_after or 0.0) + random.uniform(0, longest)

    async def _ask(
        self,
        method: str,
        params: Mapping[str, Any],
        flight: Flight,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """One request in the session, which is opened anew once where it has ended."""
        for last in (False, True):
            session = await self._in_session()
            flight.asked = True
            try:
                answer = await self._wire.ask(
                    method,
                    params,
                    session=session,
                    version=self._version,
                    on_progress=on_progress,
                    flight=flight,
                )
                return answered(answer.result) if method == "tools/call" else answer.result
            except CallFailed as failure:
                if failure.code != "session_not_found" or last or self._closed:
                    raise
                # Refused before it was begun, so also an order may be sent again.
                flight.asked = flight.sent = False
                self._opened = False
                if self.era == MODERN:
                    # A server that adopts no names has no sessions for modern requests.
                    self._wire.nameless()
        raise AssertionError("not reached")

    async def _prepared(self, flight: Flight) -> None:
        """What a call needs before it is sent: the session, and to know what is a read."""
        await self._in_session()
        if self._catalogue.tools is not None:
            return
        async with self._catalogue.lock:
            if self._catalogue.tools is None:
                self._catalogue.tools = await self._listed()

    async def _listed(self) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = []
        params: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            page = await self._ask("tools/list", params, Flight())
            listed = page.get("tools")
            if not isinstance(listed, list):
                break
            tools += [entry for entry in listed if isinstance(entry, dict)]
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                return tools
            params = {"cursor": cursor}
        raise failed("unexpected_answer", "the list of tools is none", Fate.NOT_STARTED)

    # The session

    async def _in_session(self) -> str | None:
        """The id to send with a request; opens the session where there is none."""
        self._begun = True
        if not self._opened:
            if self.era == MODERN:
                self._opened, self._session = True, None
            else:
                await self._open_once()
        return self._session

    async def _open_once(self) -> None:
        """The handshake; it is finished also when its caller leaves.

        Otherwise a session would stand at the server of which nobody here knows the id.
        """
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._handshake())
            self._opening.add_done_callback(_looked_at)
        await asyncio.shield(self._opening)

    async def _handshake(self) -> None:
        params = {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": self._wire.client_info,
        }
        try:
            async with asyncio.timeout(_HANDSHAKE):
                try:
                    answer = await self._wire.ask("initialize", params, session=self._id)
                    session: str | None = answer.session_id or self._id
                except CallFailed as failure:
                    if failure.status not in (400, 404):
                        raise
                    # Names are not adopted there: the server's id then.
                    answer = await self._wire.ask("initialize", params)
                    session = answer.session_id
                self._session = session
                version = answer.result.get("protocolVersion")
                self._version = version if isinstance(version, str) else LEGACY
                await self._wire.tell(
                    "notifications/initialized", session=session, version=self._version
                )
        except TimeoutError as error:
            late = f"initialize: no answer came within {_HANDSHAKE:g} s"
            raise failed("timeout", late, Fate.NOT_STARTED) from error
        self._opened = True

    def _give_up(self, flight: Flight) -> None:
        """Tell the server that nobody waits any more, where the end of a stream does not say it."""
        if flight.stream_of is None or self.era == MODERN or self._closed:
            return
        params = {"requestId": flight.stream_of, "reason": "The caller left"}
        errand = asyncio.create_task(self._tell_cancelled(params))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _tell_cancelled(self, params: Mapping[str, Any]) -> None:
        with suppress(CallFailed, TimeoutError):
            async with asyncio.timeout(_ENDING):
                await self._wire.tell(
                    "notifications/cancelled", params, session=self._session, version=self._version
                )

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError(f"the workflow {self.name!r} is closed")


class _Calls(Protocol):
    async def call(
        self, tool: str, arguments: Mapping[str, Any] | None = None, /
    ) -> dict[str, Any]: ...


async def in_order(
    where: _Calls, calls: Sequence[Asked], *, return_exceptions: bool
) -> list[dict[str, Any] | CallFailed]:
    """Make all calls, and return their outcomes in their order.

    Raises:
        CallFailed: the first failure, once all have ended.
        TypeError: one of them is no call; then none is made.
    """
    tasks = [
        asyncio.create_task(where.call(tool, arguments)) for tool, arguments in map(_split, calls)
    ]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    results: list[dict[str, Any] | CallFailed] = []
    for outcome in outcomes:
        if isinstance(outcome, CallFailed) and return_exceptions:
            results.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            results.append(outcome)
    return results


def _split(call: Asked) -> tuple[str, Mapping[str, Any] | None]:
    match call:
        case str(tool) | (str(tool),):
            return tool, None
        case (str(tool), Mapping() | None as arguments):
            return tool, arguments
        case _:
            raise TypeError(f"not a call: {call!r}; it is (tool, arguments) or a tool's name")


def _looked_at(task: asyncio.Task[None]) -> None:
    """Of a handshake whose caller left, nobody else would."""
    if not task.cancelled():
        task.exception()
