"""Rosters, logs and the list of nodes."""

from tests.unit.store.world import World

TTL = 0.5


async def test_a_roster_is_full_at_its_bound_and_names_the_oldest(world: World) -> None:
    roster = world.store.roster
    for member in ("a", "b", "c"):
        assert await roster.join("all", member, ttl=60, most=3) == (True, None)
        await world.pass_time(0.002)
    # Touched again: it stays where it joined, and is no more the one longest untouched.
    assert await world.other.roster.join("all", "a", ttl=60, most=3) == (True, None)
    assert await roster.join("all", "d", ttl=60, most=3) == (False, "b")
    assert await roster.page("all", offset=0, limit=10) == (3, ["a", "b", "c"])
    await roster.leave("all", "b")
    await roster.leave("all", "never")
    assert await roster.join("all", "d", ttl=60, most=3) == (True, None)
    assert await roster.page("all", offset=0, limit=10) == (3, ["a", "c", "d"])
    assert await roster.join("none", "a", ttl=60, most=0) == (False, None)


async def test_a_member_ends_when_it_is_not_touched(world: World) -> None:
    roster = world.store.roster
    await roster.join("all", "short", ttl=TTL, most=2)
    await roster.join("all", "long", ttl=60, most=2)
    await world.pass_time(TTL * 1.1)
    assert await roster.join("all", "new", ttl=60, most=2) == (True, None)
    assert await roster.page("all", offset=0, limit=10) == (2, ["long", "new"])


async def test_many_members_are_touched_at_once(world: World) -> None:
    roster = world.store.roster
    for member in ("a", "b", "c"):
        await roster.join("all", member, ttl=TTL, most=10)
    await roster.touch("all", ["a", "c", "never"], ttl=60)
    await roster.touch("all", [], ttl=60)
    await roster.touch("none", ["a"], ttl=60)
    await world.pass_time(TTL * 1.1)
    assert await roster.page("all", offset=0, limit=10) == (2, ["a", "c"])
    assert await roster.page("none", offset=0, limit=10) == (0, [])


async def test_a_roster_is_read_in_pages(world: World) -> None:
    roster = world.store.roster
    members = [f"m{i}" for i in range(25)]
    for member in members:
        await roster.join("all", member, ttl=60, most=100)
    assert await roster.page("all", offset=0, limit=10) == (25, members[:10])
    assert await roster.page("all", offset=20, limit=10) == (25, members[20:])
    assert await roster.page("all", offset=30, limit=10) == (25, [])
    assert await roster.page("all", offset=0, limit=0) == (25, [])
    assert await roster.page("none", offset=0, limit=10) == (0, [])


async def append(world: World, entry: bytes, *, most: int = 3, size: int = 1000) -> int:
    return await world.store.logs.append("log", entry, most=most, size=size, ttl=TTL)


async def test_a_log_is_read_on_from_where_one_was(world: World) -> None:
    numbers = [await append(world, entry) for entry in (b"1", b"\x002", b"3")]
    assert numbers == sorted(set(numbers))
    entries = list(zip(numbers, (b"1", b"\x002", b"3"), strict=True))
    after = world.other.logs.after
    assert await after("log", 0) == (entries, True)
    assert await after("log", numbers[0]) == (entries[1:], True)
    assert await after("log", numbers[2]) == ([], True)


async def test_a_log_tells_that_entries_were_dropped(world: World) -> None:
    numbers = [await append(world, str(i).encode()) for i in range(5)]
    after = world.store.logs.after
    kept = [(number, str(i).encode()) for i, number in enumerate(numbers)][2:]
    assert await after("log", 0) == (kept, False)
    assert await after("log", numbers[0]) == (kept, False)
    assert await after("log", numbers[1]) == (kept, True)


async def test_a_log_is_bounded_in_bytes_too(world: World) -> None:
    numbers = [await append(world, b"x" * 400, most=100) for _ in range(4)]
    entries, whole = await world.store.logs.after("log", 0)
    assert ([number for number, _ in entries], whole) == (numbers[2:], False)
    huge = await append(world, b"x" * 2000)
    assert await world.store.logs.after("log", numbers[3]) == ([], False)
    assert await world.store.logs.after("log", huge) == ([], True)


async def test_a_log_that_was_lost_is_not_taken_for_whole(world: World) -> None:
    """A reader with a number of the former one would be told that nothing is missing."""
    logs = world.store.logs
    number = await append(world, b"old")
    assert await logs.after("none", 0) == ([], True)
    assert await logs.after("none", 7) == ([], False)
    await logs.drop("log")
    assert await logs.after("log", number) == ([], False)
    new = await append(world, b"new")
    assert new > number
    assert await logs.after("log", number) == ([(new, b"new")], False)
    assert await logs.after("log", new + 1000) == ([], False)
    await world.pass_time(TTL * 1.1)
    assert await logs.after("log", new) == ([], False)


async def test_nodes_are_known_while_they_beat(world: World) -> None:
    nodes = world.store.nodes
    await nodes.beat("a", b"one", ttl=60)
    await nodes.beat("b", b"two\n \x00", ttl=TTL)
    await nodes.beat("a", b"three", ttl=60)
    assert await world.other.nodes.all() == {"a": b"three", "b": b"two\n \x00"}
    await world.pass_time(TTL * 1.1)
    assert await nodes.all() == {"a": b"three"}
    await nodes.gone("a")
    await nodes.gone("never")
    assert await nodes.all() == {}
