"""The one charge that a replica keeps in hand, for a request that may come.

Owns: whether one is wanted (requests follow each other closely), and when what is kept is given
back. Refuses: whether there is room for it and how it is asked for (``limiter``, the store).
"""

from __future__ import annotations

import asyncio
import math

from ccxt_mcp.cluster.budget import SLACK, CommonBudget, CommonCharge

__all__ = ["IN_HAND", "Hand"]

IN_HAND = SLACK
"""Seconds for which a charge is kept."""


class Hand:
    """See the module.

    Args:
        budget: what charges are given back to.

    Mutable: ``_charge`` (what is kept; while there is one, a timer is set that gives it back),
    ``_next`` (the cost that one is wanted for, 0 for nothing), ``_asked`` (when the last request
    came, in seconds of the loop).
    """

    def __init__(self, budget: CommonBudget) -> None:
        self._loop = asyncio.get_running_loop()
        self._budget = budget
        self._charge: CommonCharge | None = None
        self._next = 0.0
        self._asked = -math.inf

    def __repr__(self) -> str:
        return f"<Hand {self._charge!r}>"

    @property
    def wanted(self) -> float:
        """The cost of a charge that is to be had, but needed by nobody yet; 0 for none."""
        if self._charge is None and self._loop.time() - self._asked < IN_HAND:
            return self._next
        return 0.0

    def expect(self, cost: float) -> None:
        """A request has come: shortly after another it may be followed by one more."""
        now = self._loop.time()
        lately, self._asked = now - self._asked < IN_HAND, now
        if lately and (self._charge is None or self._charge.cost == cost):
            self._next = cost

    def take(self, cost: float) -> CommonCharge | None:
        """What is kept, if it is of this cost."""
        charge = self._charge
        if charge is None or charge.cost != cost:
            return None
        if self._loop.time() >= charge.held + IN_HAND:
            # A process that slept: nobody has had time to give it back.
            return None
        self._charge = None
        return charge

    def ask(self) -> None:
        """What is wanted is being asked for."""
        self._next = 0.0

    def keep(self, charge: CommonCharge) -> None:
        """This is it."""
        self._charge = charge
        self._loop.call_at(charge.held + IN_HAND, self._give_back, charge)

    def empty(self) -> None:
        """Give back what is kept, and want nothing."""
        self._next = 0.0
        if self._charge is not None:
            self._give_back(self._charge)

    def _give_back(self, charge: CommonCharge) -> None:
        if self._charge is charge:
            self._charge = None
            self._budget.refund(charge)
