"""Market tables of large exchanges: how long they hold the loop, how much memory they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.processes import BenchmarkError, Child
from benchmarks.report import Rounds, Row, measurement
from benchmarks.stage import Stage, alternate

__all__: list[str] = []

_SPOT, _LINEAR = 3000, 600
_EXCHANGES = 5


async def _venue(stage: Stage) -> str:
    """A venue of its own with 3,000 spot and 600 linear markets."""
    started = await stage.start("venue", spot=_SPOT, linear=_LINEAR)
    return str(started.ready["url"])


async def _load(process: Child, origin: str | None = None) -> dict[str, Any]:
    found = await process.ask({})
    if found["markets"] != _SPOT + _LINEAR or found.get("from") != origin:
        raise BenchmarkError(f"not what was to be measured: {found}")
    return found


@measurement("markets-stall")
async def markets_stall(stage: Stage) -> list[Row]:
    """The longest callback of the event loop while 3,000 spot and 600 linear markets load.

    In CPU time of the loop's thread, on asyncio's loop. Ours: a fresh gateway, first from the venue
    (through the helper process, writing to disk), then another one from disk. Reference: CCXT's
    `load_markets` in a fresh process. Alternating. The second row is the time until a caller has a
    lease, the import of the exchange's class included; the reference's class is imported already.
    """
    url = await _venue(stage)
    number = 0

    async def fresh() -> tuple[dict[str, Any], dict[str, Any]]:
        nonlocal number
        number += 1
        home = str(stage.home / f"tables-{number}")
        found = []
        for origin in ("helper", "disk"):
            process = await stage.start("markets", url=url, exchanges=1, data_dir=home)
            found.append(await _load(process, origin))
            await process.stop()
        return found[0], found[1]

    async def bare() -> dict[str, Any]:
        process = await stage.start("bare-markets", url=url)
        found = await _load(process)
        await process.stop()
        return found

    mine, theirs = await alternate(stage.scale.rounds(5), fresh, bare)
    rows = []
    for place, origin in enumerate(("from the exchange", "from disk")):
        for field, what, unit, scale in (
            ("stall", "longest stall, 3,600 markets", "ms", 1e3),
            ("seconds", "time to load 3,600 markets", "s", 1.0),
        ):
            ours = Rounds.of([each[place][field] * scale for each in mine])
            reference = Rounds.of([each[field] * scale for each in theirs])
            ratio = ours.over(reference)
            rows.append(
                Row(
                    what=f"{what}, {origin}",
                    ours=ours.show(unit),
                    reference=reference.show(unit),
                    ratio=ratio.show(),
                    target="≤ 20 ms" if field == "stall" else "-",
                    reached=ours.median <= 20 if field == "stall" else None,
                    note="reference: CCXT's load_markets in the loop",
                    data={"ours": ours.values, "reference": reference.values},
                )
            )
    return rows


@measurement("markets-memory")
async def markets_memory(stage: Stage) -> list[Row]:
    """Growth of resident memory by exchanges of 3,600 markets each, one and five.

    Of a process with nothing but the gateway; the first one brings CCXT and the class with it.
    Reference: as many instances of bare CCXT in one process, whose CCXT is imported beforehand.
    """
    url = await _venue(stage)
    home = str(Path(stage.home) / "tables-memory")
    grown: dict[str, list[float]] = {}
    for role, arguments in (
        ("markets", {"url": url, "exchanges": _EXCHANGES, "data_dir": home}),
        ("bare-markets", {"url": url}),
    ):
        process = await stage.start(role, **arguments)
        before = process.memory
        grown[role] = []
        for _ in range(_EXCHANGES):
            await _load(process, "helper" if role == "markets" else None)
            grown[role].append(process.memory - before)
        await process.stop()
    rows = []
    for count in (1, _EXCHANGES):
        ours, reference = grown["markets"][count - 1], grown["bare-markets"][count - 1]
        rows.append(
            Row(
                what=f"memory, {count} exchange{'s' if count > 1 else ''} of 3,600 markets",
                ours=f"{ours:.0f} MB",
                reference=f"{reference:.0f} MB",
                ratio=f"{ours / reference:.2f}",
                note="growth of a process with nothing else in it; reference: bare CCXT instances",
                data={"ours_mb": ours, "reference_mb": reference},
            )
        )
    return rows
