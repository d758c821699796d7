"""What the common store of replicas costs a call: round trips, time, CPU."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from benchmarks.load import Caller, Connection, drive, minted, tool_call, workflow
from benchmarks.processes import Child
from benchmarks.replica_set import LongWay, Trips, replica, roaming, store
from benchmarks.report import Rounds, Row, measurement
from benchmarks.roles import ORDERS, SYMBOL, account_name
from benchmarks.stage import Stage, alternate

__all__: list[str] = []


class _Call(NamedTuple):
    what: str
    message: dict[str, Any]


_LOCAL = _Call("list_accounts", tool_call("list_accounts"))
_MODERN = _Call("list_accounts, modern era", _LOCAL.message)
_CACHED = _Call("cached get_ticker", tool_call("get_ticker", symbol=SYMBOL, maxAgeMs=60_000))
_ORDERS = _Call(
    f"get_open_orders, {ORDERS} orders",
    tool_call("get_open_orders", symbol=SYMBOL, account=account_name(0)),
)
_DELAY = 0.05
_APART = 0.25


async def _timed(caller: Caller) -> float:
    started = time.perf_counter()
    await caller.call()
    return time.perf_counter() - started


async def _apart(caller: Caller, calls: int) -> float:
    """Calls with a pause before each; the median of their seconds."""
    took = []
    for _ in range(calls):
        await asyncio.sleep(_APART)
        took.append(await _timed(caller))
    return statistics.median(took)


@measurement("replicas-trips")
async def trips(stage: Stage) -> list[Row]:
    """Round trips to the store per warm call of a session, one replica, rate limits on.

    In all: scripts and pings counted by the store's server (`INFO commandstats`), so that signs of
    life and renewals are in it; one call right after the other, and calls 0.25 s apart. Waited for:
    what calls take longer when each answer of the store comes 50 ms later, divided by 50 ms.
    """
    await stage.venue()
    rows = []
    async with store() as server, LongWay(server.port) as way:
        serving = await replica(stage, "trips", way.url)
        counted = Trips(server, serving)
        try:
            for call in (_LOCAL, _CACHED, _ORDERS):
                caller = (await minted(stage.connection(serving))).prepare(call.message)
                await drive([caller], 10)
                rows.append(await _trips(stage, call, caller, counted, way))
        finally:
            await counted.close()
            await serving.stop()
    return rows


async def _trips(stage: Stage, call: _Call, caller: Caller, counted: Trips, way: LongWay) -> Row:
    row, apart = stage.scale.calls(150, 40), stage.scale.calls(16, 8)
    found, operations = [], []
    for calls, work in ((row, partial(drive, [caller])), (apart, partial(_apart, caller))):
        await asyncio.sleep(_APART)
        before, named = await counted.at_store(), await counted.by_operation()
        await work(calls)
        await asyncio.sleep(_APART)
        found.append((await counted.at_store() - before) / calls)
        after = await counted.by_operation()
        operations.append({k: n - named.get(k, 0) for k, n in after.items() if n > named.get(k, 0)})
    near = await _apart(caller, apart)
    way.delay = _DELAY
    far = await _apart(caller, apart)
    way.delay = 0.0
    awaited = (far - near) / _DELAY
    said = "; ".join(
        f"{calls} calls: " + ", ".join(f"{name} {n}" for name, n in sorted(each.items()))
        for calls, each in zip((row, apart), operations, strict=True)
    )
    return Row(
        what=f"store round trips per call, at once / with pauses / waited for: {call.what}",
        ours=f"{found[0]:.2f} / {found[1]:.2f} / {awaited:.2f}",
        target="≤ 3",
        # What replicas do by themselves comes to less than a tenth of a call.
        reached=max(*found, awaited) < 3.5,
        note=said,
        data={"in_turn": found[0], "apart": found[1], "awaited": awaited, "by": operations},
    )


@measurement("replicas-latency")
async def latency(stage: Stage) -> list[Row]:
    """Time that the store adds to a call, over the same server without `store_url`.

    One call of each in turn (A B, B A, …), one in flight at a time, rate limits on in both; the
    exchange takes 30 ms, a local tool nothing. The difference is taken between the percentiles;
    beside it the note has the median of the differences within the pairs.
    """

    async def workflow_of(connection: Connection) -> Caller:
        return workflow(connection, "latency")

    venue = await stage.venue()
    async with store() as server:
        shared = await replica(stage, "shared", server.url)
        alone = await replica(stage, "alone", None)
        counted = Trips(server, shared)
        await venue.latency(30)
        try:
            rows = []
            for call, opened, pairs in (
                (_ORDERS, minted, stage.scale.calls(400, 90)),
                (_LOCAL, minted, stage.scale.calls(600, 150)),
                (_MODERN, workflow_of, stage.scale.calls(600, 150)),
            ):
                ours, reference = [
                    (await opened(stage.connection(each))).prepare(call.message)
                    for each in (shared, alone)
                ]
                await alternate(10, partial(_timed, ours), partial(_timed, reference))
                times, seconds = await counted.by_operation(), await counted.seconds()
                mine, theirs = await alternate(
                    pairs, partial(_timed, ours), partial(_timed, reference)
                )
                after = await counted.seconds()
                each = {
                    name: (after[name] - seconds.get(name, 0.0)) / (n - times.get(name, 0)) * 1e3
                    for name, n in (await counted.by_operation()).items()
                    if n - times.get(name, 0) >= pairs
                }
                rows.append(_added(call.what, mine, theirs, each, await _bare(server.port)))
            return rows
        finally:
            await venue.latency(0)
            await counted.close()
            await shared.stop()
            await alone.stop()


async def _bare(port: int) -> float:
    """Seconds of a bare round trip to the store after a pause, the median: what this machine takes,
    whatever asks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for _ in range(100):
        await asyncio.sleep(0.03)
        began = time.perf_counter()
        writer.write(b"PING\r\n")
        await reader.readexactly(7)
        took.append(time.perf_counter() - began)
    writer.close()
    return statistics.median(took)


