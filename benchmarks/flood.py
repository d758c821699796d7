"""A flood and the others: ``python -m benchmarks.flood [--kind session|sessions|nameless]``.

Owns: the flooding clients (one session with 5,000 calls at once, or 500 sessions with 10 each), the
others (20 sessions with a call a second), and the verdict. Refuses: knowing who got a slot when
(`witness.py`).

Verdict: the flood's refusals are `overloaded`, with the time to wait; every call of the others is
answered; between an other's asking for a slot and its getting one, no session of the same exchange
and account got two; no other waited for a slot longer than `Outcome.bound`. The clients are a
process of their own, so that the CPU is that of the server and the venue.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from benchmarks.raw import MODERN, Gone, Line, tool, wire
from benchmarks.stand import ACCOUNTS, Stand, standing
from benchmarks.witness import Admitting, Grant

__all__ = ["KINDS", "Kind", "Outcome", "Seen", "flood", "main"]

Kind = Literal["session", "sessions", "nameless"]
KINDS: tuple[Kind, ...] = ("session", "sessions", "nameless")
PER_SESSION = 10
"""Calls of each session in a flood of sessions."""
_OTHER = "other-"
_PATIENCE = 120.0


@dataclass(slots=True)
class Seen:
    """What the clients saw: outcomes and seconds; JSON between processes."""

    flood: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    seconds: float = 0.0
    unhinted: int = 0


async def _call(
    address: tuple[str, int],
    session: str | None,
    arguments: dict[str, Any],
    *,
    seen: Seen,
    line: Line | None = None,
) -> str:
    """One call, by default on a connection of its own: what became of it, in a word."""
    meta: dict[str, Any] = {}
    headers = {"Mcp-Session-Id": session} if session else {}
    if session is None:
        headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call"}
        headers["Mcp-Name"] = "account_balance"
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "flood", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    body = tool("account_balance", arguments, 1, meta)
    try:
        async with asyncio.timeout(_PATIENCE):
            if line is not None:
                answer = await line.ask(wire("POST", body, headers))
            else:
                line = await Line.open(address)
                try:
                    answer = await line.ask(wire("POST", body, headers, last=True))
                finally:
                    line.leave()
    except Gone as gone:
        return f"gone ({gone})"
    except TimeoutError:
        return "no answer"
    if answer.status != 200:
        return f"http {answer.status}"
    result = answer.replies()[0]["result"]
    if not result.get("isError"):
        return "ok" if result["structuredContent"]["account"] == arguments["account"] else "mixed"
    failure = result["_meta"]["ccxt-mcp/failure"]
    if failure["code"] == "overloaded" and not failure.get("retryAfterMs"):
        seen.unhinted += 1
    return str(failure["code"])


async def clients(
    address: tuple[str, int], kind: Kind, calls: int, others: int, period: float
) -> Seen:
    """The others for three periods in peace, then all; until the flood has its answers."""
    seen = Seen()
    flooding = asyncio.Event()
    over = asyncio.Event()

    async def other(number: int) -> None:
        arguments = {"account": ACCOUNTS[number % 2]}
        due = time.monotonic() + period * number / others
        # Kept alive, as clients do: how long the kernel makes a new one wait is not the server's.
        line = await Line.open(address)
        while not over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await over.wait()
            before, began = flooding.is_set(), time.monotonic()
            outcome = await _call(address, f"{_OTHER}{number}", arguments, seen=seen, line=line)
            (seen.took if before else seen.quiet).append(time.monotonic() - began)
            seen.others[outcome] += 1
            due = max(due + period, time.monotonic())
        line.leave()

    async def one(number: int) -> None:
        session = {
            "session": "flood",
            "sessions": f"flood-{number // PER_SESSION}",
            "nameless": None,
        }[kind]
        arguments = {"account": ACCOUNTS[number // PER_SESSION % 2]}
        seen.flood[await _call(address, session, arguments, seen=seen)] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(others):
            group.create_task(other(number))
        await asyncio.sleep(3 * period)
        flooding.set()
        began = time.monotonic()
        await asyncio.gather(*(one(number) for number in range(calls)))
        seen.seconds = time.monotonic() - began
        over.set()
    return seen


@dataclass(slots=True)
class Outcome:
    """Both sides of a flood. Slots are counted from the moment when the flood began to ask."""

    kind: Kind
    seen: Seen
    cpu: float
    wrong: list[str]
    slots: list[Grant]
    """Of the others."""
    bound: float
    """Seconds that an other may wait for a slot."""
    flows: int
    longest: float

    def lines(self) -> list[str]:
        seen, waits = self.seen, [each.granted - each.asked for each in self.slots]
        calls = seen.flood.total()
        return [
            f"flood of {calls} calls ({self.kind}): {json.dumps(dict(seen.flood.most_common()))}"
            f" in {seen.seconds:.1f} s",
            f"others: {json.dumps(dict(seen.others))}; in peace {_spread(seen.quiet)},"
            f" during the flood {_spread(seen.took)}",
            f"others' waiting for a slot: {_spread(waits)}; bound {self.bound:.2f} s"
            f" ({self.flows} sessions in the fullest line, longest call {self.longest:.2f} s)",
            f"server and venue: {self.cpu:.1f} s of CPU, {self.cpu / calls * 1000:.2f} ms per call",
        ]


def _spread(values: list[float]) -> str:
    if not values:
        return "none"
    ordered = sorted(values)
    middle, high = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"p50 {middle * 1000:.0f} ms, p99 {high * 1000:.0f} ms, max {ordered[-1] * 1000:.0f} ms"


def _is_other(grant: Grant) -> bool:
    return str(grant.flow[-1]).startswith(_OTHER) if isinstance(grant.flow, tuple) else False


def _turns(book: Admitting) -> list[str]:
    """Others that had to let a session pass twice."""
    wrong = []
    for grant in filter(_is_other, book.given):
        passed = Counter(
            each.flow for each in book.given[grant.before : grant.turn] if each.group == grant.group
        )
        wrong += [f"{flow} got {n} slots before {grant}" for flow, n in passed.items() if n > 1]
    return wrong


def _fullest(book: Admitting) -> int:
    """The most sessions that ever waited for slots of one exchange and account."""
    steps = sorted(
        [(each.asked, 1, each) for each in book.asked if each.granted > each.asked]
        + [(each.granted, -1, each) for each in book.asked if each.granted < math.inf],
        key=lambda step: step[:2],
    )
    waiting: Counter[tuple[str, str | None]] = Counter()
    most = 0
    for _, step, grant in steps:
        waiting[grant.group] += step
        most = max(most, waiting[grant.group])
    return most


async def flood(
    kind: Kind,
    calls: int,
    others: int,
    period: float,
    *,
    apart: bool,
    latency_ms: float = 100,
    **more: Any,
) -> Outcome:
    """Flood a server of its own; `apart` puts the clients into a process of theirs."""
    async with standing(1, latency_ms, tool_timeout=15.0, ccxt_timeout=10.0, **more) as stand:
        cpu = time.process_time()
        if apart:
            seen = await _apart(stand, kind, calls, others, period)
        else:
            seen = await clients(stand.address, kind, calls, others, period)
        cpu = time.process_time() - cpu
        book, settings = stand.admission, stand.product.settings
        wrong = await stand.left()
    wrong += [f"logged: {each[:1500]}" for each in stand.witness.complaints.said]
    wrong += [f"others: {what}: {n}" for what, n in seen.others.items() if what != "ok"]
    allowed = {"ok", "overloaded"}
    wrong += [f"flood: {what}: {n}" for what, n in seen.flood.items() if what not in allowed]
    if seen.unhinted:
        wrong.append(f"{seen.unhinted} refusals do not say when to try again")
    wrong += _turns(book)[:10]
    slots = [each for each in book.given if _is_other(each)]
    longest = max(each.left - each.granted for each in book.given)
    if longest == math.inf:
        wrong.append("a slot was never given back")
    # One turn: everybody in the line once. While a call lasts, every slot of the exchange has come
    # free once, and the accounts take them in turn.
    groups = len({each.group for each in book.given})
    share = min(max(1, settings.max_calls // 4), max(1, settings.max_calls // 2) // groups)
    flows = _fullest(book)
    bound = min(settings.tool_timeout, math.ceil((flows + 1) / share) * longest)
    worst = max(each.granted - each.asked for each in slots)
    if worst > bound:
        wrong.append(f"an other waited {worst:.2f} s for a slot")
    return Outcome(kind, seen, cpu, wrong, slots, bound, flows, longest)


async def _apart(stand: Stand, kind: Kind, calls: int, others: int, period: float) -> Seen:
    host, port = stand.address
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.flood", "--clients", f"{host}:{port}"),
        *("--kind", kind, "--calls", str(calls)),
        *("--others", str(others), "--period", str(period)),
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    said, _ = await process.communicate()
    found = json.loads(said)
    return Seen(**found | {"flood": Counter(found["flood"]), "others": Counter(found["others"])})


def main() -> int:
    """The command line; exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kind", choices=KINDS, default="session")
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--others", type=int, default=20)
    parser.add_argument("--period", type=float, default=1.0, help="seconds between their calls")
    parser.add_argument("--clients", metavar="HOST:PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # A connection for each call, at both ends. Not everywhere there is such a limit.
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < arguments.calls + 500:
        wanted = arguments.calls + 500
        limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    given = (arguments.kind, arguments.calls, arguments.others, arguments.period)
    if arguments.clients:
        host, _, port = arguments.clients.rpartition(":")
        seen = asyncio.run(clients((host, int(port)), *given))
        print(json.dumps({each.name: getattr(seen, each.name) for each in fields(seen)}))
        return 0
    outcome = asyncio.run(flood(*given, apart=True))
    print("\n".join(outcome.lines()))
    print("\n".join(outcome.wrong) or "held: refusals to the flood, a slot within a turn to others")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
