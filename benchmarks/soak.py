"""Mixed load with faults, and what is left of it: ``python -m benchmarks.soak --seconds 120``.

Owns: the mix (tools, accounts, bad input, clients that leave, sessions that end), the faults, the
samples of the server's process, and the verdict. Refuses: speed; ``python -m benchmarks`` measures.

The server is a process of its own, started as users start it, with short timeouts so that a hang
takes a second. The venues run here. All traffic is on 127.0.0.1 and ends after the given time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.stage import free_port
from ccxt_mcp.simulation import (
    DemoAccount,
    Fault,
    FaultKind,
    SimulatedExchange,
    SimulationConfig,
    demo_venue,
)

__all__ = ["Report", "Sample", "main", "soak"]

FAULTS: tuple[FaultKind, ...] = (
    "hang",
    "drip",
    "status",
    "malformed",
    "truncated",
    "html",
    "empty",
    "reset",
    "latency",
)
READS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("get_ticker", {"symbol": "BTC/USDT"}),
    ("get_orderbook", {"symbol": "ETH/USDT", "limit": 20}),
    ("get_ohlcv", {"symbol": "BTC/USDT", "timeframe": "1h", "limit": 50}),
    ("get_markets", {"search": "BTC"}),
    ("get_open_orders", {}),
    ("account_balance", {}),
    ("get_order_history", {"symbol": "BTC/USDT"}),
    ("get_ticker", {"symbol": "NO/PE"}),
    ("get_ticker", {"symbol": 7}),
    ("no_such_tool", {}),
)
EXPECTED = {
    *("ok", "left", "timeout", "exchange_unavailable", "exchange_error", "bad_response"),
    *("rate_limited", "unknown_symbol", "invalid_argument", "unknown_tool", "overloaded"),
    *("authentication_failed", "permission_denied"),
}
"""Every outcome that a call may have here. ``internal`` is not one of them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's process at one moment."""

    seconds: float
    rss_mb: float
    files: int
    tasks: int
    sessions: int
    upstream: int


