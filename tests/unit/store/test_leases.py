"""Leases: one holder, a line, a number that only rises."""

import asyncio
import random

from ccxt_mcp.store.protocol import Claim
from tests.unit.store.world import LENGTH, World, until


async def test_of_many_claims_at_once_one_is_granted(world: World) -> None:
    stores = [world.store, world.other]
    claimed = await asyncio.gather(
        *(
            stores[i % 2].leases.claim("lane", f"t{i}", node="a", length=LENGTH * 10)
            for i in range(40)
        )
    )
    assert [each.state for each in claimed].count(Claim.GRANTED) == 1
    assert [each.state for each in claimed].count(Claim.WAITING) == 39
    assert all(0 < each.wait <= LENGTH * 10 / 3 for each in claimed if each.state is Claim.WAITING)


async def test_racing_holders_never_overlap_and_all_get_their_turn(world: World) -> None:
    """Two replicas with eight workers each take and release the same leases in disorder."""
    holders: dict[str, str] = {}
    turns = 0

    async def worker(number: int) -> None:
        nonlocal turns
        chance = random.Random(number)
        store = (world.store, world.other)[number % 2]
        for turn in range(5):
            name, token = f"lane{chance.randrange(2)}", f"w{number}.{turn}"
            while (
                await store.leases.claim(name, token, node="a", length=30)
            ).state is not Claim.GRANTED:
                await asyncio.sleep(0)
            assert name not in holders, f"{token} beside {holders[name]}"
            holders[name] = token
            await asyncio.sleep(chance.random() * 0.002)
            del holders[name]
            turns += 1
            await store.leases.release(name, token, length=30)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(worker(number))
    assert turns == 80


async def test_the_line_is_served_in_the_order_of_the_claims(world: World) -> None:
    heard = await world.hear("a")
    tokens = [f"t{i}" for i in range(6)]
    for token in tokens:
        await world.claim(token, length=20)
    await world.claim("t3", length=20)
    for token in tokens:
        await world.store.leases.release("lane", token, length=20)
    await until(lambda: len(heard) == 5)
    assert heard == [f"granted lane {token}" for token in tokens[1:]]


async def test_a_repeated_claim_is_the_same_claim(world: World) -> None:
    first = await world.store.leases.claim("lane", "t1", node="a", length=20, reserve=100)
    again = await world.store.leases.claim("lane", "t1", node="a", length=20, reserve=100)
    assert first.state is again.state is Claim.GRANTED
    assert (first.mark, again.mark) == (0, 0)
    assert 19 < again.left <= 20
    await world.claim("t2", length=20)
    await world.claim("t3", length=20)
    await world.claim("t2", length=20)
    await world.store.leases.release("lane", "t1", length=20)
    assert (await world.claim("t3", length=20)).state is Claim.WAITING
    assert (await world.claim("t2", length=20)).state is Claim.GRANTED


async def test_a_lease_that_is_not_renewed_ends_and_the_next_has_it(world: World) -> None:
    heard = await world.hear("b", other=True)
    assert (await world.claim("t1")).state is Claim.GRANTED
    waiting = await world.store.leases.claim("lane", "t2", node="b", length=LENGTH)
    assert waiting.state is Claim.WAITING
    await world.pass_time(LENGTH * 0.7)
    await world.store.leases.claim("lane", "t2", node="b", length=LENGTH)
    await world.pass_time(LENGTH * 0.4)
    # Whoever asks first learns of the end; the first in line has it, not who asked.
    assert (await world.claim("t3")).state is Claim.WAITING
    await until(lambda: heard == ["granted lane t2"])
    assert not await world.store.leases.renew("lane", "t1", length=LENGTH)
    assert await world.store.leases.renew("lane", "t2", length=LENGTH)


async def test_a_renewed_lease_lasts(world: World) -> None:
    assert (await world.claim("t1")).state is Claim.GRANTED
    for _ in range(3):
        await world.pass_time(LENGTH * 0.5)
        assert await world.store.leases.renew("lane", "t1", length=LENGTH)
    assert (await world.claim("t2")).state is Claim.WAITING


async def test_a_claim_in_line_that_is_not_repeated_is_passed_over(world: World) -> None:
    assert (await world.claim("t1", length=60)).state is Claim.GRANTED
    await world.claim("gone", length=LENGTH)
    await world.pass_time(LENGTH * 1.1)
    await world.claim("t2", length=60)
    await world.store.leases.release("lane", "t1", length=60)
    assert (await world.claim("t2", length=60)).state is Claim.GRANTED


