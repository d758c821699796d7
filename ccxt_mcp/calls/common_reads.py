"""Public answers that all replicas share.

Owns: what a question is called in the store, the form of an answer there, and its bounds. Refuses:
this process's own answers (``public_reads``), who fetches (``cluster.sharing``), and whatever is an
account's: only ``PublicReads`` asks here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, cast

import orjson

from ccxt_mcp import __version__
from ccxt_mcp.cluster.packing import Unpackable, packed, unpacked
from ccxt_mcp.cluster.sharing import Duty, Given, Sharing
from ccxt_mcp.mechanisms.freshness import Entry, Reading

__all__ = ["LONGEST_KEPT", "CommonReads", "Question"]

Question = tuple[str, str, Hashable]

LONGEST_KEPT = 3600.0
"""Seconds for which an answer is kept in the store at most, whatever its own bound."""

MOST_PACKED = 1_000_000
"""Bytes of one answer in the store; one that is larger is each replica's own."""
_MOST = 16_000_000
"""Bytes of one answer as JSON."""

_PATIENCE = 5.0
"""Seconds after which a replica that asks an exchange is believed to be dead. One that is merely
slow is answered as well; then there has been a second request."""


class CommonReads:
    """Answers by question, in the store.

    Args:
        sharing: who fetches.
        identity: of a profile's name, what its exchange is: replicas may be configured differently.
    """

    def __init__(self, sharing: Sharing, identity: Callable[[str], str]) -> None:
        self._sharing = sharing
        self._identity = identity

    async def get(
        self,
        question: Question,
        max_age: float,
        keep: float,
        ask: Callable[[], Coroutine[Any, Any, Any]],
        alone: Callable[[], Reading],
    ) -> tuple[Entry[Any], bool]:
        """An answer that is at most ``max_age`` seconds old, and whether another replica asked.

        Args:
            keep: seconds for which it is good for anybody.
            ask: asks the exchange.
            alone: this moment, where the store does not tell.

        Raises:
            Failure: what the asking came to.
        """
        name = self._name(question)
        if name is None or max_age <= 0:
            return await _asked(ask, alone()), False
        turn = await self._sharing.ask(name, max_age=max_age, patience=_PATIENCE)
        if isinstance(turn, Given):
            try:
                data = await unpacked(turn.data, most=_MOST)
                return Entry(orjson.loads(data), turn.asked, len(data)), True
            except (Unpackable, ValueError):
                # Nobody shall trip over it again.
                self._sharing.discard(name)
                return await _asked(ask, alone()), False
        if turn is None:
            return await _asked(ask, alone()), False
        return await self._fetched(turn, keep, ask), False

    async def _fetched(
        self, duty: Duty, keep: float, ask: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Entry[Any]:
        with duty:
            value = await ask()
            data = orjson.dumps(value)
            if len(data) <= _MOST:
                kept = await packed(data)
                if len(kept) <= MOST_PACKED:
                    duty.deposit(kept, ttl=min(keep, LONGEST_KEPT))
            return Entry(value, duty.asked, len(data))

    def discard(self, question: Question) -> None:
        """Forget an answer for all replicas; what each keeps for itself lives out its moment."""
        name = self._name(question)
        if name is not None:
            self._sharing.discard(name)

    def _name(self, question: Question) -> str | None:
        exchange, method, rest = question
        project, spelled = cast(tuple[Callable[..., Any], bytes], rest)
        made = getattr(project, "__qualname__", "<")
        if "<" in made:
            # What a function inside a function makes of an answer has no name.
            return None
        parts = (
            __version__,
            self._identity(exchange),
            method,
            f"{project.__module__}.{made}",
            spelled.decode(),
        )
        return "read/" + hashlib.sha256(orjson.dumps(parts)).hexdigest()


async def _asked(ask: Callable[[], Coroutine[Any, Any, Any]], now: Reading) -> Entry[Any]:
    value = await ask()
    return Entry(value, now, len(orjson.dumps(value)))
