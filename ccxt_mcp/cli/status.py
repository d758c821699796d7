"""``ccxt-mcp status``: the sessions of a running server, live in the terminal."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ccxt_mcp.cli.output import NOT_WRITTEN, json_text, written
from ccxt_mcp.cli.remote import add_server, seconds, server_url, token_of
from ccxt_mcp.cli.running import Commands, say
from ccxt_mcp.redaction import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ccxt_mcp.client import Health, NodeHealth, SessionHealth

__all__ = ["add_to", "page"]

_EXAMPLES = """\
examples:
  ccxt-mcp status                     live in a terminal, until Ctrl-C
  ccxt-mcp status --once              a table
  ccxt-mcp status --json | jq '.sessions[] | select(.queued > 0)'
  CCXT_MCP_TOKEN=… ccxt-mcp status --url https://ccxt.internal

A server without tokens shows its sessions to callers from its own machine, one with tokens to a
token with the scope `ops`. Exit code 1: the server cannot be asked, or is not healthy.
"""
_MOST = 1000
"""Sessions in one answer of the server's."""


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    status = commands.add_parser(
        "status",
        help="show the sessions of a running server",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_server(status)
    how = status.add_mutually_exclusive_group()
    how.add_argument(
        "--watch", action="store_true", help="again and again, also where this is no terminal"
    )
    how.add_argument("--once", action="store_true", help="one table, also in a terminal")
    status.add_argument(
        "--json", action="store_true", help="for programs: once, or with --watch an object a line"
    )
    status.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="between two looks (1)"
    )
    status.set_defaults(command=_status)


async def _status(arguments: argparse.Namespace) -> int:
    from ccxt_mcp.client import CallFailed, health

    url, token = server_url(arguments), token_of(arguments)
    live = arguments.watch or (sys.stdout.isatty() and not arguments.once and not arguments.json)
    if live and not arguments.json:
        await _watch(url, token, arguments.interval)
        return 0
    while True:
        try:
            report = await health(url, token, limit=_MOST)
        except CallFailed as failure:
            say(printable(str(failure)))
            if not live:
                return 1
        else:
            if arguments.json:
                if written(json_text(asdict(report))) is not None:
                    return NOT_WRITTEN
            else:
                from ccxt_mcp.cli.output import console

                out = console()
                out.print(page(url, report, width=out.width))
            if not live:
                return 0 if report.status == "healthy" else 1
        await asyncio.sleep(arguments.interval)


async def _watch(url: str, token: str | None, interval: float) -> None:
    from rich.live import Live
    from rich.text import Text

    from ccxt_mcp.cli.output import console
    from ccxt_mcp.client import CallFailed, health

    screen = console()
    with Live(console=screen, screen=screen.is_terminal, auto_refresh=False) as live:
        while True:
            try:
                shown = page(
                    url, await health(url, token, limit=_MOST), screen.height, screen.width
                )
            except CallFailed as failure:
                shown = Text(printable(str(failure)), "red")
            live.update(shown, refresh=True)
            await asyncio.sleep(interval)


def page(
    url: str, report: Health, height: int | None = None, width: int | None = None
) -> RenderableType:
    """The state of a server for people; ``height`` and ``width`` are how much room there is.

    In little room it is whose sessions they are that is left out, never which.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Text(f"{url}  ")
    head.append(printable(report.status), "green" if report.status == "healthy" else "red")
    if report.sessions is None:
        why = "its sessions are shown to its own machine, or to a token with the scope `ops`"
        return Group(head, Text(why, "dim"))
    head.append(f"  {_shown(report.version)}, since {_shown(report.started_at)}\n", "dim")
    head.append(
        f"{report.active_sessions} sessions, {report.connections} connections, exchanges: "
        + (", ".join(map(printable, report.exchanges or ())) or "none yet")
    )
    nodes = _nodes(report)
    narrow = width is not None and width < _ALL
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Session", overflow="fold")
    for name in () if narrow else _WHOSE:
        table.add_column(name, overflow="fold")
    for name in ("Heard of", "Runs", "Waits", "Calls", "Errors", "Timeouts", "p50 ms", "p95 ms"):
        table.add_column(name, justify="right")
    now = datetime.now(UTC)
    # What is at work first, then who was heard of last.
    ordered = sorted(
        report.sessions, key=lambda each: (each.in_flight + each.queued, each.last_activity)
    )
    taken = 8 + (len(report.nodes) + 2 if report.nodes else 0)
    most = len(ordered) if height is None else max(1, height - taken)
    for session in ordered[::-1][:most]:
        row = _row(session, now)
        if narrow:
            del row[1 : 1 + len(_WHOSE)]
        table.add_row(*map(Text, row), style="bold" if session.in_flight else "")
    if not ordered:
        return Group(head, *nodes, Text("no session yet", "dim"))
    left = (report.active_sessions or 0) - min(most, len(ordered))
    return Group(head, *nodes, table, *([Text(f"and {left} more", "dim")] if left > 0 else []))


def _nodes(report: Health) -> list[RenderableType]:
    """The replicas, where there are several; the one that answered is marked."""
    from rich.table import Table
    from rich.text import Text

    if not report.nodes:
        return []
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Node", "Address", "Status", "Tools"):
        table.add_column(name, overflow="fold")
    for name in ("Calls", "Most", "Sessions"):
        table.add_column(name, justify="right")
    for node in report.nodes:
        table.add_row(*map(Text, _node_row(node, report.node)))
    away = [Text("the store that they share is away", "red")] if report.store_up is False else []
    return [table, *away, Text("")]


def _node_row(node: NodeHealth, answered: str | None) -> list[str]:
    return [
        printable(node.node_id) + (" *" if node.node_id == answered else ""),
        _shown(node.address),
        _shown(node.status),
        _shown(", ".join(node.toolsets)),
        *("-" if each is None else str(each) for each in (node.calls, node.max_calls)),
        "-" if node.sessions is None else str(node.sessions),
    ]


_WHOSE = ("Client", "Address", "Token")
_ALL = 110
"""Columns in which all of a session has room."""


def _row(session: SessionHealth, now: datetime) -> list[str]:
    return [
        printable(session.session_id),
        printable(session.client or session.kind),
        _shown(session.client_ip),
        _shown(session.principal),
        _ago(session.last_activity, now),
        str(session.in_flight),
        str(session.queued),
        str(session.calls),
        str(session.errors),
        str(session.timeouts),
        *(
            "-" if each is None else f"{each:.0f}"
            for each in (session.latency_p50_ms, session.latency_p95_ms)
        ),
    ]


def _shown(text: str | None) -> str:
    return printable(text or "-")


def _ago(moment: str, now: datetime) -> str:
    """How long ago, by this machine's clock."""
    passed = max(0.0, (now - datetime.fromisoformat(moment)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if passed >= length:
            return f"{passed / length:.0f} {unit}"
    return f"{passed:.0f} s"
