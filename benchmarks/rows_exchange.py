"""What a call to an exchange costs, against bare CCXT at the same venue."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from benchmarks.load import Caller, Load, drive, run_load, tool_call
from benchmarks.report import Rounds, Row, measurement
from benchmarks.roles import ACCOUNTS, ORDERS, SYMBOL, account_name
from benchmarks.stage import Stage, alternate

__all__: list[str] = []

_CALL = f"get_open_orders, {ORDERS} orders"


@measurement("upstream")
async def upstream(stage: Stage) -> list[Row]:
    """Requests and new TCP connections at the venue per warm credentialed `get_open_orders`.

    Counted by the venue, which is spoken to in plain HTTP: where no connection is opened, no TLS
    handshake can be. One session, one call after the other.
    """
    venue, server = await stage.venue(), await stage.server()
    callers = await stage.order_callers(server, 1)
    calls = stage.scale.calls(100, 25)
    await drive(callers, 5)
    before = await venue.counters()
    await drive(callers, calls)
    after = await venue.counters()
    requests = (after["total"] - before["total"]) / calls
    connections = (after["connections_opened"] - before["connections_opened"]) / calls
    note = f"{calls} calls in turn; a connection that is not opened has no TLS handshake"
    return [
        Row(
            what=f"upstream requests per credentialed call: {_CALL}",
            ours=f"{requests:.2f}",
            target="1",
            reached=requests == 1,
            note=note,
            data={"requests": requests},
        ),
        Row(
            what="new upstream connections (TLS handshakes) per credentialed call",
            ours=f"{connections:.2f}",
            target="0",
            reached=connections == 0,
            note=note,
            data={"connections": connections},
        ),
    ]


@measurement("identical-reads")
async def identical_reads(stage: Stage) -> list[Row]:
    """Requests at the venue for 64 identical public reads of 64 sessions at the same time.

    The venue takes 100 ms to answer, so that all of them have asked before it does.
    """
    venue, server = await stage.venue(), await stage.server()
    count = 64
    callers = await stage.callers(server, count, tool_call("get_ticker", symbol="ETH/USDT"))
    await venue.latency(100)
    try:
        before = (await venue.counters())["total"]
        await drive(callers, count)
        requests = (await venue.counters())["total"] - before
    finally:
        await venue.latency(0)
    return [
        Row(
            what=f"{count} identical public reads at once: upstream requests",
            ours=str(requests),
            reference=f"{count} calls",
            target="1",
            reached=requests == 1,
            data={"requests": requests, "calls": count},
        )
    ]


@measurement("credentialed-cpu")
async def credentialed_cpu(stage: Stage) -> list[Row]:
    """Worker CPU per credentialed `get_open_orders` of 100 orders, end to end.

    Ours: one session over HTTP, one call after the other; instance, signature, request, parsing,
    projection and the JSON answer are in it. Reference: `fetch_open_orders` of one reused `binance`
    instance in a process of its own, limiter off, uvloop, same venue.
    """
    server, bare = await stage.server(), await stage.bare()
    callers = await stage.order_callers(server, 1)
    calls = stage.scale.calls(120, 40)
    mine, theirs = await alternate(
        stage.scale.rounds(7),
        lambda: run_load(server, callers, calls),
        lambda: bare.load("fetch_open_orders", calls, 1, SYMBOL),
    )
    ours = Rounds.of([load.cpu_per_call * 1e3 for load in mine])
    reference = Rounds.of([load.cpu_per_call * 1e3 for load in theirs])
    ratio = ours.over(reference)
    return [
        Row(
            what=f"CPU per credentialed call: {_CALL}",
            ours=ours.show("ms"),
            reference=reference.show("ms"),
            ratio=ratio.show(),
            target="≤ 1.25 x",
            reached=ratio.median <= 1.25,
            note="reference: bare CCXT, one reused instance",
            data={"ours_ms": ours.values, "reference_ms": reference.values, "ratio": ratio.values},
        )
    ]


@measurement("added-latency")
async def added_latency(stage: Stage) -> list[Row]:
    """Latency added to an exchange that takes 30 ms, over bare CCXT.

    One call of ours, timed at the HTTP client, and one of bare CCXT, timed around the method, in
    turn (A B, B A, …), one in flight at a time. The difference is taken between the percentiles.
    `get_open_orders` of 100 orders carries the target; `account_balance` is the small read.
    """
    venue, server, bare = await stage.venue(), await stage.server(), await stage.bare()
    orders = (await stage.order_callers(server, 1))[0]
    balance = (
        await stage.callers(server, 1, tool_call("account_balance", account=account_name(0)))
    )[0]
    await venue.latency(30)
    try:
        rows = []
        for what, caller, method, given, pairs, target in (
            (_CALL, orders, "fetch_open_orders", (SYMBOL,), stage.scale.calls(600, 90), True),
            ("account_balance", balance, "fetch_balance", (), stage.scale.calls(120, 30), False),
        ):
            ours, reference = partial(_seconds, caller), partial(bare.once, method, *given)
            await alternate(5, ours, reference)
            mine, theirs = await alternate(pairs, ours, reference)
            rows.append(_latency_row(what, mine, theirs, target))
        return rows
    finally:
        await venue.latency(0)


async def _seconds(caller: Caller) -> float:
    started = time.perf_counter()
    await caller.call()
    return time.perf_counter() - started


def _latency_row(what: str, ours: list[float], reference: list[float], target: bool) -> Row:
    def at(values: list[float], part: float) -> float:
        return values[round(part * (len(values) - 1))]

    mine, theirs = (sorted(each * 1e3 for each in seconds) for seconds in (ours, reference))
    added = {
        name: at(mine, part) - at(theirs, part) for name, part in (("p50", 0.5), ("p99", 0.99))
    }
    return Row(
        what=f"latency added to a 30 ms exchange, p50 / p99: {what}",
        ours=f"{at(mine, 0.5):.1f} / {at(mine, 0.99):.1f} ms",
        reference=f"{at(theirs, 0.5):.1f} / {at(theirs, 0.99):.1f} ms",
        ratio=f"{added['p50']:+.2f} / {added['p99']:+.2f} ms",
        target="≤ 2 / ≤ 6 ms" if target else "-",
        reached=added["p50"] <= 2 and added["p99"] <= 6 if target else None,
        note=f"{len(mine)} pairs, interleaved; reference: bare CCXT; the ratio column is the"
        " difference",
        data={"added_ms": added, "ours_ms": mine, "reference_ms": theirs},
    )


@measurement("sessions")
async def sessions(stage: Stage) -> list[Row]:
    """Calls per second, and per second of worker CPU, with 1, 16, 64 and 256 sessions at once.

    Every session repeats `get_open_orders` of 100 orders. Reference: bare CCXT with as many tasks
    on its one instance (aiohttp lets 100 of them have a connection). Venue, load generator and
    worker share the machine, so that calls per second are the machine's; calls per second of worker
    CPU are the server's.
    """
    server, bare = await stage.server(), await stage.bare()
    rows = []
    for count in (1, 16, 64, 256):
        callers = await stage.order_callers(server, count)
        calls = max(stage.scale.calls(320, 100), count)
        await drive(callers, count)
        await bare.load("fetch_open_orders", count, count, SYMBOL)

        mine, theirs = await alternate(
            stage.scale.rounds(5, quick=1),
            partial(run_load, server, callers, calls),
            partial(bare.load, "fetch_open_orders", calls, count, SYMBOL),
        )
        await asyncio.gather(*(caller.end() for caller in callers))
        await asyncio.gather(*(caller.connection.close() for caller in callers))
        rows += _session_rows(count, mine, theirs)
    return rows


def _session_rows(count: int, mine: list[Load], theirs: list[Load]) -> list[Row]:
    rows = []
    for unit, what, target in (
        ("per_second", "calls/s", False),
        ("per_cpu_second", "calls/s of worker CPU", count == 256),
    ):
        ours = Rounds.of([getattr(load, unit) for load in mine])
        reference = Rounds.of([getattr(load, unit) for load in theirs])
        ratio = ours.over(reference)
        rows.append(
            Row(
                what=f"{count} session{'s' if count > 1 else ''} at once, {what}",
                ours=ours.show(digits=0),
                reference=reference.show(digits=0),
                ratio=ratio.show(),
                target="≥ 0.8 x" if target else "-",
                reached=ratio.median >= 0.8 if target else None,
                note=f"{_CALL} each; {ACCOUNTS} accounts; reference: bare CCXT, as many tasks",
                data={"ours": ours.values, "reference": reference.values, "ratio": ratio.values},
            )
        )
    return rows
