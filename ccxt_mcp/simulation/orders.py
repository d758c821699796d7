"""The words of an account: orders, fills, balances, and the account that holds them.

Owns the invariant *locked = what the resting orders hold*. Refuses to decide anything: only the
venue changes an account, through the methods here. Money is `Decimal` throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from ccxt_mcp.simulation.markets import Market

__all__ = ["Account", "Balance", "Fill", "Order", "OrderStatus", "Position", "Side"]

Side = Literal["BUY", "SELL"]
OrderStatus = Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED"]

_RESTING = ("NEW", "PARTIALLY_FILLED")


@dataclass(frozen=True, slots=True)
class Order:
    """One limit order as it stands. `created` and `updated` are Unix milliseconds.

    `id` is unique per market across all accounts; `client_id` is unique per account. `price` and
    `spent` are in quote currency, `quantity` and `executed` in base currency.
    """

    market: Market
    id: int
    client_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    status: OrderStatus
    created: int
    updated: int
    executed: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)

    @property
    def resting(self) -> bool:
        return self.status in _RESTING

    @property
    def hold(self) -> tuple[str, Decimal]:
        """(asset, amount) that this order keeps locked; zero once it no longer rests."""
        asset = self.market.quote if self.side == "BUY" else self.market.base
        if not self.resting:
            return asset, Decimal(0)
        left = self.quantity - self.executed
        return asset, left * self.price if self.side == "BUY" else left


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order; `at` in Unix milliseconds, the fee in `fee_asset`."""

    market: Market
    id: int
    order_id: int
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    at: int

    @property
    def spent(self) -> Decimal:
        """Value in quote currency."""
        return self.price * self.quantity


@dataclass(frozen=True, slots=True)
class Position:
    """One position in a linear contract; a short one has a negative `amount`, a closed one zero.

    `mark` does not move, so that an answer follows from the position alone. `isolated` is its own
    margin, zero for cross margin. `updated` in Unix milliseconds.
    """

    market: Market
    amount: Decimal
    entry: Decimal
    mark: Decimal
    liquidation: Decimal
    leverage: int
    updated: int
    isolated: Decimal = Decimal(0)


@dataclass(slots=True)
class Balance:
    free: Decimal = Decimal(0)
    locked: Decimal = Decimal(0)


@dataclass(slots=True)
class Account:
    """One API key and all it may see. `version` rises with every change, so answers can be cached.

    Mutable; changed only by the venue, except that a dialect with nonces has them accepted.
    Invariants: `last_nonce` only rises; for every asset `locked` equals the sum of the
    holds of the resting orders (`held()` recomputes it).
    """

    api_key: str
    secret: str = field(repr=False)
    name: str
    id: int
    created: int
    balances: dict[str, Balance] = field(default_factory=dict, repr=False)
    positions: list[Position] = field(default_factory=list, repr=False)
    version: int = 0
    last_nonce: int = 0
    may_withdraw: bool = False
    _orders: dict[str, dict[int, Order]] = field(default_factory=dict, repr=False)
    _by_client_id: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)
    _resting: dict[tuple[str, int], Order] = field(default_factory=dict, repr=False)
    _fills: dict[str, list[Fill]] = field(default_factory=dict, repr=False)

    def accept_nonce(self, nonce: int) -> bool:
        """Whether `nonce` is above every one accepted before; it then is the last one."""
        if nonce <= self.last_nonce:
            return False
        self.last_nonce = nonce
        return True

    def credit(self, asset: str, amount: Decimal) -> None:
        """Add to the free balance of `asset` (take away with a negative amount)."""
        self._balance(asset).free += amount
        self.version += 1

    def put(self, order: Order) -> None:
        """Record `order`, replacing its earlier state, and move its hold between free and locked.

        Raises `ValueError`, changing nothing, when the free balance does not cover the new hold.
        """
        symbol = order.market.id
        before = self._resting.get((symbol, order.id))
        asset, amount = order.hold
        change = amount - (before.hold[1] if before is not None else Decimal(0))
        balance = self._balance(asset)
        if change > balance.free:
            raise ValueError(f"{self.name}: order {order.id} needs {change} {asset} more than free")
        balance.free -= change
        balance.locked += change
        self._orders.setdefault(symbol, {})[order.id] = order
        self._by_client_id[(symbol, order.client_id)] = order.id
        if order.resting:
            self._resting[(symbol, order.id)] = order
        elif before is not None:
            del self._resting[(symbol, order.id)]
        self.version += 1

    def record(self, fill: Fill) -> None:
        """Append one execution to the history of its market."""
        self._fills.setdefault(fill.market.id, []).append(fill)
        self.version += 1

    def hold(self, position: Position) -> None:
        """Take a position, beside the others."""
        self.positions.append(position)
        self.version += 1

    def resting(self, symbol: str | None = None) -> list[Order]:
        """Open orders of one market, or of all, oldest first."""
        found = self._resting.values()
        chosen = [o for o in found if symbol is None or o.market.id == symbol]
        return sorted(chosen, key=lambda o: (o.created, o.id))

    def orders(self, symbol: str) -> list[Order]:
        """Every order of one market, past and resting, by rising id."""
        known = self._orders.get(symbol, {})
        return [known[order_id] for order_id in sorted(known)]

    def order(self, symbol: str, order_id: int) -> Order | None:
        return self._orders.get(symbol, {}).get(order_id)

    def order_by_client_id(self, symbol: str, client_id: str) -> Order | None:
        order_id = self._by_client_id.get((symbol, client_id))
        return None if order_id is None else self.order(symbol, order_id)

    def fills(self, symbol: str) -> list[Fill]:
        """Executions of one market by rising id."""
        return sorted(self._fills.get(symbol, ()), key=lambda f: f.id)

    def symbols(self) -> Iterator[str]:
        """Markets in which this account has orders."""
        return iter(self._orders)

    def held(self) -> dict[str, Decimal]:
        """What `locked` must be, recomputed from the resting orders."""
        total: dict[str, Decimal] = {}
        for order in self._resting.values():
            asset, amount = order.hold
            total[asset] = total.get(asset, Decimal(0)) + amount
        return total

    def _balance(self, asset: str) -> Balance:
        return self.balances.setdefault(asset, Balance())
