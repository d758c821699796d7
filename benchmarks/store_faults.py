"""Replicas whose store fails in every documented way: ``python -m benchmarks.store_faults``.

Owns: the faults, the load that goes on through them, and the verdict on each, which is the table of
docs/SCALING.md ("When the store fails"). Refuses: killed replicas (``replicas.py``).

The replicas are in this process, each with a way to the store of its own; the store is a real
server behind a relay that delays and cuts. Sessions of every kind read without pause, each from an
account of its own, and some of them from one key whose exchange refuses numbers out of order: so
the exchange sees two holders of a lane or of a nonce, whoever is to blame.

Verdict of each fault: while it lasts, what is documented to work does, and everything else is
refused as retryable, by HTTP with 503 and ``Retry-After``; in no session do two calls overlap; no
number is out of order; and within the documented time every session goes on by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import redis.asyncio

from benchmarks.replicas import Seen, Witness, outcome_of
from benchmarks.store_server import StoreServer
from ccxt_mcp.app import create_app
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Code
from ccxt_mcp.product import assemble
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.settings import Settings
from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig, Venue, kraken_secret
from ccxt_mcp.simulation.accounts import derive_keys

__all__ = ["FAULTS", "Run", "main", "run"]

_SLACK = 4.0
"""Seconds that a machine with much to do may take longer than is documented."""
_PATIENCE = 60.0
_GONE = Code.SESSION_NOT_FOUND.value


class Relay:
    """The way to the store. Mutable: ``delay``, seconds each way; ``closed``."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.port = 0
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back}
        self._writers |= ends
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            self._writers -= ends
            for each in ends:
                each.transport.abort()

    def cut(self) -> None:
        """End all connections at once, without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due, data = await late.get()
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                writer.write(data)
                if not data:
                    return

        writing = asyncio.create_task(write())
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                late.put_nowait((time.monotonic() + self.delay, data))
        # One end has gone: so does the other.
        writing.cancel()
        writer.transport.abort()


@dataclass(slots=True)
class Place:
    """What a fault is done to."""

    server: StoreServer
    relay: Relay

    async def say(self, *command: Any) -> None:
        """A command to the server itself."""
        async with redis.asyncio.Redis(port=self.server.port) as client:
            await client.execute_command(*command)


Doing = Callable[[Place], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as it is documented.

    Attributes:
        begin, end: do it and undo it.
        works: whether sessions are served while it lasts; None for a while that has both.
        back: seconds after its end within which every session is served again.
        forgets: whether sessions that the server named are lost.
    """

    name: str
    begin: Doing
    end: Doing
    works: bool | None
    back: float
    forgets: bool = False


async def _nothing(place: Place) -> None:
    """It is over by itself."""


async def _kill(place: Place) -> None:
    await place.server.kill()


async def _launch(place: Place) -> None:
    await place.server.start()


async def _pause(place: Place) -> None:
    place.server.pause()


async def _resume(place: Place) -> None:
    place.server.resume()


async def _delay(place: Place) -> None:
    place.relay.delay = 0.1


async def _delay_more(place: Place) -> None:
    place.relay.delay = 0.7


async def _undelay(place: Place) -> None:
    place.relay.delay = 0.0


async def _flush(place: Place) -> None:
    await place.say("FLUSHALL")
    await place.say("SCRIPT", "FLUSH")


async def _cut(place: Place) -> None:
    place.relay.cut()


async def _become_follower(place: Place) -> None:
    await place.say("REPLICAOF", "127.0.0.1", "1")


async def _become_primary(place: Place) -> None:
    await place.say("REPLICAOF", "NO", "ONE")


async def _fill(place: Place) -> None:
    await place.say("CONFIG", "SET", "maxmemory", "1")


async def _empty(place: Place) -> None:
    await place.say("CONFIG", "SET", "maxmemory", "0")


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("slow", _delay, _undelay, True, 1.0),
        Fault("cut", _cut, _nothing, True, 1.0),
        Fault("full", _fill, _empty, False, 1.0),
        Fault("read-only", _become_follower, _become_primary, False, 1.0),
        Fault("too-slow", _delay_more, _undelay, False, 6.0),
        Fault("paused", _pause, _resume, False, 6.0),
        Fault("flushed", _flush, _nothing, None, 6.0, forgets=True),
        Fault("stopped", _kill, _launch, False, 6.0, forgets=True),
    )
}
"""In the order in which they are done."""


@dataclass(slots=True)
class Spell:
    """What one fault did. ``during`` and ``after`` count outcomes by kind of session."""

    fault: Fault
    lasted: float
    during: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    back: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"{self.fault.name:10} {self.lasted:4.1f} s: {json.dumps(dict(self.during))}; longest"
            f" call {self.longest:.1f} s; all served again after {self.back:.1f} s"
        )


