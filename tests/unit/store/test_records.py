"""Records: small documents that live as long as they are used."""

from tests.unit.store.world import World

TTL = 0.5


async def test_a_record_is_made_once_and_found_by_all(world: World) -> None:
    first = await world.store.records.open("s", b"\x00one\xff", node="a", ttl=60)
    second = await world.other.records.open("s", b"two", node="b", ttl=60)
    assert (first.made, second.made) == (True, False)
    assert first.record.data == second.record.data == b"\x00one\xff"
    assert first.record.version == second.record.version > 0
    assert second.record.nodes == {"a", "b"}
    assert 0 <= second.record.age < 30


async def test_a_write_raises_the_version(world: World) -> None:
    records = world.store.records
    opened = await records.open("s", b"one", node="a", ttl=60)
    version = await records.write("s", b"two", ttl=60)
    assert version is not None
    assert version > opened.record.version
    record = await records.read("s")
    assert record is not None
    assert (record.data, record.version) == (b"two", version)


async def test_a_record_made_anew_is_never_taken_for_the_former(world: World) -> None:
    """A replica keeps a copy with its version: were both 1, it would go on with the old one."""
    records = world.store.records
    versions = []
    for _ in range(5):
        opened = await records.open("s", b"x", node="a", ttl=60)
        versions.append(opened.record.version)
        version = await records.write("s", b"y", ttl=60)
        assert version is not None
        versions.append(version)
        await records.remove("s")
    assert versions == sorted(set(versions))


async def test_what_is_not_there_is_neither_read_nor_written(world: World) -> None:
    records = world.store.records
    assert await records.read("s", node="a") is None
    assert await records.write("s", b"x", ttl=60) is None
    assert await records.touch(["s", "t"], ttl=60) == [False, False]
    assert await records.touch([], ttl=60) == []
    assert await records.remove("s") is None
    assert await records.read("s") is None


async def test_a_record_ends_when_it_is_not_used(world: World) -> None:
    records = world.store.records
    for name in ("touched", "read", "written"):
        await records.open(name, b"x", node="a", ttl=TTL)
    await world.pass_time(TTL * 0.7)
    assert await records.touch(["touched", "never"], ttl=TTL) == [True, False]
    assert await records.write("written", b"y", ttl=TTL) is not None
    seen = await records.read("read")
    assert seen is not None
    assert seen.idle > TTL * 0.69
    assert seen.age > TTL * 0.69
    await world.pass_time(TTL * 0.6)
    touched = await records.read("touched")
    assert touched is not None
    assert TTL * 0.59 < touched.idle < touched.age
    assert await records.read("written") is not None
    assert await records.read("read") is None


async def test_touching_many_touches_each_on_its_own(world: World) -> None:
    names = [f"s{i}" for i in range(200)]
    for name in names[::2]:
        await world.store.records.open(name, b"x", node="a", ttl=60)
    there = await world.store.records.touch(names, ttl=TTL)
    assert there == [i % 2 == 0 for i in range(200)]
    await world.pass_time(TTL * 1.1)
    assert await world.store.records.touch(names, ttl=60) == [False] * 200


async def test_removing_tells_who_may_have_parts_of_it(world: World) -> None:
    records = world.store.records
    await records.open("s", b"x", node="a", ttl=60)
    await records.read("s", node="b")
    await records.read("s")
    await world.other.leases.claim("s", "t", node="c", length=60, record=True, ttl=60)
    assert await records.remove("s") == frozenset("abc")
    assert await records.remove("s") is None
    again = await records.open("s", b"y", node="d", ttl=60)
    assert again.record.nodes == {"d"}
    assert again.record.tally == {}
    assert again.record.latencies == ()


async def test_large_data_comes_back_whole(world: World) -> None:
    data = bytes(range(256)) * 4000
    await world.store.records.open("s", data, node="a", ttl=60)
    record = await world.other.records.read("s")
    assert record is not None
    assert record.data == data
