"""The registry by itself: room, counters, defaults."""

import asyncio
from dataclasses import dataclass, field

import pytest

from ccxt_mcp.connections import sockets
from ccxt_mcp.connections.limits import MAX_LEAVING, ConnectionLimits
from ccxt_mcp.connections.registry import Connections
from ccxt_mcp.connections.sockets import capacity, raise_file_limit
from ccxt_mcp.settings import Settings

resource = pytest.importorskip("resource")


@dataclass(eq=False)
class Fake:
    """A member that notes what it is told."""

    told: list[str] = field(default_factory=list)

    def check(self, now: float) -> None:
        self.told.append("check")

    def begin_draining(self) -> None:
        self.told.append("drain")

    def hang_up(self) -> None:
        self.told.append("hang up")

    def make_room(self) -> None:
        self.told.append("make room")


def test_the_defaults_are_those_of_the_settings() -> None:
    """Servers that are started without settings, tests and simulations, have the same bounds."""
    assert ConnectionLimits() == ConnectionLimits.from_settings(Settings())


async def test_who_was_idle_first_makes_room_first() -> None:
    connections = Connections(ConnectionLimits(max_connections=3))
    a, b, c, d, e, f = (Fake() for _ in range(6))
    assert all(map(connections.admit, (a, b, c)))
    for member in (a, b):
        connections.idle(member)
    connections.busy(a)
    connections.idle(a)
    assert connections.admit(d)
    assert [m.told for m in (a, b, c)] == [[], ["make room"], []]
    connections.forget(b)
    assert connections.admit(e)
    assert a.told == ["make room"]
    connections.forget(a)
    assert not connections.admit(f)
    assert connections.counts.refused_full == 1
    assert connections.counts.open == 3


async def test_one_address_takes_no_room_of_others() -> None:
    """Without it, whoever opens connections fast enough has those of everybody else closed."""
    connections = Connections(ConnectionLimits(max_connections=8))
    ours = [Fake() for _ in range(3)]
    for member in ours:
        connections.admit(member, "192.0.2.1")
        connections.idle(member)
    flood = [Fake() for _ in range(6)]
    assert [connections.admit(member, "192.0.2.9") for member in flood] == [True] * 4 + [False] * 2
    connections.idle(flood[0])
    assert connections.admit(Fake(), "192.0.2.9")
    assert flood[0].told == ["make room"]
    connections.forget(flood[0])
    assert connections.admit(Fake(), "192.0.2.1")
    assert [member.told for member in ours] == [[], [], []]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", None])
async def test_an_address_of_many_clients_may_fill_the_server_but_displaces_only_its_own(
    address: str | None,
) -> None:
    limits = ConnectionLimits(max_connections=8, trusted_proxies=("10.0.0.0/8",))
    connections = Connections(limits)
    other = Fake()
    connections.admit(other, "192.0.2.1")
    connections.idle(other)
    crowd = [Fake() for _ in range(8)]
    assert [connections.admit(member, address) for member in crowd] == [True] * 7 + [False]
    assert other.told == []
    for member in [other, *crowd[:7]]:
        connections.forget(member)
    assert repr(connections) == "<Connections 0 of 8, 0 idle>"
    assert not connections._of
    assert not connections._idle_of


async def test_only_so_many_are_told_that_there_is_no_room() -> None:
    connections = Connections()
    assert all(connections.turn_away(Fake()) for _ in range(MAX_LEAVING))
    last = Fake()
    assert not connections.turn_away(last)
    connections.hang_up()
    assert last.told == []


async def test_the_clock_runs_while_there_is_anybody() -> None:
    connections = Connections(ConnectionLimits(header_timeout=0.04))
    member = Fake()
    connections.admit(member)
    async with asyncio.timeout(5):
        while len(member.told) < 2:
            await asyncio.sleep(0.005)
        connections.forget(member)
        while connections._clock is not None:
            await asyncio.sleep(0.005)
    assert repr(connections) == "<Connections 0 of 8192, 0 idle>"


async def test_draining_tells_everybody_and_shortens_patience() -> None:
    connections = Connections()
    member = Fake()
    connections.admit(member)
    connections.drain(5)
    connections.drain(60)
    assert member.told == ["drain", "drain"]
    assert connections.write_timeout == 5


def test_half_of_the_files_are_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 2000))
    assert capacity(ConnectionLimits(max_connections=4096)) == 500
    assert capacity(ConnectionLimits(max_connections=100)) == 100
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert capacity(ConnectionLimits(max_connections=4096)) == 4096


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1_000_000), (65_536, 1_000_000)),
        ((1024, resource.RLIM_INFINITY), (65_536, resource.RLIM_INFINITY)),
        ((100_000, 1_000_000), None),
        ((4096, 4096), None),
    ],
)
def test_the_limit_of_files_is_raised_and_never_lowered(
    now: tuple[int, int], then: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: now)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    raise_file_limit()
    assert asked == ([] if then is None else [then])


def test_a_limit_that_is_not_granted_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: int, limits: tuple[int, int]) -> None:
        raise ValueError("not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_file_limit()
    assert sockets.capacity(ConnectionLimits()) == 8
