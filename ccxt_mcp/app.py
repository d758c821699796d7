"""The composition root of the HTTP server: settings in, ASGI application out.

Owns: which rooms exist and how they are joined. Refuses: behaviour of its own. Everything that one
application shares (sessions, exchanges, the MCP server) is made here and lives as long as its
lifespan.
"""

from __future__ import annotations

import asyncio
import copy
import platform
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ccxt_mcp import __version__
from ccxt_mcp.api.endpoint import API_PATH, Api
from ccxt_mcp.callers import Tokens
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.cluster.membership import Status
from ccxt_mcp.connections.limits import ConnectionLimits
from ccxt_mcp.connections.registry import Connections
from ccxt_mcp.ops.exposition import State, metrics_route
from ccxt_mcp.ops.health import health_routes, sees_sessions
from ccxt_mcp.ops.lag import watch_loop
from ccxt_mcp.ops.metrics import Metrics
from ccxt_mcp.product import Product, assemble
from ccxt_mcp.replica import introduce, joined, of_all
from ccxt_mcp.settings import Settings, load_settings
from ccxt_mcp.tools.boundary import failure_result
from ccxt_mcp.tools.resources import refused
from ccxt_mcp.transport.directory import Directory
from ccxt_mcp.transport.endpoint import Endpoint
from ccxt_mcp.transport.events import Replay
from ccxt_mcp.transport.gate import Gate
from ccxt_mcp.transport.guard import Guard, is_loopback, peer_of
from ccxt_mcp.transport.lanes import queue_tool_calls
from ccxt_mcp.transport.parts import Parts
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.registry import Registry
from ccxt_mcp.transport.session import utc
from ccxt_mcp.transport.spans import open_spans_where_seen
from ccxt_mcp.transport.subscribing import subscribe_resources
from ccxt_mcp.transport.subscriptions import Quota

__all__ = ["MCP_PATH", "HighLevelServer", "create_app"]

MCP_PATH = "/mcp"
_MCP_PATHS = (MCP_PATH, MCP_PATH + "/")


class HighLevelServer(Protocol):
    """What ``create_app`` uses of the SDK's ``MCPServer``."""

    def streamable_http_app(self) -> Any:
        """Makes the session manager."""

    @property
    def session_manager(self) -> StreamableHTTPSessionManager:
        """Knows the low-level server."""


class _Lifespan:
    """Enters the server's lifespan once, through the SDK's manager, and keeps what it yielded."""

    def __init__(self, server: Server[Any], *, max_body: int) -> None:
        self.state: Any = None
        self.running = False

        @asynccontextmanager
        async def keep(_: Server[Any]) -> AsyncIterator[Any]:
            async with server.lifespan(server) as state:
                self.state = state
                try:
                    yield state
                finally:
                    self.state = None

        # A shallow copy, with the same handlers: the server may stand behind several applications,
        # and each enters the lifespan for itself.
        view = copy.copy(server)
        view.lifespan = keep
        self.manager = StreamableHTTPSessionManager(
            app=view, max_request_body_size=max_body, stateless=True
        )

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with self.manager.run():
            self.running = True
            try:
                yield
            finally:
                self.running = False


