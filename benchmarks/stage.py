"""The processes that the measurements share, started when first wanted.

Owns: their configuration and their end. Refuses: measuring.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.load import Caller, Connection, Load, list_tools, minted, named, tool_call
from benchmarks.processes import BenchmarkError, Child, child
from benchmarks.roles import ACCOUNTS, ORDERS, SYMBOL, account_name

__all__ = ["Bare", "Scale", "Stage", "Venue", "alternate", "free_port"]

_A = TypeVar("_A")
_B = TypeVar("_B")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. Every count is bounded here."""

    quick: bool = False

    def rounds(self, full: int, quick: int = 2) -> int:
        """Rounds of A and B, alternating."""
        return quick if self.quick else full

    def calls(self, full: int, quick: int) -> int:
        """Calls of one round."""
        return quick if self.quick else full


async def alternate(
    rounds: int, a: Callable[[], Awaitable[_A]], b: Callable[[], Awaitable[_B]]
) -> tuple[list[_A], list[_B]]:
    """A B, B A, A B, …: neither side always comes first."""
    first: list[_A] = []
    second: list[_B] = []
    for number in range(rounds):
        if number % 2 == 0:
            first.append(await a())
            second.append(await b())
        else:
            second.append(await b())
            first.append(await a())
    return first, second


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Venue:
    """The simulated exchange in its own process, and its control surface."""

    def __init__(self, process: Child) -> None:
        self.process = process
        self._control = Connection(process.base)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = self._control.request(method, f"/_sim/{path}", body)
        answer = await self._control.send(request)
        if answer.status >= 300:
            raise BenchmarkError(f"the venue refused {path}: {answer.body!r}")
        return json.loads(answer.body)

    async def counters(self) -> dict[str, Any]:
        """What it has seen so far; requests of this surface are not counted."""
        found = await self._ask("GET", "counters")
        assert isinstance(found, dict)
        return found

    async def latency(self, ms: float) -> None:
        """Delay every answer from now on."""
        await self._ask("POST", "latency", {"ms": ms})

    async def close(self) -> None:
        await self._control.close()


class Bare:
    """Bare CCXT in its own process."""

    def __init__(self, process: Child) -> None:
        self.process = process

    async def load(self, method: str, calls: int, concurrency: int, *arguments: Any) -> Load:
        """Calls in a closed loop of `concurrency` tasks on the one instance."""
        before = self.process.cpu
        reply = await self._ask(method, calls, concurrency, arguments)
        return Load(calls, float(reply["seconds"]), self.process.cpu - before)

    async def once(self, method: str, *arguments: Any) -> float:
        """Seconds of one call, as the caller of CCXT sees it."""
        reply = await self._ask(method, 1, 1, arguments)
        return float(reply["each"][0])

    async def _ask(
        self, method: str, calls: int, concurrency: int, arguments: tuple[Any, ...]
    ) -> dict[str, Any]:
        return await self.process.ask(
            {
                "method": method,
                "arguments": list(arguments),
                "calls": calls,
                "concurrency": concurrency,
            }
        )


