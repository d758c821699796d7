"""What a replica holds in memory while it loads large exchanges, with the process that helps it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.load import minted, tool_call
from benchmarks.processes import BenchmarkError, Child
from benchmarks.replica_set import Trips, replica, store
from benchmarks.report import Row, measurement
from benchmarks.roles import SYMBOL
from benchmarks.stage import Stage
from benchmarks.store_server import StoreServer

__all__: list[str] = []

_LIMIT = 512 * 1024 * 1024
_EXCHANGES = 3
_SPOT, _LINEAR = 3000, 600
_EVERY = 0.05


def _tree(pid: int) -> Iterator[psutil.Process]:
    process = psutil.Process(pid)
    yield process
    yield from process.children(recursive=True)


class _Limit:
    """As ``async with``: ends a process and all its children when they hold more than they may.

    Resident bytes of each are added up, pages that they share counted for each of them, so that the
    sum is rather above what a container would be charged for its processes than below.

    Mutable, only growing: ``most``, ``helped`` (the most while there was a child).
    """

    def __init__(self, root: Child) -> None:
        self.most = self.helped = 0
        self._root = root
        self._watching: asyncio.Task[None] | None = None

    @property
    def kept(self) -> bool:
        return self.most <= _LIMIT

    async def __aenter__(self) -> _Limit:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        while self.kept:
            resident = []
            try:
                for each in _tree(self._root.pid):
                    resident.append(each.memory_info().rss)
            except psutil.NoSuchProcess:
                # A helper that has just ended.
                pass
            self.most = max(self.most, sum(resident))
            if len(resident) > 1:
                self.helped = max(self.helped, sum(resident))
            await asyncio.sleep(_EVERY)
        for each in list(_tree(self._root.pid)):
            each.kill()


@measurement("replicas-memory")
async def memory(stage: Stage) -> list[Row]:
    """The most that a replica holds while it loads three large exchanges, one after the other.

    Each lists 3,000 spot and 600 linear markets and shares no table. The resident memory of the
    replica and of the helper processes that load for it is added up every 50 ms, and all of them
    are killed when it is more than 512 MiB: that is the limit it runs under, and one that a
    container would count less strictly, since it counts shared pages once. The second row is of a
    replica that finds the tables in the store, where the first one has put them.
    """
    rows = []
    large = await stage.start("venue", spot=_SPOT, linear=_LINEAR)
    config = _config(stage, str(large.ready["url"]))
    async with store() as server:
        for name, what in (("loads", "loaded with helper"), ("finds", "found in the store")):
            serving = await replica(stage, name, server.url, config)
            rows.append(await _row(server, serving, stage, what, deposits=name == "loads"))
    await large.stop()
    return rows


async def _deposited(counted: Trips, number: int) -> None:
    """Wait until the store has so many tables, each with the answer to the call: as long as it has
    not, a replica that is stopped leaves the others waiting for it."""
    async with asyncio.timeout(20):
        while (await counted.by_operation()).get("values.deposit", 0) < 2 * number:
            await asyncio.sleep(_EVERY)


async def _row(
    server: StoreServer, serving: Child, stage: Stage, what: str, *, deposits: bool
) -> Row:
    counted = Trips(server, serving)
    idle = serving.memory
    held = []
    async with _Limit(serving) as limit:
        for number in range(_EXCHANGES):
            caller = await minted(stage.connection(serving))
            body = tool_call("get_ticker", symbol=SYMBOL, exchange=f"x{number}")
            try:
                answer = await caller.prepare(body).call()
                # What takes so long comes as events, whose failures are far behind.
                if b'"isError":true' in answer:
                    raise BenchmarkError(f"x{number} could not be loaded: {answer[-600:]!r}")
                if deposits:
                    await _deposited(counted, number + 1)
            except ConnectionError:
                # Killed; the figures say so.
                break
            held.append(serving.memory)
    await counted.close()
    await serving.stop()
    steps = ", ".join(f"{each:.0f}" for each in held)
    helped = f"{limit.helped / 1e6:.0f} MB" if limit.helped else "no helper"
    return Row(
        what=f"most memory of a replica with {_EXCHANGES} large exchanges, {what}",
        ours=f"{limit.most / 2**20:.0f} MiB",
        target="≤ 512 MiB",
        reached=limit.kept and len(held) == _EXCHANGES,
        note=f"killed above it; idle {idle:.0f}, after each exchange {steps} MB; most while a"
        f" helper ran: {helped}",
        data={"most_mib": limit.most / 2**20, "after_mb": held, "idle_mb": idle},
    )


def _config(stage: Stage, url: str) -> Path:
    config = stage.home / "three.toml"
    lines = ['default_exchange = "x0"', "exchange_keys_from_env = false"]
    lines += ["tool_timeout = 60", "ccxt_timeout = 30", ""]
    for number in range(_EXCHANGES):
        lines += [f"[exchanges.x{number}]", 'exchange = "binance"', f'base_url = "{url}"']
        lines += [f"options = {{ own = {number} }}"]
    config.write_text("\n".join(lines) + "\n")
    return config
