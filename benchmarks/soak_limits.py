"""Many sessions at full speed on one exchange that enforces its limits.

``python -m benchmarks.soak_limits --seconds 60 --sessions 64 [--cancel] [--heavy]``

Owns: the sessions, the clients that leave, and the verdict: no 429 and no ban, at least 95 % of
what the limit allows, waiting shared fairly. Refuses: speed; ``python -m benchmarks`` measures.

The server is a process of its own, started as users start it, with the limits on. The venue is
Binance's dialect with 6,000 units of weight per aligned minute. It runs here, as do the clients: at
some fifty requests a second neither disturbs what is measured. All traffic is on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import Answer, Connection
from benchmarks.stage import free_port
from ccxt_mcp.simulation import DemoAccount, SimulatedExchange, SimulationConfig, demo_venue

__all__ = ["Outcome", "main", "rush"]

LIMIT = 6_000
READS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("get_ticker", {"symbol": "BTC/USDT", "maxAgeMs": 0}, 2),
    ("get_ticker", {"symbol": "ETH/USDT", "maxAgeMs": 0}, 2),
    ("get_ohlcv", {"symbol": "BTC/USDT", "timeframe": "1h", "limit": 20, "maxAgeMs": 0}, 2),
    ("get_orderbook", {"symbol": "ETH/USDT", "limit": 20, "maxAgeMs": 0}, 5),
    ("get_open_orders", {"symbol": "BTC/USDT"}, 6),
    ("account_balance", {}, 20),
)
"""Tool, arguments, and the weight that the venue counts for it."""
LEAVING = 0.25
"""Share of the calls whose client does not wait for the answer, with ``--cancel``."""


@dataclass(slots=True)
class Session:
    """What one session got: weight of its answered calls, seconds of each, outcomes, departures."""

    weight: int = 0
    took: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)
    left: int = 0


@dataclass(slots=True)
class Outcome:
    """What a rush saw. ``spent`` is the weight that the venue counted in ``seconds``."""

    seconds: float
    spent: int
    answers: dict[str, int]
    sessions: list[Session]
    cancelling: bool
    refusing: bool
    cpu: float
    limits: dict[str, Any]

    @property
    def share(self) -> float:
        """Part of what the limit allows in that time that was used."""
        return self.spent / (LIMIT * self.seconds / 60)

    def violations(self) -> list[str]:
        wrong = [f"{n} answers {s}" for s, n in self.answers.items() if s in ("418", "429")]
        if self.share < 0.95:
            wrong.append(f"only {self.share:.1%} of the limit was used")
        codes = sum((each.codes for each in self.sessions), Counter[str]())
        expected = {"ok"} | ({"rate_limited"} if self.refusing else set())
        wrong += [f"outcome {code}: {n}" for code, n in codes.items() if code not in expected]
        wrong += [words for each in self.sessions for words in each.words][:5]
        waited = [statistics.fmean(each.took) for each in self.sessions if each.took]
        # A session that leaves begins again, behind the others: by its own doing.
        if not self.cancelling and max(waited) > 1.5 * statistics.median(waited):
            wrong.append(f"one session waited {max(waited):.1f} s on average")
        return wrong

    def lines(self) -> list[str]:
        took = [statistics.fmean(each.took) for each in self.sessions if each.took]
        worst = [max(each.took) for each in self.sessions if each.took]
        weights = [each.weight for each in self.sessions]
        codes = sum((each.codes for each in self.sessions), Counter[str]())
        left = sum(each.left for each in self.sessions)
        calls = sum(codes.values())
        return [
            f"venue: {self.spent} of {LIMIT * self.seconds / 60:.0f} units in {self.seconds:.0f} s"
            f" ({self.share:.1%}); answers {json.dumps(self.answers)}",
            f"calls: {calls} answered {json.dumps(dict(codes))}, {left} left by their client",
            f"weight per session: {_spread(weights, '.0f')}",
            f"mean seconds per call, per session: {_spread(took, '.2f')}",
            f"longest call, per session: {_spread(worst, '.2f')}",
            f"server CPU: {self.cpu:.1f} s, {self.cpu / max(1, calls) * 1000:.2f} ms per call",
            f"server's own count: {json.dumps(self.limits)}",
        ]


def _spread(values: list[Any], form: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"least {low:{form}}, median {middle:{form}}, most {high:{form}}"


@asynccontextmanager
async def _server(
    home: Path, sim: SimulatedExchange, accounts: tuple[DemoAccount, ...]
) -> AsyncIterator[tuple[int, int]]:
    """The product; its port and process id."""
    port = free_port()
    lines = ["default_exchange = 'paper'", "log_level = 'warning'", f"data_dir = '{home}'"]
    lines += ["exchange_keys_from_env = false", "max_sessions_per_client = 5000"]
    lines += ["[exchanges.paper]", "exchange = 'binance'", f"base_url = '{sim.base_url}'"]
    lines += [f"default_account = '{accounts[0].name}'"]
    lines += ["options = { fetchMarkets = { types = ['spot'] } }"]
    for account in accounts:
        lines += [f"[accounts.{account.name}]", "exchange = 'paper'"]
        lines += [f"api_key = '{account.api_key}'", f"secret = '{account.secret}'"]
    config = home / "limits.toml"
    config.write_text("\n".join(lines))
    config.chmod(0o600)
    with (home / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ccxt_mcp", "serve"),
            *("--config", str(config), "--port", str(port)),
            stderr=log,
        )
    try:
        yield port, process.pid
    finally:
        ended = process.returncode is not None
        if not ended:
            process.terminate()
            await process.wait()
        log_text = (home / "server.log").read_text()
        if ended or "Traceback" in log_text:
            print(log_text[-4000:], file=sys.stderr)


def _code(answer: Answer) -> str:
    if answer.status != 200:
        return f"http {answer.status}"
    body = json.loads(answer.body)
    if "error" in body:
        return f"rpc {body['error']['code']}"
    result = body["result"]
    return str(result["_meta"]["ccxt-mcp/failure"]["code"]) if result.get("isError") else "ok"


async def _run(
    port: int, number: int, until: float, dice: random.Random, *, leaving: float, heavy: bool
) -> Session:
    """One session: the next call as soon as the last is answered, or left."""
    mine, connection = Session(), Connection(("127.0.0.1", port))
    accounts = ("main", "second")
    while (now := time.monotonic()) < until:
        tool, arguments, weight = READS[-1] if heavy else dice.choice(READS)
        if tool in ("get_open_orders", "account_balance"):
            arguments = arguments | {"account": accounts[number % 2]}
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }
        headers = {"Mcp-Session-Id": f"rush-{number}"}
        sending = connection.send(connection.request("POST", "/mcp", body, headers))
        patience = dice.uniform(0.001, 3.0) if dice.random() < leaving else 60.0
        try:
            async with asyncio.timeout(patience):
                answer = await sending
        except TimeoutError:
            # The connection is closed: the server sees its client leave.
            await connection.close()
            connection = Connection(("127.0.0.1", port))
            mine.left += 1
            continue
        code = _code(answer)
        mine.codes[code] += 1
        if code == "ok":
            mine.took.append(time.monotonic() - now)
            mine.weight += weight
        else:
            if code != "rate_limited":
                mine.words.append(answer.body.decode(errors="replace")[:400])
            await asyncio.sleep(0.2)
    await connection.close()
    return mine


async def _get(port: int, path: str) -> Any:
    connection = Connection(("127.0.0.1", port))
    try:
        answer = await connection.send(connection.request("GET", path))
        return json.loads(answer.body)
    finally:
        await connection.close()


def _spent(sim: SimulatedExchange) -> int:
    """Weight of all that the venue has seen, by its own table."""
    weights = {
        "GET /api/v3/ticker/24hr": 2,
        "GET /api/v3/klines": 2,
        "GET /api/v3/depth": 5,
        "GET /api/v3/openOrders": 6,
        "GET /api/v3/account": 20,
        "GET /api/v3/exchangeInfo": 20,
        "GET /api/v3/time": 1,
        "GET /api/v3/ping": 1,
    }
    seen = sim.counters.snapshot().by_route
    if unknown := seen.keys() - weights.keys():
        raise AssertionError(f"no weight is known for {unknown}")
    return sum(weights[route] * count for route, count in seen.items())


async def rush(
    seconds: float, sessions: int, seed: int, *, cancelling: bool, heavy: bool = False
) -> Outcome:
    """Run all sessions for so long, from an idle server with its tables loaded."""
    from benchmarks.processes import cpu_seconds

    with tempfile.TemporaryDirectory(prefix="ccxt-mcp-limits-") as home:
        venue, accounts = demo_venue(seed=7)
        config = SimulationConfig(rate_limit=LIMIT, latency_ms=20, jitter_ms=40, seed=seed)
        async with (
            SimulatedExchange(config, venue=venue) as sim,
            _server(Path(home), sim, accounts) as (port, pid),
        ):
            await _warm(port, seed)
            before, cpu, began = _spent(sim), cpu_seconds(pid), time.monotonic()
            answers = Counter(sim.counters.snapshot().answers)
            dice, leaving = random.Random(seed), LEAVING if cancelling else 0.0
            running = [
                asyncio.create_task(
                    _run(
                        port,
                        number,
                        began + seconds,
                        random.Random(dice.random()),
                        leaving=leaving,
                        heavy=heavy,
                    )
                )
                for number in range(sessions)
            ]
            await asyncio.sleep(began + seconds - time.monotonic())
            spent, health = _spent(sim) - before, await _get(port, "/health?limit=1")
            seen = Counter(sim.counters.snapshot().answers) - answers
            took, used = time.monotonic() - began, cpu_seconds(pid) - cpu
            return Outcome(
                took,
                spent,
                dict(seen),
                list(await asyncio.gather(*running)),
                cancelling,
                heavy,
                used,
                health["exchanges"]["paper"]["limits"],
            )


async def _warm(port: int, seed: int) -> None:
    """Wait for the server, have it load its tables, and let a venue's window pass the burst."""
    async with asyncio.timeout(60):
        while True:
            try:
                await _get(port, "/ready")
                break
            except ConnectionError:
                await asyncio.sleep(0.05)
    session = await _run(
        port, -1, time.monotonic() + 0.01, random.Random(seed), leaving=0.0, heavy=True
    )
    assert session.codes["ok"], session.codes


def main() -> int:
    """The command line; exit code 1 when a limit was hit, wasted or shared unfairly."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cancel", action="store_true", help="a quarter of the clients leave")
    parser.add_argument(
        "--heavy", action="store_true", help="balances alone (20 units each): more than fits"
    )
    arguments = parser.parse_args()
    outcome = asyncio.run(
        rush(
            arguments.seconds,
            arguments.sessions,
            arguments.seed,
            cancelling=arguments.cancel,
            heavy=arguments.heavy,
        )
    )
    print("\n".join(outcome.lines()))
    wrong = outcome.violations()
    print("\n".join(wrong) or "held: no 429, no ban, the limit used, waiting shared")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
