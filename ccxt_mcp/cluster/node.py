"""This replica among the others: its id, what it hears, and what it says without waiting.

Owns: the node's mailbox, led to whoever asked for a kind of message, and work for the store that
nobody waits for (``later``). Refuses: to know what messages mean.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from ccxt_mcp.errors import Failure
from ccxt_mcp.store.protocol import Store

__all__ = ["Node"]

_log = logging.getLogger("ccxt_mcp.cluster")

_TO_END = 2.0
"""Seconds that what was said last gets to arrive when the node leaves."""


class Node:
    """One replica.

    Args:
        store: what it has in common with the others.
        node_id: unique among all replicas that ever were; drawn when omitted.

    Mutable: ``_handlers`` (by the first word of a message), ``_missed``, ``_under_way``.
    """

    def __init__(self, store: Store, node_id: str | None = None) -> None:
        self.store = store
        self.id = node_id or secrets.token_hex(6)
        self._handlers: dict[str, Callable[[str], None]] = {}
        self._missed: list[Callable[[], None]] = []
        self._under_way: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Node {self.id} {len(self._under_way)} under way>"

    def on(self, kind: str, handler: Callable[[str], None]) -> None:
        """Call ``handler`` with the rest of each message whose first word is ``kind``; at once, on
        the loop, so it returns soon."""
        assert kind not in self._handlers, kind
        self._handlers[kind] = handler

    def on_missed(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` when messages may have been missed."""
        self._missed.append(handler)

    async def start(self) -> None:
        """Begin to hear. Where the store is away, as soon as it is back."""
        await self.store.mail.listen(self.id, self._heard)

    async def stop(self) -> None:
        """Let what was said last arrive."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_TO_END)
        late = list(self._under_way)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        await self.store.mail.unlisten(self.id)

    def later(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Do this without anybody waiting. A store that is away is no error here: all that is kept
        expires by itself."""
        task = asyncio.create_task(_quietly(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def tell(self, node: str, message: str) -> None:
        """Say something to one node, without waiting; to this one directly."""
        if node == self.id:
            self._heard(message)
        else:
            self.later(self.store.mail.tell(node, message))

    def _heard(self, message: str) -> None:
        if not message:
            for missed in self._missed:
                try:
                    missed()
                except Exception:
                    _log.exception("this node could not make up for what it may have missed")
            return
        kind, _, rest = message.partition(" ")
        handler = self._handlers.get(kind)
        if handler is None:
            # A newer replica beside this one may say more.
            return
        try:
            handler(rest)
        except Exception:
            _log.exception("a message to this node could not be handled: %s", kind)


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except Failure as failure:
        _log.debug("not said: %s", failure)
    except Exception:
        _log.exception("work that nobody waits for has failed")
