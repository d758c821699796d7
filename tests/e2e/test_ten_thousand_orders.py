"""All of ten thousand orders through the whole stack: every page bounded, every row once.

They are read symbol by symbol, as the tool's own notice advises. Without `symbol` each page has
Binance list, and CCXT parse, all ten thousand again; `tests/unit/tools/test_account_tools.py` asks
that, for fewer orders or pages.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count, cycle
from typing import Any

from ccxt_mcp.simulation import Account, DemoAccount, Order, Venue, derive_keys
from tests.e2e.conftest import Stack, running_stack

ALL = 10_000
LIMITS = (500, 40, 500, 1, 160, 500, 90)
"""Of pages that follow each other; about 155 orders have room in one."""
MAX_BYTES, MAX_TOKENS = 60_000, 25_000
PIECE = re.compile(r"[A-Za-z]{1,5}|[0-9]{1,3}|[^A-Za-z0-9]{1,3}")
"""What a common tokenizer makes one token of: part of a word, three digits, a few signs."""

Rows = list[dict[str, Any]]


class Books:
    """The one account's orders in some of twenty markets, and what happens to them meanwhile."""

    def __init__(self, markets_used: int = 20, **seeds: int) -> None:
        self.venue = Venue(seed=11, extra_symbols=6)
        key, secret = derive_keys(11, "big")
        markets = tuple(self.venue.markets)[:markets_used]
        self.account: Account = self.venue.add_account(
            key, secret, name="big", symbols=markets, **seeds
        )
        self.place = self.venue, (DemoAccount("big", key, secret),)
        used = (self.venue.markets[name] for name in markets)
        self.symbols = {f"{m.base}/{m.quote}": m.id for m in used}
        self._made = count()

    def resting(self, symbol: str) -> list[Order]:
        """Oldest first."""
        return self.account.resting(self.symbols[symbol])

    def past(self, symbol: str) -> list[Order]:
        """Oldest first."""
        made = self.account.orders(self.symbols[symbol])
        return sorted((each for each in made if not each.resting), key=lambda each: each.created)

    def fill(self, order: Order) -> None:
        """It does not rest any more."""
        self._put(order, status="FILLED", executed=order.quantity)

    def fill_half(self, order: Order) -> None:
        """It rests where it was, in other words."""
        self._put(order, status="PARTIALLY_FILLED", executed=order.quantity / 2)

    def place_like(self, order: Order, **more: Any) -> None:
        """A new one, newer than all."""
        name, number = f"new-{next(self._made)}", self.venue.next_id(order.market)
        self._put(order, id=number, client_id=name, created=self.venue.now(), **more)

    def _put(self, order: Order, **more: Any) -> None:
        made = replace(order, updated=self.venue.now(), **more)
        self.account.credit(*made.hold)
        self.account.put(made)


async def read(
    stack: Stack, tool: str, asked: dict[str, Any], between: Callable[[Rows], None]
) -> Rows:
    """All rows of an answer, from bounded pages of different sizes, with something between them."""
    rows: Rows = []
    for limit in cycle(LIMITS):
        result = await stack.call(tool, {**asked, "limit": limit})
        assert not result.get("isError"), result
        (content,) = result["content"]
        assert len(content["text"].encode()) <= MAX_BYTES
        assert len(PIECE.findall(content["text"])) <= MAX_TOKENS
        page = result["structuredContent"]
        assert 0 < len(page["orders"]) <= limit
        rows += page["orders"]
        if "nextCursor" not in page:
            assert page["truncated"] is False
            break
        assert page["truncated"] is True
        asked = {**asked, "cursor": page["nextCursor"]}
        between(rows)
    return rows


def names_of(rows: Rows) -> list[str]:
    return [row["clientOrderId"] for row in rows]


async def test_each_of_ten_thousand_open_orders_comes_once() -> None:
    """In every second market others are placed and filled meanwhile. With a number of rows for a
    place, each that is filled has the next page leave one out, and each new one has one twice."""
    books, came = Books(open_orders=ALL, past_orders=0), 0
    async with asyncio.timeout(120), running_stack(place=books.place) as stack:
        for number, symbol in enumerate(books.symbols):
            before = [order.client_id for order in books.resting(symbol)]

            def trade(rows: Rows, symbol: str = symbol) -> None:
                shown = {*names_of(rows)}
                there = [each for each in books.resting(symbol) if each.client_id in shown]
                coming = [
                    each
                    for each in books.resting(symbol)
                    if each.client_id not in shown and each.created < there[0].created
                ]
                for gone in (there[0], there[-1], coming[0]):
                    books.fill(gone)
                books.fill_half(coming[-1])
                books.place_like(coming[-1])

            trading = number % 2 == 1
            asked = {"symbol": symbol}
            rows = await read(stack, "get_open_orders", asked, trade if trading else _nobody)
            names = names_of(rows)
            after = {order.client_id for order in books.resting(symbol)}
            assert len(names) == len({*names})
            assert {*before} & after <= {*names} <= {*before} | after
            if trading:
                assert min(len({*before} - after), len(after - {*before})) > 1
            else:
                assert names == before[::-1]
            came += len(before)
    assert came == ALL


async def test_each_of_three_thousand_past_orders_comes_once() -> None:
    """Oldest first, while others are placed and filled at once in every second market. As many to
    a market as above: what more markets would add is shown there."""
    books, came = Books(6, open_orders=0, past_orders=3_000), 0
    async with asyncio.timeout(120), running_stack(place=books.place) as stack:
        for number, symbol in enumerate(books.symbols):
            before = [order.client_id for order in books.past(symbol)]

            def trade(rows: Rows, symbol: str = symbol) -> None:
                last = books.past(symbol)[-1]
                books.place_like(last, status="FILLED")

            trading = number % 2 == 1
            asked = {"symbol": symbol, "since": "2024-01-01"}
            rows = await read(stack, "get_order_history", asked, trade if trading else _nobody)
            names = names_of(rows)
            after = [order.client_id for order in books.past(symbol)]
            assert names[: len(before)] == before
            assert names == after[: len(names)]
            assert len(after) > len(before) if trading else names == before
            came += len(before)
    assert came == 3_000


def _nobody(_: Rows) -> None:
    """Nobody trades."""
