"""Common budgets: the script on the store's server does the ledger's arithmetic, step by step."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ccxt_mcp.mechanisms.rate_limit import Rules, Window
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Act, Budgets, Do, Known, Spent
from ccxt_mcp.store.redis import RedisStore
from ccxt_mcp.store.redis.budgets import RedisBudgets
from ccxt_mcp.store.redis.keys import Keys
from tests.redis_server import RedisServer

RULES = (
    Rules(98.0, 1500.0, (Window(5940.0, 60.0),)),
    Rules(9.8, 5.0, (Window(20.0, 2.0),), transit=0.5),
    Rules(0.3234, 14.0),
    Rules(20.0, 10.0, (Window(50.0, 1.0), Window(300.0, 30.0)), transit=1.0),
)


@pytest.fixture
async def make_redis_budgets(
    redis_server: RedisServer,
) -> AsyncIterator[Callable[[Callable[[], float]], RedisBudgets]]:
    """Makes budgets on a real server, whose time is what it is told."""
    store = store_at(redis_server.url, prefix=secrets.token_hex(6), timeout=3)
    assert isinstance(store, RedisStore)
    await store.open()
    yield lambda clock: RedisBudgets(store._wire, Keys(secrets.token_hex(6)), clock)
    await store.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1_763_700_000.25

    def __call__(self) -> float:
        return self.now


def some_acts(dice: random.Random, rules: Rules, names: list[str], step: int) -> list[Act]:
    """What several replicas may say in one round trip, sensible or not."""
    acts = []
    for number in range(dice.randrange(1, 6)):
        name = f"c{step}-{number}"
        amount = dice.choice((1.0, 1.0, 2.5, 0.1, rules.burst / 8, rules.burst * 1.5))
        known = dice.choice(names) if names else name
        acts.append(
            dice.choices(
                (
                    Act(Do.TAKE, name, amount),
                    Act(Do.TAKE, known, amount),
                    Act(Do.SPARE, f"spare-{name}", amount),
                    Act(Do.SPARE, known, amount),
                    Act(Do.SETTLE, known),
                    Act(Do.REFUND, known),
                    Act(Do.HOLD, known, 1.0),
                    Act(Do.OBSERVE, "", dice.uniform(0, rules.burst)),
                    Act(Do.EXHAUST),
                    Act(Do.BLOCK, "", dice.uniform(0, 1)),
                    Act(Do.BAN, "", dice.uniform(0, 1)),
                    Act(Do.STRIKES, "", float(number)),
                ),
                (12, 5, 3, 1, 8, 2, 1, 0.1, 0.1, 0.2, 0.1, 0.2),
            )[0]
        )
        names.append(name)
    del names[:-40]
    return acts


@pytest.mark.parametrize("rules", RULES, ids=str)
async def test_the_script_grants_what_the_ledger_grants(
    rules: Rules, make_redis_budgets: Callable[[Callable[[], float]], RedisBudgets]
) -> None:
    """Bit by bit: six hundred round trips of random acts at random times, and what a store that
    forgot is reminded of."""
    dice, clock = random.Random(8), Clock()
    both: list[Budgets] = [MemoryStore(clock).budgets, make_redis_budgets(clock)]
    names: list[str] = []
    last: Spent | None = None
    granted = refused = 0
    for step in range(600):
        # Less than the shortest life of a budget: when one expires is no matter of arithmetic.
        clock.now += dice.choice((0.0, 0.001, 0.02, 0.3, min(2.0, dice.expovariate(1.0))))
        acts = some_acts(dice, rules, names, step)
        known = None
        if last is not None and dice.random() < 0.1:
            born = last.born if dice.random() < 0.9 else "another"
            known = Known(born, last.counted, dice.random(), dice.random() * 0.2)
        in_memory, on_redis = [await each.apply("p", "w", rules, acts, known) for each in both]
        assert on_redis == in_memory, (step, acts)
        last = in_memory
        granted += in_memory.granted
        refused += in_memory.outlook > 0
    assert min(granted, refused) > 15


async def answers(budgets: Budgets, rules: Rules, *acts: Act, **more: Any) -> Spent:
    return await budgets.apply(more.get("place", "p"), more.get("part", "w"), rules, acts)


@pytest.fixture(params=["memory", "redis"])
def clock_and_budgets(
    request: pytest.FixtureRequest,
) -> tuple[Clock, Budgets]:
    clock = Clock()
    if request.param == "memory":
        return clock, MemoryStore(clock).budgets
    return clock, request.getfixturevalue("make_redis_budgets")(clock)


def take(name: str, cost: float = 1.0) -> Act:
    return Act(Do.TAKE, name, cost)


async def test_who_wants_much_gets_its_turn_among_many_who_want_little(
    clock_and_budgets: tuple[Clock, Budgets],
) -> None:
    """Without the line, each unit that comes free goes to whoever asks for one next, and a charge
    of five is never to be had."""
    clock, budgets = clock_and_budgets
    rules = Rules(10.0, 5.0)
    spent = await answers(budgets, rules, *(take(f"a{n}") for n in range(5)))
    assert spent.granted == 5
    await answers(budgets, rules, *(Act(Do.SETTLE, f"a{n}") for n in range(5)))
    assert (await answers(budgets, rules, take("much", 5.0))).wait == pytest.approx(0.5)
    for n in range(4):
        clock.now += 0.1
        assert (await answers(budgets, rules, take(f"b{n}"))).granted == 0
        assert (await answers(budgets, rules, take("much", 5.0))).granted == 0
    clock.now += 0.11
    assert (await answers(budgets, rules, take("b3"))).granted == 0
    assert (await answers(budgets, rules, take("much", 5.0))).granted == 1


async def test_who_asks_no_more_holds_nobody_up(clock_and_budgets: tuple[Clock, Budgets]) -> None:
    clock, budgets = clock_and_budgets
    rules = Rules(1.0, 5.0)
    await answers(budgets, rules, take("a", 3.0), Act(Do.SETTLE, "a"))
    assert (await answers(budgets, rules, take("dead", 5.0))).granted == 0
    assert (await answers(budgets, rules, take("b", 2.0))).granted == 0
    clock.now += 1.01
    assert (await answers(budgets, rules, take("b", 2.0))).granted == 1


async def test_what_nobody_needs_yet_is_had_only_where_nobody_waits(
    clock_and_budgets: tuple[Clock, Budgets],
) -> None:
    """In line, it would hold up those who need theirs."""
    clock, budgets = clock_and_budgets
    rules = Rules(1.0, 5.0)

    def spare(name: str, cost: float) -> Act:
        return Act(Do.SPARE, name, cost)

    assert (await answers(budgets, rules, take("a", 2.0), spare("b", 2.0))).granted == 2
    spent = await answers(budgets, rules, spare("b", 2.0), spare("c", 2.0))
    assert (spent.granted, spent.wait, spent.room) == (1, 0.0, 1.0)
    assert (await answers(budgets, rules, take("d", 2.0), spare("e", 1.0))).granted == 0
    assert (await answers(budgets, rules, spare("f", 1.0))).granted == 0
    await answers(budgets, rules, Act(Do.REFUND, "d"), Act(Do.BLOCK, "", 1.0))
    assert (await answers(budgets, rules, spare("f", 1.0))).granted == 0
    clock.now += 1.01
    assert (await answers(budgets, rules, spare("f", 1.0))).granted == 1


async def test_a_ban_is_for_all_parts_of_a_place_and_for_no_other(
    clock_and_budgets: tuple[Clock, Budgets],
) -> None:
    clock, budgets = clock_and_budgets
    rules = Rules(1.0, 5.0)
    await answers(budgets, rules, Act(Do.BAN, "", 60.0))
    spent = await answers(budgets, rules, take("a"), part="other")
    assert spent.granted == 0
    assert spent.blocked == pytest.approx(60.0)
    assert (await answers(budgets, rules, take("b"), place="elsewhere")).granted == 1
    clock.now += 60.01
    assert (await answers(budgets, rules, take("a"), part="other")).granted == 1


async def test_a_charge_that_nobody_settles_counts_from_its_transit_on(
    clock_and_budgets: tuple[Clock, Budgets],
) -> None:
    """A replica that was killed: its requests may have arrived, so they count, but not for ever."""
    clock, budgets = clock_and_budgets
    rules = Rules(1.0, 2.0, (Window(2.0, 10.0),))
    assert (await answers(budgets, rules, take("a"), take("b"))).granted == 2
    clock.now += 11.9
    assert (await answers(budgets, rules, take("c"))).granted == 0
    clock.now += 0.2
    assert (await answers(budgets, rules, take("c"))).granted == 1


async def test_the_same_charge_again_is_no_second(
    clock_and_budgets: tuple[Clock, Budgets],
) -> None:
    _, budgets = clock_and_budgets
    rules = Rules(1.0, 5.0)
    for _ in range(3):
        spent = await answers(budgets, rules, take("a", 2.0))
        assert (spent.granted, spent.counted) == (1, 2.0)


async def test_a_budget_that_was_forgotten_goes_on_from_what_a_replica_remembers(
    clock_and_budgets: tuple[Clock, Budgets],
) -> None:
    """Without it a store that was emptied lets the whole window through a second time."""
    clock, budgets = clock_and_budgets
    rules = Rules(1.0, 50.0, (Window(100.0, 60.0),))
    spent = await budgets.apply("p", "w", rules, [take("a")], Known("before", 100.0, 0.5, 0.0))
    assert spent.granted == 0
    assert spent.counted == 100.0
    clock.now += 60.1
    again = await budgets.apply("p", "w", rules, [take("b")], Known(spent.born, 100.0, 0.5, 0.0))
    assert again.granted == 1


async def test_a_servers_clock_that_is_set_back_by_an_hour_stops_nobody_for_an_hour(
    make_redis_budgets: Callable[[Callable[[], float]], RedisBudgets],
) -> None:
    """Without the cure the window, the block and the ban last until the clock is there again."""
    clock = Clock()
    budgets = make_redis_budgets(clock)
    rules = Rules(10.0, 5.0, (Window(5.0, 10.0),))
    await answers(budgets, rules, *(take(f"a{n}") for n in range(5)))
    acts = [Act(Do.SETTLE, f"a{n}") for n in range(4)]
    await answers(budgets, rules, *acts, Act(Do.BLOCK, "", 3.0), Act(Do.BAN, "", 4.0))
    clock.now -= 3600
    spent = await answers(budgets, rules, take("b"))
    assert (spent.granted, spent.counted) == (0, 5.0)
    assert spent.blocked == pytest.approx(4.0)
    clock.now += 5
    spent = await answers(budgets, rules, take("b"))
    assert (spent.granted, spent.blocked) == (0, 0.0)
    clock.now += 7.1
    assert (await answers(budgets, rules, take("b"))).granted == 1
