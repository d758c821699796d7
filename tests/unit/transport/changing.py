"""A server whose resources change when the test says so, and clients that subscribe to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette

from ccxt_mcp.app import create_app
from ccxt_mcp.settings import Settings
from ccxt_mcp.tools.resources import refused
from ccxt_mcp.transport.subscribing import subscribe_resources
from tests.unit.transport.asgi import Request

UPDATED = "notifications/resources/updated"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class Watched:
    """One watch, as the transport has it."""

    def __init__(self, where: Changing, uri: str, changed: Callable[[], None]) -> None:
        self._where = where
        self.uri = uri
        self.changed = changed
        self.over = False

    def start(self) -> None:
        self._where.watches.setdefault(self.uri, {})[self] = None

    def stop(self) -> None:
        self._where.watches.get(self.uri, {}).pop(self, None)


class Changing:
    """``test://no/…`` cannot be watched, ``test://slow/…`` takes until ``go``."""

    def __init__(self) -> None:
        self.watches: dict[str, dict[Watched, None]] = {}
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def watch(self, uri: str, changed: Callable[[], None]) -> Watched:
        self.asked.set()
        if uri.startswith("test://no/"):
            raise MCPError(types.INVALID_PARAMS, "not for you", {"uri": uri})
        if uri.startswith("test://slow/"):
            await self.go.wait()
        watch = Watched(self, uri, changed)
        watch.start()
        return watch

    def at_work(self, uri: str) -> int:
        return len(self.watches.get(uri, {}))

    def change(self, uri: str, times: int = 1) -> None:
        for _ in range(times):
            for watch in list(self.watches.get(uri, {})):
                watch.changed()

    def forbid(self, uri: str) -> None:
        for watch in list(self.watches.get(uri, {})):
            watch.over = True
            watch.stop()
            watch.changed()

    def server(self) -> Server[Any]:
        async def list_resources(
            ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
        ) -> types.ListResourcesResult:
            return types.ListResourcesResult(resources=[])

        server: Server[Any] = Server("changing", on_list_resources=list_resources)
        subscribe_resources(server, self, refuse=refused)
        return server


@asynccontextmanager
async def changing_app(**settings: Any) -> AsyncIterator[tuple[Changing, Starlette]]:
    """A changing server behind the transport; afterwards nothing of its subscriptions is left."""
    changing = Changing()
    app = create_app(Settings.model_validate(settings), changing.server())
    async with app.router.lifespan_context(app):
        yield changing, app
        registry = app.state.registry
        for session in list(registry._sessions.values()):
            registry.close(session)
        async with asyncio.timeout(5):
            while registry.listeners:
                await asyncio.sleep(0)
        assert registry.quota.taken == 0
        assert not any(changing.watches.values())


def listening(app: Starlette, session: str, **more: Any) -> Request:
    """A GET that reads a session's own stream."""
    return Request(app, "GET", mcp_session_id=session, accept="text/event-stream", **more)


async def subscribe(
    app: Starlette, session: str, uri: str, method: str = "subscribe"
) -> dict[str, Any]:
    """The answer to a legacy request about a subscription."""
    body = {"jsonrpc": "2.0", "id": 1, "method": f"resources/{method}", "params": {"uri": uri}}
    answer = await Request(app, "POST", body, mcp_session_id=session).done()
    said = json.loads(answer.body)
    assert isinstance(said, dict)
    return said


def listen(app: Starlette, *uris: str, request_id: int | str = 7, **more: Any) -> Request:
    """A modern client's stream of subscriptions."""
    body = {
        "jsonrpc": "2.0",
        "id": request_id,
        "method": "subscriptions/listen",
        "params": {
            "notifications": {"resourceSubscriptions": list(uris), "toolsListChanged": True},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    more |= {"mcp_protocol_version": "2026-07-28", "mcp_method": "subscriptions/listen"}
    return Request(app, "POST", body, **more)


def updates(request: Request) -> list[str]:
    """The addresses that a stream has told of, in their order."""
    return [each["params"]["uri"] for each in request.events() if each.get("method") == UPDATED]