def _added(
    what: str, mine: list[float], theirs: list[float], trips: dict[str, float], bare: float
) -> Row:
    def at(values: list[float], part: float) -> float:
        return sorted(values)[round(part * (len(values) - 1))] * 1e3

    parts = {"p50": 0.5, "p99": 0.99}
    ours = {name: at(mine, part) for name, part in parts.items()}
    reference = {name: at(theirs, part) for name, part in parts.items()}
    added = {name: ours[name] - reference[name] for name in parts}
    paired = statistics.median(a - b for a, b in zip(mine, theirs, strict=True)) * 1e3
    return Row(
        what=f"latency added by the store, p50 / p99: {what}",
        ours=f"{ours['p50']:.2f} / {ours['p99']:.2f} ms",
        reference=f"{reference['p50']:.2f} / {reference['p99']:.2f} ms",
        ratio=f"{added['p50']:+.2f} / {added['p99']:+.2f} ms",
        target="p50 ≤ 1 ms",
        reached=added["p50"] <= 1,
        note=f"{len(mine)} pairs, interleaved; reference: the same server without a store; the"
        " ratio column is the difference; median of the differences within the pairs:"
        f" {paired:+.2f} ms; mean round trip as the replica saw it: "
        + ", ".join(f"{name} {ms:.2f} ms" for name, ms in sorted(trips.items()))
        + f"; a bare PING after 30 ms: {bare * 1e3:.2f} ms",
        data={
            "bare_ms": bare * 1e3,
            "added_ms": added,
            "paired_ms": paired,
            "ours_ms": mine,
            "reference_ms": theirs,
        },
    )


_SESSIONS = 12


class _Spent(NamedTuple):
    """Microseconds of the replicas' CPU per call, and of one replica in a second of idleness."""

    call: float
    idle: float


async def _paced(
    replicas: Sequence[Child], callers: Sequence[Caller], rate: float, seconds: float
) -> _Spent:
    """So many calls a second in all, then as long nothing."""
    loop = asyncio.get_running_loop()
    beat = len(callers) / rate
    begin = loop.time() + 0.05
    count = 0

    def cpu() -> float:
        return sum(each.cpu for each in replicas)

    async def session(number: int, caller: Caller) -> None:
        nonlocal count
        due = begin + beat * number / len(callers)
        while due < begin + seconds:
            await asyncio.sleep(max(0.0, due - loop.time()))
            await caller.call()
            count += 1
            due += beat

    before = cpu()
    async with asyncio.timeout(seconds + 30), asyncio.TaskGroup() as group:
        for number, caller in enumerate(callers):
            group.create_task(session(number, caller))
    # What was left for later belongs to the calls.
    await asyncio.sleep(0.1)
    spent, quiet = cpu() - before, cpu()
    await asyncio.sleep(seconds / 2)
    idle = (cpu() - quiet) / (seconds / 2) / len(replicas)
    return _Spent(spent / count * 1e6, idle * 1e6)


