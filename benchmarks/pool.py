"""The client's pool in bad weather: ``python -m benchmarks.pool --calls 1000``.

Owns: the callers (some leave before their answer), the venue's faults, two restarts of the server
in the middle (one that drains, one that is killed), and the verdict. Refuses: the server's side; it
is a process of its own, started as users start it, and asked by ``/health``.

Verdict: every call has an answer or a failure with a documented code, none of them one that a read
must not have; no more sessions than the pool's size were ever at the server; afterwards there is
none at the server, and no task, connection or session in use on this side. The seed decides what is
done, not when packets arrive.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import psutil

from benchmarks.processes import environment
from benchmarks.stage import free_port
from ccxt_mcp.client import CallFailed, Health, SessionPool, health
from ccxt_mcp.client.address import http_client
from ccxt_mcp.client.failures import CLIENT_CODES
from ccxt_mcp.client.wire import Era
from ccxt_mcp.errors import Code
from ccxt_mcp.simulation import Fault, FaultKind, SimulatedExchange, SimulationConfig, demo_venue

__all__ = ["Outcome", "main", "storm"]

FAULTS: tuple[FaultKind, ...] = ("hang", *("status", "reset", "truncated", "empty", "latency") * 3)
ERAS: tuple[Era, ...] = get_args(Era)
_STARTING = 60.0
_READS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("get_ticker", {"symbol": "BTC/USDT", "maxAgeMs": 0}),
    ("get_orderbook", {"symbol": "ETH/USDT", "maxAgeMs": 0}),
    ("get_ohlcv", {"symbol": "BTC/USDT", "limit": 5, "maxAgeMs": 0}),
    ("get_open_orders", {}),
    ("account_balance", {}),
    ("list_accounts", {}),
    ("get_ticker", {"symbol": "NO/SUCH"}),
)
_NEVER = {"outcome_unknown", "unexpected_answer", "internal", "invalid_argument"}
"""Codes that none of these reads may have."""
_KNOWN = {code.value for code in Code} | set(CLIENT_CODES)


@dataclass(slots=True)
class Outcome:
    """What a run saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    restarts: list[str] = field(default_factory=list)
    faults: int = 0
    most_sessions: int = 0
    attempts: int = 0
    checked: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return self.outcomes.total()

    def lines(self) -> list[str]:
        return [
            f"{self.calls} calls in {self.seconds:.1f} s, {self.faults} faults at the exchange,"
            f" restarts: {', '.join(self.restarts)}",
            "outcomes " + json.dumps(dict(self.outcomes.most_common())),
            f"at most {self.most_sessions} sessions at the server, {self.checked} checked before"
            f" reuse; the calls that failed were tried {self.attempts} times",
        ]


class _Server:
    """The server's process, which comes and goes at one port."""

    def __init__(self, home: Path, sim: SimulatedExchange, accounts: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # One for all looks: a client of each its own takes more CPU than all the calls.
        self._http = http_client(self.url, 4)
        self._home = home
        self._process: asyncio.subprocess.Process | None = None
        lines = ['default_exchange = "paper"', "exchange_keys_from_env = false"]
        lines += [f'data_dir = "{home}"', 'log_level = "warning"']
        lines += ["ccxt_timeout = 1.0", "tool_timeout = 6.0"]
        lines += ["[exchanges.paper]", 'exchange = "binance"', 'rate_limit = "off"']
        lines += [f'base_url = "{sim.base_url}"', f'default_account = "{accounts[0].name}"']
        lines += ['options = { fetchMarkets = { types = ["spot"] } }']
        for account in accounts:
            lines += [f"[accounts.{account.name}]", 'exchange = "paper"']
            lines += [f'api_key = "{account.api_key}"', f'secret = "{account.secret}"']
        self._config = home / "server.toml"
        self._config.write_text("\n".join(lines) + "\n")
        self._config.chmod(0o600)

    async def start(self) -> None:
        with (self._home / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ccxt_mcp", "serve"),
                *("--config", str(self._config), "--port", str(self.port)),
                stderr=log,
                env=environment(self._home),
            )
        async with asyncio.timeout(_STARTING):
            while True:
                with suppress(CallFailed):
                    if (await self.health()).status == "healthy":
                        return
                await asyncio.sleep(0.05)

    async def health(self) -> Health:
        return await health(self.url, http=self._http)

    async def end(self) -> None:
        await self.stop(signal.SIGTERM)
        await self._http.aclose()

    async def stop(self, how: signal.Signals) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(how)
            async with asyncio.timeout(30):
                await process.wait()

    def complaints(self) -> list[str]:
        log = (self._home / "server.log").read_text()
        return [f"the log: {log[-2000:]}"] if "Traceback" in log or " ERROR " in log else []


class _Storm:
    def __init__(
        self,
        seen: Outcome,
        server: _Server,
        pool: SessionPool,
        sim: SimulatedExchange,
        seed: int,
    ) -> None:
        self.seen = seen
        self.sim = sim
        self.server = server
        self.pool = pool
        self.seed = seed

    async def caller(self, numbers: itertools.count[int], calls: int) -> None:
        """Calls one after the other, as long as there are any left to make."""
        while (number := next(numbers)) < calls:
            dice = random.Random(f"{self.seed}-{number}")
            self.trouble(dice)
            tool, arguments = dice.choice(_READS)
            patience = dice.choice((0.0, 0.002, 0.02, 0.1, 0.5)) if dice.random() < 0.3 else None
            self.seen.outcomes[await self.call(tool, arguments, patience)] += 1

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None) -> str:
        work = asyncio.create_task(self.pool.call(tool, arguments))
        if patience is not None:
            await asyncio.wait({work}, timeout=patience)
            if work.cancel():
                await asyncio.wait({work})
        try:
            answer = await work
        except asyncio.CancelledError:
            return "left"
        except CallFailed as failure:
            self.seen.attempts += failure.attempts
            if failure.code in _NEVER or failure.code not in _KNOWN:
                self.seen.wrong.append(f"{tool}: {failure}")
            return failure.code
        except Exception as error:
            self.seen.wrong.append(f"{tool}: {error!r}")
            return "no code"
        if not answer:
            self.seen.wrong.append(f"{tool}: an empty answer")
        return "ok"

    def trouble(self, dice: random.Random) -> None:
        """A fault for one of the next requests; as many as there are calls to suffer from them."""
        if dice.random() < 0.15:
            status = dice.choice((500, 502, 503, 504))
            fault = Fault(kind=dice.choice(FAULTS), times=1, status=status, milliseconds=200)
            self.sim.faults.add(fault)
            self.seen.faults += 1

    async def restarts(self, calls: int) -> None:
        """One stop that drains and one kill, when a third and two thirds of the calls are over."""
        for share, how in ((1, signal.SIGTERM), (2, signal.SIGKILL)):
            while self.seen.calls < calls * share // 3:
                await asyncio.sleep(0.01)
            await self.server.stop(how)
            await self.server.start()
            self.seen.restarts.append(f"{how.name} after {self.seen.calls} calls")

    async def watch(self) -> None:
        while True:
            with suppress(CallFailed):
                active = (await self.server.health()).active_sessions or 0
                self.seen.most_sessions = max(self.seen.most_sessions, active)
            await asyncio.sleep(0.1)


