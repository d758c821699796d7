"""One common budget as this replica sees it: what it has of it, and what it has yet to say.

Owns: the charges that this replica holds, what the store is to be told of them, and what the store
said last. Refuses: who is to have a charge (``limiter``), and when to speak.

What is told late only ever makes the count too high: a charge counts in full until the store hears
of its answer, and for ``transit`` at most. So where there is room enough for everybody, an answer
is told with whatever is said next, and costs no round trip of its own. Two things would make it too
low, and are told in time: a charge whose request has not been sent yet, while it waits for
something else, is held up every half of ``transit``; and a request that was sent long after its
charge was taken (a process that slept) counts anew.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.mechanisms.rate_limit import Rules
from ccxt_mcp.store.protocol import Act, Do, Known, Spent

__all__ = ["SLACK", "CommonBudget", "CommonCharge"]

SLACK = 0.25
"""Seconds between a charge and its request that need not be told: ``transit`` is that longer."""
_MOST_UNSAID = 10_000
_ROOMY = 0.25
"""Share of the burst that has to be free, else the store hears of an answer at once."""
_numbers = itertools.count(1)
"""Charges of this process, whose replicas have ids of their own."""


class CommonCharge:
    """What one request costs. ``open`` until it is settled or given back; ``held`` is when the
    store was last asked to count it in full (event-loop time)."""

    __slots__ = ("cost", "held", "id", "open")

    def __init__(self, name: str, cost: float, held: float) -> None:
        self.id = name
        self.cost = cost
        self.held = held
        self.open = True

    def __repr__(self) -> str:
        return f"<CommonCharge {self.cost:g} {'open' if self.open else 'closed'}>"


class CommonBudget:
    """See the module.

    Args:
        nudge: called when the store is to be told something.

    Mutable: ``_unsaid`` (in order), ``_answered`` (charges whose answer is told with what is said
    next, if that is soon), ``_unsent`` (charges whose request has yet to go), ``_block``
    and ``_ban`` (event-loop times that the store has not heard of; 0 for none), ``_told`` (its last
    answer, and when that was asked for), ``_upholding`` (set while anything is unsent),
    ``strikes``.
    """

    def __init__(
        self, node: Node, place: str, part: str, rules: Rules, nudge: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._node = node
        self._nudge = nudge
        self._place = place
        self._part = part
        self._rules = replace(rules, transit=rules.transit + SLACK)
        self._unsaid: list[Act] = []
        self._answered: list[CommonCharge] = []
        self._observed = 0.0
        self._unsent: dict[str, CommonCharge] = {}
        self._upholding: asyncio.TimerHandle | None = None
        self._block = self._ban = 0.0
        self._told: tuple[Spent, float] | None = None
        self._remembered = rules.transit + max((w.seconds for w in rules.windows), default=60.0)
        self.strikes = 0

    @property
    def unsaid(self) -> bool:
        """Whether the store has yet to hear something that cannot wait for company."""
        return bool(self._unsaid or self._observed or self._block or self._ban)

    @property
    def idle(self) -> bool:
        """Nothing is held, and nothing unsaid or remembered."""
        return not (self.unsaid or self._unsent or self.counted)

    @property
    def counted(self) -> float:
        """Units that counted when the store was last asked, if that still says anything."""
        if self._told is None or self._loop.time() - self._told[1] > self._remembered:
            return 0.0
        return self._told[0].counted

    @property
    def roomy(self) -> bool:
        """Whether the store said last that there is plenty for everybody."""
        return self._told is not None and self._told[0].room >= _ROOMY * self._rules.burst

    def name(self) -> str:
        """For a charge that nobody else has, or ever had."""
        return f"{self._node.id}-{next(_numbers):x}"

    def given(self, name: str, cost: float, asked: float) -> CommonCharge:
        """A charge that the store gave when it was asked at that time."""
        charge = self._unsent[name] = CommonCharge(name, cost, asked)
        if self._upholding is None:
            self._upholding = self._loop.call_later(self._rules.transit / 2, self._hold_up)
        return charge

    def sent(self, charge: CommonCharge) -> None:
        """Its request goes out now."""
        self._unsent.pop(charge.id, None)
        if (now := self._loop.time()) - charge.held > SLACK:
            charge.held = now
            self._say(Act(Do.HOLD, charge.id, charge.cost))

    def settle(self, charge: CommonCharge) -> None:
        """Its request has been answered. Again is nothing."""
        if charge.open:
            charge.open = False
            self._unsent.pop(charge.id, None)
            if self.roomy:
                self._answered.append(charge)
            else:
                self._say(Act(Do.SETTLE, charge.id))

    def refund(self, charge: CommonCharge) -> None:
        """Its request was never sent."""
        if charge.open:
            charge.open = False
            self._unsent.pop(charge.id, None)
            self.forget(charge.id)

    def forget(self, name: str) -> None:
        """Nobody wants a charge of that name any more, whether it was given or not."""
        self._say(Act(Do.REFUND, name))

    def observe(self, used: float) -> None:
        """The venue counts so much."""
        self._observed = max(self._observed, used)
        self._nudge()

    def block(self, until: float) -> None:
        """Nobody is to be given anything before that."""
        self._block = max(self._block, until)
        self._nudge()

    def ban(self, until: float) -> None:
        """Nobody is to be given anything of any part of the place before that."""
        self._ban = max(self._ban, until)
        self._nudge()

    def exhaust(self) -> None:
        """The venue refused: the bucket is full, after ``strikes`` in a row."""
        self._say(Act(Do.EXHAUST))
        self._say(Act(Do.STRIKES, amount=self.strikes))

    def forgive(self) -> None:
        """The venue answers again."""
        if self.strikes:
            self.strikes = 0
            self._say(Act(Do.STRIKES))

    async def speak(self, asks: list[Act]) -> Spent:
        """Say what is unsaid, and ask for charges. Raises ``Failure``; all is unsaid again then."""
        now = self._loop.time()
        said, self._unsaid = self._unsaid, []
        answered, self._answered = self._answered, []
        # The others have closed by themselves.
        fresh = [each for each in answered if now - each.held < self._rules.transit]
        said += [Act(Do.SETTLE, each.id) for each in fresh]
        block, ban = self._block, self._ban
        observed, self._observed = self._observed, 0.0
        acts = [*said]
        acts += [Act(Do.OBSERVE, amount=observed)] * (observed > 0.0)
        acts += [Act(Do.BLOCK, amount=block - now)] * (block > now)
        acts += [Act(Do.BAN, amount=ban - now)] * (ban > now)
        try:
            spent = await self._node.store.budgets.apply(
                self._place, self._part, self._rules, acts + asks, self._known(now)
            )
        except BaseException:
            self._unsaid = (said + self._unsaid)[-_MOST_UNSAID:]
            raise
        if self._block <= block:
            self._block = 0.0
        if self._ban <= ban:
            self._ban = 0.0
        self._told = (spent, now)
        if not any(act.do is Do.STRIKES for act in self._unsaid):
            self.strikes = spent.strikes
        return spent

    def _known(self, now: float) -> Known | None:
        if self._told is None or now - self._told[1] > self._remembered:
            return None
        spent, at = self._told
        blocked = max(0.0, at + spent.blocked - now)
        return Known(spent.born, spent.counted, now - at, blocked)

    def _say(self, act: Act) -> None:
        self._unsaid.append(act)
        self._nudge()

    def _hold_up(self) -> None:
        now, half = self._loop.time(), self._rules.transit / 2
        for charge in self._unsent.values():
            if now - charge.held >= half:
                charge.held = now
                self._say(Act(Do.HOLD, charge.id, charge.cost))
        self._upholding = self._loop.call_later(half, self._hold_up) if self._unsent else None

    def __repr__(self) -> str:
        return f"<CommonBudget {self._part!r} {self.counted:g} counted>"
