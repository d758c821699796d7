"""The own stream of a session that several replicas serve: open at one of them, spoken on by all.

Owns: the log that all speak into, and which replica's connection reads it. Refuses: a second
connection beside one that is being read, at whatever replica.

Its events are the log's entries, so their ids are good everywhere. Every replica that has a part of
the session is told when there is more, and when a connection begins to read and ends.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import Receive, Send

from ccxt_mcp.errors import Failure
from ccxt_mcp.transport.events import Replay, foreign, not_kept
from ccxt_mcp.transport.mirrors import Writer
from ccxt_mcp.transport.reach import Reach
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.responder import KEEP_ALIVE, KEEP_ALIVE_COMMENT, SSE_HEADERS, event
from ccxt_mcp.transport.track import RETRY

if TYPE_CHECKING:
    from ccxt_mcp.transport.parts import Part, Parts

__all__ = ["Own", "OwnStreams"]

_ID = re.compile(r"([0-9a-f]{8})~([0-9a-f]{1,15})", re.ASCII)

LOOK = 60.0
"""Seconds after which the log is looked at, told or not."""

_HEARD = 60.0
"""Seconds for which a reader at another replica is believed to be there."""


class _Connection:
    """One GET. Mutable: ``stopped`` (never unset)."""

    def __init__(self) -> None:
        self.stopped = False
        self.wake = asyncio.Event()

    def stop(self) -> None:
        self.stopped = True
        self.wake.set()


class Own:
    """This replica's end of one session's own stream; see ``stream.Standing``.

    Mutable: ``reader``, the connection here that reads it.
    """

    def __init__(self, reach: Reach, name: str, replay: Replay) -> None:
        self.name = name
        self.log = f"stream/{name}"
        self.tag = name.rpartition("/")[2][:8]
        self.reader: _Connection | None = None
        self._reach = reach
        self._writer = Writer(reach.node, self.log, replay, self._said)

    @property
    def connected(self) -> bool:
        """Whether a connection here reads it."""
        return self.reader is not None

    def push(self, message: bytes) -> None:
        """Say one JSON-RPC message to whoever reads it, wherever."""
        self._writer.put(message)

    def push_once(self, message: bytes) -> None:
        """The same, unless an equal one is about to be said."""
        self._writer.put_once(message)

    def close(self) -> None:
        """End the connection here."""
        if self.reader is not None:
            self.reader.stop()

    async def hang_up(self) -> None:
        """End the connection that reads it, wherever; its client may come back."""
        self.close()
        await self._reach.ask_all(self.name, "listen", "over")

    def event(self, number: int, message: bytes, *, ids: bool) -> bytes:
        """One message, with its id where the client may come back."""
        if not ids:
            return event(message)
        return b"id: %s~%x\nevent: message\ndata: %s\n\n" % (self.tag.encode(), number, message)

    def primer(self, number: int) -> bytes:
        """An event that says nothing but where to read on."""
        return b"id: %s~%x\n" % (self.tag.encode(), number) + RETRY + b"data:\n\n"

    async def _said(self) -> None:
        found = await self._reach.node.store.records.read(self.name)
        for node in () if found is None else found.nodes:
            self._reach.node.tell(node, f"said {self.name}")


class OwnStreams:
    """The own streams of the sessions of which there are parts here."""

    def __init__(self, reach: Reach, parts: Parts) -> None:
        self._reach = reach
        self._parts = parts
        self._store = reach.node.store
        reach.on("listen", self._listen)
        reach.node.on("said", self._said)
        reach.node.on("heard-by", self._heard_by)
        reach.node.on_missed(self._missed)

    def of(self, part: Part) -> Own:
        """The stream of a part's session, which may have been made just now."""
        session = part.session
        if not isinstance(session.stream, Own):
            part.streams = True
            session.stream = Own(self._reach, part.name, session.replay)
        return session.stream

    async def look(self, part: Part) -> None:
        """Find out whether a connection to another replica reads a session's own stream."""
        answers = await self._reach.ask_all(part.name, "listen", "look")
        if "busy" in answers.values():
            part.heard_until = time.monotonic() + _HEARD
            part.session.heard()

    async def serve(
        self,
        part: Part,
        event_id: str | None,
        receive: Receive,
        send: Send,
        *,
        ids: bool,
        primed: bool,
    ) -> None:
        """One GET, until its client leaves or the session ends.

        Args:
            event_id: where to read on; None for a new one.
            ids: whether events have ids: the client may come back.
            primed: whether the first event is one without data.

        Raises:
            Refusal: 400 for an id that is not to be had, 409 where a connection reads it.
            Failure: ``store_unavailable``.
        """
        own = self.of(part)
        if event_id is None:
            if own.connected:
                raise _open_already()
            mode = "new"
        else:
            mode = "over"
        # Reserved at once: of two that come together one is refused.
        before, own.reader = own.reader, _Connection()
        connection = own.reader
        if before is not None:
            before.stop()
        try:
            answers = await self._reach.ask_all(part.name, "listen", mode)
            if "busy" in answers.values() and event_id is None:
                raise _open_already()
            entries, whole = await self._store.logs.after(own.log, 0)
            last = entries[-1][0] if entries else 0
            if event_id is None:
                after = last
                opening = b": open\n\n" + (own.primer(last) if primed else b"")
            else:
                after = _number(own, event_id)
                if entries and not whole and after < entries[0][0]:
                    entries, whole = await self._store.logs.after(own.log, after)
                    if not whole:
                        raise not_kept()
                opening = b": open\n" + RETRY + b"\n"
            part.session.heard()

            def still() -> None:
                self._tell(part, answers, "yes")

            try:
                await self._read(own, connection, after, opening, receive, send, still, ids=ids)
            finally:
                self._tell(part, answers, "no")
        finally:
            if own.reader is connection:
                own.reader = None
            part.session.unheard()

    async def _read(
        self,
        own: Own,
        connection: _Connection,
        after: int,
        opening: bytes,
        receive: Receive,
        send: Send,
        still: Callable[[], None],
        *,
        ids: bool,
    ) -> None:
        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            connection.stop()

        leaving = asyncio.create_task(until_gone())
        still()
        due = True
        looked = told = time.monotonic()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]})
            await send({"type": "http.response.body", "body": opening, "more_body": True})
            while not connection.stopped:
                connection.wake.clear()
                chunk = b"" if due else KEEP_ALIVE_COMMENT
                if due:
                    entries, whole = await self._after(own, after)
                    if not whole:
                        # It was too slow for what is kept. That is told when it comes for the rest.
                        break
                    chunk = b"".join(own.event(*each, ids=ids) for each in entries)
                    after = entries[-1][0] if entries else after
                    looked = time.monotonic()
                if chunk and not connection.stopped:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        await connection.wake.wait()
                    due = True
                except TimeoutError:
                    due = connection.wake.is_set() or time.monotonic() - looked >= LOOK
                if time.monotonic() - told >= _HEARD / 4:
                    told = time.monotonic()
                    still()
            if not leaving.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])

    async def _after(self, own: Own, number: int) -> tuple[list[tuple[int, bytes]], bool]:
        """What came after an entry, and whether nothing between was dropped."""
        try:
            entries, whole = await self._store.logs.after(own.log, number)
            if entries and not whole:
                # A log that has expired in silence begins anew: nothing of it was dropped.
                whole = (await self._store.logs.after(own.log, 0))[1]
        except Failure:
            # Silence, for as long as the store is away.
            return [], True
        return entries, whole or not entries

    def _missed(self) -> None:
        for session in self._parts.recent(time.monotonic()):
            if isinstance(session.stream, Own) and session.stream.reader is not None:
                session.stream.reader.wake.set()

    def _tell(self, part: Part, nodes: dict[str, str], word: str) -> None:
        for node in nodes:
            self._reach.node.tell(node, f"heard-by {part.name} {word}")

    def _listen(self, name: str, mode: str) -> str:
        session = self._parts.part(name)
        if session is None or session.part is None:
            return "free"
        if mode == "look":
            return "busy" if session.reading else "free"
        own = self.of(session.part)
        if not own.connected:
            return "free"
        if mode == "over":
            own.close()
        return "busy"

    def _said(self, name: str) -> None:
        session = self._parts.part(name)
        if session is not None and isinstance(session.stream, Own):
            reader = session.stream.reader
            if reader is not None:
                reader.wake.set()

    def _heard_by(self, rest: str) -> None:
        name, _, word = rest.partition(" ")
        session = self._parts.part(name)
        if session is None or session.part is None:
            return
        before = session.part.heard
        session.part.heard_until = time.monotonic() + _HEARD if word == "yes" else 0.0
        if word != "yes":
            session.unheard()
        elif not before:
            session.heard()


def _number(own: Own, event_id: str) -> int:
    named = _ID.fullmatch(event_id)
    if named is None or named[1] != own.tag:
        raise foreign()
    return int(named[2], 16)


def _open_already() -> Refusal:
    return Refusal(409, "The session's stream is open already; close that one first")
