"""What a client says at one replica about what runs at another.

Owns: leading cancellations, and answers to questions of ours, to the replica that they are for.
Refuses: to wait for it: the client is told that its message was taken, as it would be here.

A cancellation goes to every replica that may have a part of the session, since any may run the
request. A question's id names the replica that asked.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import orjson
from mcp_types import RequestId

from ccxt_mcp.transport.asking import asker
from ccxt_mcp.transport.parts import Parts
from ccxt_mcp.transport.reach import Reach
from ccxt_mcp.transport.session import Session

__all__ = ["Elsewhere", "packed", "unpacked"]


class Elsewhere:
    """The way to other replicas' parts of sessions, and from them to ours."""

    def __init__(self, reach: Reach, parts: Parts) -> None:
        self._reach = reach
        self._parts = parts
        self._node = reach.node
        for topic, heard in (
            ("cancel", self._cancel),
            ("answer", self._answer),
            ("progress", self._progress),
            ("unsubscribe", self._unsubscribe),
        ):
            reach.on(topic, heard)

    async def cancel(self, session: Session, request_id: RequestId) -> None:
        """Cancel requests of this id at other replicas."""
        await self._ask_all(session, "cancel", request_id)

    async def unsubscribe(self, session: Session, uri: str) -> None:
        """End a subscription that was made at another replica."""
        await self._ask_all(session, "unsubscribe", uri)

    async def answered(
        self, session: Session, request_id: RequestId, answer: Mapping[str, Any]
    ) -> None:
        """Lead the answer to a question home; one that nobody asked is dropped."""
        await self._lead(session, request_id, "answer", {"id": request_id, "answer": answer})

    async def progressed(self, session: Session, params: Mapping[str, Any] | None) -> None:
        """The same for progress on a question."""
        await self._lead(session, (params or {}).get("progressToken"), "progress", params)

    async def _ask_all(self, session: Session, topic: str, what: Any) -> None:
        assert session.part is not None
        await self._reach.ask_all(session.part.name, topic, packed(what))

    async def _lead(self, session: Session, question: Any, topic: str, what: Any) -> None:
        assert session.part is not None
        node = asker(question)
        if node and node != self._node.id:
            # Asked for, so that the client's next message does not overtake this one.
            await self._reach.ask([node], topic, session.part.name, packed(what))

    def _cancel(self, name: str, what: str) -> None:
        session = self._parts.part(name)
        if session is not None:
            session.cancel(unpacked(what))

    def _answer(self, name: str, what: str) -> None:
        session = self._parts.part(name)
        if session is not None and session.asking is not None:
            said = unpacked(what)
            session.asking.answered(said["id"], said["answer"])

    def _progress(self, name: str, what: str) -> None:
        session = self._parts.part(name)
        if session is not None and session.asking is not None:
            self._node.later(session.asking.progressed(unpacked(what)))

    def _unsubscribe(self, name: str, what: str) -> None:
        session = self._parts.part(name)
        if session is not None and session.subscriptions is not None:
            session.subscriptions.remove(unpacked(what))


def packed(value: Any) -> str:
    """A JSON value as one word."""
    return urlsafe_b64encode(orjson.dumps(value)).decode("ascii")


def unpacked(word: str) -> Any:
    """The value of ``packed``."""
    return orjson.loads(urlsafe_b64decode(word))