async def test_who_has_gone_from_the_line_holds_nothing_up_for_longer_than_its_claim(
    world: World,
) -> None:
    """Of a replica that was killed one call held the lease and another stood in line. Granted for a
    whole length, the lease would keep everybody waiting for two."""
    store = world.store
    assert (await world.claim("t1")).state is Claim.GRANTED
    assert (await world.claim("t2")).state is Claim.WAITING
    await world.pass_time(LENGTH * 0.7)
    await store.leases.release("lane", "t1", length=LENGTH)
    assert (await world.claim("t3")).state is Claim.WAITING
    await world.pass_time(LENGTH * 0.4)
    assert (await world.claim("t3")).state is Claim.GRANTED


async def test_a_long_line_is_served_past_those_who_have_gone(world: World) -> None:
    await world.claim("holder", length=60)
    for number in range(70):
        await world.claim(f"gone{number}", length=0.05)
    await world.pass_time(0.1)
    for number in range(130):
        await world.claim(f"here{number}", length=60)
    await world.store.leases.release("lane", "holder", length=60)
    assert (await world.claim("here0", length=60)).state is Claim.GRANTED


async def test_a_release_by_whoever_neither_holds_nor_waits_changes_nothing(world: World) -> None:
    await world.store.records.open("lane", b"", node="a", ttl=60)
    await world.store.leases.claim("lane", "t1", node="a", length=20, reserve=50)
    await world.store.leases.release("lane", "other", length=20, mark=7, tally={"calls": 1})
    assert (await world.claim("t2", length=20)).state is Claim.WAITING
    record = await world.store.records.read("lane")
    assert record is not None
    assert record.tally == {}
    await world.store.leases.release("lane", "t1", length=20)
    await world.store.leases.release("lane", "t2", length=20)
    assert (await world.claim("t3", length=20)).mark == 50


async def test_who_leaves_the_line_is_not_granted_anything(world: World) -> None:
    for token in ("t1", "t2", "t3"):
        await world.claim(token, length=20)
    await world.store.leases.release("lane", "t2", length=20)
    await world.store.leases.release("lane", "t1", length=20)
    assert (await world.claim("t3", length=20)).state is Claim.GRANTED


async def test_the_mark_is_what_was_used_or_all_that_was_reserved(world: World) -> None:
    leases = world.store.leases
    first = await leases.claim("key", "t1", node="a", length=20, reserve=1000)
    assert first.mark == 0
    await leases.release("key", "t1", length=20, mark=400)
    second = await leases.claim("key", "t2", node="a", length=20, reserve=900)
    assert second.mark == 400
    # It says nothing of what it used: all of it may have been.
    await leases.release("key", "t2", length=20)
    third = await leases.claim("key", "t3", node="a", length=20, reserve=100)
    assert third.mark == 900
    await leases.release("key", "t3", length=20, mark=10)
    assert (await leases.claim("key", "t4", node="a", length=20)).mark == 900


async def test_a_holder_that_was_lost_leaves_its_reservation(world: World) -> None:
    leases = world.store.leases
    await leases.claim("key", "t1", node="a", length=LENGTH, reserve=1000)
    await world.pass_time(LENGTH * 1.1)
    assert (await leases.claim("key", "t2", node="a", length=20)).mark == 1000
    await leases.release("key", "t1", length=20, mark=3)
    await leases.release("key", "t2", length=20)
    assert (await leases.claim("key", "t3", node="a", length=20)).mark == 1000


async def test_who_was_granted_from_the_line_has_its_numbers_reserved_when_it_asks(
    world: World,
) -> None:
    leases = world.store.leases
    await leases.claim("key", "t1", node="a", length=20, reserve=10)
    await leases.claim("key", "t2", node="a", length=20, reserve=500)
    await leases.release("key", "t1", length=20, mark=5)
    granted = await leases.claim("key", "t2", node="a", length=20, reserve=500)
    assert (granted.state, granted.mark) == (Claim.GRANTED, 5)
    await leases.release("key", "t2", length=20)
    assert (await leases.claim("key", "t3", node="a", length=20)).mark == 500


async def test_numbers_are_reserved_ahead_of_a_mark_that_lies_ahead(world: World) -> None:
    leases = world.store.leases
    for before, token in ((0, "t1"), (1_000_000, "t2"), (1_000_025, "t3")):
        reserve = 1_000_000 if token == "t1" else 10
        claimed = await leases.claim("key", token, node="a", length=20, reserve=reserve, ahead=25)
        assert claimed.mark == before
        await leases.release("key", token, length=20)
    assert (await leases.claim("key", "t4", node="a", length=20)).mark == 1_000_050


