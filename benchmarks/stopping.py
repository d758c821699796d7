"""SIGTERM under load: ``python -m benchmarks.stopping --sessions 40``.

Owns: the load (sessions of both eras with calls that run and wait, kept-alive connections, open
streams), the signal, and the verdict. Refuses: the server's side; it is a process of its own,
started as users start it.

Verdict: every call that was accepted has its answer; what came later was refused as retryable, or
found no listener; `/ready` was seen failing while the listener answered; the streams ended; the
exit code is 0 within 25 s; no traceback. Calls sent before `/ready` failed are answered or refused,
whether they run or wait; and each call asks the exchange once, so its count of requests and the
clients' count of answers have to be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.processes import environment
from benchmarks.raw import MODERN, Answer, Gone, Line, initialize, tool, wire
from benchmarks.stage import free_port
from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig, demo_venue

__all__ = ["Outcome", "main", "stopping"]

LIMIT = 25.0
"""Seconds from the signal to the end of the process."""
LINE = 3
"""Calls that each session has under way at the signal: one runs, the others wait."""
_ROUTE = "GET /api/v3/klines"

Era = Literal["named", "minted", "modern"]


@dataclass(slots=True)
class Outcome:
    """What a stop looked like from outside."""

    calls: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    """Calls sent after `/ready` was seen failing."""
    probes: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    answered: int = 0
    seconds: float = 0.0
    code: int | None = None
    under_way: int = 0
    wrong: list[str] = field(default_factory=list)

    def judge(self, log: str) -> None:
        """Add what is wrong to `wrong`."""
        fine = {"ok", "refused"}
        both = self.calls + self.late
        self.wrong += [f"{what}: {n}" for what, n in self.calls.items() if what not in fine]
        # Later, the connection may have been closed under the request, unread, or nobody listens.
        fine |= {"no listener", "hung up on"}
        self.wrong += [f"late {what}: {n}" for what, n in self.late.items() if what not in fine]
        if self.asked != self.answered or both["ok"] != self.answered:
            self.wrong.append(
                f"{self.asked} calls reached the exchange, it answered {self.answered},"
                f" {both['ok']} answers arrived"
            )
        if not self.late["refused"]:
            self.wrong.append("no later call was refused")
        if not self.probes["503"]:
            self.wrong.append("/ready was not seen failing")
        if set(self.streams) - {"ended"}:
            self.wrong.append(f"streams: {dict(self.streams)}")
        if self.code != 0:
            self.wrong.append(f"exit code {self.code}")
        if self.seconds > LIMIT:
            self.wrong.append(f"ended after {self.seconds:.1f} s")
        if "Traceback" in log or " ERROR " in log:
            self.wrong.append(f"the log: {log[-2000:]}")

    def lines(self) -> list[str]:
        return [
            f"{self.under_way} calls under way at the signal; all {json.dumps(dict(self.calls))},"
            f" after /ready failed {json.dumps(dict(self.late))}",
            f"the exchange was asked {self.asked} times and answered {self.answered}",
            f"/ready {json.dumps(dict(self.probes))}, streams {json.dumps(dict(self.streams))}",
            f"exit code {self.code} {self.seconds:.1f} s after the signal",
        ]


@asynccontextmanager
async def _server(
    home: Path, sim: SimulatedExchange
) -> AsyncIterator[tuple[tuple[str, int], asyncio.subprocess.Process]]:
    port = free_port()
    lines = ['default_exchange = "paper"', "exchange_keys_from_env = false"]
    lines += [f'data_dir = "{home}"', 'log_level = "warning"', "max_sessions_per_client = 5000"]
    lines += ["[exchanges.paper]", 'exchange = "binance"', 'rate_limit = "off"']
    lines += [f'base_url = "{sim.base_url}"']
    lines += ['options = { fetchMarkets = { types = ["spot"] } }']
    (home / "server.toml").write_text("\n".join(lines) + "\n")
    (home / "server.toml").chmod(0o600)
    with (home / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ccxt_mcp", "serve"),
            *("--config", str(home / "server.toml"), "--port", str(port)),
            stderr=log,
            env=environment(home),
        )
    try:
        yield ("127.0.0.1", port), process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class _Load:
    def __init__(self, address: tuple[str, int], seen: Outcome) -> None:
        self.address = address
        self.seen = seen
        self.failing = asyncio.Event()
        self.over = asyncio.Event()
        self.under_way = 0
        self.streams_open = 0

    async def session(self, number: int) -> None:
        """`LINE` callers of one session, each with its next call as soon as it has an answer."""
        era: Era = ("named", "minted", "modern")[number % 3]
        name = f"stopping-{number}"
        if era == "minted":
            line = await Line.open(self.address)
            name = (await line.ask(wire("POST", initialize()))).headers["mcp-session-id"]
            line.leave()
        async with asyncio.TaskGroup() as group:
            if era != "modern":
                group.create_task(self.stream(name, opened=era == "minted"))
            for _ in range(LINE):
                group.create_task(self.caller(era, name))

    async def caller(self, era: Era, session: str) -> None:
        line: Line | None = None
        while not self.over.is_set():
            counts = self.seen.late if self.failing.is_set() else self.seen.calls
            try:
                line = line or await Line.open(self.address)
            except Gone:
                counts["no listener"] += 1
                return
            self.under_way += 1
            try:
                answer = await line.ask(_request(era, session))
            except Gone:
                counts["hung up on"] += 1
                line = None
                continue
            finally:
                self.under_way -= 1
            counts[_outcome(answer)] += 1
            if answer.headers.get("connection") == "close":
                line.leave()
                line = None
            if wait := answer.headers.get("retry-after"):
                # As the refusal says; the rest of the run is not for being refused.
                with suppress(TimeoutError):
                    async with asyncio.timeout(float(wait)):
                        await self.over.wait()

    async def stream(self, session: str, *, opened: bool) -> None:
        """The session's own stream, until the server ends it."""
        line = await Line.open(self.address)
        if not opened:
            # A name opens a session with its first request; a stream is none.
            body = {"jsonrpc": "2.0", "id": 0, "method": "ping"}
            await line.ask(wire("POST", body, {"Mcp-Session-Id": session}))
        line.send(wire("GET", headers={"Mcp-Session-Id": session}))
        status, _ = await line.head()
        if status != 200:
            self.seen.streams[f"http {status}"] += 1
            return
        self.streams_open += 1
        try:
            while await line.chunk():
                pass
            self.seen.streams["ended"] += 1
        except Gone:
            self.seen.streams["cut"] += 1
        finally:
            line.leave()

    async def probe(self) -> None:
        """What a load balancer sees, on a connection of its own each time."""
        while not self.over.is_set():
            try:
                line = await Line.open(self.address)
                try:
                    status = (await line.ask(wire("GET", path="/ready", last=True))).status
                finally:
                    line.leave()
            except Gone:
                self.seen.probes["no listener"] += 1
            else:
                self.seen.probes[str(status)] += 1
                if status == 503:
                    self.failing.set()
            await asyncio.sleep(0.02)


