"""Both stores give the same answers to the same questions, where time does not matter."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.errors import Failure
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Claimed, Consulted, Opened, Record, Store
from tests.redis_server import RedisServer, running_redis
from tests.unit.store.world import until

_NAMES = ("x", "y", "z:1", "ä")
_LONG = 1000.0


class _Player:
    """One store, to which moves are put; what it said, without times and numbers of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.heard: list[str] = []
        self._numbers: list[int] = [0]

    def has_heard_all(self) -> bool:
        return sum(each.endswith(" end") for each in self.heard) == 2

    async def play(self, move: str, chance: random.Random) -> Any:
        return self._plain(await getattr(self, move)(chance, chance.choice(_NAMES)))

    def _plain(self, said: Any) -> Any:
        if isinstance(said, Claimed):
            return said.state, said.mark, bool(said.version), said.left > 0, said.wait > 0
        if isinstance(said, Opened):
            return said.made, self._plain(said.record)
        if isinstance(said, Record):
            latencies = sorted(said.latencies)
            return said.data, dict(said.tally), latencies, said.held, sorted(said.nodes)
        if isinstance(said, Consulted):
            return said.value, said.mine
        return said

    async def claim(self, chance: random.Random, name: str) -> Claimed:
        return await self.store.leases.claim(
            name,
            f"t{chance.randrange(5)}",
            node=chance.choice("ab"),
            length=_LONG,
            reserve=chance.choice((0, 5, 10**18 + chance.randrange(10))),
            ahead=chance.choice((0, 3)),
            record=chance.random() < 0.5,
            ttl=_LONG,
        )

    async def renew(self, chance: random.Random, name: str) -> bool:
        token = f"t{chance.randrange(5)}"
        return await self.store.leases.renew(name, token, length=_LONG)

    async def release(self, chance: random.Random, name: str) -> None:
        await self.store.leases.release(
            name,
            f"t{chance.randrange(5)}",
            length=_LONG,
            mark=chance.choice((None, 7, 10**18)),
            tally=chance.choice((None, {"calls": 1.0, "latencyMs": 2.5})),
        )

    async def open(self, chance: random.Random, name: str) -> Opened:
        data = bytes([chance.randrange(256)])
        return await self.store.records.open(name, data, node=chance.choice("ab"), ttl=_LONG)

    async def read(self, chance: random.Random, name: str) -> Record | None:
        return await self.store.records.read(name, node=chance.choice((None, "c")))

    async def write(self, chance: random.Random, name: str) -> bool:
        return bool(await self.store.records.write(name, b"w", ttl=_LONG))

    async def touch(self, chance: random.Random, name: str) -> list[bool]:
        return await self.store.records.touch([name, *_NAMES], ttl=_LONG)

    async def remove(self, chance: random.Random, name: str) -> Any:
        nodes = await self.store.records.remove(name)
        return None if nodes is None else sorted(nodes)

    async def join(self, chance: random.Random, name: str) -> Any:
        member = f"m{chance.randrange(6)}"
        # Which of them is the oldest hangs on steps of the clock that memory may not see.
        return (await self.store.roster.join(name, member, ttl=_LONG, most=4))[0]

    async def stay(self, chance: random.Random, name: str) -> None:
        await self.store.roster.touch(name, ["m0", "m3"], ttl=_LONG)

    async def leave(self, chance: random.Random, name: str) -> None:
        await self.store.roster.leave(name, f"m{chance.randrange(6)}")

    async def page(self, chance: random.Random, name: str) -> Any:
        offset, limit = chance.randrange(4), chance.randrange(4)
        return await self.store.roster.page(name, offset=offset, limit=limit)

    async def consult(self, chance: random.Random, name: str) -> Consulted:
        return await self.store.values.consult(
            name, f"t{chance.randrange(4)}", node=chance.choice("ab"), max_age=_LONG, patience=_LONG
        )

    async def deposit(self, chance: random.Random, name: str) -> None:
        value = chance.choice((None, b"v", b""))
        await self.store.values.deposit(name, f"t{chance.randrange(4)}", value, ttl=_LONG)

    async def discard(self, chance: random.Random, name: str) -> None:
        await self.store.values.discard(name)

    async def append(self, chance: random.Random, name: str) -> None:
        self._numbers.append(
            await self.store.logs.append(
                name, b"e" * chance.randrange(40), most=4, size=100, ttl=_LONG
            )
        )

    async def after(self, chance: random.Random, name: str) -> Any:
        index = chance.randrange(len(self._numbers))
        entries, whole = await self.store.logs.after(name, self._numbers[index])
        return [(self._numbers.index(number), entry) for number, entry in entries], whole

    async def drop(self, chance: random.Random, name: str) -> None:
        await self.store.logs.drop(name)

    async def beat(self, chance: random.Random, name: str) -> None:
        await self.store.nodes.beat(name, bytes([chance.randrange(256)]), ttl=_LONG)

    async def all(self, chance: random.Random, name: str) -> dict[str, bytes]:
        return await self.store.nodes.all()

    async def gone(self, chance: random.Random, name: str) -> None:
        await self.store.nodes.gone(name)


