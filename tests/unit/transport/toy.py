"""A small MCP server behind our own transport, for tests of the transport alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from starlette.applications import Starlette

from ccxt_mcp.settings import Settings
from tests.cluster.replicas import served


@dataclass
class Toy:
    """`echo` answers its argument; `hold` says that it runs and waits until it is let go.

    What each call does meanwhile is ``wait``.
    """

    order: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, value: str) -> None:
        """Nothing."""

    def server(self) -> Server[Any]:
        async def list_tools(
            ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
        ) -> types.ListToolsResult:
            schema = {"type": "object"}
            return types.ListToolsResult(
                tools=[types.Tool(name=name, input_schema=schema) for name in ("echo", "hold")]
            )

        async def call_tool(
            ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
        ) -> types.CallToolResult:
            arguments = params.arguments or {}
            value = str(arguments.get("value", ""))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                await self.wait(value)
                if params.name == "hold":
                    self.started.set()
                    await self.go.wait()
                if params.name == "break":
                    raise RuntimeError("secret inside")
                self.order.append(value)
            finally:
                self.running -= 1
            return types.CallToolResult(
                content=[types.TextContent(text=value)], structured_content={"value": value}
            )

        return Server("toy", on_list_tools=list_tools, on_call_tool=call_tool)


@asynccontextmanager
async def running(app: Starlette, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, in process, with its lifespan entered."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=True),
            base_url="http://localhost:3000",
            headers=headers,
            timeout=10,
        ) as client,
    ):
        yield client


@asynccontextmanager
async def toy_client(
    toy: Toy | None = None, **settings: Any
) -> AsyncIterator[tuple[Toy, httpx.AsyncClient]]:
    """A toy server with these settings, and a client of it."""
    toy = toy or Toy()
    async with running(served(Settings.model_validate(settings), toy.server())) as client:
        yield toy, client


def call(tool: str, value: str = "", request_id: int | str = 1) -> dict[str, Any]:
    """The body of one tool call."""
    return {
        "jsonrpc": "2.0",
        "id": request_id,
        "method": "tools/call",
        "params": {"name": tool, "arguments": {"value": value}},
    }


INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
