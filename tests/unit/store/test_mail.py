"""Mail between nodes, in both stores."""

from tests.unit.store.world import World, until


async def test_messages_arrive_in_order_after_who_sent_has_gone_on(world: World) -> None:
    heard = await world.hear("a")
    for number in range(100):
        assert await world.other.mail.tell("a", f"topic {number}")
    await until(lambda: len(heard) == 100)
    assert heard == [f"topic {number}" for number in range(100)]


async def test_each_node_hears_its_own(world: World) -> None:
    a, b = await world.hear("a"), await world.hear("b", other=True)
    await world.store.mail.tell("a", "for-a ä")
    await world.store.mail.tell("b", "for-b")
    await until(lambda: bool(a and b))
    assert (a, b) == (["for-a ä"], ["for-b"])


async def test_a_message_that_nobody_hears_is_lost_and_said_to_be(world: World) -> None:
    assert not await world.store.mail.tell("nobody", "hello")


async def test_a_node_that_listens_no_more_hears_nothing(world: World) -> None:
    a, b = await world.hear("a"), await world.hear("b")
    await world.store.mail.unlisten("a")
    await world.store.mail.unlisten("never")
    await world.store.mail.tell("a", "x")
    await world.store.mail.tell("b", "x")
    await until(lambda: b == ["x"])
    assert a == []
