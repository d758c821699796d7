"""`python -m benchmarks [--quick] [--only NAME] [--json FILE] [--list]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks import (
    rows_answers,
    rows_cached,
    rows_exchange,
    rows_markets,
    rows_memory,
    rows_replica_memory,
    rows_replicas,
    rows_start,
    rows_transport,
)
from benchmarks.processes import BenchmarkError
from benchmarks.report import MEASUREMENTS, Measurement, Row, as_json, table
from benchmarks.stage import Scale, Stage

__all__ = ["main"]

# Importing them has filled the registry; this is the order in which they run and are shown.
_ROWS = (
    *(rows_start, rows_markets, rows_memory, rows_transport, rows_cached, rows_exchange),
    rows_answers,
    rows_replica_memory,
    rows_replicas,
)


def _all() -> dict[str, Measurement]:
    return {
        name: each
        for module in _ROWS
        for name, each in MEASUREMENTS.items()
        if each.run.__module__ == module.__name__
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 0 whatever the figures are, 2 when something could not be measured."""
    arguments = _parser().parse_args(argv)
    known = _all()
    if arguments.list:
        for each in known.values():
            print(f"{each.name}\n    " + each.summary.replace("\n", "\n    ") + "\n")
        return 0
    wanted = [_named(name, known) or [name] for name in arguments.only or ()]
    unknown = [name for names in wanted for name in names if name not in known]
    if unknown:
        print(f"no such measurement: {', '.join(unknown)}; there are:", file=sys.stderr)
        print("  " + ", ".join(known), file=sys.stderr)
        return 2
    names = [name for names in wanted for name in names] or list(known)
    chosen = [known[name] for name in names]
    started = time.perf_counter()
    try:
        rows, failed = _run(chosen, Scale(quick=arguments.quick))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 130
    took = time.perf_counter() - started
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(),
        "seconds": round(took, 1),
        "quick": arguments.quick,
    }
    print(table(rows))
    print("\n" + ", ".join(f"{key} {value}" for key, value in machine.items()))
    print("Medians (least-greatest) of alternating rounds; ratios are taken round by round.")
    if arguments.json is not None:
        arguments.json.write_text(
            json.dumps({"machine": machine, "rows": as_json(rows)}, indent=1) + "\n"
        )
    return 2 if failed else 0


def _named(name: str, known: Mapping[str, Measurement]) -> list[str]:
    """The measurement of that name, or all that begin with it."""
    return [name] if name in known else [each for each in known if each.startswith(name + "-")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What the server costs, beside references measured in the same run.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and calls")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be given repeatedly")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--list", action="store_true", help="say what is measured, and stop")
    return parser


def _run(chosen: Sequence[Measurement], scale: Scale) -> tuple[list[tuple[str, Row]], bool]:
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop  # type: ignore[assignment]
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_measure(chosen, scale))


async def _measure(
    chosen: Sequence[Measurement], scale: Scale
) -> tuple[list[tuple[str, Row]], bool]:
    """Run them in turn; one that fails is reported and does not stop the others."""
    this = asyncio.current_task()
    assert this is not None
    # A polite kill unwinds like Ctrl-C, so that it ends the children too.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    rows: list[tuple[str, Row]] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="ccxt-mcp-bench-") as home:
        async with Stage(Path(home), scale) as stage:
            for number, each in enumerate(chosen, 1):
                _say(f"[{number}/{len(chosen)}] {each.name} ...", end="")
                started = time.perf_counter()
                try:
                    rows += [(each.name, row) for row in await each.run(stage)]
                except (BenchmarkError, OSError, ExceptionGroup) as error:
                    failed = True
                    told = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
                    _say(f" could not be measured: {told}", end="")
                _say(f" {time.perf_counter() - started:.1f} s")
    return rows, failed


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
