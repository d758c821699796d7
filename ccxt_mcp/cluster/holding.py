"""Leases as this node holds them: taken, renewed, checked, and known to be lost in time.

Owns: the leases of one node, and whether each is surely held by the node's own steady clock.
Refuses: what they are for, and to believe that a lease is held because nobody has said otherwise: a
process that slept finds out before its next send, not after it.

A lease lasts ``LENGTH`` seconds of the store's clock and is renewed every ``RENEW``. What is left
of it is counted from before the store was asked, so this node's idea ends no later than the
store's; ``MARGIN`` is kept for what lies between a check and the bytes on the wire. A process that
stops for longer than that margin exactly there sends once without the lease: that window remains.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.store.protocol import Claim

__all__ = ["HELD", "LENGTH", "RENEW", "Holding", "Leaseholder", "check_held"]

LENGTH = 6.0
RENEW = 2.0
MARGIN = 0.5
_LOOK = 0.25
"""Seconds between looks at what is held."""
_AGAIN = 0.5
"""Seconds after which a lease is given up again where the store was away."""

_now: Callable[[], float] = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
"""Steady seconds, of which none is left out while the machine sleeps, where the system can tell: a
lease does not sleep with it."""


class Holding:
    """One lease, held. Mutable: ``until`` (steady seconds; rises with renewals), ``lost`` (never
    unset), ``asked`` (when it was renewed last)."""

    __slots__ = ("_on_loss", "asked", "lost", "mark", "name", "token", "until", "version")

    def __init__(
        self,
        name: str,
        token: str,
        asked: float,
        until: float,
        mark: int,
        version: int,
        on_loss: Callable[[], None] | None,
    ) -> None:
        self.name = name
        self.token = token
        self.asked = asked
        self.until = until
        self.mark = mark
        self.version = version
        self.lost = False
        self._on_loss = on_loss

    @property
    def sure(self) -> bool:
        """Whether nobody else can hold it now."""
        return not self.lost and _now() < self.until - MARGIN

    def check(self) -> None:
        """Raises ``Failure`` (``store_unavailable``) unless the lease is surely held."""
        if not self.sure:
            self.lose()
            raise Failure(
                Code.STORE_UNAVAILABLE,
                "this replica could not keep its turn in time, so nothing more was sent",
                retry_after=LENGTH,
            )

    def on_loss(self, told: Callable[[], None] | None) -> None:
        """Whom to tell once when it is lost; at once, if it has been."""
        self._on_loss = told
        if self.lost and told is not None:
            told()

    def lose(self) -> None:
        """It is not held any more, or not surely."""
        if not self.lost:
            self.lost = True
            if self._on_loss is not None:
                self._on_loss()

    def __repr__(self) -> str:
        return f"<Holding {self.name} {'lost' if self.lost else 'held'}>"


HELD: ContextVar[tuple[Holding, ...]] = ContextVar("ccxt_mcp_held", default=())
"""What the call at hand may only go on with while it is held."""


def check_held() -> None:
    """Immediately before each send. Raises ``Failure`` where a lease of the call may be another's
    by now."""
    for each in HELD.get():
        each.check()


class Leaseholder:
    """All leases of a node.

    Mutable: ``_held`` (by token), ``_waiting`` (by token of who takes: set when it may have been
    granted), ``_renewing`` (tokens whose renewal is under way).
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._leases = node.store.leases
        self._held: dict[str, Holding] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self._renewing: set[str] = set()
        self._tokens = itertools.count(1)
        self._task: asyncio.Task[None] | None = None
        node.on("granted", self._granted)
        node.on_missed(self._missed)

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<Leaseholder {len(self._held)} held, {len(self._waiting)} wait>"

    async def start(self) -> None:
        """Begin to look after what is held."""
        self._task = asyncio.create_task(self._look_after())

    async def stop(self) -> None:
        """Renew nothing more; what is still held is lost in time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def take(
        self,
        name: str,
        *,
        reserve: int = 0,
        ahead: int = 0,
        record: bool = False,
        ttl: float = 0.0,
        patience: float = math.inf,
        on_loss: Callable[[], None] | None = None,
    ) -> Holding | None:
        """Wait in line for a lease; as long as the caller does.

        Args:
            patience: seconds in line, at most; the store is asked at least once.

        Returns:
            The lease; None where the record that has to be there (``record``) is not.

        Raises:
            Failure: ``store_unavailable``.
            TimeoutError: it was not the caller's turn in time.
        """
        token = f"{self._node.id}-{next(self._tokens):x}"
        # From before the first claim: that it was granted may be heard before its answer is.
        told = self._waiting[token] = asyncio.Event()
        asked = _now()
        end = asked + patience
        try:
            while True:
                claimed = await self._leases.claim(
                    name,
                    token,
                    node=self._node.id,
                    length=LENGTH,
                    reserve=reserve,
                    ahead=ahead,
                    record=record,
                    ttl=ttl,
                )
                if claimed.state is Claim.GRANTED:
                    holding = Holding(
                        name,
                        token,
                        asked,
                        asked + claimed.left,
                        claimed.mark,
                        claimed.version,
                        on_loss,
                    )
                    if holding.sure:
                        self._held[token] = holding
                        return holding
                elif claimed.state is Claim.MISSING:
                    return None
                try:
                    async with asyncio.timeout(max(min(claimed.wait, end - _now()), 0.001)):
                        await told.wait()
                except TimeoutError:
                    if _now() >= end:
                        raise
                told.clear()
                asked = _now()
        except BaseException:
            # Asked for, and perhaps granted: nobody waits for it any more.
            self._node.later(self._take_back(name, token))
            raise
        finally:
            del self._waiting[token]

    def give(
        self,
        holding: Holding,
        *,
        mark: int | None = None,
        tally: Mapping[str, float] | None = None,
    ) -> None:
        """Give a lease up, without waiting for the store to hear of it."""
        self._held.pop(holding.token, None)
        self._node.later(self._release(holding.name, holding.token, mark, tally))

    def _granted(self, rest: str) -> None:
        name, _, token = rest.rpartition(" ")
        told = self._waiting.get(token)
        if told is not None:
            told.set()
        elif token not in self._held and token.startswith(self._node.id + "-"):
            # Whoever waited has gone; the leaving and the granting have crossed.
            self._node.later(self._release(name, token))

    async def _take_back(self, name: str, token: str) -> None:
        await self._release(name, token)
        # The claim may still be on its way, on a connection that has been replaced since.
        await asyncio.sleep(_AGAIN)
        await self._release(name, token)

    async def _release(
        self,
        name: str,
        token: str,
        mark: int | None = None,
        tally: Mapping[str, float] | None = None,
    ) -> None:
        end = _now() + LENGTH
        while True:
            try:
                return await self._leases.release(
                    name, token, length=LENGTH, mark=mark, tally=tally
                )
            except Failure:
                # Who waits for it does not wait for its end where the store is back before.
                if _now() + _AGAIN >= end:
                    raise
            await asyncio.sleep(_AGAIN)

    def _missed(self) -> None:
        for told in self._waiting.values():
            told.set()

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            now = _now()
            for holding in list(self._held.values()):
                if not holding.sure:
                    holding.lose()
                elif now - holding.asked >= RENEW and holding.token not in self._renewing:
                    self._renewing.add(holding.token)
                    self._node.later(self._renew(holding))

    async def _renew(self, holding: Holding) -> None:
        try:
            asked = _now()
            if await self._leases.renew(holding.name, holding.token, length=LENGTH):
                holding.asked, holding.until = asked, asked + LENGTH
            elif holding.token in self._held:
                holding.lose()
        finally:
            self._renewing.discard(holding.token)