def create_app(
    settings: Settings | None = None,
    mcp_server: Server[Any] | HighLevelServer | None = None,
    *,
    product: Product | None = None,
    cluster: Cluster | None = None,
) -> Starlette:
    """An ASGI application: ``/mcp``, ``/health``, ``/live``, ``/ready`` and ``/metrics``.

    The product's own tools are at ``/api`` as well, by plain HTTP.

    For whoever serves it, ``app.state`` holds ``connections`` (the clients' bounds and counts),
    ``drain`` and ``cluster``.

    Args:
        settings: from files and the environment when omitted (``load_settings``).
        mcp_server: any MCP server object of the SDK, low-level ``Server`` or ``MCPServer``, to be
            served by this transport instead of the product's own tools.
        product: a product that was assembled before, instead of one from ``settings``.
        cluster: the other replicas, instead of those that ``store_url`` names; with a product, the
            one that it was assembled with. Started and stopped here.

    Raises:
        ConfigurationError: the settings, an account, a token or a profile cannot be used.
    """
    if product is not None:
        settings = product.settings
    elif settings is None:
        settings = load_settings()
    if cluster is None:
        cluster = Cluster.from_settings(settings) if product is None else product.cluster
    if mcp_server is None:
        product = product or assemble(settings, cluster=cluster)
        server, tokens = product.server, product.tokens
    else:
        server, tokens = _low_level(mcp_server), Tokens.from_settings(settings)
    registry = _registry(settings, cluster)
    documented = () if product is None else product.boundary.documented
    metrics = Metrics((tool["name"] for tool in documented), settings.exchanges)
    queue_tool_calls(server, refuse=failure_result)
    if product is not None:
        subscribe_resources(server, product.watching, refuse=refused)
    open_spans_where_seen(server)
    lifespan = _Lifespan(server, max_body=settings.max_body_bytes)
    gate = Gate()
    endpoint = Endpoint(
        server,
        lifespan.manager,
        lambda: lifespan.state,
        registry,
        gate,
        max_body=settings.max_body_bytes,
        recorder=metrics,
    )
    api = None
    if product is not None:
        api = Api(
            product.boundary,
            registry,
            gate,
            max_body=settings.max_body_bytes,
            version=__version__,
            tokens_required=tokens.required,
            recorder=metrics,
        )
    connections = Connections(ConnectionLimits.from_settings(settings))
    started = time.time()

    def snapshot(limit: int, offset: int) -> dict[str, Any]:
        return {
            "version": __version__,
            "startedAt": utc(started),
            "activeSessions": len(registry),
            "sessions": registry.describe(limit, offset),
            "limit": limit,
            "offset": offset,
            "connections": connections.counts.open,
            "tasks": len(asyncio.all_tasks()),
            "subscriptions": registry.quota.taken,
            "polled": 0 if product is None else len(product.watching),
            "exchanges": {} if product is None else product.gateway.snapshot(),
        }

    def state() -> State:
        sessions = registry.counts()
        admission = None if product is None else product.calls.admission
        return State(
            draining=gate.draining,
            sessions=sessions["kinds"],
            streams=sessions["streams"],
            lanes_busy=sessions["busy"],
            lane_waiting=sessions["waiting"],
            requests=gate.serving,
            tasks=len(asyncio.all_tasks()),
            calls=None if admission is None else (admission.running, admission.waiting),
            exchanges={} if product is None else product.gateway.snapshot(),
            connections=asdict(connections.counts),
            store=None
            if cluster is None
            else {**cluster.trips.snapshot(), "nodes": cluster.membership.known},
        )

    def ready() -> bool:
        reached = cluster is None or cluster.trips.reached
        return lifespan.running and not gate.draining and reached

    def may_see_all(request: Request) -> bool:
        peer = peer_of(request.scope)
        return sees_sessions(
            peer.principal.scopes,
            tokens_required=tokens.required,
            loopback=is_loopback(peer.client_ip),
        )

    @asynccontextmanager
    async def run(_: Starlette) -> AsyncIterator[None]:
        async with joined(cluster), lifespan.run():
            if cluster is not None:
                cluster.membership.turn(Status.RUNNING)
            tasks = (
                asyncio.create_task(_sweep(registry, settings.session_idle_timeout)),
                asyncio.create_task(watch_loop(metrics.lag)),
            )
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    if cluster is not None:
        introduce(
            cluster,
            settings,
            lambda: {
                "calls": gate.serving if product is None else product.calls.admission.running,
                "sessions": len(registry),
            },
        )
    middleware = [
        Middleware(
            Guard,
            tokens=tokens,
            allowed_hosts=settings.allowed_hosts,
            allowed_origins=settings.allowed_origins,
            trusted_proxies=settings.trusted_proxies,
            plain=API_PATH,
            recorder=metrics,
        ),
        Middleware(_Straight, endpoint=endpoint, api=api),
    ]
    if settings.allowed_origins:
        # Outside the guard: a browser's preflight carries no token.
        middleware.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origin_regex="|".join(map(_origin_pattern, settings.allowed_origins)),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=["Mcp-Session-Id"],
            ),
        )
    app = Starlette(
        routes=[
            Route("/", _front_page),
            *health_routes(
                snapshot,
                ready=ready,
                may_see_all=may_see_all,
                others=None if cluster is None else partial(of_all, cluster, registry.shared),
                away=None if cluster is None else lambda: cluster.trips.away,
            ),
            metrics_route(metrics, state, build=_build(), may_see_all=may_see_all),
        ],
        middleware=middleware,
        exception_handlers={404: _no_such_path, 405: _no_such_path},
        lifespan=run,
    )

    # A redirect would name a scheme and a host that a proxy in front does not have.
    app.router.redirect_slashes = False

    async def drain(grace: float) -> None:
        """Take no more work; return when what is under way has ended, at most ``grace`` seconds."""
        if cluster is not None:
            cluster.membership.turn(Status.DRAINING)
        done = asyncio.create_task(gate.drain(grace))
        await asyncio.sleep(0)
        registry.close_streams()
        await done

    app.state.registry = registry
    app.state.connections = connections
    app.state.metrics = metrics
    app.state.drain = drain
    app.state.cluster = cluster
    return app