@dataclass(slots=True)
class Report:
    """What a soak saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    before: Sample | None = None
    after: Sample | None = None
    workflows: int = 0

    def violations(self) -> list[str]:
        """What must not be: unexpected outcomes, and growth between two quiet moments."""
        assert self.before is not None
        assert self.after is not None
        wrong = [
            f"outcome {name}: {n}" for name, n in self.outcomes.items() if name not in EXPECTED
        ]
        # Kept-alive connections, to clients and exchanges, come and go with the concurrency; what
        # leaks would grow with the thousands of calls.
        for what, slack in (("files", self.workflows + 4), ("tasks", 2)):
            was, now = getattr(self.before, what), getattr(self.after, what)
            if now > was + slack:
                wrong.append(f"{what} grew from {was} to {now}")
        # The first minutes fill pools and caches; what leaks would grow with every call.
        if self.after.rss_mb > self.before.rss_mb * 1.15 + 8:
            wrong.append(f"memory grew from {self.before.rss_mb} to {self.after.rss_mb} MB")
        return wrong


@asynccontextmanager
async def _server(
    home: Path,
    venues: dict[str, SimulatedExchange],
    accounts: tuple[DemoAccount, ...],
    *,
    timeouts: tuple[float, float] = (1.0, 1.5),
) -> AsyncIterator[tuple[str, psutil.Process]]:
    port = free_port()
    config = ["default_exchange = 'paper'", f"ccxt_timeout = {timeouts[0]}"]
    config += [f"tool_timeout = {timeouts[1]}"]
    config += ["max_sessions_per_client = 5000", "log_level = 'warning'", f"data_dir = '{home}'"]
    config += ["exchange_keys_from_env = false"]
    for name, sim in venues.items():
        config += [f"[exchanges.{name}]", "exchange = 'binance'", "rate_limit = 'off'"]
        config += [f"base_url = '{sim.base_url}'", "default_account = '" + name + "-main'"]
        config += ["options = { fetchMarkets = { types = ['spot'] } }"]
        for account in accounts:
            config += [f"[accounts.{name}-{account.name}]", f"exchange = '{name}'"]
            config += [f"api_key = '{account.api_key}'", f"secret = '{account.secret}'"]
    (home / "soak.toml").write_text("\n".join(config))
    (home / "soak.toml").chmod(0o600)
    with (home / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ccxt_mcp", "serve"),
            *("--config", str(home / "soak.toml"), "--port", str(port)),
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


class _Soak:
    def __init__(
        self,
        url: str,
        process: psutil.Process,
        venues: dict[str, SimulatedExchange],
        accounts: tuple[DemoAccount, ...],
        seed: int,
    ) -> None:
        self.url = url
        self.process = process
        self.venues = venues
        self.names = [f"{name}-{a.name}" for name in venues for a in accounts]
        self.dice = random.Random(seed)
        self.report = Report()
        self.began = time.monotonic()

    async def call(
        self, http: httpx.AsyncClient, session: str, tool: str, arguments: dict[str, Any]
    ) -> str:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }
        response = await http.post(
            f"{self.url}/mcp", json=body, headers={"Mcp-Session-Id": session}
        )
        if response.status_code != 200:
            return f"http {response.status_code}"
        answer = response.json()
        if "error" in answer:
            return f"rpc {answer['error']['code']}"
        result = answer["result"]
        if not result.get("isError"):
            return "ok"
        return str(result["_meta"]["ccxt-mcp/failure"]["code"])

    async def workflow(self, number: int, until: float) -> None:
        dice = random.Random(self.dice.random())
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            session = f"soak-{number}"
            while time.monotonic() < until:
                tool, arguments = dice.choice(READS)
                if tool in ("get_open_orders", "account_balance", "get_order_history"):
                    arguments = arguments | {"account": dice.choice(self.names)}
                elif tool.startswith("get_"):
                    arguments = arguments | {"exchange": dice.choice(list(self.venues))}
                calling = self.call(http, session, tool, arguments)
                if dice.random() < 0.05:
                    # A client that leaves: whether it was answered before is left to chance.
                    try:
                        outcome = await asyncio.wait_for(calling, dice.uniform(0.001, 0.3))
                    except TimeoutError:
                        outcome = "left"
                else:
                    outcome = await calling
                self.report.outcomes[outcome] += 1
                if dice.random() < 0.02:
                    await http.delete(f"{self.url}/mcp", headers={"Mcp-Session-Id": session})
                    session = f"soak-{number}-{dice.randrange(4)}"

    async def trouble(self, until: float) -> None:
        while time.monotonic() < until:
            sim = self.venues[self.dice.choice(list(self.venues))]
            kind = self.dice.choice(FAULTS)
            times = self.dice.randint(1, 5)
            status = self.dice.choice((400, 401, 403, 404, 500, 502, 503, 504))
            sim.faults.add(
                Fault(kind=kind, times=times, status=status, milliseconds=200, interval_ms=20)
            )
            self.report.faults[kind] += 1
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))
            if self.dice.random() < 0.3:
                sim.faults.clear()

    async def sample(self, http: httpx.AsyncClient) -> Sample:
        health = (await http.get(f"{self.url}/health?limit=1")).json()
        return Sample(
            round(time.monotonic() - self.began, 1),
            round(self.process.memory_info().rss / 2**20, 1),
            self.process.num_fds(),
            int(health["tasks"]),
            int(health["activeSessions"]),
            sum(sim.counters.snapshot().in_flight for sim in self.venues.values()),
        )

    async def in_flight(self, http: httpx.AsyncClient) -> int:
        """Sessions with a call that was received and not answered."""
        health = (await http.get(f"{self.url}/health?limit=1000")).json()
        return sum(session["inFlight"] for session in health["sessions"])

    async def quiet(self, http: httpx.AsyncClient) -> Sample:
        """A sample once nothing is under way any more."""
        for sim in self.venues.values():
            sim.faults.clear()
        async with asyncio.timeout(10):
            while any(sim.counters.snapshot().in_flight for sim in self.venues.values()):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        return await self.sample(http)

    async def run(self, seconds: float, workflows: int) -> Report:
        self.report.workflows = workflows
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            await self.answering(http)
            await self.load(workflows, time.monotonic() + max(2.0, seconds * 0.25))
            self.report.before = await self.quiet(http)
            until = time.monotonic() + seconds * 0.75
            load = asyncio.create_task(self.load(workflows, until))
            while not load.done():
                self.report.samples.append(await self.sample(http))
                await asyncio.wait({load}, timeout=max(1.0, seconds / 20))
            await load
            self.report.after = await self.quiet(http)
        return self.report

    async def answering(self, http: httpx.AsyncClient) -> None:
        """Wait until the server is ready and has the exchanges' markets: on a busy machine they
        take longer than a short soak lasts."""
        async with asyncio.timeout(60):
            while not await self.answers(http.get(f"{self.url}/ready")):
                await asyncio.sleep(0.05)
            for name in self.venues:
                asked = {"symbol": "BTC/USDT", "exchange": name}
                ticker = f"{self.url}/api/tools/get_ticker"
                while not await self.answers(http.post(ticker, json=asked)):
                    await asyncio.sleep(0.05)

    async def answers(self, request: Coroutine[Any, Any, httpx.Response]) -> bool:
        """Whether a request succeeds."""
        try:
            return (await request).is_success
        except httpx.HTTPError:
            return False

    async def load(self, workflows: int, until: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.trouble(until))
            for number in range(workflows):
                group.create_task(self.workflow(number, until))


async def soak(seconds: float, workflows: int, seed: int) -> Report:
    """Run one soak; a quarter of the time warms up before the sample that is compared against."""
    with tempfile.TemporaryDirectory(prefix="ccxt-mcp-soak-") as home:
        first, accounts = demo_venue(seed=7)
        second, _ = demo_venue(seed=7)
        config = SimulationConfig(rate_limit=None, latency_ms=5, jitter_ms=5)
        async with (
            SimulatedExchange(config, venue=first) as one,
            SimulatedExchange(config, venue=second) as two,
        ):
            venues = {"paper": one, "other": two}
            async with _server(Path(home), venues, accounts) as (url, process):
                report = await _Soak(url, process, venues, accounts, seed).run(seconds, workflows)
            log = (Path(home) / "server.log").read_text()
            if "Traceback" in log:
                report.outcomes["traceback in the log"] += log.count("Traceback")
                print(log[-4000:], file=sys.stderr)
        return report


async def hanging(callers: int = 200, calls: int = 150) -> list[tuple[str, float, float]]:
    """Latency of one exchange while another hangs: (state, p50, p99 in ms), quiet and hanging.

    ``callers`` sessions wait for an exchange that never answers, while one session reads a balance
    at the other exchange ``calls`` times in a row.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="ccxt-mcp-hang-") as home:
        venues, accounts = [demo_venue(seed=7)[0] for _ in range(2)], demo_venue(seed=7)[1]
        config = SimulationConfig(rate_limit=None, latency_ms=5)
        async with (
            SimulatedExchange(config, venue=venues[0]) as one,
            SimulatedExchange(config, venue=venues[1]) as two,
            _server(Path(home), {"paper": one, "other": two}, accounts, timeouts=(10.0, 15.0)) as (
                url,
                process,
            ),
            httpx.AsyncClient(timeout=30, trust_env=False) as http,
            httpx.AsyncClient(
                timeout=30, trust_env=False, limits=httpx.Limits(max_connections=None)
            ) as crowd,
        ):
            run = _Soak(url, process, {"paper": one, "other": two}, accounts, seed=1)
            await run.answering(http)
            for name in ("paper", "other"):
                await run.call(http, "warm", "get_ticker", {"symbol": "BTC/USDT", "exchange": name})
            for state in ("quiet", "hanging") * 2:
                waiting: list[asyncio.Task[str]] = []
                if state == "hanging":
                    one.faults.add(Fault(kind="hang"))
                    waiting = [
                        asyncio.create_task(run.call(crowd, f"c{n}", "account_balance", {}))
                        for n in range(callers)
                    ]
                    async with asyncio.timeout(10):
                        # A quarter of the slots is the account's; the others' calls are in line.
                        while await run.in_flight(http) < callers:
                            await asyncio.sleep(0.01)
                took = []
                for _ in range(calls):
                    began = time.perf_counter()
                    outcome = await run.call(
                        http, "steady", "account_balance", {"account": "other-main"}
                    )
                    took.append((time.perf_counter() - began) * 1000)
                    assert outcome == "ok", outcome
                    assert not any(task.done() for task in waiting), "measure faster"
                one.faults.clear()
                await asyncio.gather(*waiting)
                took.sort()
                rows.append((state, took[len(took) // 2], took[int(len(took) * 0.99)]))
    return rows


def main() -> int:
    """The command line; exit code 1 when something grew or an outcome was not foreseen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--workflows", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hang", action="store_true", help="one exchange hanging, instead")
    arguments = parser.parse_args()
    if arguments.hang:
        for state, p50, p99 in asyncio.run(hanging()):
            print(f"{state:8} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms")
        return 0
    report = asyncio.run(soak(arguments.seconds, arguments.workflows, arguments.seed))
    for each in (report.before, *report.samples, report.after):
        print(each)
    print("calls", json.dumps(dict(report.outcomes.most_common())))
    print("faults", json.dumps(dict(report.faults)))
    wrong = report.violations()
    print("\n".join(wrong) or "flat: memory, files, tasks and connections as at the beginning")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
