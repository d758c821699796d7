"""Reading on, at this replica, what a call at another has to say.

Owns: one GET whose Last-Event-ID is of another replica's stream, and the end of it where that
replica is gone. Refuses: ids of events that are not to be had, and to let a client wait for an
answer that nobody will give any more.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from typing import TYPE_CHECKING

import orjson
from mcp_types import INTERNAL_ERROR, RequestId
from starlette.types import Receive, Send

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.transport.events import RETRY, foreign, not_kept
from ccxt_mcp.transport.mirrors import Entry, Mirrors
from ccxt_mcp.transport.reach import Reach
from ccxt_mcp.transport.refusal import encode
from ccxt_mcp.transport.responder import KEEP_ALIVE, KEEP_ALIVE_COMMENT, SSE_HEADERS, event

if TYPE_CHECKING:
    from ccxt_mcp.transport.parts import Part

__all__ = ["Following"]

_ID = re.compile(
    r"([A-Za-z0-9._-]{1,64})~([0-9a-f]{8})-([0-9a-f]{1,15})-([0-9a-f]{1,15})", re.ASCII
)

LOOK = 2.0
"""Seconds after which the log is looked at, and the other replica asked, told or not."""

_GONE_AFTER = 2
"""Times that a replica does not answer before it is taken to be gone."""


class _Reading:
    """One such GET.

    Mutable: ``reached``: number of the last event that was sent; ``at``: of the last entry of the
    log that was read; ``ended``, ``stopped`` (never unset).
    """

    def __init__(self, log: str, node: str, token: str, reached: int) -> None:
        self.log = log
        self.node = node
        self.token = token
        self.reached = reached
        self.at = 0
        self.ended = self.stopped = False
        self.wake = asyncio.Event()

    def stop(self) -> None:
        self.stopped = True
        self.wake.set()


class Following:
    """What is read here of other replicas' streams. Mutable: ``_readings``, by their tokens."""

    def __init__(self, reach: Reach, mirrors: Mirrors) -> None:
        self._reach = reach
        self._mirrors = mirrors
        self._logs = reach.node.store.logs
        self._readings: dict[str, _Reading] = {}
        self._tokens = itertools.count(1)
        reach.node.on("more", self._more)
        reach.node.on("unread", self._unread)

    async def serve(self, part: Part, event_id: str, receive: Receive, send: Send) -> None:
        """One GET, until the stream's end.

        Raises:
            Refusal: 400 for an id that is not to be had.
            Failure: ``store_unavailable``.
        """
        named = _ID.fullmatch(event_id)
        if named is None:
            raise foreign()
        node, seen = named[1], int(named[4], 16)
        log = self._mirrors.log(part.name, f"{node}~{named[2]}", int(named[3], 16))
        token = f"{self._reach.node.id}-{next(self._tokens):x}"
        reading = self._readings[token] = _Reading(log, node, token, seen)
        try:
            said = await self._ask(reading, str(seen))
            entries = await self._entries(reading)
            if said == "foreign":
                raise foreign()
            if said != "ok" and (not entries or entries[-1].number < seen):
                raise not_kept()
            first = next((e for e in entries if e.number > seen or e.ended), None)
            if first is not None and first.before > seen:
                raise not_kept()
            await self._read(reading, entries, 0 if said == "ok" else 1, receive, send)
        finally:
            del self._readings[token]
            self._reach.node.later(self._reach.ask([node], "unfollow", log, token))

    async def _read(
        self,
        reading: _Reading,
        entries: list[Entry],
        missed: int,
        receive: Receive,
        send: Send,
    ) -> None:
        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            reading.stop()

        async def write(chunk: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

        leaving = asyncio.create_task(until_gone())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]})
            await write(b": open\n" + RETRY + b"\n")
            asked = spoken = time.monotonic()
            while True:
                chunk = _chunk(reading, entries)
                if chunk and not reading.stopped:
                    await write(chunk)
                    spoken = time.monotonic()
                if reading.ended or reading.stopped:
                    break
                if missed >= _GONE_AFTER:
                    await write(await self._gone(reading))
                    break
                if not entries:
                    await self._pause(reading)
                now = time.monotonic()
                if now - asked >= LOOK and not reading.stopped:
                    asked = now
                    said = await self._ask(reading, "-")
                    if said == "replaced":
                        break
                    missed = 0 if said == "ok" else missed + 1
                if now - spoken >= KEEP_ALIVE and not reading.stopped:
                    await write(KEEP_ALIVE_COMMENT)
                    spoken = now
                reading.wake.clear()
                try:
                    entries = await self._entries(reading)
                except Failure:
                    # The client comes back for the rest.
                    break
            if not leaving.done():
                await write(b"", more=False)
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])

    async def _ask(self, reading: _Reading, seen: str) -> str | None:
        answers = await self._reach.ask(
            [reading.node], "follow", reading.log, self._reach.node.id, reading.token, seen
        )
        return answers.get(reading.node)

    async def _entries(self, reading: _Reading) -> list[Entry]:
        found, _ = await self._logs.after(reading.log, reading.at)
        if found:
            reading.at = found[-1][0]
        return [Entry.decoded(raw) for _, raw in found]

    async def _pause(self, reading: _Reading) -> None:
        try:
            async with asyncio.timeout(min(LOOK, KEEP_ALIVE)):
                await reading.wake.wait()
        except TimeoutError:
            pass

    async def _gone(self, reading: _Reading) -> bytes:
        """An error in the place of each answer that will not come."""
        try:
            found, _ = await self._logs.after(reading.log, 0)
        except Failure:
            return b""
        failure = Failure(
            Code.CANCELLED,
            "the replica that ran the call is gone, and its answer with it",
            hint="A read can be sent again. Of a write, look first for what became of it.",
        )
        owed: dict[RequestId, None] = {}
        for entry in (Entry.decoded(raw) for _, raw in found):
            owed |= dict.fromkeys(entry.owed)
            answered = _answered(entry.event)
            if answered is not None:
                owed.pop(answered, None)
        words = f"{failure.message[:1].upper()}{failure.message[1:]}"
        error = {"code": INTERNAL_ERROR, "message": words, "data": failure.as_dict()}
        return b"".join(
            event(encode({"jsonrpc": "2.0", "id": each, "error": error})) for each in owed
        )

    def _more(self, log: str) -> None:
        for reading in self._readings.values():
            if reading.log == log:
                reading.wake.set()

    def _unread(self, token: str) -> None:
        reading = self._readings.get(token)
        if reading is not None:
            reading.stop()


def _chunk(reading: _Reading, entries: list[Entry]) -> bytes:
    """What is new of the entries. A gap ends the reading: what is missing cannot be said."""
    events = []
    for entry in entries:
        if entry.number <= reading.reached and not entry.ended:
            continue
        if entry.before > reading.reached:
            reading.ended = True
            break
        events.append(entry.event)
        reading.reached = max(reading.reached, entry.number)
        reading.ended |= entry.ended
    return b"".join(events)


def _answered(said: bytes) -> RequestId | None:
    """The id of the reply that an event is; None where it is none."""
    _, found, data = said.partition(b"\ndata: ")
    if not found:
        return None
    message = orjson.loads(data)
    if "result" in message or "error" in message:
        answered: RequestId | None = message.get("id")
        return answered
    return None
