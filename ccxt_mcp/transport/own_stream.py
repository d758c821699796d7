"""The own stream of a session that several replicas serve: open at one of them, spoken on by all.

Owns: the log that all speak into, and which replica's connection reads it. Refuses: a second
connection beside one that is being read, at whatever replica.

Its events are the log's entries, so their ids are good everywhere. Every replica that has a part of
the session is told when there is more, and when a connection begins to read and ends.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from starlette.types import Receive, Send

from ccxt_mcp.errors import Failure
from ccxt_mcp.transport.events import RETRY, Replay, foreign, not_kept
from ccxt_mcp.transport.mirrors import Writer
from ccxt_mcp.transport.reach import Reach
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.responder import KEEP_ALIVE, KEEP_ALIVE_COMMENT, SSE_HEADERS

if TYPE_CHECKING:
    from ccxt_mcp.transport.parts import Part, Parts

__all__ = ["Own", "OwnStreams"]

_ID = re.compile(r"([0-9a-f]{8})~([0-9a-f]{1,15})", re.ASCII)

LOOK = 5.0
"""Seconds after which the log is looked at, told or not: mail can be lost."""


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

    def event(self, number: int, message: bytes) -> bytes:
        """One message with its id."""
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
            part.heard = True
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
            self._tell(part, answers, "yes")
            part.session.heard()
            try:
                await self._read(own, connection, after, opening, receive, send, ids=ids)
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
        *,
        ids: bool,
    ) -> None:
        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            connection.stop()

        leaving = asyncio.create_task(until_gone())
        quiet = 0.0
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]})
            await send({"type": "http.response.body", "body": opening, "more_body": True})
            while not connection.stopped:
                connection.wake.clear()
                try:
                    entries, _ = await self._store.logs.after(own.log, after)
                except Failure:
                    # Silence, for as long as the store is away.
                    entries = []
                chunk = b"".join(
                    own.event(number, message)
                    if ids
                    else b"event: message\ndata: " + message + b"\n\n"
                    for number, message in entries
                )
                if not chunk and quiet >= KEEP_ALIVE:
                    chunk = KEEP_ALIVE_COMMENT
                if chunk and not connection.stopped:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    quiet = 0.0
                if entries:
                    after = entries[-1][0]
                    continue
                pause = min(LOOK, KEEP_ALIVE)
                try:
                    async with asyncio.timeout(pause):
                        await connection.wake.wait()
                except TimeoutError:
                    quiet += pause
            if not leaving.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])

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
        session.part.heard = word == "yes"
        if session.part.heard:
            session.heard()
        else:
            session.unheard()


def _number(own: Own, event_id: str) -> int:
    named = _ID.fullmatch(event_id)
    if named is None or named[1] != own.tag:
        raise foreign()
    return int(named[2], 16)


def _open_already() -> Refusal:
    return Refusal(409, "The session's stream is open already; close that one first")