@dataclass(slots=True)
class Run:
    """What all of them did."""

    spells: list[Spell] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    refused_by_venue: dict[str, int] = field(default_factory=dict)

    def violations(self) -> list[str]:
        wrong = [f"{spell.fault.name}: {each}" for spell in self.spells for each in spell.wrong]
        if self.seen.most_of_a_key > 1:
            wrong.append(f"{self.seen.most_of_a_key} requests of one session at once")
        wrong += [f"the exchange refused: {each} x{n}" for each, n in self.refused_by_venue.items()]
        return wrong


class _Session:
    """One workflow's session, by plain HTTP so that nothing is repeated unseen.

    Mutable: ``served`` (steady seconds of the last call that was served).
    """

    def __init__(self, world: _World, number: int) -> None:
        self.kind = ("minted", "named", "workflow")[number % 3]
        self.name = f"{self.kind}-{number}"
        self.served = 0.0
        self._world = world
        self._number = number
        self._dice = random.Random(f"{world.seed}-{number}")
        self._id: str | None = self.name if self.kind == "named" else None

    async def live(self) -> None:
        """Call after call, each at any replica."""
        number = 0
        while True:
            number += 1
            began = time.monotonic()
            outcome = await self._call(number)
            now = time.monotonic()
            if outcome == "ok":
                self.served = now
            self._world.told(self, outcome, began, now)
            await asyncio.sleep(self._dice.uniform(0.05, 0.3))

    async def _call(self, number: int) -> str:
        # Every third one asks with the key that all sessions have in common.
        common = number % 3 == 0
        account = "common" if common else f"a{self._number}"
        tool = "account_balance" if common else "get_open_orders"
        arguments = {"account": account} | ({} if common else {"symbol": "BTC/USDT"})
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        headers: dict[str, str] = {"accept": "application/json, text/event-stream"}
        if self.kind == "workflow":
            version = "2026-07-28"
            headers |= {"mcp-protocol-version": version}
            headers |= {"mcp-method": "tools/call", "mcp-name": tool}
            params["_meta"] = {
                "ccxt-mcp/workflow": self.name,
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientInfo": {"name": "faults", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        else:
            if self._id is None and not await self._open(headers):
                return "not opened"
            headers["mcp-session-id"] = str(self._id)
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        status, text, kept = await self._post(message, headers)
        if status == 503:
            return "503" if "retry-after" in kept else f"WRONG 503 without Retry-After: {text}"
        if status == 404 and self.kind == "minted":
            self._id = None
            return _GONE
        if status != 200:
            return f"WRONG HTTP {status}: {text[:300]}"
        outcome = outcome_of(text)
        if _GONE in outcome and self.kind == "minted":
            self._id = None
            return _GONE
        return outcome

    async def _open(self, headers: dict[str, str]) -> bool:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}}
        params["clientInfo"] = {"name": "faults", "version": "1"}
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        status, _, kept = await self._post(message, headers)
        self._id = kept.get("mcp-session-id") if status == 200 else None
        return self._id is not None

    async def _post(
        self, message: dict[str, Any], headers: dict[str, str]
    ) -> tuple[int, str, dict[str, str]]:
        url = self._dice.choice(self._world.urls) + "/mcp"
        async with self._world.http.post(url, json=message, headers=headers) as answer:
            kept = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, await answer.text(), kept


class _World:
    """The replicas under load. Mutable: ``spell``, whose outcomes are counted now."""

    def __init__(self, urls: Sequence[str], http: aiohttp.ClientSession, seed: int) -> None:
        self.urls = urls
        self.http = http
        self.seed = seed
        self.spell: Spell | None = None
        self.over = 0.0

    def told(self, session: _Session, outcome: str, began: float, now: float) -> None:
        spell = self.spell
        if spell is None:
            return
        spell.longest = max(spell.longest, now - began)
        (spell.after if self.over and began > self.over else spell.during)[outcome] += 1
        if outcome.startswith("WRONG"):
            spell.wrong.append(f"{session.name}: {outcome}")
        if outcome == _GONE and not spell.fault.forgets:
            spell.wrong.append(f"{session.name} was lost")


async def run(
    names: Sequence[str] = tuple(FAULTS),
    *,
    lasting: float = 10.0,
    sessions: int = 24,
    replicas: int = 3,
    seed: int = 1,
) -> Run:
    """One fault after the other, each for so many seconds, under the load of so many sessions."""
    result = Run()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(StoreServer())
        relay = Relay(server.port)
        listening = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
        stack.callback(listening.close)
        stack.callback(relay.cut)
        url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        place = Place(server, relay)
        async with _replicas(result, url, sessions, replicas, seed) as (world, sim):
            all_of_them = [_Session(world, number) for number in range(sessions)]
            living = [asyncio.create_task(each.live()) for each in all_of_them]
            try:
                await _all_served(all_of_them, time.monotonic(), _PATIENCE)
                for name in names:
                    result.spells.append(
                        await _spell(FAULTS[name], place, world, all_of_them, lasting)
                    )
                    for each in living:
                        if each.done():
                            each.result()
            finally:
                for each in living:
                    each.cancel()
                await asyncio.gather(*living, return_exceptions=True)
            result.refused_by_venue = dict(sim.counters.errors)
    return result


