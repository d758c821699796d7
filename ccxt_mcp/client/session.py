"""The session behind a workflow: opened, opened anew where it has ended, ended.

Owns: the id in use, the handshake of the older era, and telling the server that a caller left.
Refuses: which requests are sent when (``workflow.py``), which again (``attempts.py``), and how
(``wire.py``).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ccxt_mcp.client.failures import CallFailed, Fate, failed
from ccxt_mcp.client.reading import OnProgress
from ccxt_mcp.client.translation import answered
from ccxt_mcp.client.wire import LEGACY, MODERN, Era, Flight, Wire

__all__ = ["OPENING", "Session"]

OPENING = 15.0
"""Seconds that opening a session may take."""
_ENDING = 5.0
"""Seconds that ending it may take; what is not ended then ends at the server by its idleness."""
_SETTLING = 0.1
"""Seconds in which a request that was just sent arrives; one that came after the end of its session
would open it again, by its name."""
_ERRANDS = 1.0
"""Seconds that cancellations on their way are waited for at the end."""


class Session:
    """One session at the server, under an id of this side where the server adopts one.

    Mutable: ``opened`` (whether ``_session`` and ``_version`` are those of a handshake, or none is
    needed), ``_opening`` (the handshake under way, at most one), ``_begun`` (the server may know
    the session), ``_asking`` (requests under way), ``_given_up`` (when the last one was given up),
    ``_errands`` (cancellations on their way), ``closed`` (never unset).

    Args:
        wire: the way to the server; this session's alone.
        chosen: the id to ask for.
        era: the protocol's form.
    """

    def __init__(self, wire: Wire, chosen: str, era: Era) -> None:
        self.opened = False
        self.closed = False
        self._wire = wire
        self._chosen = chosen
        self._modern = era == MODERN
        self._session: str | None = chosen
        self._version: str | None = None
        self._opening: asyncio.Task[None] | None = None
        self._begun = False
        self._asking = 0
        self._given_up = -math.inf
        self._errands: set[asyncio.Task[None]] = set()

    @property
    def id(self) -> str:
        """The id in use: the chosen one, or one that the server gave out."""
        return self._session or self._chosen

    async def open(self) -> str | None:
        """Open the session unless it is; the id to send with its requests.

        Raises:
            CallFailed: the server cannot be reached, refuses the token, or has no room; or the
                session was closed meanwhile.
        """
        if self.closed:
            raise failed("cancelled", "the workflow was closed", Fate.NOT_STARTED, retryable=False)
        self._begun = True
        if not self.opened:
            if self._modern:
                self.opened = True
            else:
                await self._open_once()
        return None if self._modern else self._session

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any],
        flight: Flight | None = None,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """One request in the session, which is opened anew where it has ended: once in a flight.

        The result is that of the request, and of ``tools/call`` what the tool found.

        Raises:
            CallFailed: whatever went wrong.
        """
        flight = flight or Flight()
        while True:
            session = await self.open()
            flight.asked = True
            self._asking += 1
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
                # A modern request has no handshake in which a server could say that it adopts no
                # names: it says so of the call, before that is begun, and once in a workflow.
                unnamed = self._modern and failure.code == "session_not_found"
                if not (failure.session_gone or unnamed):
                    raise
                self.opened = False
                if self.closed or flight.reopened:
                    raise
                if self._modern and not self._wire.nameless():
                    raise
                # Refused before it was begun, so also an order may be sent again.
                flight.reopened = True
                flight.again()
            finally:
                self._asking -= 1

    async def ping(self) -> None:
        """Ask whether the session lives, where there is one, and open it anew where it does not.

        Raises:
            CallFailed: the server cannot be reached, or does not let it be opened.
        """
        await self.open()
        if not self._modern:
            await self.ask("ping", {})

    def give_up(self, flight: Flight) -> None:
        """Tell the server that nobody waits for an answer any more.

        The end of a connection says so too; but of a stream the older era takes it for an accident.
        """
        self._given_up = asyncio.get_running_loop().time()
        if flight.stream_of is None or self._modern or self.closed:
            return
        params = {"requestId": flight.stream_of, "reason": "The caller left"}
        errand = asyncio.create_task(self._tell_cancelled(params))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def close(self) -> None:
        """End the session at the server, as well as that can be done in a few seconds."""
        self.closed = True
        try:
            if self._opening is not None:
                await asyncio.wait({self._opening}, timeout=_ENDING)
            if self._begun:
                since = asyncio.get_running_loop().time() - self._given_up
                if self._asking or since < _SETTLING:
                    await asyncio.sleep(_SETTLING)
                with suppress(CallFailed, TimeoutError):
                    async with asyncio.timeout(_ENDING):
                        await self._wire.end(self.id)
            if self._errands:
                await asyncio.wait(self._errands, timeout=_ERRANDS)
        finally:
            for task in (*self._errands, *filter(None, [self._opening])):
                task.cancel()

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
            async with asyncio.timeout(OPENING):
                try:
                    answer = await self._wire.ask("initialize", params, session=self._chosen)
                    session: str | None = answer.session_id or self._chosen
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
            late = f"initialize: no answer came within {OPENING:g} s"
            raise failed("timeout", late, Fate.NOT_STARTED) from error
        self.opened = True

    async def _tell_cancelled(self, params: Mapping[str, Any]) -> None:
        with suppress(CallFailed, TimeoutError):
            async with asyncio.timeout(_ENDING):
                await self._wire.tell(
                    "notifications/cancelled", params, session=self._session, version=self._version
                )


def _looked_at(task: asyncio.Task[None]) -> None:
    """Of a handshake whose caller left, nobody else would."""
    if not task.cancelled():
        task.exception()
