"""Common rate limits in memory.

Owns: one ledger for each name. Refuses: the arithmetic (``mechanisms.ledger``) and waiting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ccxt_mcp.mechanisms.ledger import Charge, Ledger, Rules
from ccxt_mcp.store.memory.ground import Expiring, Ground
from ccxt_mcp.store.protocol import Spent

__all__ = ["MemoryBudgets"]


@dataclass(slots=True)
class _Budget:
    ledger: Ledger
    blocked_until: float = 0.0
    charges: dict[str, Charge] = field(default_factory=dict)


class MemoryBudgets:
    """See ``protocol.Budgets``."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._budgets: Expiring[_Budget] = Expiring(ground)

    def clear(self) -> None:
        self._budgets.clear()

    async def spend(
        self, name: str, rules: Rules, charge: str, cost: float, *, force: bool = False
    ) -> Spent:
        await self._ground.ready()
        budget, now = self._budget(name, rules)
        ledger = budget.ledger
        blocked = max(0.0, budget.blocked_until - now)
        if charge in budget.charges:
            return Spent(True, blocked=blocked, counted=ledger.counted)
        if not force and (blocked or not ledger.fits(cost)):
            wait = max(blocked, ledger.next_look(cost, now))
            return Spent(False, wait, blocked, ledger.counted)
        taken = budget.charges[charge] = ledger.take(cost)
        ledger.sent(taken, now)
        return Spent(True, blocked=blocked, counted=ledger.counted)

    async def settle(
        self, name: str, rules: Rules, charges: Iterable[str], *, refund: bool = False
    ) -> None:
        await self._ground.ready()
        budget, now = self._budget(name, rules)
        for each in charges:
            charge = budget.charges.pop(each, None)
            if charge is not None and refund:
                budget.ledger.refund(charge)
            elif charge is not None:
                budget.ledger.settle(charge, now)

    async def observe(self, name: str, rules: Rules, used: float) -> None:
        await self._ground.ready()
        budget, now = self._budget(name, rules)
        budget.ledger.observe(used, now)

    async def block(
        self, name: str, rules: Rules, seconds: float, *, exhaust: bool = False
    ) -> float:
        await self._ground.ready()
        budget, now = self._budget(name, rules)
        budget.blocked_until = max(budget.blocked_until, now + seconds)
        if exhaust:
            budget.ledger.exhaust()
        self._keep(name, budget, now)
        return budget.blocked_until - now

    def _budget(self, name: str, rules: Rules) -> tuple[_Budget, float]:
        now = self._ground.clock()
        budget = self._budgets.get(name)
        if budget is None or budget.ledger.rules != rules:
            blocked = 0.0 if budget is None else budget.blocked_until
            budget = _Budget(Ledger(rules, now), blocked)
        budget.ledger.advance(now)
        for key in [key for key, charge in budget.charges.items() if not charge.open]:
            del budget.charges[key]
        self._keep(name, budget, now)
        return budget, now

    def _keep(self, name: str, budget: _Budget, now: float) -> None:
        rules = budget.ledger.rules
        longest = max((each.seconds for each in rules.windows), default=0.0)
        memory = rules.transit + longest + 5 * rules.burst / rules.rate
        self._budgets.put(name, budget, max(memory, budget.blocked_until - now) + 1.0)
