"""Replicas on one store while they are killed: ``python -m benchmarks.replicas --seconds 60``.

Owns: the workflows, the kills and their schedule, and the verdict. Refuses: what is a replica and
what leads requests to it (``replica_processes.py``).

The schedule is fixed: a replica that is up is killed when it is time, whether or not the one before
is back; it starts again at once, beside the load. A start takes longer than the time between two
kills on a small machine, so there are more replicas than the load needs. The last one that is up is
spared, and the output says how often.

Verdict of the kills: no session is lost (none answers 404 or opens anew; ``/health`` still shows
each, opened when it was), every call is answered or fails in a way that says that it may be
repeated, within the time that is documented, and in no session do two calls overlap: each has an
account of its own, so the exchange sees which requests are whose. Verdict of the rolling restart:
through the client helper not one call fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.replica_processes import Replica, Router, configuration
from benchmarks.store_server import StoreServer
from ccxt_mcp.client import CallFailed, Workflow, health
from ccxt_mcp.client.wire import LEGACY, MODERN
from ccxt_mcp.errors import CODES, Code
from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig, Venue
from ccxt_mcp.simulation.accounts import derive_keys
from ccxt_mcp.simulation.counters import Counters

__all__ = ["Seen", "Witness", "main", "outcome_of", "soak"]

_RETRYABLE = {code.value for code, info in CODES.items() if info.retryable} - {
    Code.SESSION_NOT_FOUND.value
}
_STATUSES = {502, 503, 504}
_BOUND = 75.0
"""Seconds: a call waits 60 in its session's lane and takes 15."""
_VERSIONS = {"legacy": "2025-11-25", "modern": "2026-07-28"}


