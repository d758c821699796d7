"""Several real servers as tests use them: a Redis Cluster, and a primary with its follower and
sentinels."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redis.crc import key_slot
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ResponseError

from ccxt_mcp.store.redis.keys import Keys
from tests.redis_server import RedisServer, running_redis

__all__ = ["Shards", "Watched", "running_shards", "running_watched"]

_SLOTS = 16384
_SERVICE = "main"
_QUICK = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


def _wait(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Shards:
    """A cluster of primaries, each of which has an equal part of the slots."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{each.port}' for each in self.nodes)}"

    def owner(self, key: str) -> RedisServer:
        """The server that has this key."""
        slot = key_slot(key.encode())
        return self._of_slot(slot, self._first("CLUSTER", "SLOTS"))

    def _of_slot(self, slot: int, table: Any) -> RedisServer:
        for first, last, (_, port, *_), *_ in table:
            if first <= slot <= last:
                return next(each for each in self.nodes if each.port == port)
        raise AssertionError(f"nobody has the slot {slot}")

    def acquainted(self, followers: int) -> bool:
        """Whether each server knows all of them, and so many that follow."""
        for each in self.nodes:
            with each.client() as client:
                known: Any = client.execute_command("CLUSTER", "NODES")
            flags = [line.split()[2] for line in known.splitlines()]
            if len(flags) != len(self.nodes) or any(b"handshake" in one for one in flags):
                return False
            if sum(b"slave" in one for one in flags) != followers:
                return False
        return True

    def begin_to_move(self, key: str, to: RedisServer) -> None:
        """From here on the slot of this key is on its way, and each of its keys at either end."""
        slot, source = key_slot(key.encode()), self.owner(key)
        with source.client() as old, to.client() as new:
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", _id(old))
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", _id(new))

    def finish_move(self, key: str, to: RedisServer) -> None:
        """Take over what is there, and let everybody know."""
        slot, source = key_slot(key.encode()), self.owner(key)
        with source.client() as old, to.client() as new:
            keys: Any
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                old.execute_command(*("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS"), *keys)
            for each in (new, old):
                each.execute_command("CLUSTER", "SETSLOT", slot, "NODE", _id(new))
        _wait(lambda: self.owner(key) is to, "the slot has not arrived")

    def come_of_age(self, prefix: str) -> None:
        """As of one server."""
        table = self._first("CLUSTER", "SLOTS")
        parts: dict[RedisServer, list[str]] = {}
        for key in Keys(prefix).all_leases():
            owner = self._of_slot(key_slot(key.encode()), table)
            parts.setdefault(owner, []).append(key)
        for owner, keys in parts.items():
            owner.come_of_age(prefix, keys)

    def forget(self, prefix: str) -> None:
        for each in self.nodes:
            each.forget(prefix)

    def settled(self) -> bool:
        """Whether every server takes what belongs to it, and knows all others."""
        wanted = (
            b"cluster_state:ok",
            b"cluster_slots_ok:16384",
            b"cluster_size:%d" % len(self.nodes),
        )
        for each in self.nodes:
            with each.client() as client:
                said: Any = client.execute_command("CLUSTER", "INFO")
                if not all(word in said for word in wanted):
                    return False
        return True

    def _first(self, *command: str) -> Any:
        # Of those that live.
        for each in self.nodes:
            with contextlib.suppress(OSError, Disconnected), each.client() as client:
                return client.execute_command(*command)
        raise AssertionError("no server is there")


def _id(client: Any) -> Any:
    return client.execute_command("CLUSTER", "MYID")


