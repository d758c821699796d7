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
    assert repr(connections) == "<Connections 0 of 4096, 0 idle>"


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
