"""``ccxt-mcp doctor``: what is wrong with this set-up, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ccxt_mcp.cli.running import Commands, described, say, single_exchanges

if TYPE_CHECKING:
    from ccxt_mcp.doctor.report import Report

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  ccxt-mcp doctor                            checks ./ccxt-mcp.toml and the environment
  ccxt-mcp doctor --config paper.toml
  ccxt-mcp doctor --offline                  nothing beyond this machine is asked
  ccxt-mcp doctor --json | jq '.findings[] | select(.outcome == "failed")'

Exit code: 0 nothing failed (there may be warnings), 1 something did, 2 the configuration cannot be
read. It changes nothing, here or at an exchange. Each finding's remedy: docs/OPERATIONS.md.
"""

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_INTERRUPTED = 130


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    doctor = described(
        commands,
        "doctor",
        "check configuration, files, port, exchanges and accounts",
        _EXAMPLES,
    )
    doctor.add_argument("--config", type=Path, metavar="FILE", help="TOML file (ccxt-mcp.toml)")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.add_argument(
        "--offline", action="store_true", help="ask no exchange: check this machine alone"
    )
    doctor.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="for all exchanges together (60)",
    )
    doctor.set_defaults(command=_doctor)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value > 0:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")


async def _doctor(arguments: argparse.Namespace) -> int:
    single_exchanges()
    from ccxt_mcp.doctor.examination import TIMEOUT, examine

    # Findings say what failed; of the log only faults of this program are worth a line (they come
    # redacted).
    logging.getLogger("ccxt_mcp").setLevel(logging.ERROR)
    try:
        report = await examine(
            arguments.config, offline=arguments.offline, timeout=arguments.timeout or TIMEOUT
        )
    except asyncio.CancelledError:
        say("stopped before the end: nothing is said about what was not checked")
        return _INTERRUPTED
    if arguments.json:
        json.dump(report.as_dict(), sys.stdout, indent=2)
        print()
    else:
        _show(report)
    return report.exit_code


def _show(report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    from ccxt_mcp.cli.output import console

    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Check", no_wrap=True)
    table.add_column("Of", overflow="fold")
    table.add_column("Result", no_wrap=True)
    table.add_column("Found", overflow="fold", ratio=1)
    for each in report.findings:
        style = _STYLES[each.outcome.value]
        # As `Text`, or brackets in what was found would be read as markup.
        outcome = Text(each.outcome.value, style=style)
        table.add_row(Text(each.check.value), Text(each.subject), outcome, Text(each.found))
    out.print(table)
    remedies = [each for each in report.findings if each.remedy]
    if remedies:
        out.print()
        out.print(Text("What to do", style="bold"))
    for each in remedies:
        line = Text()
        line.append(f"{each.check.value} {each.subject}", style=_STYLES[each.outcome.value])
        line.append(f": {each.remedy}")
        out.print(line, soft_wrap=True)
    out.print()
    counts = report.as_dict()["counts"]
    words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    out.print(Text(words, style=_STYLES[report.outcome.value]))
