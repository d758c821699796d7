"""Several applications on one store, behind a router that sends each request to any of them."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
from mcp.server.lowlevel import Server
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from ccxt_mcp.app import HighLevelServer, create_app
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.model import Principal
from ccxt_mcp.settings import Settings
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.protocol import Store
from ccxt_mcp.transport.refusal import send_json
from ccxt_mcp.transport.session import Session

__all__ = ["COUNT", "Replicas", "replicas", "served", "sessions_of"]

COUNT = int(os.environ.get("CCXT_MCP_TEST_REPLICAS", "1"))
"""How many replicas stand behind what the transport's tests take for one server."""


SEED = int(os.environ.get("CCXT_MCP_TEST_SEED", "8"))
"""Of the draw of a replica for each request."""


class Replicas:
    """ASGI: each request goes to a replica that is drawn, unless ``only`` names one.

    ``/health`` shows what all of them say, with the sessions' parts put together.
    """

    def __init__(self, apps: Sequence[Starlette], seed: int | None = None) -> None:
        self.apps = list(apps)
        self.only: int | None = None
        self.state = SimpleNamespace(
            registry=_Registries(self.apps), connections=None, drain=self._drain
        )
        self.router = SimpleNamespace(lifespan_context=self._lifespan)
        self._dead: set[int] = set()
        self._draw = random.Random(
            os.environ.get("CCXT_MCP_TEST_SEED", "8") if seed is None else seed
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/health":
            await self._health(scope, receive, send)
            return
        await self.pick()(scope, receive, send)

    def pick(self) -> Starlette:
        """The replica of the next request."""
        if self.only is not None:
            return self.apps[self.only]
        return self.apps[
            self._draw.choice([n for n in range(len(self.apps)) if n not in self._dead])
        ]

    def kill(self, number: int) -> None:
        """Nothing goes to this replica any more, and the store hears nothing of it."""
        self._dead.add(number)
        cluster = self.apps[number].state.cluster
        cluster.store.cut()

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, body = await _asked(self.pick(), scope, receive)
        said = orjson.loads(body)
        if "sessions" in said:
            # As they are at this moment: what the record counts comes a moment later.
            said["sessions"] = self.state.registry.describe(said["limit"], said["offset"])
        await send_json(send, status, orjson.dumps(said))

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in self.apps:
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    async def _drain(self, grace: float) -> None:
        await asyncio.gather(*(app.state.drain(grace) for app in self.apps))


async def _asked(app: Starlette, scope: Scope, receive: Receive) -> tuple[int, bytes]:
    said: dict[str, Any] = {"body": b""}

    async def keep(message: Any) -> None:
        if message["type"] == "http.response.start":
            said["status"] = message["status"]
        else:
            said["body"] += message.get("body", b"")

    await app({**scope}, receive, keep)
    return said["status"], said["body"]


def _together(lists: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The parts of sessions put together, oldest session first."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for part in (part for parts in lists for part in parts):
        key = (part["principal"], part["sessionId"])
        whole = found.get(key)
        if whole is None:
            found[key] = dict(part)
            continue
        for name in ("inFlight", "queued", "calls", "errors", "timeouts"):
            whole[name] += part[name]
    for whole in found.values():
        # Those that hold their replica's lane and wait for another's are queued, for all.
        running = min(1, whole["inFlight"])
        whole["queued"] += whole["inFlight"] - running
        whole["inFlight"] = running
    return sorted(found.values(), key=lambda each: (each["connectedAt"], each["sessionId"]))


class _Registries:
    """What tests ask a registry, of all of them."""

    def __init__(self, apps: list[Starlette]) -> None:
        self._apps = apps

    def counts(self) -> dict[str, Any]:
        counts = [app.state.registry.counts() for app in self._apps]
        return {name: sum(each[name] for each in counts) for name in ("busy", "waiting", "streams")}

    def find(self, principal: Principal, session_id: str) -> Session:
        return next(
            each
            for app in self._apps
            if (each := app.state.registry.known(principal, session_id)) is not None
        )

    def describe(self, limit: int, offset: int) -> list[dict[str, Any]]:
        return _together([app.state.registry.describe(limit, offset) for app in self._apps])

    def __len__(self) -> int:
        return len({key for app in self._apps for key in app.state.registry._sessions})


def sessions_of(app: Any) -> list[Session]:
    """The sessions of an application, or the parts of all replicas."""
    apps = app.apps if isinstance(app, Replicas) else [app]
    return [each for one in apps for each in one.state.registry._sessions.values()]


def replicas(
    settings: Settings,
    server: Server[Any] | HighLevelServer,
    *,
    count: int = 3,
    store: Callable[[], Store] | None = None,
    seed: int | None = None,
) -> Replicas:
    """So many applications over one server; ``store`` makes what each of them has of the store."""
    if store is None:
        common = MemoryStore()

        def shared() -> Store:
            return common

        store = shared

    apps = [
        create_app(settings, server, cluster=Cluster(store(), f"n{number}"))
        for number in range(count)
    ]
    return Replicas(apps, seed)


def served(settings: Settings, server: Server[Any] | HighLevelServer) -> Any:
    """What a test of the transport takes for one server: one, or several (``COUNT``)."""
    return create_app(settings, server) if COUNT == 1 else replicas(settings, server, count=COUNT)
