"""What all sessions keep together: bounded, and whoever keeps most loses first."""

import random

import pytest

from ccxt_mcp.transport.events import Events, Replay
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.room import Caller, Room
from ccxt_mcp.transport.track import Track

ONE, TWO = ("one", "10.0.0.1"), ("two", "10.0.0.2")
LIMITS = Replay(events=10_000, size=1 << 30)


def stream(room: Room, caller: Caller) -> tuple[Events, Track]:
    store = Events(LIMITS, room, caller)
    return store, store.open(lambda: None)


def fill(track: Track, events: int, size: int = 100) -> None:
    for _ in range(events):
        track.push(b"x" * size)


async def test_the_caller_that_keeps_most_loses_and_of_its_sessions_the_largest() -> None:
    """By the session alone, many small sessions of one caller would push out another's only one."""
    room = Room(100_000)
    modest, only = stream(room, ONE)
    fill(only, 150)
    many = [stream(room, TWO) for _ in range(20)]
    for _, track in many[:10]:
        fill(track, 100)
    largest = modest.size
    assert all(store.size < largest for store, _ in many)
    for _, track in many[10:]:
        fill(track, 10)
    while room.size + 1000 < 100_000:
        fill(many[0][1], 1)
    fill(many[10][1], 10)
    assert room.size <= 100_000
    assert (modest.size, only.dropped) == (largest, 0)
    assert many[0][1].dropped
    assert not any(track.dropped for _, track in many[10:])


async def test_what_goes_are_the_oldest_events_of_a_session_over_all_its_streams() -> None:
    room = Room(20_000)
    store, first = stream(room, ONE)
    second = store.open(lambda: None)
    for _ in range(40):
        fill(first, 1)
        fill(second, 1)
    kept = [number for track in (first, second) for number, _ in track.kept]
    before = store.count
    store.give_up(spare_newest=False)
    left = [number for track in (first, second) for number, _ in track.kept]
    assert sorted(left) == sorted(kept)[(before + 1) // 2 :]
    assert store.count == len(left)


async def test_whoever_comes_for_what_went_is_told() -> None:
    room = Room(20_000)
    store, track = stream(room, ONE)
    first = track.prime().split()[1].decode()
    fill(track, 200)
    assert room.size <= 20_000
    with pytest.raises(Refusal, match="replay_total_bytes_max"):
        store.find(first)
    found, seen = store.find(f"{store.tag.decode()}-1-{track.last - 3:x}")
    assert (found, seen) == (track, track.last - 3)


async def test_the_newest_event_stays_whatever_its_size() -> None:
    """It may be the reply of a call that has done something, and nobody has it yet."""
    room = Room(10_000)
    other, track = stream(room, ONE)
    fill(track, 50)
    store, large = stream(room, TWO)
    large.push(b"x" * 50_000)
    assert (store.count, other.count) == (1, 0)
    fill(track, 1)
    assert (store.count, other.count) == (0, 1)
    assert room.size < 10_000


async def test_room_is_made_for_many_events_at_once() -> None:
    """Sorting all sessions for each event would hold everybody up while one floods."""
    room = Room(1_000_000)
    stores = [stream(room, (f"caller-{number}", None))[1] for number in range(100)]
    for track in stores:
        fill(track, 60)
    falls = 0
    before = room.size
    for _ in range(3000):
        fill(stores[0], 1)
        falls += room.size < before
        before = room.size
    assert 0 < falls < 60
    assert room.size <= 1_000_000


@pytest.mark.parametrize("seed", range(5))
async def test_the_sum_is_that_of_its_parts_whatever_comes_and_goes(seed: int) -> None:
    chance = random.Random(seed)
    room = Room(50_000)
    callers: list[Caller] = [("", f"10.0.0.{number}") for number in range(5)]
    live: list[tuple[Events, list[Track]]] = []
    for _ in range(2000):
        match chance.randrange(8):
            case 0:
                store = Events(Replay(events=40, size=20_000), room, chance.choice(callers))
                live.append((store, [store.open(lambda: None)]))
            case 1 if live:
                store, tracks = chance.choice(live)
                tracks.append(store.open(lambda: None))
            case 2 if live:
                store, tracks = chance.choice(live)
                chance.choice(tracks).close()
            case 3 if live and chance.random() < 0.3:
                store, tracks = live.pop(chance.randrange(len(live)))
                for track in tracks:
                    track.close()
                store.close()
                assert (store.count, store.size) == (0, 0)
            case _ if live:
                store, tracks = chance.choice(live)
                fill(chance.choice(tracks), chance.randrange(5), chance.choice([10, 500, 3000]))
        assert room.size == sum(store.size for store, _ in live) <= 50_000
        assert sum(map(len, room._keepers.values())) == sum(bool(s.size) for s, _ in live)
    for store, tracks in live:
        for track in tracks:
            track.close()
        store.close()
    assert (room.size, room._keepers) == (0, {})