@measurement("replicas-cpu")
async def cpu(stage: Stage) -> list[Row]:
    """CPU per call of three replicas together, over that of one, with the same load in all.

    12 sessions send at a fixed rate; with three replicas each session's calls go to them in turn,
    so that every call finds the session where its last one was not. Rate limits on. A local tool at
    200 calls a second, and `get_open_orders` of 100 orders at 30 a second, which is what the
    exchange's limit carries. What replicas do without calls is in the figures, and told by the note
    for itself.

    Three processes with a third of the calls each find the machine's caches colder than one with
    all of them, whatever they do: how much that is, is measured in the same rounds with three
    servers and one that have no store, and four sessions at each.
    """
    await stage.venue()
    async with store() as server:
        sets = {
            "one": [await replica(stage, "one", server.url, prefix="one")],
            "three": [
                await replica(stage, f"three-{n}", server.url, prefix="three") for n in range(3)
            ],
            "one alone": [await replica(stage, "alone", None)],
            "three alone": [await replica(stage, f"alone-{n}", None) for n in range(3)],
        }
        try:
            rows = []
            for call, rate in ((_LOCAL, 200.0), (_ORDERS, 30.0)):
                rows.append(await _compare(stage, call, rate, sets))
            return rows
        finally:
            for each in sets.values():
                for child in each:
                    await child.stop()


async def _compare(
    stage: Stage, call: _Call, rate: float, sets: Mapping[str, Sequence[Child]]
) -> Row:
    seconds = float(stage.scale.calls(4, 2))
    sides: dict[str, Callable[[], Awaitable[_Spent]]] = {}
    for name, replicas in sets.items():
        callers: Sequence[Caller]
        if "alone" in name:
            places = [replicas[number % len(replicas)] for number in range(_SESSIONS)]
            callers = [await minted(stage.connection(each)) for each in places]
        else:
            callers = await roaming(stage, replicas, _SESSIONS)
        for number, caller in enumerate(callers):
            message = call.message
            if "account" in message["params"]["arguments"]:
                message = tool_call("get_open_orders", symbol=SYMBOL, account=account_name(number))
            caller.prepare(message)
        # Three times each, so that every replica has seen every session and every account.
        await drive(callers, _SESSIONS)
        for caller in callers:
            await drive([caller], len(replicas) + 1)
        sides[name] = partial(_paced, replicas, callers, rate, seconds)
    found: dict[str, list[_Spent]] = {name: [] for name in sides}
    for number in range(stage.scale.rounds(7)):
        for name in list(sides) if number % 2 else reversed(sides):
            found[name].append(await sides[name]())
    taken = {name: Rounds.of([each.call for each in spent]) for name, spent in found.items()}
    ratio = taken["three"].over(taken["one"])
    machine = taken["three alone"].over(taken["one alone"])
    idle = statistics.median(each.idle for each in (*found["one"], *found["three"])) / 1000
    return Row(
        what=f"CPU per call of three replicas, {rate:.0f}/s in all: {call.what}",
        ours=taken["three"].show("µs", 0),
        reference=taken["one"].show("µs", 0),
        ratio=ratio.show(),
        target=f"≤ 1.1 x {max(1.0, machine.median):.2f}",
        reached=ratio.median <= 1.1 * max(1.0, machine.median),
        note=f"reference: one replica with the same load; three servers without a store take"
        f" {machine.show()} of one ({taken['three alone'].show('µs', 0)} over"
        f" {taken['one alone'].show('µs', 0)}); without calls a replica takes {idle:.1f} ms a"
        " second",
        data={
            "ratio": ratio.values,
            "machine": machine.values,
            **{name: each.values for name, each in taken.items()},
        },
    )