class _Straight:
    """Leads ``/mcp`` and ``/api`` past the router: every call comes this way.

    With a slash as well, as many clients have it; a redirect would be wrong behind TLS.
    """

    def __init__(self, app: ASGIApp, *, endpoint: Endpoint, api: Api | None) -> None:
        self._app = app
        self._endpoint = endpoint
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["path"] in _MCP_PATHS:
                await self._endpoint(scope, receive, send)
                return
            if self._api is not None and scope["path"].startswith(API_PATH):
                await self._api(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _front_page(_: Request) -> Response:
    return PlainTextResponse(
        f"ccxt-mcp {__version__}: an MCP server over crypto exchanges, for programs.\n"
        f"MCP clients connect to {MCP_PATH} (streamable HTTP); the sessions are at /health.\n"
        f"Without an MCP client: {API_PATH}tools, described by {API_PATH}openapi.json.\n"
    )


async def _no_such_path(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = f"Not served at this path: MCP is at {MCP_PATH}, the server's state at GET /health"
    return JSONResponse(Refusal(status, message).body(), status_code=status)


def _build() -> dict[str, str]:
    return {
        "version": __version__,
        "ccxt": version("ccxt"),
        "mcp": version("mcp"),
        "python": platform.python_version(),
    }


def _low_level(server: Server[Any] | HighLevelServer) -> Server[Any]:
    if isinstance(server, Server):
        return server
    # The SDK's public way from an `MCPServer` to the server under it.
    server.streamable_http_app()
    return server.session_manager.app


def _origin_pattern(origin: str) -> str:
    """An entry of ``allowed_origins`` as the guard reads it: port ``*`` is any port or none."""
    bare = origin.removesuffix(":*")
    return re.escape(bare) + (r"(:\d+)?" if bare != origin else "")


def _registry(settings: Settings, cluster: Cluster | None) -> Registry:
    """The sessions of this process, or its parts of those of all replicas."""
    bounds: dict[str, Any] = {
        "max_sessions": settings.max_sessions,
        "idle_timeout": settings.session_idle_timeout,
        "adopt_named": settings.adopt_named_sessions,
    }
    own: dict[str, Any] = {
        "max_per_client": settings.max_sessions_per_client,
        "lane_limit": settings.lane_queue_max,
        "lane_wait_max": settings.lane_wait_max,
        "replay": Replay(
            events=settings.replay_events_max,
            size=settings.replay_bytes_max,
            window=settings.replay_window,
        ),
        "quota": Quota(settings.max_subscriptions_per_session, settings.max_subscriptions),
    }
    if cluster is None:
        return Registry(**bounds, **own)
    parts = Parts(**bounds, **own)
    Directory(cluster, parts, max_per_client=settings.max_sessions_per_client, **bounds)
    return parts


async def _sweep(registry: Registry, idle_timeout: float) -> None:
    """End idle sessions, at most a tenth of the timeout late."""
    while True:
        await asyncio.sleep(min(60.0, max(0.05, idle_timeout / 10)))
        if registry.shared is not None:
            await registry.shared.sweep()
        else:
            registry.expire()