async def test_numbers_of_nanoseconds_are_exact(world: World) -> None:
    """Scripts count in binary fractions of 53 bits: such a number would come back rounded, that is,
    be given twice."""
    leases = world.store.leases
    number = 1_763_000_000_123_456_789
    await leases.claim("key", "t1", node="a", length=20, reserve=number)
    await leases.release("key", "t1", length=20)
    second = await leases.claim("key", "t2", node="a", length=20, reserve=number - 1, ahead=12)
    assert second.mark == number
    await leases.release("key", "t2", length=20)
    third = await leases.claim("key", "t3", node="a", length=20)
    assert third.mark == number + 12
    await leases.release("key", "t3", length=20, mark=999_999_999_999_999_999_999)
    await leases.claim("key", "t4", node="a", length=20, ahead=1)
    await leases.release("key", "t4", length=20)
    assert (await leases.claim("key", "t5", node="a", length=20)).mark == 10**21


async def test_a_store_found_empty_grants_nothing_for_one_length(world: World) -> None:
    """Without that the lease that was forgotten has a second holder at once, while the first does
    not know yet that it was lost."""
    await world.claim("t1")
    await world.flush()
    young = await world.claim("t2")
    assert young.state is Claim.YOUNG
    assert 0 < young.wait < LENGTH * 1.01
    assert not await world.store.leases.renew("lane", "t1", length=LENGTH)
    assert (await world.claim("t3")).state is Claim.YOUNG
    # Nor does a release, or a lease of another shard, end that.
    await world.store.leases.release("lane", "t1", length=LENGTH)
    assert (await world.claim("t4", name="another")).state is Claim.YOUNG
    await world.pass_time(young.wait * 0.9)
    await world.claim("t2")
    await world.pass_time(young.wait * 0.2)
    # The order of arrival is kept through it.
    assert (await world.claim("t3")).state is Claim.WAITING
    assert (await world.claim("t2")).state is Claim.GRANTED


async def test_the_shards_of_a_store_found_empty_come_of_age_together(world: World) -> None:
    """Without that the first claim in each of them would wait, one after the other."""
    await world.flush()
    assert (await world.claim("t1", name="some")).state is Claim.YOUNG
    await world.pass_time(LENGTH * 1.2)
    for number in range(40):
        assert (await world.claim("t", name=f"lane{number}")).state is Claim.GRANTED


async def test_a_claim_needs_its_record_and_keeps_it_alive(world: World) -> None:
    leases, records = world.store.leases, world.store.records

    async def claim(token: str, ttl: float = LENGTH) -> Claim:
        claimed = await leases.claim(
            "session", token, node="b", length=LENGTH, record=True, ttl=ttl
        )
        return claimed.state

    assert await claim("t1") is Claim.MISSING
    opened = await records.open("session", b"x", node="a", ttl=LENGTH)
    claimed = await leases.claim("session", "t2", node="b", length=60, record=True, ttl=0.01)
    assert (claimed.state, claimed.version) == (Claim.GRANTED, opened.record.version)
    # It was meant to live shorter than its lease is held.
    await world.pass_time(0.05)
    record = await records.read("session")
    assert record is not None
    assert record.held
    assert record.nodes == {"a", "b"}
    await leases.release("session", "t2", length=60)
    await world.pass_time(0.05)
    assert await records.read("session") is None


async def test_a_claim_whose_record_is_gone_neither_holds_nor_waits(world: World) -> None:
    heard = await world.hear("c")
    leases, records = world.store.leases, world.store.records
    await records.open("session", b"x", node="a", ttl=60)
    for token in ("t1", "t2"):
        await leases.claim("session", token, node="b", length=60, record=True, ttl=60)
    await records.remove("session")
    await leases.claim("session", "t3", node="c", length=60)
    for token in ("t2", "t1"):
        missing = await leases.claim("session", token, node="b", length=60, record=True, ttl=60)
        assert missing.state is Claim.MISSING
    await until(lambda: heard == ["granted session t3"])


async def test_a_held_lease_outlives_its_record(world: World) -> None:
    leases, records = world.store.leases, world.store.records
    await records.open("session", b"x", node="a", ttl=60)
    await leases.claim("session", "t1", node="a", length=60, record=True, ttl=60)
    await records.remove("session")
    again = await records.open("session", b"y", node="b", ttl=60)
    assert again.made
    assert again.record.held
    waiting = await leases.claim("session", "t2", node="b", length=60, record=True, ttl=60)
    assert waiting.state is Claim.WAITING


async def test_a_release_tallies_in_the_record(world: World) -> None:
    leases, records = world.store.leases, world.store.records
    await records.open("session", b"x", node="a", ttl=60)
    for number in range(70):
        await leases.claim("session", f"t{number}", node="a", length=60, record=True, ttl=60)
        await leases.release(
            "session",
            f"t{number}",
            length=60,
            tally={"calls": 1, "bytes": 2.5, "latencyMs": number},
        )
    record = await records.read("session")
    assert record is not None
    assert record.tally == {"calls": 70, "bytes": 175}
    assert sorted(record.latencies) == list(range(6, 70))
    assert not record.held
