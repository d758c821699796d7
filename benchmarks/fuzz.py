"""Anything at all, sent to the endpoint: ``python -m benchmarks.fuzz --cases 100000 --seed 7``.

Owns: the run: how many cases of which seed, what is looked at between them, and the verdict.
Refuses: speed; ``python -m benchmarks`` measures.

Most cases go to the ASGI application in process; a part goes over real sockets as raw bytes, which
are damaged more. What fails is shrunk by hypothesis to the smallest case that fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.fuzz_cases import Case, groups
from benchmarks.fuzz_wire import Sent, send_raw, sendings
from benchmarks.fuzz_world import World

__all__ = ["Report", "fuzz", "main"]

_EXAMPLES = 150
"""Groups that are drawn before it is looked at what they left behind; about three cases each."""
_GROWTH_MB = 24.0
"""Resident memory that a run may gain between a fifth of its cases and its end: hypothesis's own
caches and the allocator's slack, not what 80,000 requests would leave at a kilobyte each."""


@dataclass(slots=True)
class Report:
    """What a run saw. ``rss``: (cases so far, MiB) after every batch;
    ``last``: the words of the failure that is being shrunk."""

    cases: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    rss: list[tuple[int, float]] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    last: str = ""

    @property
    def growth(self) -> float:
        """MiB gained between a fifth of the cases and the end."""
        at = next(mb for cases, mb in self.rss if cases >= self.cases / 5)
        return self.rss[-1][1] - at

    def violations(self) -> list[str]:
        """What must not be."""
        grown = [f"memory grew by {self.growth:.1f} MiB"] if self.growth > _GROWTH_MB else []
        return self.wrong + grown


def fuzz(cases: int, number: int, *, sockets: bool = False, patience: int = 20) -> Report:
    """Send so many cases, drawn from a seed.

    Args:
        cases: how many at least.
        number: the seed; the same one sends the same cases.
        sockets: as raw bytes over TCP rather than in process.
        patience: findings after which it stops.
    """
    report, began = Report(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="ccxt-mcp-fuzz-") as home,
        World(Path(home), sockets=sockets) as world,
    ):
        batch = 0
        while report.cases < cases and len(report.wrong) < patience:
            examples = min(_EXAMPLES, max(1, (cases - report.cases) // 2))
            run = _over_sockets if sockets else _in_process
            world.slow()
            try:
                run(world, report, number * 1_000_003 + batch, examples)
            except Exception as found:
                what = report.last or repr(found)
                report.wrong.append(f"seed {number}, batch {batch}: {what}"[:4000])
                report.last = ""
            report.wrong += [f"left behind: {what}" for what in world.run(world.quiet())]
            report.rss.append((report.cases, round(world.rss(), 1)))
            batch += 1
        report.outcomes = world.outcomes
    report.seconds = time.monotonic() - began
    return report


_HOW = settings(
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
)


def _in_process(world: World, report: Report, number: int, examples: int) -> None:
    @seed(number)
    @settings(_HOW, max_examples=examples)
    @given(groups)
    def run(group: list[Case]) -> None:
        report.cases += len(group)
        wrong = world.run(world.group(group))
        _note(report, wrong)

    run()


def _over_sockets(world: World, report: Report, number: int, examples: int) -> None:
    @seed(number)
    @settings(_HOW, max_examples=examples)
    @given(sendings)
    def run(group: list[Sent]) -> None:
        report.cases += len(group)
        wrong = world.run(send_raw(world, group))
        _note(report, wrong)

    run()


def _note(report: Report, wrong: list[str]) -> None:
    """Fail a group; the words are kept, since hypothesis forgets what does not happen again."""
    if wrong:
        report.last = "\n".join(wrong)
    assert not wrong, report.last


def main() -> int:
    """The command line; exit code 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=100_000, help="in process")
    parser.add_argument("--raw", type=int, default=5_000, help="over real sockets")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    bad = False
    for where, cases, sockets in (
        ("in process", arguments.cases, False),
        ("over sockets", arguments.raw, True),
    ):
        if not cases:
            continue
        report = fuzz(cases, arguments.seed, sockets=sockets)
        wrong = report.violations()
        every = max(1, len(report.rss) // 10)
        print(f"{where}: {report.cases} cases in {report.seconds:.0f} s, {report.growth:+.1f} MiB")
        print("outcomes", json.dumps(dict(report.outcomes.most_common())))
        print("MiB after so many cases:", *[f"{n}: {mb}" for n, mb in report.rss[::every]])
        print("\n".join(wrong) or "held: no 5xx, no hang, nothing left behind, memory flat")
        bad = bad or bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