class Stage:
    """Shared processes of one run, by role; use as `async with`."""

    def __init__(self, home: Path, scale: Scale) -> None:
        self.home = home
        self.scale = scale
        self._exits = AsyncExitStack()
        self._venue: Venue | None = None
        self._bare: Bare | None = None
        self._servers: dict[str, Child] = {}

    async def __aenter__(self) -> Stage:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def venue(self) -> Venue:
        if self._venue is None:
            self._venue = Venue(await self.start("venue"))
            self._exits.push_async_callback(self._venue.close)
        return self._venue

    async def bare(self) -> Bare:
        """Bare CCXT, its markets loaded and its connection open."""
        if self._bare is None:
            venue = (await self.venue()).process.ready
            key, secret = venue["keys"][account_name(0)]
            started = await self.start("bare", url=venue["url"], api_key=key, secret=secret)
            self._bare = Bare(started)
            await self._bare.load("fetch_open_orders", 30, 1, SYMBOL)
        return self._bare

    async def server(self) -> Child:
        """The product with the venue as its default exchange, warm."""
        if "serve" not in self._servers:
            self._servers["serve"] = await self.fresh_server()
            await self._warm(self._servers["serve"])
        return self._servers["serve"]

    async def fresh_server(self) -> Child:
        """Another process of the product, answering, with nothing loaded."""
        started = await self.start("serve", config=str(await self.config()), port=free_port())
        await self.until_answering(started)
        return started

    async def echo(self, role: str) -> Child:
        """A server without exchanges: `echo-ours`, `echo-sdk` or `product-sdk`."""
        if role not in self._servers:
            self._servers[role] = await self.start(role)
        return self._servers[role]

    async def start(self, role: str, **arguments: Any) -> Child:
        """A process of its own, ended with the stage."""
        return await self._exits.enter_async_context(child(role, self.home, **arguments))

    async def until_answering(self, server: Child) -> None:
        """Wait for the first answer to `tools/list`."""
        async with asyncio.timeout(30):
            while True:
                connection = self.connection(server)
                try:
                    await named(connection, "first").prepare(list_tools()).call()
                    return
                except ConnectionError:
                    await asyncio.sleep(0.01)
                finally:
                    await connection.close()

    def connection(self, server: Child) -> Connection:
        """A connection of its own, closed with the stage at the latest."""
        made = Connection(server.base)
        self._exits.push_async_callback(made.close)
        return made

    async def callers(
        self, server: Child, count: int, message: dict[str, Any], *, handshake: bool = True
    ) -> list[Caller]:
        """Sessions with a connection each, that all send this."""
        made = []
        for number in range(count):
            connection = self.connection(server)
            opened = await minted(connection) if handshake else named(connection, f"bench-{number}")
            made.append(opened.prepare(message))
        return made

    async def order_callers(self, server: Child, count: int) -> list[Caller]:
        """Sessions that read the 100 resting orders of an account, spread over the accounts."""
        made = await self.callers(server, count, {})
        for number, caller in enumerate(made):
            account = account_name(number % ACCOUNTS)
            caller.prepare(tool_call("get_open_orders", symbol=SYMBOL, account=account))
        return made

    async def sessions_of(self, server: Child) -> int:
        """How many sessions a server of the product has, by its own account."""
        connection = self.connection(server)
        answer = await connection.send(connection.request("GET", "/health"))
        return int(json.loads(answer.body)["activeSessions"])

    async def _warm(self, server: Child) -> None:
        """Load the market tables, and make sure that a call returns what it should."""
        caller = (await self.order_callers(server, 1))[0]
        for _ in range(30):
            result = await caller.result()
        found = result["structuredContent"]
        if len(found["orders"]) != ORDERS or found.get("truncated"):
            raise BenchmarkError(f"{len(found['orders'])} orders instead of {ORDERS}")
        await caller.end()
        await caller.connection.close()

    async def config(self) -> Path:
        """A configuration file: the venue as profile `paper`, its accounts, room for sessions."""
        path = self.home / "ccxt-mcp.toml"
        if not path.exists():
            venue = (await self.venue()).process.ready
            lines = [
                'default_exchange = "paper"',
                "exchange_keys_from_env = false",
                "max_sessions_per_client = 5000",
                "",
                "[exchanges.paper]",
                'exchange = "binance"',
                f'base_url = "{venue["url"]}"',
                'rate_limit = "off"',
                f'default_account = "{account_name(0)}"',
                'options = { fetchMarkets = { types = ["spot"] } }',
            ]
            for name, (key, secret) in venue["keys"].items():
                lines += ["", f"[accounts.{name}]", 'exchange = "paper"']
                lines += [f'api_key = "{key}"', f'secret = "{secret}"']
            path.write_text("\n".join(lines) + "\n")
            path.chmod(0o600)
        return path