def _request(era: Era, session: str) -> bytes:
    # Each is to reach the exchange.
    arguments = {"symbol": "BTC/USDT", "timeframe": "1m", "limit": 3, "maxAgeMs": 0}
    if era != "modern":
        return wire("POST", tool("get_ohlcv", arguments, 7), {"Mcp-Session-Id": session})
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "stopping", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "ccxt-mcp/workflow": session,
    }
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "get_ohlcv"}
    return wire("POST", tool("get_ohlcv", arguments, 7, meta), headers)


def _outcome(answer: Answer) -> str:
    if answer.status == 503:
        data: dict[str, Any] = answer.messages[0]["error"].get("data") or {}
        retryable = data.get("code") == "overloaded" and data.get("retryable")
        told = "retry-after" in answer.headers and answer.headers.get("connection") == "close"
        return "refused" if retryable and told else f"refused without a word: {answer}"
    if answer.status != 200:
        return f"http {answer.status}"
    (reply,) = answer.replies()
    result = reply.get("result", {"isError": True})
    return "ok" if reply["id"] == 7 and not result.get("isError") else f"failed: {reply}"


async def stopping(sessions: int, latency_ms: float = 1000) -> Outcome:
    """One server, loaded and told to stop."""
    seen = Outcome()
    with tempfile.TemporaryDirectory(prefix="ccxt-mcp-stopping-") as home:
        venue, _ = demo_venue(seed=7)
        config = SimulationConfig(rate_limit=None)
        async with (
            SimulatedExchange(config, venue=venue) as sim,
            _server(Path(home), sim) as (address, process),
            asyncio.timeout(120),
        ):
            await _warm(address)
            sim.counters.reset()
            sim.set_latency(latency_ms)
            load = _Load(address, seen)
            running = asyncio.gather(load.probe(), *(load.session(n) for n in range(sessions)))
            streams = sum(n % 3 != 2 for n in range(sessions))
            while load.under_way < sessions * LINE or load.streams_open < streams:
                await asyncio.sleep(0.01)
                if running.done():
                    await running
            # In the middle of things: some calls have been answered, others run and wait.
            while seen.calls["ok"] < sessions:
                await asyncio.sleep(0.01)
            seen.under_way = load.under_way
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            seen.code = await process.wait()
            seen.seconds = time.monotonic() - began
            load.over.set()
            await running
            snapshot = sim.counters.snapshot()
            seen.asked = snapshot.by_route.get(_ROUTE, 0)
            seen.answered = snapshot.answers.get("200", 0) - (snapshot.total - seen.asked)
        seen.judge((Path(home) / "server.log").read_text())
    return seen


async def _warm(address: tuple[str, int]) -> None:
    """Wait until the server answers and has its tables."""
    async with asyncio.timeout(60):
        while True:
            try:
                line = await Line.open(address)
            except Gone:
                await asyncio.sleep(0.05)
                continue
            if _outcome(await line.ask(_request("named", "warm-up"))) == "ok":
                line.leave()
                return


def main() -> int:
    """The command line; exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--latency", type=float, default=1000, help="ms of the exchange")
    arguments = parser.parse_args()
    seen = asyncio.run(stopping(arguments.sessions, arguments.latency))
    print("\n".join(seen.lines()))
    print("\n".join(seen.wrong) or "held: no accepted call lost, readiness failed, exit code 0")
    return 1 if seen.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