@contextlib.contextmanager
def running_shards(directory: Path, *, count: int = 3, followers: int = 0) -> Iterator[Shards]:
    """A cluster for as long as this lasts. A primary that is away takes with it only what it has,
    unless it is one of the first, which may have followers.

    Args:
        count: of primaries.
        followers: of the first primary, the second and so on, one each.
    """
    with contextlib.ExitStack() as stack:

        def running(number: int) -> RedisServer:
            own = directory / f"shard{number}"
            own.mkdir()
            return stack.enter_context(
                running_redis(
                    own,
                    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
                    *("--cluster-require-full-coverage", "no", *_QUICK),
                )
            )

        nodes = [running(number) for number in range(count)]
        behind = [running(count + number) for number in range(followers)]
        for number, each in enumerate(nodes):
            with each.client() as client:
                mine = range(number * _SLOTS // count, (number + 1) * _SLOTS // count)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                client.execute_command("CLUSTER", "ADDSLOTS", *mine)
                for other in nodes[:number]:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
        shards = Shards(nodes)
        _wait(shards.settled, "the servers have not found each other")
        for primary, follower in zip(nodes, behind, strict=False):
            _follow(primary, follower)
        shards.nodes += behind
        # A primary grants no vote to a follower that it has not heard of.
        _wait(lambda: shards.acquainted(followers), "the servers have not heard of the followers")
        yield shards


def _follow(primary: RedisServer, follower: RedisServer) -> None:
    with primary.client() as first, follower.client() as second:
        second.execute_command("CLUSTER", "MEET", "127.0.0.1", primary.port)
        wanted = _id(first)
        _wait(lambda: wanted in second.execute_command("CLUSTER", "NODES"), "it does not know it")

        def replicates() -> bool:
            try:
                second.execute_command("CLUSTER", "REPLICATE", wanted)
            except ResponseError:
                # It knows of it, but not yet that it is a primary.
                return False
            return True

        _wait(replicates, "it cannot follow")
    _wait(lambda: _in_step(follower), "the follower is not in step")


def _in_step(server: RedisServer) -> bool:
    """Whether this server has all that its primary has."""
    with server.client() as client:
        said: Any = client.info("replication")
    return bool(said["role"] == "slave" and said["master_link_status"] == "up")


class Watched:
    """A primary and its follower, and sentinels that put one into the other's place."""

    def __init__(self, servers: list[RedisServer], sentinels: list[RedisServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{_SERVICE}"

    def primary(self) -> RedisServer | None:
        """The server that all sentinels name; None while they do not agree."""
        ports = set()
        for each in self.sentinels:
            with each.client() as client:
                named: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _SERVICE)
                ports.add(int(named[1]))
        found = [each for each in self.servers if each.port in ports]
        return found[0] if len(ports) == 1 and found else None

    def ready(self) -> bool:
        """Whether each sentinel knows the follower and the other sentinels."""
        for each in self.sentinels:
            with each.client() as client:
                said: Any = client.execute_command("SENTINEL", "MASTER", _SERVICE)
                known = dict(zip(said[::2], said[1::2], strict=True))
            if int(known[b"num-slaves"]) < len(self.servers) - 1:
                return False
            if int(known[b"num-other-sentinels"]) < len(self.sentinels) - 1:
                return False
        return True


@contextlib.contextmanager
def running_watched(
    directory: Path, *, sentinels: int = 3, down_after: float = 0.5
) -> Iterator[Watched]:
    """A primary, a follower that has all of it, and sentinels that know both.

    Args:
        down_after: seconds of silence after which a sentinel gives the primary up.
    """
    with contextlib.ExitStack() as stack:

        def running(name: str, *more: str, sentinel: str | None = None) -> RedisServer:
            own = directory / name
            own.mkdir()
            config = None
            if sentinel is not None:
                config = own / "sentinel.conf"
                config.write_text(sentinel)
            return stack.enter_context(running_redis(own, *more, sentinel=config))

        primary = running("primary", *_QUICK)
        follower = running("follower", *_QUICK, "--replicaof", "127.0.0.1", str(primary.port))
        config = (
            f"sentinel monitor {_SERVICE} 127.0.0.1 {primary.port} {sentinels // 2 + 1}\n"
            f"sentinel down-after-milliseconds {_SERVICE} {down_after * 1000:.0f}\n"
            f"sentinel failover-timeout {_SERVICE} 3000\n"
        )
        watching = [running(f"sentinel{number}", sentinel=config) for number in range(sentinels)]
        watched = Watched([primary, follower], watching)
        _wait(lambda: _in_step(follower), "the follower is not in step")
        _wait(watched.ready, "the sentinels have not found each other")
        yield watched
