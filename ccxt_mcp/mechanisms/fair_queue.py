"""A queue that serves flows fairly: start-time fair queueing.

Owns: the order of those who wait. Each flow's first entry has a start tag: the virtual time at
which it came, or at which the flow's last served entry ended, whichever is later; the least tag is
next. A flow that asks for much waits behind its own requests, not others' behind them. Refuses:
time, futures, deadlines.

Fairness: while two flows both have entries waiting, what they have been served differs by at most
the cost of one entry of each (Goyal, Vin, Cheng 1997, theorem 1). An entry that is removed unserved
leaves no trace.

``bound`` limits how far a flow is put back for what it had before. Without that, a flow that asked
for something dear among many that ask for something cheap waits for its next turn until every one
of them has had as much, longer than anybody's patience.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

T = TypeVar("T")


class _Flow(Generic[T]):
    __slots__ = ("entries", "place", "tag")

    def __init__(self, tag: float) -> None:
        # The start tag of the first entry, or where the last served one ended.
        self.tag = tag
        self.place = -1
        self.entries: deque[tuple[float, T]] = deque()


class FairQueue(Generic[T]):
    """Entries with a cost, in flows.

    Attributes:
        cost: the sum of all entries.
        active: how many flows have entries.

    Invariants: ``cost`` and ``active`` are what they say; a flow with entries has exactly one valid
    place in ``_order``; ``_now`` never falls while anybody waits; flows are forgotten once their
    tag says nothing any more.
    """

    __slots__ = (
        *("_count", "_enforced", "_flows", "_most", "_now", "_order", "_places"),
        *("active", "cost"),
    )

    def __init__(self) -> None:
        self.cost = 0.0
        self.active = 0
        self._most = self._enforced = inf
        self._count = 0
        self._now = 0.0
        self._places = 0
        self._flows: dict[Hashable, _Flow[T]] = {}
        self._order: list[tuple[float, int, _Flow[T]]] = []

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for flow in self._flows.values():
            for _, item in flow.entries:
                yield item

    def push(self, flow: Hashable, cost: float, item: T) -> None:
        """Put ``item`` behind those of its flow."""
        found = self._flows.get(flow)
        if found is None:
            if len(self._flows) > 2 * self._count + 64:
                self._forget()
            found = self._flows[flow] = _Flow(self._now)
        found.entries.append((cost, item))
        self._count += 1
        self.cost += cost
        if len(found.entries) == 1:
            self.active += 1
            found.tag = min(max(found.tag, self._now), self._now + self._most)
            self._place(found)

    def bound(self, most: float) -> None:
        """From now on nobody is more than ``most`` units of service to each flow behind."""
        self._most = most
        if most > self._enforced / 2:
            # By halves: putting all in order again at every step would cost more than it gives.
            return
        self._enforced = most
        for flow in self._flows.values():
            flow.tag = min(flow.tag, self._now + most)
        self._reorder()

    def head(self) -> tuple[float, T] | None:
        """Cost and item of whom to serve next."""
        order = self._order
        while order:
            _, place, flow = order[0]
            if flow.place == place and flow.entries:
                return flow.entries[0]
            heappop(order)
        return None

    def first(self, most: int) -> list[tuple[float, T]]:
        """Cost and item of those who are served next, in order, if nobody else comes."""
        head = self.head()
        if head is None or most == 1:
            return [] if head is None else [head]
        order = [
            (tag, place, flow, 0)
            for tag, place, flow in self._order
            if flow.place == place and flow.entries
        ]
        heapify(order)
        found: list[tuple[float, T]] = []
        while order and len(found) < most:
            tag, place, flow, number = heappop(order)
            entry = flow.entries[number]
            found.append(entry)
            if number + 1 < len(flow.entries):
                heappush(order, (tag + min(entry[0], self._most), place, flow, number + 1))
        return found

    def serve(self, flow: Hashable, item: T) -> None:
        """Remove an entry as served, although others may have come before it meanwhile."""
        head = self.head()
        if head is not None and head[1] is item:
            self.pop()
            return
        found = self._flows[flow]
        entry = next(each for each in found.entries if each[1] is item)
        found.entries.remove(entry)
        self._now = max(self._now, found.tag)
        found.tag += min(entry[0], self._most)
        found.place = -1
        if not found.entries:
            self.active -= 1
        self._gone(entry[0])
        if found.entries:
            self._place(found)

    def pop(self, *, served: bool = True) -> None:
        """Remove the head; unserved, its flow keeps its turn. ``IndexError`` if there is none."""
        if self.head() is None:
            raise IndexError("nobody waits")
        tag, _, flow = heappop(self._order)
        cost, _ = flow.entries.popleft()
        if served:
            self._now = tag
            flow.tag = tag + min(cost, self._most)
        if not flow.entries:
            self.active -= 1
        self._gone(cost)
        if flow.entries:
            self._place(flow)

    def remove(self, flow: Hashable, item: T) -> bool:
        """Take an entry out, unserved; whether it was there."""
        found = self._flows.get(flow)
        entry = next((e for e in found.entries if e[1] is item), None) if found else None
        if found is None or entry is None:
            return False
        found.entries.remove(entry)
        if not found.entries:
            found.place = -1
            self.active -= 1
        self._gone(entry[0])
        return True

    def waiting(self, flow: Hashable) -> int:
        """How many entries a flow has."""
        found = self._flows.get(flow)
        return 0 if found is None else len(found.entries)

    def ahead(self, flow: Hashable) -> float:
        """What is served before a new entry of ``flow``, if nobody else comes."""
        found = self._flows.get(flow)
        mine, before, most = self._now, 0.0, self._most
        if found is not None:
            before = sum(cost for cost, _ in found.entries)
            mine = max(found.tag, self._now) + sum(min(cost, most) for cost, _ in found.entries)
        for each in self._flows.values():
            if each is not found:
                tag = each.tag
                for cost, _ in each.entries:
                    if tag > mine:
                        break
                    before += cost
                    tag += min(cost, most)
        return before

    def _place(self, flow: _Flow[T]) -> None:
        self._places += 1
        flow.place = self._places
        if len(self._order) > 2 * len(self._flows) + 64:
            self._reorder()
        heappush(self._order, (flow.tag, flow.place, flow))

    def _reorder(self) -> None:
        self._order = [
            (flow.tag, place, flow)
            for _, place, flow in self._order
            if flow.place == place and flow.entries
        ]
        heapify(self._order)

    def _gone(self, cost: float) -> None:
        self._count -= 1
        self.cost -= cost
        if not self._count:
            # Nobody waits: whoever comes next owes nobody anything.
            self.cost = self._now = 0.0
            self._enforced = inf
            self._flows.clear()
            self._order.clear()

    def _forget(self) -> None:
        self._flows = {
            key: flow for key, flow in self._flows.items() if flow.entries or flow.tag > self._now
        }
