"""What the rows of replicas share: a store, replicas on it, callers that any of them serves.

Owns: the configuration of replicas, counting what the store is asked, a way to the store that can
be made longer. Refuses: measuring.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from benchmarks.load import Caller, Connection, minted
from benchmarks.processes import BenchmarkError, Child
from benchmarks.stage import Stage, free_port
from benchmarks.store_server import NOT_FOUND, StoreServer

__all__ = ["LongWay", "Roaming", "Trips", "replica", "roaming", "store"]

_ASKED = ("evalsha", "eval", "ping")
"""What replicas send; the commands that scripts run in the server are none of these."""
_OPERATION = re.compile(
    r'^ccxt_mcp_store_round_trip_seconds_(count|sum)\{operation="([^"]+)"\} (\S+)$', re.MULTILINE
)


@asynccontextmanager
async def store() -> AsyncIterator[StoreServer]:
    """A real store on loopback for one measurement."""
    if not StoreServer.found():
        raise BenchmarkError(NOT_FOUND)
    async with StoreServer() as server:
        yield server


async def replica(
    stage: Stage, name: str, store_url: str | None, config: Path | None = None, prefix: str = "a"
) -> Child:
    """A process of the product, ready: with rate limits as users have them, and a disk of its own.

    Args:
        store_url: None for a server that stands alone.
        config: instead of that of the stage.
        prefix: replicas with the same one are of one cluster.
    """
    lines = (config or await stage.config()).read_text().replace('rate_limit = "off"\n', "")
    own = [f'data_dir = "{stage.home / name}"']
    if store_url is not None:
        own += [f'store_url = "{store_url}"', f'store_prefix = "{prefix}"']
    path = stage.home / f"{name}.toml"
    path.write_text("\n".join([*own, lines]))
    path.chmod(0o600)
    started = await stage.start("serve", config=str(path), port=free_port())
    connection = stage.connection(started)
    ready = connection.request("GET", "/ready")
    async with asyncio.timeout(30):
        while True:
            try:
                if (await connection.send(ready)).status == 200:
                    return started
            except ConnectionError:
                pass
            await asyncio.sleep(0.05)


class Roaming(Caller):
    """One session; each call goes to the next of several replicas."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        super().__init__(callers[0].connection, {})
        self._callers = callers
        self._next = 0

    def prepare(self, message: Any) -> Caller:
        for each in self._callers:
            each.prepare(message)
        return self

    async def call(self) -> bytes:
        self._next = (self._next + 1) % len(self._callers)
        return await self._callers[self._next].call()

    async def end(self) -> None:
        await self._callers[0].end()


async def roaming(stage: Stage, replicas: Sequence[Child], count: int) -> list[Roaming]:
    """Minted sessions, opened at one replica and known at all; they begin at different ones."""
    made = []
    for number in range(count):
        turned = [*replicas[number % len(replicas) :], *replicas[: number % len(replicas)]]
        first = await minted(stage.connection(turned[0]))
        others = [first.at(stage.connection(each)) for each in turned[1:]]
        made.append(Roaming([first, *others]))
    return made


class Trips:
    """Round trips to the store, as the store and as one replica count them."""

    def __init__(self, server: StoreServer, asking: Child) -> None:
        self._redis = Redis.from_url(server.url)
        self._metrics = Connection(asking.base)

    async def at_store(self) -> int:
        """Scripts and pings that came in since the store was started."""
        stats = await self._redis.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in _ASKED)

    async def by_operation(self) -> dict[str, int]:
        """The replica's own count."""
        return {name: int(number) for name, number in (await self._told("count")).items()}

    async def seconds(self) -> dict[str, float]:
        """What they took the replica, in all."""
        return await self._told("sum")

    async def _told(self, what: str) -> dict[str, float]:
        answer = await self._metrics.send(self._metrics.request("GET", "/metrics"))
        found = _OPERATION.findall(answer.body.decode())
        return {name: float(number) for kind, name, number in found if kind == what}

    async def close(self) -> None:
        await self._redis.aclose()
        await self._metrics.close()


class LongWay:
    """A relay before the store, as ``async with``: each answer comes ``delay`` seconds later."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self._port = port
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> LongWay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for each in self._passing:
            each.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", self._port)
        for task in (
            asyncio.create_task(self._pass(reader, there, late=False)),
            asyncio.create_task(self._pass(back, writer, late=True)),
        ):
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool
    ) -> None:
        loop, due = asyncio.get_running_loop(), 0.0

        def write(data: bytes) -> None:
            if not writer.is_closing():
                writer.write(data)

        try:
            while data := await reader.read(1 << 16):
                # In order, also where the delay has become shorter: replies have no names.
                due = max(due, loop.time() + (self.delay if late else 0.0))
                loop.call_at(due, write, data)
        except ConnectionError:
            pass
        finally:
            writer.close()
