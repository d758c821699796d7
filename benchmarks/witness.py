"""What really happened inside a server: in which order calls arrived and ran, and what is left.

Owns: recording at three public seams (the ASGI application, the entry of `tools/call` below the
lane, the slots of the admission) and the list of what must be gone when nothing is under way.
Refuses: to change what it watches; it adds no await between an arrival and its lane.

A call is known by its number, which the client puts into the header `x-call` and into `_meta`. It
has *arrived* when the application has received the last byte of its body: from there on this server
alone decides the order. It *runs* while the tool's handler, which the lane guards, is entered.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp_types import CallToolRequestParams
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from ccxt_mcp.mechanisms.admission import Admission, Slot
from ccxt_mcp.mechanisms.rate_limit import Limiter
from ccxt_mcp.model import CALLER
from ccxt_mcp.product import Product
from ccxt_mcp.simulation import SimulatedExchange
from ccxt_mcp.transport.session import SESSION

__all__ = [
    "CALL",
    "HEADER",
    "OWNER",
    "Admitting",
    "Grant",
    "Witness",
    "leftovers",
    "task_names",
    "until_nothing_is_left",
]

HEADER = b"x-call"
CALL = "chaos/call"
OWNER = "chaos/session"


@dataclass(slots=True, eq=False)
class Grant:
    """One call's way to its slot, in seconds on the loop's clock.

    `before` is how many slots had been given when it asked, `turn` its place among them.
    """

    number: int
    group: tuple[str, str | None]
    flow: Hashable
    asked: float
    granted: float = inf
    left: float = inf
    turn: int = -1
    before: int = 0


class _Watched(Slot):
    __slots__ = ("_book", "_grant")

    def __init__(
        self, book: Admitting, group: tuple[str, str | None], flow: Hashable, inner: Slot
    ) -> None:
        super().__init__(inner._admission, group, flow)
        self._book = book
        now = asyncio.get_running_loop().time()
        self._grant = Grant(len(book.asked), group, flow, now)
        book.asked.append(self._grant)

    async def __aenter__(self) -> None:
        grant = self._grant
        grant.before = self._book.taken
        await super().__aenter__()
        grant.turn, grant.granted = len(self._book.given), asyncio.get_running_loop().time()
        self._book.given.append(grant)

    def release(self) -> None:
        # Also where a shared read has taken the slot over, and nobody leaves the block.
        self._grant.left = asyncio.get_running_loop().time()
        super().release()


class Admitting(Admission):
    """The product's own admission, with a record of who asked for a slot and who got one."""

    def __init__(self, *, total: int, per_exchange: int, per_key: int, queue: int) -> None:
        super().__init__(total=total, per_exchange=per_exchange, per_key=per_key, queue=queue)
        self.asked: list[Grant] = []
        self.given: list[Grant] = []
        """In the order in which the calls went on with their slots."""
        self.taken = 0

    @classmethod
    def of(cls, product: Product) -> Admitting:
        """In place of a product's own, with the bounds of its settings."""
        total = product.settings.max_calls
        made = cls(
            total=total,
            per_exchange=max(1, total // 2),
            per_key=max(1, total // 4),
            queue=product.settings.call_queue_max,
        )
        product.calls.admission = made
        return made

    def _take(self, group: tuple[str, str | None]) -> None:
        # A slot is given some loop steps before its call goes on.
        self.taken += 1
        super()._take(group)

    def slot(self, exchange: str, key: str | None, flow: Hashable) -> Slot:
        return _Watched(self, (exchange, key), flow, super().slot(exchange, key, flow))


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


@dataclass(slots=True)
class Witness:
    """The record of one server."""

    arrived: dict[int, int] = field(default_factory=dict)
    """Number of a call -> its place in the order of arrival."""
    runs: dict[Hashable, list[tuple[bool, int]]] = field(default_factory=dict)
    """Session -> (begins, number) in the order in which it happened."""
    holders: dict[Any, int] = field(default_factory=dict)
    """Owner, as the client says -> the number of the call that runs for it."""
    ran: Counter[int] = field(default_factory=Counter)
    complaints: _Complaints = field(default_factory=_Complaints)
    _places: itertools.count[int] = field(default_factory=itertools.count)

    def __enter__(self) -> Witness:
        logging.getLogger().addHandler(self.complaints)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self.complaints)

    def watch(self, product: Product) -> None:
        """Stand at the tools' entry; before `create_app`, which puts the lane in front of it."""
        registered = product.server.get_request_handler("tools/call")
        assert registered is not None
        entry = registered.handler

        async def noted(ctx: ServerRequestContext[Any, Any], params: Any) -> Any:
            meta: dict[str, Any] = dict(ctx.meta or {})
            number = meta.get(CALL)
            if not isinstance(number, int):
                return await entry(ctx, params)
            # A session that is ended and opened again under its name is another one. The record
            # holds it, so that its identity is not used again. A workflow's is known by its name.
            session: Hashable = SESSION.get() or CALLER.get().session
            runs, owner = self.runs.setdefault(session, []), meta.get(OWNER)
            runs.append((True, number))
            self.ran[number] += 1
            self.holders[owner] = number
            try:
                if "progressToken" in meta:
                    await ctx.session.report_progress(1, 2, "begun")
                return await entry(ctx, params)
            finally:
                runs.append((False, number))
                if self.holders.get(owner) == number:
                    del self.holders[owner]

        product.server.add_request_handler("tools/call", CallToolRequestParams, noted)

    def application(self, app: Starlette) -> Any:
        """The application, with every call's arrival noted."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            number = next((v for k, v in scope.get("headers", ()) if k == HEADER), None)
            if number is None:
                await app(scope, receive, send)
                return

            async def noting() -> Message:
                message = await receive()
                if message["type"] == "http.request" and not message.get("more_body"):
                    self.arrived.setdefault(int(number), next(self._places))
                return message

            await app(scope, noting, send)

        return watched

    def disorder(self) -> list[str]:
        """Calls of one session that ran together, or not in the order of their arrival."""
        wrong = []
        for session, runs in self.runs.items():
            holder: int | None = None
            latest = -1
            for begins, number in runs:
                if not begins:
                    holder = None
                    continue
                if holder is not None:
                    wrong.append(f"{session}: {number} began while {holder} ran")
                place = self.arrived.get(number)
                if place is None:
                    wrong.append(f"{session}: {number} ran and never arrived")
                elif place < latest:
                    wrong.append(f"{session}: {number} ran after one that arrived later")
                else:
                    latest = place
                holder = number
        return wrong


def task_names() -> Counter[str]:
    """Tasks of this loop by what they run, without the venue's one per connection."""
    names = (
        getattr(task.get_coro(), "__qualname__", "?")
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task()
    )
    return Counter(name for name in names if not name.startswith("RequestHandler."))


def leftovers(
    product: Product, app: Starlette, venues: list[SimulatedExchange], tasks: Counter[str]
) -> list[str]:
    """What is held although nothing should be under way; `tasks` are those of a quiet server."""
    left = []
    for session in list(app.state.registry._sessions.values()):
        held = {
            "requests": session.requests,
            "lane": session.lane.busy or session.lane.waiting,
            "running": session.running,
            "stream": session.listening,
            "questions": session.asking,
        }
        left += [f"{session}: {what} {value!r}" for what, value in held.items() if value]
    admission = product.calls.admission
    if admission.running or admission.waiting or admission._of_exchange or admission._of_group:
        left.append(repr(admission))
    gateway = product.gateway
    for name, room in gateway._rooms.items():
        if room._leases or room._waiting:
            left.append(repr(room))
        connector = getattr(getattr(room._session, "_session", None), "connector", None)
        if used := len(getattr(connector, "_acquired", ())):
            left.append(f"{name}: {used} connections in use")
    for limiter in gateway._around.limits._limiters.values():
        # The snapshot is what makes a ledger forget.
        limiter.snapshot()
        flying = isinstance(limiter, Limiter) and limiter._ledger.flying > 1e-6
        if limiter.waiting or limiter._timer is not None or flying:
            left.append(repr(limiter))
    for lane in gateway._nonces._lanes.values():
        if lane.waiting or lane._turns.busy:
            left.append(repr(lane))
    left += [
        f"the venue has {n} requests under way"
        for n in (venue.counters.snapshot().in_flight for venue in venues)
        if n
    ]
    if more := task_names() - tasks:
        left.append(f"tasks {dict(more)}")
    return left


async def until_nothing_is_left(
    product: Product,
    app: Starlette,
    venues: list[SimulatedExchange],
    tasks: Counter[str],
    *,
    within: float = 15.0,
) -> list[str]:
    """`leftovers`, as soon as there are none, or as they are after `within` seconds."""
    clock = asyncio.get_running_loop()
    until = clock.time() + within
    while (left := leftovers(product, app, venues, tasks)) and clock.time() < until:
        await asyncio.sleep(0.02)
    # What nobody asked about is told by its end.
    gc.collect()
    await asyncio.sleep(0)
    return left
