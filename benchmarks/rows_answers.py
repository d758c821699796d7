"""Large answers: how long they hold the loop, beside what CCXT's own parse does."""

from __future__ import annotations

from benchmarks.report import Rounds, Row, measurement
from benchmarks.roles_answers import CASES
from benchmarks.stage import Stage

__all__: list[str] = []

_MARKETS = 3000
_BEYOND = 50
"""Milliseconds that ours may add to the longest callback."""


@measurement("big-answers")
async def big_answers(stage: Stage) -> list[Row]:
    """The longest callback of the event loop while a large answer is made.

    In CPU time of the loop's thread, on asyncio's loop, one call at a time. Ours: the tool's call
    from arguments to serialised result. Reference: the same method of one reused `binance` instance
    in the same process, its parse included, alternating. Ours contains CCXT's parse.
    """
    venue = await stage.start("venue", spot=_MARKETS, still=True)
    process = await stage.start("answers", url=str(venue.ready["url"]))
    await process.ask({})
    found = [await process.ask({}) for _ in range(stage.scale.rounds(9))]
    await process.stop()
    rows = []
    for name in CASES:
        ours = Rounds.of([each[name][0] * 1e3 for each in found])
        reference = Rounds.of([each[name][1] * 1e3 for each in found])
        beyond = ours.minus(reference)
        rows.append(
            Row(
                what=f"longest stall, {name}",
                ours=ours.show("ms", 1),
                reference=reference.show("ms", 1),
                ratio=f"{beyond.median:+.1f} ms",
                target=f"≤ +{_BEYOND} ms",
                reached=beyond.median <= _BEYOND,
                note="reference: bare CCXT's call; the ratio column has the difference",
                data={"ours": ours.values, "reference": reference.values},
            )
        )
    return rows