async def _spell(
    fault: Fault, place: Place, world: _World, sessions: Sequence[_Session], lasting: float
) -> Spell:
    spell = Spell(fault, lasting if fault.end is not _nothing else 0.0)
    world.over, world.spell = 0.0, spell
    await fault.begin(place)
    # What was under way when it began has its own outcome.
    begun = time.monotonic()
    await asyncio.sleep(spell.lasted)
    if fault.works is True and spell.lasted:
        spell.lasted = max(spell.lasted, await _all_served(sessions, begun, _PATIENCE))
    served = sum(each.served > begun + 1.0 for each in sessions)
    if fault.works is False and served:
        spell.wrong.append(f"{served} sessions were served meanwhile, by whom?")
    if fault.works is True and (refused := set(spell.during) - {"ok"}):
        spell.wrong.append(f"meanwhile some were refused: {refused}")
    await fault.end(place)
    world.over = time.monotonic()
    spell.back = await _all_served(sessions, world.over, _PATIENCE)
    if spell.back > fault.back + _SLACK:
        spell.wrong.append(f"it took {spell.back:.1f} s until all were served again")
    world.spell = None
    return spell


async def _all_served(sessions: Sequence[_Session], since: float, patience: float) -> float:
    """Seconds until each has been served since then. Raises ``TimeoutError``."""
    async with asyncio.timeout(patience):
        while not all(each.served > since for each in sessions):
            await asyncio.sleep(0.02)
    return max(each.served for each in sessions) - since


@asynccontextmanager
async def _replicas(
    result: Run, store: str, sessions: int, count: int, seed: int
) -> AsyncIterator[tuple[_World, SimulatedExchange]]:
    venue = Venue(seed=7)
    accounts: dict[str, Any] = {}
    for number in range(sessions):
        name = f"a{number}"
        key, secret = derive_keys(7, name)
        venue.add_account(key, secret, name=name, open_orders=2, past_orders=2, currencies=3)
        accounts[name] = {"exchange": "paper", "api_key": key, "secret": secret}
    shared, secret = derive_keys(7, "common")
    venue.add_account(shared, secret, name="common", currencies=3)
    secret = kraken_secret(secret)
    accounts["common"] = {"exchange": "strict", "api_key": shared, "secret": secret}
    config = SimulationConfig(
        rate_limit=None, kraken=None, kraken_on_arrival=False, latency_ms=5, jitter_ms=20, seed=seed
    )
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(SimulatedExchange(config, venue=venue))
        sim.counters = Witness(result.seen, lambda key: key != shared)
        settings = {
            "store_url": store,
            "default_exchange": "paper",
            "exchange_keys_from_env": False,
            "max_sessions_per_client": 1000,
            "exchanges": {
                "paper": {
                    "exchange": "binance",
                    "base_url": sim.base_url,
                    "rate_limit": "off",
                    "options": {"fetchMarkets": {"types": ["spot"]}},
                },
                "strict": {"exchange": "kraken", "base_url": sim.base_url, "rate_limit": "off"},
            },
            "accounts": accounts,
        }
        urls = []
        for _ in range(count):
            valid = Settings.model_validate(settings)
            product = assemble(
                valid,
                environ={},
                keep_on_disk=False,
                load_apart=False,
                cluster=Cluster.from_settings(valid, {}),
            )
            app = create_app(product=product)
            urls.append(
                await stack.enter_async_context(
                    serving(app, bind("127.0.0.1", 0), app.state.connections)
                )
            )
        http = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=90)
            )
        )
        yield _World(urls, http, seed), sim


def main() -> int:
    """The command line; exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--seconds", type=float, default=10.0, help="that each fault lasts")
    parser.add_argument("--sessions", type=int, default=24)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    result = asyncio.run(
        run(
            given.only,
            lasting=given.seconds,
            sessions=given.sessions,
            replicas=given.replicas,
            seed=given.seed,
        )
    )
    print(*(spell.line() for spell in result.spells), sep="\n", flush=True)
    wrong = result.violations()
    for each in wrong[:20]:
        print(f"WRONG {each}", file=sys.stderr)
    print(f"requests of one session at once, at most: {result.seen.most_of_a_key}")
    print(f"{len(wrong)} promises broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
