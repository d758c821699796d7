"""Several applications on one store, behind a router that sends each request to any of them."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import orjson
from mcp.server.lowlevel import Server
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from ccxt_mcp.app import HighLevelServer, create_app
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.model import Principal
from ccxt_mcp.settings import Settings
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.protocol import Store
from ccxt_mcp.transport.refusal import send_json
from ccxt_mcp.transport.session import Session

__all__ = ["COUNT", "Replicas", "behind_router", "replicas", "served", "sessions_of"]

COUNT = int(os.environ.get("CCXT_MCP_TEST_REPLICAS", "1"))
"""How many replicas stand behind what the transport's tests take for one server."""


SEED = int(os.environ.get("CCXT_MCP_TEST_SEED", "8"))
"""Of the draw of a replica for each request."""


class Disturbed:
    """One replica's way to the store, which tests cut off. Mutable: ``dead``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.dead = False
        for name in ("leases", "records", "roster", "values", "budgets", "logs", "mail", "nodes"):
            setattr(self, name, _Disturbed(self, getattr(store, name)))

    def check(self) -> None:
        if self.dead:
            raise Failure(Code.STORE_UNAVAILABLE, "the store is away", retry_after=2.0)

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def ping(self) -> float:
        self.check()
        return await self._store.ping()

    async def evicts(self) -> str | None:
        self.check()
        return await self._store.evicts()


class _Disturbed:
    def __init__(self, way: Disturbed, part: Any) -> None:
        self._way = way
        self._part = part

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        async def asked(*args: Any, **kwargs: Any) -> Any:
            if name not in ("listen", "unlisten"):
                self._way.check()
            return await method(*args, **kwargs)

        return asked


class Replicas:
    """ASGI: each request goes to a replica that is drawn, unless ``only`` names one.

    ``/health`` shows what all of them say, with the sessions' parts put together.
    """

    def __init__(
        self, apps: Sequence[Starlette], stores: Sequence[Disturbed], seed: int | None = None
    ) -> None:
        self.apps = list(apps)
        self.stores = list(stores)
        self.only: int | None = None
        self.state = SimpleNamespace(
            registry=_Registries(self.apps),
            connections=self.apps[0].state.connections,
            drain=self._drain,
        )
        self.router = SimpleNamespace(lifespan_context=self._lifespan)
        self._dead: set[int] = set()
        self._draw = random.Random(
            os.environ.get("CCXT_MCP_TEST_SEED", "8") if seed is None else seed
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with self._lifespan(self):
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/health":
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

    async def kill(self, number: int) -> None:
        """As after a kill -9: nothing goes to this replica any more, and nothing comes of it."""
        self._dead.add(number)
        cluster = self.apps[number].state.cluster
        await cluster.store.mail.unlisten(cluster.node.id)
        self.stores[number].dead = True

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        replica = self.pick()
        status, body = await _asked(replica, scope, receive)
        if status != 200:
            await replica(scope, receive, send)
            return
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
        found = (app.state.registry.known(principal, session_id) for app in self._apps)
        return next(each for each in found if isinstance(each, Session))

    def describe(self, limit: int, offset: int) -> list[dict[str, Any]]:
        return _together([app.state.registry.describe(limit, offset) for app in self._apps])

    @property
    def room(self) -> SimpleNamespace:
        rooms = [app.state.registry.room for app in self._apps]
        keepers = {caller: each for room in rooms for caller, each in room._keepers.items()}
        return SimpleNamespace(size=sum(room.size for room in rooms), _keepers=keepers)

    def close(self, session: Session) -> None:
        assert session.part is not None
        session.part.directory.parts.close(session)

    def __len__(self) -> int:
        return len({key for app in self._apps for key in app.state.registry._sessions})


def sessions_of(app: Any) -> list[Session]:
    """The sessions of an application, or the parts of all replicas."""
    apps = app.apps if isinstance(app, Replicas) else [app]
    return [each for one in apps for each in one.state.registry._sessions.values()]


def _built(
    made: Callable[[Cluster], Starlette],
    count: int,
    store: Callable[[], Store] | None,
    seed: int | None,
) -> Replicas:
    common = MemoryStore()
    stores = [Disturbed(common if store is None else store()) for _ in range(count)]
    apps = [made(Cluster(cast(Store, each), f"n{number}")) for number, each in enumerate(stores)]
    return Replicas(apps, stores, seed)


def replicas(
    settings: Settings,
    server: Server[Any] | HighLevelServer,
    *,
    count: int = 3,
    store: Callable[[], Store] | None = None,
    seed: int | None = None,
) -> Replicas:
    """So many applications over one server; ``store`` makes what each of them has of the store."""
    return _built(lambda cluster: create_app(settings, server, cluster=cluster), count, store, seed)


def served(settings: Settings, server: Server[Any] | HighLevelServer) -> Any:
    """What a test of the transport takes for one server: one, or several (``COUNT``)."""
    return create_app(settings, server) if COUNT == 1 else replicas(settings, server, count=COUNT)


def behind_router(made: Callable[[Cluster | None], Starlette]) -> Any:
    """The same of a whole product: what ``made`` makes, once or several times."""
    return made(None) if COUNT == 1 else _built(made, COUNT, None, None)