_MOVES = (
    *("claim", "claim", "claim", "renew", "release", "release", "open", "open", "read", "write"),
    *("touch", "remove", "join", "join", "stay", "leave", "page", "consult", "consult", "deposit"),
    *("discard", "append", "append", "append", "after", "after", "drop", "beat", "all"),
    *("gone",),
)


@pytest.mark.parametrize("seed", range(4))
async def test_both_stores_say_the_same(seed: int, redis_server: RedisServer) -> None:
    prefix = secrets.token_hex(6)
    redis_server.come_of_age(prefix)
    await _compare(seed, store_at(redis_server.url, prefix=prefix, timeout=3))


async def test_a_cluster_says_the_same(cluster_server: RedisServer) -> None:
    """A script that touched keys of two slots would be refused there. Away, it is refused in the
    same words, although its client has an exception of its own for that."""
    cluster_server.come_of_age("p")
    url = cluster_server.url.removesuffix("/0").replace("redis:", "redis+cluster:")
    await _compare(7, store_at(url, prefix="p", timeout=3))
    store = store_at(url, prefix="p", timeout=3)
    await store.open()
    try:
        await store.records.read("x")
        cluster_server.stop()
        for _ in range(2):
            with pytest.raises(Failure, match="the store cannot be reached"):
                await store.records.read("x")
    finally:
        await store.close()


async def test_what_sentinels_point_to_says_the_same(
    redis_server: RedisServer, sentinel_server: RedisServer
) -> None:
    prefix = secrets.token_hex(6)
    redis_server.come_of_age(prefix)
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel_server.port}/main"
    await _compare(8, store_at(url, prefix=prefix, timeout=3))


async def _compare(seed: int, real: Store) -> None:
    await real.open()
    steps = iter(range(1, 10**9))
    memory = MemoryStore(clock=lambda: next(steps) / 1_000_000)
    players = [_Player(memory), _Player(real)]
    try:
        for player in players:
            for node in ("a", "b"):
                await player.store.mail.listen(node, _ear(player, node))
        order = random.Random(seed)
        for number in range(700):
            move, draw = order.choice(_MOVES), order.random()
            said = [await player.play(move, random.Random(draw)) for player in players]
            assert said[0] == said[1], f"{move} as number {number}"
        for player in players:
            for node in ("a", "b"):
                await player.store.mail.tell(node, "end")
            await until(player.has_heard_all)
        # Nodes are told of one ending in any order; each of them hears in order.
        for node in ("a", "b"):
            ours, theirs = ([m for m in p.heard if m.startswith(node)] for p in players)
            assert ours == theirs
        assert len(players[0].heard) > 10
    finally:
        await real.close()


@pytest.fixture
def cluster_server(redis_there: None, tmp_path: Path) -> Iterator[RedisServer]:
    """A cluster of one node, which has all slots."""
    with running_redis(tmp_path, "--cluster-enabled", "yes") as server, server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        end = time.monotonic() + 15
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            assert time.monotonic() < end
            time.sleep(0.02)
        yield server


@pytest.fixture
def sentinel_server(redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A sentinel that watches the server of all."""
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {redis_server.port} 1\n")
    with running_redis(tmp_path, sentinel=config) as server:
        yield server


def _ear(player: _Player, node: str) -> Callable[[str], None]:
    return lambda message: player.heard.append(f"{node} {message}")
