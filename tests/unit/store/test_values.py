"""Values fetched by one for all."""

import asyncio

from ccxt_mcp.store.protocol import Consulted
from tests.unit.store.world import World, until


async def consult(
    world: World, token: str, *, node: str = "a", max_age: float = 60, patience: float = 30
) -> Consulted:
    return await world.store.values.consult(
        "ticker", token, node=node, max_age=max_age, patience=patience
    )


async def test_of_many_one_fetches(world: World) -> None:
    stores = (world.store, world.other)
    asked = await asyncio.gather(
        *(
            stores[i % 2].values.consult("ticker", f"t{i}", node="a", max_age=60, patience=30)
            for i in range(30)
        )
    )
    assert [each.mine for each in asked].count(True) == 1
    assert all(each.value is None for each in asked)


async def test_those_who_wait_are_told_once_each(world: World) -> None:
    heard, heard_too = await world.hear("b"), await world.hear("c", other=True)
    assert (await consult(world, "t1")).mine
    for token, node in (("t2", "b"), ("t3", "b"), ("t4", "c")):
        assert not (await consult(world, token, node=node)).mine
    await world.store.values.deposit("ticker", "t1", b"\x00price", ttl=60)
    await until(lambda: heard == ["deposited ticker"] == heard_too)
    found = await consult(world, "t5")
    assert (found.value, found.mine) == (b"\x00price", False)
    await world.store.mail.tell("b", "end")
    await until(lambda: heard[-1] == "end")
    assert heard == ["deposited ticker", "end"]


async def test_who_has_the_duty_still_has_it_when_asking_again(world: World) -> None:
    assert (await consult(world, "t1")).mine
    assert (await consult(world, "t1")).mine
    assert not (await consult(world, "t2")).mine


async def test_an_age_counts_from_when_the_fetching_began(world: World) -> None:
    assert (await consult(world, "t1")).mine
    await world.pass_time(0.2)
    await world.store.values.deposit("ticker", "t1", b"x", ttl=60)
    found = await consult(world, "t2")
    assert found.value == b"x"
    assert found.age >= 0.2
    assert (await consult(world, "t3", max_age=0.1)).mine


async def test_a_failure_ends_the_duty_and_keeps_what_was_there(world: World) -> None:
    heard = await world.hear("b")
    await consult(world, "t1")
    await world.store.values.deposit("ticker", "t1", b"old", ttl=60)
    await world.pass_time(0.05)
    assert (await consult(world, "t2", max_age=0.01)).mine
    # What is younger than it has to be is asked for in vain only by the impatient.
    assert (await consult(world, "t3", node="b", max_age=60)).value == b"old"
    await world.pass_time(0.02)
    await world.store.values.deposit("ticker", "t2", None, ttl=60)
    assert (await consult(world, "t4", max_age=60)).value == b"old"
    assert (await consult(world, "t5", max_age=0.01)).mine
    assert heard == []


async def test_a_fetcher_without_end_is_given_up(world: World) -> None:
    heard = await world.hear("b")
    assert (await consult(world, "t1", patience=0.2)).mine
    assert not (await consult(world, "t2", node="b", patience=0.2)).mine
    await world.pass_time(0.25)
    assert (await consult(world, "t3", patience=0.2)).mine
    await world.store.values.deposit("ticker", "t1", b"late", ttl=60)
    assert (await consult(world, "t4")).value is None
    await world.store.values.deposit("ticker", "t3", b"new", ttl=60)
    assert (await consult(world, "t4")).value == b"new"
    await until(lambda: heard == ["deposited ticker"])


async def test_a_fetcher_that_asks_again_is_not_given_up(world: World) -> None:
    assert (await consult(world, "t1", patience=0.6)).mine
    await world.pass_time(0.4)
    assert (await consult(world, "t1", patience=0.6)).mine
    await world.pass_time(0.4)
    assert not (await consult(world, "t2", patience=0.6)).mine
    await world.pass_time(0.4)
    assert (await consult(world, "t2", patience=0.6)).mine


async def test_what_began_too_long_ago_is_not_waited_for(world: World) -> None:
    assert (await consult(world, "t1")).mine
    await world.pass_time(0.1)
    assert (await consult(world, "t2", max_age=0.05)).mine


async def test_a_value_ends(world: World) -> None:
    await consult(world, "t1")
    await world.store.values.deposit("ticker", "t1", b"x", ttl=0.2)
    await world.pass_time(0.25)
    assert (await consult(world, "t2")).mine


async def test_what_is_discarded_while_it_is_fetched_is_not_kept(world: World) -> None:
    """It may have been read before the change that was the reason to discard it."""
    heard = await world.hear("b")
    await consult(world, "t1")
    await consult(world, "t2", node="b")
    await world.store.values.discard("ticker")
    await until(lambda: heard == ["deposited ticker"])
    await world.store.values.deposit("ticker", "t1", b"stale", ttl=60)
    assert (await consult(world, "t3")).mine
    await world.store.values.deposit("ticker", "t3", b"x", ttl=60)
    await world.store.values.discard("ticker")
    assert (await consult(world, "t4")).mine