async def storm(
    calls: int, *, size: int = 8, callers: int = 40, seed: int = 1, era: Era = "2025-11-25"
) -> Outcome:
    """One run on a server of its own."""
    seen = Outcome()
    before, files = asyncio.all_tasks(), psutil.Process().num_fds()
    venue, accounts = demo_venue(seed=7)
    config = SimulationConfig(rate_limit=None, latency_ms=10, jitter_ms=20, seed=seed)
    with tempfile.TemporaryDirectory() as home:
        async with SimulatedExchange(config, venue=venue) as sim:
            server = _Server(Path(home), sim, accounts)
            try:
                await server.start()
                strategy = random.Random(seed).choice(("round_robin", "least_busy"))
                pool = SessionPool(
                    size,
                    server.url,
                    strategy="round_robin" if strategy == "round_robin" else "least_busy",
                    era=era,
                    timeout=20,
                    retries=3,
                )
                storm = _Storm(seen, server, pool, sim, seed)
                began = time.monotonic()
                watch = asyncio.create_task(storm.watch())
                numbers = itertools.count()
                async with asyncio.TaskGroup() as group:
                    group.create_task(storm.restarts(calls))
                    for _ in range(callers):
                        group.create_task(storm.caller(numbers, calls))
                watch.cancel()
                await asyncio.wait({watch})
                sim.faults.clear()
                seen.seconds = time.monotonic() - began
                stats = pool.stats()
                seen.checked = stats.reopened
                if stats.busy or stats.waiting:
                    seen.wrong.append(f"in use afterwards: {stats}")
                await pool.aclose()
                seen.wrong += await _left_there(server, sim)
            finally:
                await server.end()
            seen.wrong += server.complaints()
    # Not before: the exchange's end of the server's connections is in this process too.
    seen.wrong += await _left_here(before, files)
    if seen.calls != calls:
        seen.wrong.append(f"{seen.calls} of {calls} calls ended")
    if seen.most_sessions > size:
        seen.wrong.append(f"{seen.most_sessions} sessions of a pool of {size}")
    return seen


async def _left_there(server: _Server, sim: SimulatedExchange) -> list[str]:
    """What the closed pool left at the server and at the exchange."""

    async def look() -> list[str]:
        report = await server.health()
        left = [f"at the server: {session}" for session in report.sessions or ()]
        if n := sim.counters.in_flight:
            left.append(f"{n} requests at the exchange")
        return left

    return await _settled(look)


async def _left_here(before: set[asyncio.Task[Any]], files: int) -> list[str]:
    """Tasks and files of this process that were not there before."""

    async def look() -> list[str]:
        left = [f"a task: {task!r}" for task in asyncio.all_tasks() - before]
        if (now := psutil.Process().num_fds()) > files:
            left.append(f"{now} files are open, {files} were before")
        return left

    return await _settled(look)


async def _settled(look: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """What is left as soon as it is nothing, or after some seconds."""
    until = time.monotonic() + 5
    while (left := await look()) and time.monotonic() < until:
        await asyncio.sleep(0.05)
    return left


def main() -> int:
    """The command line; exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--callers", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    wrong: list[str] = []
    for era in ERAS:
        seen = asyncio.run(
            storm(
                arguments.calls,
                size=arguments.size,
                callers=arguments.callers,
                seed=arguments.seed,
                era=era,
            )
        )
        print(f"era {era}", *seen.lines(), sep="\n  ", flush=True)
        wrong += [f"era {era}: {each}" for each in seen.wrong]
    for each in wrong[:20]:
        print(f"WRONG {each}", file=sys.stderr)
    print(f"{len(wrong)} promises broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
