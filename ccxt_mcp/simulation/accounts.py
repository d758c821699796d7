"""Seeded histories: what an account owned, ordered and traded before anyone asked.

Owns the generator; the same (seed, market, time) gives the same history. Refuses to touch the
venue: it returns plain orders and fills, and the venue alone takes them in.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal

from ccxt_mcp.simulation.book import Book
from ccxt_mcp.simulation.markets import UNIT, Market
from ccxt_mcp.simulation.orders import Fill, Order, Side

__all__ = ["History", "client_id", "derive_keys", "history", "owner_of"]

_FEE = Decimal("0.001")
_HOUR = 3_600_000
_PAST = 6 * 24 * _HOUR
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_NAME = re.compile(r"[A-Za-z0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class History:
    """`free` is what is left beside the holds of the resting orders, per asset."""

    free: dict[str, Decimal]
    orders: list[Order]
    fills: list[Fill]


def derive_keys(seed: int, name: str) -> tuple[str, str]:
    """(api_key, secret), 64 letters and digits each like Binance's, fixed by seed and name."""

    def text(what: str) -> str:
        digest = hashlib.sha512(f"{seed}:{name}:{what}".encode()).digest()
        return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest)

    return text("key"), text("secret")


def client_id(name: str, number: int) -> str:
    """A client order id that tells whose it is: `<name>-<number>`; see `owner_of`."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"an account's name is 1 to 12 letters and digits, not {name!r}")
    return f"{name}-{number:06d}"


def owner_of(client_order_id: str) -> str:
    """The account name inside a seeded client order id."""
    return client_order_id.rpartition("-")[0]


def history(
    *,
    seed: int,
    name: str,
    now: int,
    markets: Sequence[Market],
    assets: Sequence[str],
    book: Callable[[Market], Book],
    next_id: Callable[[Market], int],
    open_orders: int,
    past_orders: int,
    currencies: int,
) -> History:
    """Write one account's past up to `now` (ms).

    `open_orders` and `past_orders` are spread over `markets` in turn; every fifth resting order is
    partly filled, every fourth past order was cancelled. `currencies` distinct assets have a free
    balance: first the ones that are traded, then `assets`, then invented ones (`HOLD0000`, ...).
    """
    dice = random.Random(f"{seed}:{name}")
    orders: list[Order] = []
    fills: list[Fill] = []
    # Older first, so that ids rise with time in every market.
    ages = sorted((dice.randrange(_HOUR, _PAST) for _ in range(past_orders)), reverse=True)
    for n, age in enumerate(ages):
        market = markets[n % len(markets)]
        made = _past(dice, market, book(market), next_id, client_id(name, n), now - age, n % 4 == 3)
        orders.append(made[0])
        fills.extend(made[1])
    for n in range(open_orders):
        market = markets[n % len(markets)]
        created = now - _HOUR + n * _HOUR // (open_orders + 1)
        tag = client_id(name, past_orders + n)
        made = _resting(dice, market, book(market), next_id, tag, (now, created), n % 5 == 4)
        orders.append(made[0])
        fills.extend(made[1])
    traded = dict.fromkeys(a for m in markets for a in (m.quote, m.base))
    wanted = list(dict.fromkeys([*traded, *assets]))[:currencies]
    wanted += [f"HOLD{n:04d}" for n in range(currencies - len(wanted))]
    free = {asset: Decimal(dice.randrange(10**6, 10**12)) * UNIT for asset in wanted}
    return History(free, orders, fills)


def _past(
    dice: random.Random,
    market: Market,
    book: Book,
    next_id: Callable[[Market], int],
    tag: str,
    at: int,
    cancelled: bool,
) -> tuple[Order, list[Fill]]:
    side: Side = "BUY" if dice.random() < 0.5 else "SELL"
    price = Decimal(book.price(at)) * UNIT
    quantity = _quantity(dice, market, price)
    order_id, done = next_id(market), at + dice.randrange(1_000, 600_000)
    if cancelled:
        limit = _away(dice, market, price, side)
        order = Order(market, order_id, tag, side, limit, quantity, "CANCELED", at, done)
        return order, []
    parts = dice.randrange(1, 4)
    fills = _fills(market, next_id, order_id, side, price, quantity, parts, at, done)
    executed = sum((f.quantity for f in fills), Decimal(0))
    spent = sum((f.spent for f in fills), Decimal(0))
    order = Order(market, order_id, tag, side, price, quantity, "FILLED", at, done, executed, spent)
    return order, fills


def _resting(
    dice: random.Random,
    market: Market,
    book: Book,
    next_id: Callable[[Market], int],
    tag: str,
    when: tuple[int, int],
    partly: bool,
) -> tuple[Order, list[Fill]]:
    now, created = when
    side: Side = "BUY" if dice.random() < 0.5 else "SELL"
    price = _away(dice, market, Decimal(book.price(now)) * UNIT, side)
    quantity = _quantity(dice, market, price)
    order_id = next_id(market)
    part = (quantity / 3 / market.step).to_integral_value(ROUND_DOWN) * market.step
    if not partly or part <= 0:
        return Order(market, order_id, tag, side, price, quantity, "NEW", created, created), []
    done = min(now, created + 1_000)
    fills = _fills(market, next_id, order_id, side, price, part, 1, created, done)
    order = Order(
        market,
        order_id,
        tag,
        side,
        price,
        quantity,
        "PARTIALLY_FILLED",
        created,
        done,
        part,
        fills[0].spent,
    )
    return order, fills


def _fills(
    market: Market,
    next_id: Callable[[Market], int],
    order_id: int,
    side: Side,
    price: Decimal,
    quantity: Decimal,
    parts: int,
    start: int,
    end: int,
) -> list[Fill]:
    """Split `quantity` into at most `parts` executions that sum to it exactly."""
    steps = int(quantity / market.step)
    parts = min(parts, steps)
    out = []
    for n in range(parts):
        qty = (steps * (n + 1) // parts - steps * n // parts) * market.step
        got, asset = (qty, market.base) if side == "BUY" else (qty * price, market.quote)
        fee = (got * _FEE).quantize(UNIT, ROUND_DOWN)
        at = start + (end - start) * (n + 1) // parts
        fill_id = next_id(market)
        out.append(Fill(market, fill_id, order_id, side, price, qty, fee, asset, n > 0, at))
    return out


def _quantity(dice: random.Random, market: Market, price: Decimal) -> Decimal:
    """Between 4 and 40 times the minimum notional, on the market's step."""
    worth = market.min_notional * dice.randrange(4, 41)
    return (worth / price / market.step).to_integral_value(ROUND_UP) * market.step


def _away(dice: random.Random, market: Market, price: Decimal, side: Side) -> Decimal:
    """A price 3 to 20 % away from the book, on the market's tick."""
    part = Decimal(dice.randrange(30, 200)) / 1000
    wanted = price * (1 - part if side == "BUY" else 1 + part)
    ticks = (wanted / market.tick).to_integral_value(ROUND_DOWN)
    return max(Decimal(1), ticks) * market.tick
