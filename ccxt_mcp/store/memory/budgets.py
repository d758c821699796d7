"""Common rate limits in memory.

Owns: one ledger for each part of a place, the line before it, and the places' bans. Refuses: the
arithmetic (``mechanisms.ledger``) and waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ccxt_mcp.mechanisms.ledger import Charge, Ledger, Rules
from ccxt_mcp.store.memory.ground import Expiring, Ground
from ccxt_mcp.store.protocol import PATIENCE, Act, Do, Known, Spent

__all__ = ["MemoryBudgets"]

_EPS = 1e-9
_SLOWEST = 0.2
"""The least share of its rate at which a bucket drains (``mechanisms.ledger``)."""


@dataclass(slots=True)
class _Waiter:
    cost: float
    until: float


@dataclass(slots=True)
class _Budget:
    """Invariants: ``charges`` holds every open charge, the first due first; ``line`` is in order of
    arrival."""

    ledger: Ledger
    born: str
    blocked: float = 0.0
    strikes: int = 0
    charges: dict[str, Charge] = field(default_factory=dict)
    line: dict[str, _Waiter] = field(default_factory=dict)

    def advance(self, now: float) -> None:
        self.ledger.advance(now)
        while self.charges and not (first := next(iter(self.charges.items())))[1].open:
            del self.charges[first[0]]
        for charge in [name for name, each in self.line.items() if each.until <= now]:
            del self.line[charge]

    def remember(self, known: Known, now: float) -> None:
        """Go on from what somebody remembers of a budget that was forgotten."""
        rules = self.ledger.rules
        self.ledger.observe(known.counted, now)
        if not rules.windows:
            left = known.counted - known.age * rules.rate
            self.ledger.used = max(self.ledger.used, left)
        self.blocked = max(self.blocked, now + known.blocked)

    def take(self, charge: str, cost: float, now: float) -> None:
        taken = self.charges[charge] = self.ledger.take(cost)
        self.ledger.sent(taken, now)

    def hold(self, charge: str, cost: float, now: float) -> None:
        before = self.charges.pop(charge, None)
        if before is not None:
            self.ledger.refund(before)
        self.take(charge, cost, now)

    def ask(self, charge: str, cost: float, now: float) -> tuple[float, float]:
        """Take a charge, or stand in line: seconds until it may fit, and until it will as far as
        one can tell; both 0 where it was taken."""
        ahead = 0.0
        for name, each in self.line.items():
            if name == charge:
                break
            ahead += each.cost
        # Answers that came a moment ago are no longer waited for.
        self.ledger.advance(now)
        outlook = self.ledger.delay(ahead, cost, now)
        if outlook == 0.0:
            self.line.pop(charge, None)
            self.take(charge, cost, now)
            return 0.0, 0.0
        waiter = self.line.setdefault(charge, _Waiter(cost, 0.0))
        waiter.cost, waiter.until = cost, now + PATIENCE
        return outlook if ahead > 0.0 else self.ledger.next_look(cost, now), outlook

    def spare(self, charge: str, cost: float, now: float) -> bool:
        """Take a charge that nobody needs yet, where nobody needs the room either."""
        self.ledger.advance(now)
        if self.line or self.ledger.room + _EPS < cost:
            return False
        self.take(charge, cost, now)
        return True

    def end(self, charge: str, now: float, *, refund: bool) -> None:
        found = self.charges.pop(charge, None)
        if found is not None and refund:
            self.ledger.refund(found)
        elif found is not None:
            self.ledger.settle(found, now)
        if refund:
            self.line.pop(charge, None)


class MemoryBudgets:
    """See ``protocol.Budgets``. Mutable: the budgets by place and part, the bans by place."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._budgets: Expiring[_Budget] = Expiring(ground)
        self._bans: Expiring[float] = Expiring(ground)

    def clear(self) -> None:
        self._budgets.clear()
        self._bans.clear()

    async def apply(
        self,
        place: str,
        part: str,
        rules: Rules,
        acts: Sequence[Act],
        known: Known | None = None,
    ) -> Spent:
        await self._ground.ready()
        now, name = self._ground.clock(), f"{place} {part}"
        budget = self._budgets.get(name)
        if budget is None or budget.ledger.rules != rules:
            budget = _Budget(Ledger(rules, now), f"{now:.17g}")
        budget.advance(now)
        if known is not None and known.born != budget.born:
            budget.remember(known, now)
        granted, wait, outlook, refused = 0, 0.0, 0.0, False
        for do, charge, amount in acts:
            if do is not Do.TAKE and do is not Do.SPARE:
                self._do(budget, place, do, charge, amount, now)
            elif charge in budget.charges:
                granted += do is Do.SPARE or not refused
            elif refused:
                continue
            elif do is Do.SPARE:
                granted += not self._blocked(budget, place, now) and budget.spare(
                    charge, amount, now
                )
            elif blocked := self._blocked(budget, place, now):
                wait, outlook, refused = blocked, blocked, True
            else:
                wait, outlook = budget.ask(charge, amount, now)
                refused = outlook > 0.0
                granted += not refused
        ledger = budget.ledger
        self._keep(name, budget, now)
        return Spent(
            granted,
            wait,
            outlook,
            self._blocked(budget, place, now),
            ledger.counted,
            1 / ledger.rate,
            budget.strikes,
            budget.born,
            0.0 if budget.line else ledger.room,
        )

    def _do(
        self, budget: _Budget, place: str, do: Do, charge: str, amount: float, now: float
    ) -> None:
        ledger = budget.ledger
        if do is Do.HOLD:
            budget.hold(charge, amount, now)
        elif do is Do.SETTLE or do is Do.REFUND:
            budget.end(charge, now, refund=do is Do.REFUND)
        elif do is Do.OBSERVE:
            ledger.observe(amount, now)
        elif do is Do.EXHAUST:
            ledger.exhaust()
        elif do is Do.BLOCK:
            budget.blocked = max(budget.blocked, now + amount)
        elif do is Do.BAN:
            until = max(self._bans.get(place) or 0.0, now + amount)
            self._bans.put(place, until, until - now)
        elif do is Do.STRIKES:
            budget.strikes = int(amount)

    def _blocked(self, budget: _Budget, place: str, now: float) -> float:
        return max(0.0, max(budget.blocked, self._bans.get(place) or 0.0) - now)

    def _keep(self, name: str, budget: _Budget, now: float) -> None:
        """For as long as anything is remembered; late rather than early."""
        ledger, rules = budget.ledger, budget.ledger.rules
        life = max((each.seconds for each in rules.windows), default=0.0) + rules.transit
        life += (ledger.used + ledger.flying) / (_SLOWEST * rules.rate)
        self._budgets.put(name, budget, max(life, budget.blocked - now) + 1.0)
