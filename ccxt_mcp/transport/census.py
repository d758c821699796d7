"""What runs and waits in sessions now, at all replicas.

Owns: the question for it and the sum of its answers. Refuses: to wait for a replica that does not
answer: what it does is missing then, and the record's own word counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from ccxt_mcp.store.protocol import Record
from ccxt_mcp.transport.parts import Parts
from ccxt_mcp.transport.reach import Reach

__all__ = ["Census"]

_TOPIC = "busy"
_MOST = 2000
"""Sessions in one replica's answer; more hardly run or wait at one at once."""


class Census:
    """Live numbers of sessions.

    Args:
        reach: asks the others.
        parts: this replica's.
    """

    def __init__(self, reach: Reach, parts: Parts) -> None:
        self._reach = reach
        self._parts = parts
        reach.on(_TOPIC, self._answer)

    async def complete(
        self, sessions: Sequence[tuple[str, Record, dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Sessions as they are shown, with what runs and waits in each, wherever.

        Args:
            sessions: name, record, and what is shown by it.
        """
        nodes = frozenset[str]().union(*(record.nodes for _, record, _ in sessions))
        tables: list[Mapping[str, tuple[int, int]]] = [self._here()]
        for answer in (await self._reach.ask(nodes, _TOPIC)).values():
            tables.append(_read(answer))
        return [{**shown, **_together(name, record, tables)} for name, record, shown in sessions]

    def _here(self) -> dict[str, tuple[int, int]]:
        busy = (
            (each.part.name, (int(each.lane.busy), each.lane.waiting))
            for each in self._parts.all()
            if each.part is not None and (each.lane.busy or each.lane.waiting)
        )
        return dict(islice(busy, _MOST))

    def _answer(self) -> str:
        return orjson.dumps(self._here()).decode()


def _read(answer: str) -> Mapping[str, tuple[int, int]]:
    try:
        said = orjson.loads(answer)
        return {str(name): (int(runs), int(waits)) for name, (runs, waits) in said.items()}
    except (ValueError, TypeError, AttributeError):
        # A newer replica beside this one may say it otherwise.
        return {}


def _together(
    name: str, record: Record, tables: Sequence[Mapping[str, tuple[int, int]]]
) -> dict[str, int]:
    found = [table[name] for table in tables if name in table]
    first = sum(runs for runs, _ in found)
    # The first at each replica; of all of them one runs, the others wait for it.
    runs = min(1, first) if found else int(record.held)
    return {"inFlight": runs, "queued": sum(waits for _, waits in found) + max(0, first - runs)}
