"""Asking other replicas something, and waiting a moment for what they say.

Owns: which questions of this node wait for answers. Refuses: to wait for a replica that does not
listen, and for any longer than a moment: who does not answer may be gone.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Failure

__all__ = ["PATIENCE", "Reach"]

PATIENCE = 1.0
"""Seconds that answers of others are waited for."""


class _Question:
    __slots__ = ("answers", "changed")

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.changed = asyncio.Event()


class Reach:
    """Questions over the mail of one node. Mutable: ``_asked``, by the number of the question.

    On the wire: ``<topic> <number> <asking node> <words>``, answered by ``heard <number> <node>
    <answer>``.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self._asked: dict[str, _Question] = {}
        self._numbers = itertools.count(1)
        node.on("heard", self._heard)

    def on(self, topic: str, handler: Callable[..., str | None]) -> None:
        """Answer questions about a topic: ``handler`` is given its words, at once, on the loop."""

        def asked(rest: str) -> None:
            number, asking, *words = rest.split(" ")
            answer = handler(*words) or "-"
            self.node.tell(asking, f"heard {number} {self.node.id} {answer}")

        self.node.on(topic, asked)

    async def ask(self, nodes: Iterable[str], topic: str, *words: str) -> dict[str, str]:
        """What other nodes answer within a moment, by node."""
        others = [node for node in nodes if node != self.node.id]
        if not others:
            return {}
        number = f"{next(self._numbers):x}"
        question = self._asked[number] = _Question()
        message = " ".join((topic, number, self.node.id, *words))
        try:
            told = await asyncio.gather(*(self._tell(node, message) for node in others))
            listening = {node for node, there in zip(others, told, strict=True) if there}
            try:
                async with asyncio.timeout(PATIENCE):
                    while listening - question.answers.keys():
                        question.changed.clear()
                        await question.changed.wait()
            except TimeoutError:
                pass
            return question.answers
        finally:
            del self._asked[number]

    async def ask_all(self, record: str, topic: str, *words: str) -> dict[str, str]:
        """The same of all nodes that may have parts of what a record is about; of none, where the
        store cannot be asked or there is no such record."""
        try:
            found = await self.node.store.records.read(record)
        except Failure:
            return {}
        return {} if found is None else await self.ask(found.nodes, topic, record, *words)

    async def _tell(self, node: str, message: str) -> bool:
        try:
            return await self.node.store.mail.tell(node, message)
        except Failure:
            return False

    def _heard(self, rest: str) -> None:
        number, node, answer = rest.split(" ", 2)
        question = self._asked.get(number)
        if question is not None:
            question.answers[node] = answer
            question.changed.set()
