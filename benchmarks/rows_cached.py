"""Public reads that many workflows ask at the same time: what the cache makes of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.load import Caller, Load, tool_call
from benchmarks.processes import Child
from benchmarks.report import Rounds, Row, measurement
from benchmarks.roles import SYMBOL
from benchmarks.stage import Stage, alternate

__all__: list[str] = []

SESSIONS, RATE = 50, 1000
_ROUND = 5.0
"""Seconds."""
_ECHO = tool_call("echo", symbol=SYMBOL)
MIXED = (
    tool_call("get_ticker", symbol=SYMBOL),
    tool_call("get_ticker", symbol="ETH/USDT"),
    tool_call("get_orderbook", symbol=SYMBOL, limit=10),
    tool_call("get_ohlcv", symbol=SYMBOL, timeframe="1h", limit=20),
)
"""What the sessions ask in turn."""


async def _paced(callers: Sequence[Caller], seconds: float, latencies: list[float]) -> int:
    """Each session sends at its own beat, together ``RATE`` a second; how many calls there were.

    A call that is late because its session's last one took long counts from when it was due.
    """
    beat = len(callers) / RATE
    loop = asyncio.get_running_loop()
    begin = loop.time() + 0.05
    count = 0

    async def session(number: int, caller: Caller) -> None:
        nonlocal count
        due = begin + beat * number / len(callers)
        while due < begin + seconds:
            await asyncio.sleep(max(0.0, due - loop.time()))
            await caller.call()
            latencies.append(loop.time() - due)
            count += 1
            due += beat

    async with asyncio.timeout(seconds + 30), asyncio.TaskGroup() as group:
        for number, caller in enumerate(callers):
            group.create_task(session(number, caller))
    return count


async def _load(server: Child, callers: Sequence[Caller], seconds: float) -> tuple[Load, float]:
    """CPU per call, and the 99th percentile of latency in seconds."""
    latencies: list[float] = []
    before, started = server.cpu, time.perf_counter()
    calls = await _paced(callers, seconds, latencies)
    load = Load(calls, time.perf_counter() - started, server.cpu - before)
    return load, sorted(latencies)[int(len(latencies) * 0.99)]


@measurement("cached-reads")
async def cached_reads(stage: Stage) -> list[Row]:
    """1,000 calls a second of mixed public reads over 50 sessions, for 30 s: CPU per call and p99.

    Tickers of two symbols, a book of 10 levels and 20 candles; the venue answers at once.
    Reference: SDK echo's trivial tool at the same rate, in rounds of 5 s between ours: a machine's
    pace changes by a quarter within half a minute.
    """
    venue, server = await stage.venue(), await stage.server()
    sdk = await stage.echo("echo-sdk")
    mine = await stage.callers(server, SESSIONS, MIXED[0])
    for number, caller in enumerate(mine):
        caller.prepare(MIXED[number % len(MIXED)])
    theirs = await stage.callers(sdk, SESSIONS, _ECHO)
    await _load(server, mine, 1.0)
    await _load(sdk, theirs, 1.0)
    upstream = 0

    async def ours() -> tuple[Load, float]:
        nonlocal upstream
        seen = (await venue.counters())["total"]
        found = await _load(server, mine, _ROUND)
        upstream += (await venue.counters())["total"] - seen
        return found

    loads, references = await alternate(
        stage.scale.rounds(6), ours, lambda: _load(sdk, theirs, _ROUND)
    )
    own = Rounds.of([load.cpu_per_call * 1e6 for load, _ in loads])
    reference = Rounds.of([load.cpu_per_call * 1e6 for load, _ in references])
    ratio = own.over(reference)
    p99, others = (Rounds.of([each * 1000 for _, each in found]) for found in (loads, references))
    calls = sum(load.calls for load, _ in loads)
    pace = calls / sum(load.wall for load, _ in loads)
    note = (
        f"{calls} calls at {pace:.0f}/s, {upstream} requests upstream; p99 {p99.show('ms', 0)}, of"
        f" the reference {others.show('ms', 0)}"
    )
    return [
        Row(
            what="mixed cached reads of 50 sessions, CPU per call",
            ours=own.show("µs", 0),
            reference=reference.show("µs", 0),
            ratio=ratio.show(),
            target="≤ 0.75 x",
            reached=ratio.median <= 0.75,
            note=note,
            data={"ratio": ratio.median, "p99_ms": p99.median, "upstream": upstream},
        )
    ]
