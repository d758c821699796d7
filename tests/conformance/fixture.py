"""The MCP server that the public conformance suite drives, behind this product's own transport.

Owns: the ``Server`` object with its handlers, and ``python -m tests.conformance.fixture``. Refuses:
a transport of its own: it is mounted in ``create_app`` and served as the product is.
"""

import argparse
import asyncio
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from ccxt_mcp.app import MCP_PATH, create_app
from ccxt_mcp.serving import bind, run_until_stopped, serving
from ccxt_mcp.settings import Settings
from tests.conformance import contents
from tests.conformance.prompts import PROMPTS, get_prompt
from tests.conformance.tools import Answer, fixtures

__all__ = ["build_fixture", "fixture_server"]

Context = ServerRequestContext[Any, Any]
Page = types.PaginatedRequestParams | None
_NAME = "conformance-fixture"


def build_fixture() -> Server[Any]:
    """The server object, to be given to ``create_app``."""
    bus = InMemorySubscriptionBus()
    tools = fixtures(bus)
    listed = [tool.listed for tool in tools.values()]

    async def list_tools(ctx: Context, params: Page) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Answer:
        if params.name not in tools:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
        return await tools[params.name].run(ctx, params)

    async def list_resources(ctx: Context, params: Page) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=contents.RESOURCES)

    async def list_templates(ctx: Context, params: Page) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[contents.TEMPLATE])

    async def read_resource(
        ctx: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        found = contents.read(str(params.uri))
        if found is None:
            where = {"uri": str(params.uri)}
            raise MCPError(types.INVALID_PARAMS, "Resource not found", data=where)
        return types.ReadResourceResult(contents=[found])

    async def subscribe(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        return types.EmptyResult()

    async def unsubscribe(
        ctx: Context, params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        return types.EmptyResult()

    async def list_prompts(ctx: Context, params: Page) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=PROMPTS)

    async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        begun = params.argument.value
        values = [word for word in ("paris", "park", "party") if word.startswith(begun)]
        return types.CompleteResult(
            completion=types.Completion(values=values, total=len(values), has_more=False)
        )

    async def set_level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        return types.EmptyResult()

    hint = CacheHint(ttl_ms=60_000, scope="public")
    with warnings.catch_warnings():
        # `logging/setLevel` is of 2025-11-25 alone, and asked for there.
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        server: Server[Any] = Server(
            _NAME,
            version="1.0.0",
            title="Conformance fixture",
            cache_hints={
                "tools/list": hint,
                "server/discover": hint,
                "prompts/list": hint,
                "resources/list": hint,
                "resources/templates/list": hint,
                "resources/read": hint,
            },
            get_tool_input_schema=lambda name: (
                tools[name].listed.input_schema if name in tools else None
            ),
            on_list_tools=list_tools,
            on_call_tool=call_tool,
            on_list_resources=list_resources,
            on_list_resource_templates=list_templates,
            on_read_resource=read_resource,
            on_subscribe_resource=subscribe,
            on_unsubscribe_resource=unsubscribe,
            on_subscriptions_listen=ListenHandler(bus),
            on_list_prompts=list_prompts,
            on_get_prompt=get_prompt,
            on_completion=complete,
            on_set_logging_level=set_level,
        )
    server.middleware.append(
        RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=_NAME)
    )
    return server


@asynccontextmanager
async def fixture_server() -> AsyncIterator[str]:
    """The fixture on a free port of loopback; yields the URL of its MCP endpoint."""
    app = create_app(Settings(), build_fixture())
    async with serving(app, bind("127.0.0.1", 0), app.state.connections) as url:
        yield url + MCP_PATH


async def _serve(port: int) -> None:
    app = create_app(Settings(), build_fixture())
    await run_until_stopped(
        app,
        bind("127.0.0.1", port),
        connections=app.state.connections,
        drain=app.state.drain,
        started=lambda url: print(url + MCP_PATH, file=sys.stderr, flush=True),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    asyncio.run(_serve(parser.parse_args().port))
