"""What a session and a call cost the common store: `python -m benchmarks.store_cost`.

Owns: the figures behind the model in docs/SCALING.md: bytes for each session, microseconds of the
store's one core for each operation, how many of them it does in a second. A real server on
loopback, asked as replicas ask it. Refuses: what a call costs a replica (`make bench`).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from benchmarks.store_server import NOT_FOUND, StoreServer
from ccxt_mcp.cluster.holding import LENGTH
from ccxt_mcp.model import ANONYMOUS
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Claim, Store

__all__ = ["main"]

_AT_ONCE = 32
_RECORD = (
    b'{"kind":"minted","principal":"workflows","label":"3f1c9a\xe2\x80\xa6","ip":"203.0.113.77",'
    b'"at":1795286263.123,"version":"2025-11-25","client":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{"elicitation":{},"roots":{"listChanged":true},"sampling":{}},'
    b'"clientInfo":{"name":"orders-monitoring","version":"1.4.2"}},"streams":false}'
)
"""As large as that of a client with a handshake."""
_TALLY = {"calls": 1.0, "latencyMs": 31.25}


def _name(number: int) -> str:
    """As long as the names of sessions are."""
    return f"session/{ANONYMOUS.name or 'workflows'}/{number:064x}"


async def _each(numbers: Sequence[int], do: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Do it for each, so many at once; milliseconds of each."""
    left = iter(numbers)
    took: list[float] = []

    async def work() -> None:
        for number in left:
            began = time.perf_counter()
            await do(number)
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return took


async def _info(redis: Redis) -> Mapping[str, Any]:
    found = await redis.info("everything")
    return {str(key): value for key, value in found.items()}


def _cpu(info: Mapping[str, Any]) -> float:
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def _come_of_age(store: Store) -> None:
    """An empty store grants nothing for one lease length."""
    while (await store.leases.claim("age", "t", node="bench", length=LENGTH)).state is Claim.YOUNG:
        await asyncio.sleep(0.2)


async def measure(sessions: int, calls: int) -> None:
    """Print the figures."""
    async with StoreServer() as server:
        store = store_at(server.url, prefix="bench", timeout=5.0)
        redis = Redis.from_url(server.url)
        await store.open()
        try:
            await _come_of_age(store)
            before = await _info(redis)
            print(f"{before['redis_version']}, {_AT_ONCE} at once")

            async def opened(number: int) -> None:
                name = _name(number)
                await store.records.open(name, _RECORD, node="0a1b2c3d4e5f", ttl=1800)
                for roster in ("sessions", f"clients/203.0.113.{number % 250}"):
                    await store.roster.join(roster, name, ttl=1800, most=10**9)

            async def called(number: int) -> None:
                name, token = _name(number % sessions), f"0a1b2c3d4e5f-{number}"
                claimed = await store.leases.claim(
                    name, token, node="0a1b2c3d4e5f", length=LENGTH, record=True, ttl=1800
                )
                assert claimed.state is Claim.GRANTED, claimed
                await store.leases.release(name, token, length=LENGTH, tally=_TALLY)

            async def beaten(number: int) -> None:
                await store.nodes.beat(f"{number % 1000:012x}", b"x" * 300, ttl=15)

            await _each(range(sessions), opened)
            # What a session grows by in its life: counters, and the last 64 latencies.
            await _each(range(sessions), called)
            opened_now = await _info(redis)
            grown = (opened_now["used_memory"] - before["used_memory"]) / sessions
            print(f"memory of a session after its first call: {grown:,.0f} bytes")
            for what, do, parts in (
                ("claim and release", called, 2),
                ("beat of a node", beaten, 1),
            ):
                start, began = _cpu(await _info(redis)), time.perf_counter()
                took = await _each(range(calls), do)
                wall, cpu = time.perf_counter() - began, _cpu(await _info(redis)) - start
                done = calls * parts
                print(
                    f"{what}: {cpu / done * 1e6:.1f} us of the store's CPU a round trip,"
                    f" {done / wall:,.0f} a second through one client process,"
                    f" p50 {statistics.median(took):.2f} ms"
                )
            full = await _info(redis)
            grown = (full["used_memory"] - before["used_memory"]) / sessions
            print(f"memory of a session after {calls // sessions + 1} calls: {grown:,.0f} bytes")
        finally:
            await redis.aclose()
            await store.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 2 where there is no server to be found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store_cost", description=__doc__)
    parser.add_argument("--sessions", type=int, default=5_000)
    parser.add_argument("--calls", type=int, default=20_000)
    arguments = parser.parse_args(argv)
    if not StoreServer.found():
        print(NOT_FOUND)
        return 2
    asyncio.run(measure(arguments.sessions, arguments.calls))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
