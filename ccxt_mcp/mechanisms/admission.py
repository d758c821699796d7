"""How many calls may be under way, in all and for one exchange and one key.

Owns: the slots, and who gets the next one. Refuses: a call when as many wait as may wait
(``overloaded``), and one of a session that has taken its share of that; to know what the calls do.

One exchange gets at most a part of the slots, so that one that hangs cannot stop the others. When
slots are short they go to the groups (exchange and key) in turn, and within a group to the sessions
fairly: a session with a hundred calls waiting does not put another's first one behind them. The
places to wait in are shared as well: nobody waits with more calls than there are places free, so
one flood takes half of them, two a third each, and something is left for whoever comes next.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Hashable

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.fair_queue import FairQueue
from ccxt_mcp.telemetry import Step, timed

__all__ = ["Admission", "Slot"]

Group = tuple[str, str | None]
"""(exchange, key); the key is None for calls without one."""


class Slot:
    """``async with`` around one call. Leaving it, in whatever way, gives the slot on."""

    __slots__ = ("_admission", "_flow", "_group")

    def __init__(self, admission: Admission, group: Group, flow: Hashable) -> None:
        self._admission = admission
        self._group = group
        self._flow = flow

    async def __aenter__(self) -> None:
        await self._admission._enter(self._group, self._flow)

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the slot on; for whoever took over a slot that another has entered."""
        self._admission._leave(self._group)


class Admission:
    """Slots for calls.

    Args:
        total: calls under way at once.
        per_exchange: of these, for one exchange.
        per_key: of these, for one key of an exchange.
        queue: calls that may wait.

    Mutable: ``_running`` and ``_of_exchange``/``_of_group`` count the same slots; ``_waiting`` has
    a queue for each group that somebody waits in. Whoever can run does not wait: after every change
    the slots have been given out.
    """

    def __init__(self, *, total: int, per_exchange: int, per_key: int, queue: int) -> None:
        self._total = total
        self._per_exchange = per_exchange
        self._per_key = per_key
        self._queue = queue
        self._running = 0
        self._of_exchange: Counter[str] = Counter()
        self._of_group: Counter[Group] = Counter()
        self._waiting: OrderedDict[Group, FairQueue[asyncio.Future[None]]] = OrderedDict()

    @property
    def running(self) -> int:
        """Calls under way."""
        return self._running

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return sum(len(queue) for queue in self._waiting.values())

    def slot(self, exchange: str, key: str | None, flow: Hashable) -> Slot:
        """A slot for one call of ``flow`` (a session).

        Entering it raises ``Failure`` (``overloaded``) when the queue is full, or the flow waits
        with as many calls as there are places left.
        """
        return Slot(self, (exchange, key), flow)

    async def _enter(self, group: Group, flow: Hashable) -> None:
        if group not in self._waiting and self._fits(group):
            self._take(group)
            return
        waiting = self.waiting
        mine = sum(queue.waiting(flow) for queue in self._waiting.values())
        if mine >= self._queue - waiting:
            raise Failure(
                Code.OVERLOADED,
                f"{self._running} calls are under way and {waiting} wait",
                hint="Wait `retryAfterMs`, then send the call again.",
                exchange=group[0],
                retry_after=1.0,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, FairQueue()).push(flow, 1.0, turn)
        try:
            with timed(Step.ADMISSION, group[0]):
                await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # Granted in the same loop step: the slot goes on to the next.
                self._leave(group)
            else:
                self._forget(group, flow, turn)
            raise

    def _fits(self, group: Group) -> bool:
        exchange, key = group
        return (
            self._running < self._total
            and self._of_exchange[exchange] < self._per_exchange
            and (key is None or self._of_group[group] < self._per_key)
        )

    def _take(self, group: Group) -> None:
        self._running += 1
        self._of_exchange[group[0]] += 1
        self._of_group[group] += 1

    def _leave(self, group: Group) -> None:
        self._running -= 1
        self._of_exchange[group[0]] -= 1
        self._of_group[group] -= 1
        # Zeros are dropped, or every exchange ever used would stay.
        if not self._of_exchange[group[0]]:
            del self._of_exchange[group[0]]
        if not self._of_group[group]:
            del self._of_group[group]
        self._give_out()

    def _give_out(self) -> None:
        """Give free slots to groups in turn: who got one goes to the end of the line."""
        given = True
        while given and self._running < self._total:
            given = False
            for group in list(self._waiting):
                if self._fits(group) and self._grant(group):
                    given = True
                    break

    def _grant(self, group: Group) -> bool:
        queue = self._waiting[group]
        while (head := queue.head()) is not None:
            turn = head[1]
            live = not turn.done()
            queue.pop(served=live)
            if live:
                self._take(group)
                turn.set_result(None)
                self._waiting.move_to_end(group)
                break
        if not len(queue):
            del self._waiting[group]
        return head is not None

    def _forget(self, group: Group, flow: Hashable, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(group)
        if queue is not None:
            queue.remove(flow, turn)
            if not len(queue):
                del self._waiting[group]

    def __repr__(self) -> str:
        return f"<Admission {self._running}/{self._total} running, {self.waiting} waiting>"