@dataclass(slots=True)
class Seen:
    """What a run saw: kills that were carried out and those whose turn came when one replica alone
    was up, how many were up each twentieth of a second, and the seconds until each was back."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    spared: int = 0
    up: list[int] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    seconds: float = 0.0
    longest: float = 0.0
    sessions: int = 0
    lost: int = 0
    most_of_a_key: int = 0
    rolled: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        return [
            f"{self.kills} kills in {self.seconds:.0f} s; spared, since no other was up:"
            f" {self.spared}",
            f"replicas up: at least {min(self.up)}, {fmean(self.up):.1f} on average"
            + (f"; one was back after {fmean(self.back):.1f} s on average" if self.back else ""),
            f"{self.outcomes.total()} calls: " + json.dumps(dict(self.outcomes.most_common())),
            f"longest call {self.longest:.1f} s",
            f"lost sessions {self.lost} of {self.sessions}; requests of one session at once, at"
            f" most: {self.most_of_a_key}",
            "rolling restart: " + json.dumps(dict(self.rolled.most_common())),
        ]


_KEY: ContextVar[str | None] = ContextVar("key", default=None)


class Witness(Counters):
    """Counters that know how many requests of one key are under way at once; of those keys that
    ``counts`` says."""

    def __init__(self, seen: Seen, counts: Callable[[str], bool] = lambda key: True) -> None:
        super().__init__()
        self._seen = seen
        self._counts = counts
        self._of_key: Counter[str] = Counter()

    def begin(self, route: str, key: str | None) -> None:
        super().begin(route, key)
        if key is not None and not self._counts(key):
            key = None
        _KEY.set(key)
        if key is not None:
            self._of_key[key] += 1
            self._seen.most_of_a_key = max(self._seen.most_of_a_key, self._of_key[key])

    def end(self, status: int | None) -> None:
        super().end(status)
        key = _KEY.get()
        if key is not None:
            self._of_key[key] -= 1


class _Workflow:
    """One session by plain HTTP, so that nothing is repeated unseen."""

    def __init__(
        self, seen: Seen, http: aiohttp.ClientSession, url: str, number: int, seed: int
    ) -> None:
        self._seen = seen
        self._http = http
        self._url = url + "/mcp"
        self._number = number
        self._kind = ("minted", "minted", "named", "workflow")[number % 4]
        self._dice = random.Random(f"{seed}-{number}")
        self._headers = {"accept": "application/json, text/event-stream"}
        self._meta: dict[str, Any] = {}

    async def open(self) -> None:
        """The handshake, for those that have one; repeated until a replica takes it."""
        if self._kind == "named":
            self._headers["mcp-session-id"] = f"wf-{self._number}"
        elif self._kind == "workflow":
            self._headers |= {"mcp-protocol-version": _VERSIONS["modern"]}
            self._headers |= {"mcp-method": "tools/call", "mcp-name": "get_open_orders"}
            self._meta = {
                "ccxt-mcp/workflow": f"wf-{self._number}",
                "io.modelcontextprotocol/protocolVersion": _VERSIONS["modern"],
                "io.modelcontextprotocol/clientInfo": {"name": "soak", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        while self._kind == "minted":
            params = {"protocolVersion": _VERSIONS["legacy"], "capabilities": {}}
            params["clientInfo"] = {"name": "soak", "version": "1"}
            message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
            with suppress(aiohttp.ClientError):
                async with self._http.post(
                    self._url, json=message, headers=self._headers
                ) as answer:
                    if answer.status == 200:
                        self._headers["mcp-session-id"] = answer.headers["mcp-session-id"]
                        await answer.read()
                        return
            await asyncio.sleep(0.2)

    async def run(self, until: float) -> None:
        number = 0
        while time.monotonic() < until:
            # Now and then two at once, which the session has to put in order.
            count = 2 if self._dice.random() < 0.2 else 1
            await asyncio.gather(*(self._counted(number + each) for each in range(1, count + 1)))
            number += count
            await asyncio.sleep(self._dice.uniform(0.4, 1.6))

    async def _counted(self, number: int) -> None:
        began = time.monotonic()
        outcome = await self._call(number)
        took = time.monotonic() - began
        self._seen.longest = max(self._seen.longest, took)
        self._seen.outcomes[outcome] += 1
        if outcome.startswith("WRONG"):
            self._seen.wrong.append(f"{self._kind} {self._number}: {outcome}")
        if took > _BOUND:
            self._seen.wrong.append(f"{self._kind} {self._number}: {outcome} after {took:.1f} s")

    async def _call(self, number: int) -> str:
        params: dict[str, Any] = {
            "name": "get_open_orders",
            "arguments": {"account": f"a{self._number}", "symbol": "BTC/USDT"},
        }
        if self._meta:
            params["_meta"] = self._meta
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        try:
            async with self._http.post(self._url, json=message, headers=self._headers) as answer:
                text = await answer.text()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"cut ({type(error).__name__})"
        if status in _STATUSES:
            return f"HTTP {status}"
        if status != 200:
            return f"WRONG HTTP {status}: {text[:300]}"
        return outcome_of(text)


def outcome_of(text: str) -> str:
    """What became of a call: `ok`, the code of a retryable failure, a cut stream, or WRONG."""
    if text.startswith("{"):
        messages = [text]
    else:
        messages = [line[5:] for line in text.splitlines() if line.startswith("data:")]
    replies = [json.loads(each) for each in messages if each.strip()]
    replies = [each for each in replies if "result" in each or "error" in each]
    if not replies:
        return "cut (no reply on the stream)"
    result = replies[-1].get("result")
    if result is None:
        return f"WRONG {replies[-1]['error']}"
    if not result.get("isError"):
        return "ok"
    code = str(result.get("_meta", {}).get("ccxt-mcp/failure", {}).get("code"))
    return code if code in _RETRYABLE else f"WRONG {code}: {result['content'][0]['text'][:300]}"


async def soak(
    seconds: float,
    *,
    workflows: int = 200,
    replicas: int = 8,
    every: float = 3.0,
    pause: bool = False,
    rolling: int = 20,
    seed: int = 1,
) -> Seen:
    """Kills for so many seconds, then a rolling restart under ``rolling`` client workflows.

    With ``pause`` replicas are not killed but stand still for longer than a lease lasts, and go on.
    """
    seen = Seen()
    venue = Venue(seed=7)
    names = [f"a{number}" for number in range(workflows)]
    for name in names:
        key, secret = derive_keys(7, name)
        venue.add_account(key, secret, name=name, open_orders=3, past_orders=2, currencies=3)
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = await stack.enter_async_context(StoreServer())
        config = SimulationConfig(rate_limit=None, latency_ms=20, jitter_ms=40, seed=seed)
        sim = await stack.enter_async_context(SimulatedExchange(config, venue=venue))
        sim.counters = Witness(seen)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=90),
            )
        )
        found = [
            Replica(home, configuration(home, store.url, sim, names), number)
            for number in range(replicas)
        ]
        try:
            await asyncio.gather(*(each.start(http) for each in found))
            router = Router(found, http, seed)
            server = web.Server(router.serve)
            runner = web.ServerRunner(server)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            router.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            await _kills(seen, found, http, router.url, seconds, workflows, every, pause, seed)
            await _rolling(seen, found, http, router.url, rolling)
        finally:
            for each in found:
                await each.stop(signal.SIGTERM)
        for each in found:
            seen.wrong += each.complaints()
    if seen.most_of_a_key > 1:
        seen.wrong.append(f"{seen.most_of_a_key} requests of one session at once")
    return seen


async def _kills(
    seen: Seen,
    replicas: list[Replica],
    http: aiohttp.ClientSession,
    url: str,
    seconds: float,
    workflows: int,
    every: float,
    pause: bool,
    seed: int,
) -> None:
    all_of_them = [_Workflow(seen, http, url, number, seed) for number in range(workflows)]
    await asyncio.gather(*(each.open() for each in all_of_them))
    known: dict[str, str] = {}
    began = time.monotonic()
    until = began + seconds
    dice = random.Random(seed)
    # More starts at once than there are cores would only make the first of them later.
    cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def strike(replica: Replica) -> None:
        since = time.monotonic()
        if pause:
            await replica.sleep(dice.uniform(5.0, 10.0))
        else:
            await replica.stop(signal.SIGKILL)
            async with cores:
                await replica.start(http)
        seen.back.append(time.monotonic() - since)

    async def kill(group: asyncio.TaskGroup) -> None:
        for number in range(int(seconds / every)):
            await asyncio.sleep(began + (number + 0.5) * every - time.monotonic())
            up = [each for each in replicas if each.up.is_set()]
            if len(up) < 2:
                seen.spared += 1
                continue
            seen.kills += 1
            group.create_task(strike(dice.choice(up)))

    async def count() -> None:
        while time.monotonic() < until:
            seen.up.append(sum(each.up.is_set() for each in replicas))
            await asyncio.sleep(0.05)

    async def look() -> None:
        while time.monotonic() < until:
            # The replica that is asked may be the one that is killed.
            with suppress(CallFailed):
                known.update(await _sessions(url) | known)
            await asyncio.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        group.create_task(kill(group))
        group.create_task(count())
        group.create_task(look())
        for each in all_of_them:
            group.create_task(each.run(until))
    seen.seconds = seconds
    last = await _sessions(url)
    lost = [name for name, opened in known.items() if last.get(name) != opened]
    seen.sessions, seen.lost = len(known | last), len(lost)
    seen.wrong += [f"session {name} was lost" for name in lost]
    if seen.sessions != workflows:
        seen.wrong.append(f"/health showed {seen.sessions} sessions of {workflows} workflows")


async def _sessions(url: str) -> dict[str, str]:
    """Name and time of opening of all sessions, as any replica knows them."""
    shown = (await health(url, limit=1000)).sessions or ()
    return {each.session_id: each.connected_at for each in shown}


async def _rolling(
    seen: Seen, replicas: list[Replica], http: aiohttp.ClientSession, url: str, count: int
) -> None:
    done = asyncio.Event()

    async def work(number: int) -> None:
        era = (LEGACY, MODERN)[number % 2]
        async with Workflow(f"roll-{number}", url, era=era, timeout=60, retries=5) as workflow:
            while not done.is_set():
                try:
                    await workflow.call("get_open_orders", {"account": f"a{number}"})
                    seen.rolled["ok"] += 1
                except CallFailed as failure:
                    seen.rolled[failure.code] += 1
                    seen.wrong.append(f"rolling restart: {failure}")
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(work(number))
        try:
            for replica in replicas:
                code = await replica.stop(signal.SIGTERM)
                if code != 0:
                    seen.wrong.append(f"a replica that was asked to stop ended with {code}")
                await replica.start(http)
                seen.rolled["restarts"] += 1
        finally:
            done.set()


def main() -> int:
    """The command line; exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workflows", type=int, default=200)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between kills")
    parser.add_argument("--pause", action="store_true", help="stop and continue, do not kill")
    parser.add_argument("--rolling", type=int, default=20, help="client workflows that restart")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    seen = asyncio.run(
        soak(
            given.seconds,
            workflows=given.workflows,
            replicas=given.replicas,
            every=given.every,
            pause=given.pause,
            rolling=given.rolling,
            seed=given.seed,
        )
    )
    print(*seen.lines(), sep="\n", flush=True)
    for each in seen.wrong[:20]:
        print(f"WRONG {each}", file=sys.stderr)
    print(f"{len(seen.wrong)} promises broken")
    return 1 if seen.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
