"""The MCP SDK as we stand on it: every symbol that the package imports, and what it has to do.

After raising the SDK's pin this is the first test to read: each failure says which file of ours
relies on what moved. A new import from the SDK fails here until its row is added.
"""

import ast
import asyncio
import copy
import importlib
import inspect
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.caching import CacheHint
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.runner import ServerRunner, aclose_shielded, serve_one
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.dispatcher import DispatchContext, Outbound
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import (
    cancelled_request_id_from_params,
    handler_exception_to_error_data,
    progress_token_from_params,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.types import Message as ScopeMessage

from ccxt_mcp.mechanisms.lane import Lane
from ccxt_mcp.model import ANONYMOUS
from ccxt_mcp.transport.kernel import _Channel, _Connection, _Exchange
from ccxt_mcp.transport.session import Kind, Session
from ccxt_mcp.transport.wire import Message

PACKAGE = Path(__file__).parents[2] / "ccxt_mcp"
SDK = ("mcp", "mcp_types")
MODERN = "2026-07-28"


@dataclass(frozen=True)
class Use:
    """How we use a symbol. ``calls``: (positional arguments, keywords) of our calls; ``has``: what
    we read or write on it; ``is_a``: what a constant is."""

    calls: tuple[tuple[int, tuple[str, ...]], ...] = ()
    has: tuple[str, ...] = ()
    is_a: type | tuple[type, ...] | None = None


_SERVER = Use(
    calls=(
        (
            1,
            (
                *("version", "title", "description", "icons", "instructions", "cache_hints"),
                "get_tool_input_schema",
                *("on_list_tools", "on_call_tool", "on_list_prompts", "on_get_prompt"),
                *("on_list_resources", "on_list_resource_templates", "on_read_resource"),
                "on_completion",
            ),
        ),
    ),
    has=(
        *("get_request_handler", "add_request_handler", "get_notification_handler"),
        *("run", "create_initialization_options"),
        *("server_info", "server_info_stamp", "get_capabilities"),
    ),
)
USES: dict[str, Use] = {
    "mcp.server.auth.middleware.auth_context.auth_context_var": Use(is_a=ContextVar),
    "mcp.server.auth.middleware.bearer_auth.AuthenticatedUser": Use(calls=((1, ()),)),
    "mcp.server.auth.provider.AccessToken": Use(
        calls=((0, ("token", "client_id", "scopes", "subject")),)
    ),
    "mcp.server.request_state.RequestStateBoundary": Use(calls=((1, ("default_audience",)),)),
    "mcp.server.request_state.RequestStateSecurity": Use(
        calls=((0, ("keys", "ttl")),), has=("ephemeral",)
    ),
    "mcp.server.caching.CacheHint": Use(calls=((0, ("ttl_ms", "scope")),)),
    "mcp.server.connection.Connection": Use(
        has=(
            *("outbound", "session_id", "protocol_version", "client_params"),
            *("client_capabilities", "state", "initialized", "exit_stack"),
        ),
    ),
    "mcp.server.context.CallNext": Use(),
    "mcp.server.context.HandlerResult": Use(),
    "mcp.server.context.ServerRequestContext": Use(has=("method", "params", "meta", "request_id")),
    "mcp.server.lowlevel.Server": _SERVER,
    "mcp.server.lowlevel.server.Server": _SERVER,
    "mcp.server._otel.OpenTelemetryMiddleware": Use(),
    "mcp.server.context.ServerMiddleware": Use(),
    "mcp.server.runner.ServerRunner": Use(calls=((3, ()),), has=("on_request", "on_notify")),
    "mcp.server.runner.aclose_shielded": Use(calls=((1, ()),)),
    "mcp.server.streamable_http_manager.StreamableHTTPSessionManager": Use(
        calls=((0, ("app", "max_request_body_size", "stateless")),), has=("run", "handle_request")
    ),
    "mcp.shared.dispatcher.CallOptions": Use(has=("timeout", "cancel_on_abandon", "on_progress")),
    "mcp.shared.dispatcher.ProgressFnT": Use(),
    "mcp.shared.dispatcher.coerce_request_id": Use(calls=((1, ()),)),
    "mcp.shared.exceptions.MCPError": Use(
        calls=((2, ()), (0, ("code", "message")), (0, ("code", "message", "data")))
    ),
    "mcp.shared.exceptions.NoBackChannelError": Use(calls=((1, ()),)),
    "mcp.shared.inbound.X_MCP_HEADER_KEY": Use(is_a=str),
    "mcp.shared.jsonrpc_dispatcher.cancelled_request_id_from_params": Use(calls=((1, ()),)),
    "mcp.shared.jsonrpc_dispatcher.handler_exception_to_error_data": Use(calls=((1, ()),)),
    "mcp.shared.jsonrpc_dispatcher.progress_token_from_params": Use(calls=((1, ()),)),
    "mcp.shared.subscriptions.SUBSCRIPTION_ID_META_KEY": Use(is_a=str),
    "mcp.shared.message.SessionMessage": Use(calls=((1, ()),), has=("message",)),
    "mcp.shared.message.ServerMessageMetadata": Use(
        calls=(
            (
                0,
                (
                    *("request_context", "can_send_request"),
                    *("close_sse_stream", "close_standalone_sse_stream"),
                ),
            ),
        )
    ),
    "mcp.shared.transport_context.TransportContext": Use(
        calls=((0, ("kind", "can_send_request")),)
    ),
    "mcp_types.CONNECTION_CLOSED": Use(is_a=int),
    "mcp_types.CallToolRequestParams": Use(has=("name", "arguments")),
    "mcp_types.CompleteRequestParams": Use(has=("ref", "argument")),
    "mcp_types.CompleteResult": Use(calls=((0, ("completion",)),)),
    "mcp_types.Completion": Use(has=("values", "total", "has_more")),
    "mcp_types.EmptyResult": Use(calls=((0, ()),)),
    "mcp_types.ErrorData": Use(calls=((0, ("code", "message")),)),
    "mcp_types.DiscoverResult": Use(has=("meta",)),
    "mcp_types.GetPromptRequestParams": Use(has=("name", "arguments")),
    "mcp_types.GetPromptResult": Use(calls=((0, ("description", "messages")),)),
    "mcp_types.INTERNAL_ERROR": Use(is_a=int),
    "mcp_types.INVALID_PARAMS": Use(is_a=int),
    "mcp_types.INVALID_REQUEST": Use(is_a=int),
    "mcp_types.Icon": Use(has=("src", "mime_type", "sizes")),
    "mcp_types.InitializeRequestParams": Use(has=("client_info",)),
    "mcp_types.JSONRPCError": Use(calls=((0, ("jsonrpc", "id", "error")),), has=("id",)),
    "mcp_types.JSONRPCMessage": Use(),
    "mcp_types.JSONRPCNotification": Use(has=("method", "params")),
    "mcp_types.JSONRPCRequest": Use(has=("id",)),
    "mcp_types.JSONRPCResponse": Use(has=("id",)),
    "mcp_types.ListPromptsResult": Use(calls=((0, ("prompts",)),)),
    "mcp_types.ListResourceTemplatesResult": Use(has=("resource_templates",)),
    "mcp_types.ListResourcesResult": Use(calls=((0, ("resources",)),)),
    "mcp_types.PaginatedRequestParams": Use(has=("cursor",)),
    "mcp_types.Prompt": Use(calls=((0, ("name", "title", "description", "arguments")),)),
    "mcp_types.PromptArgument": Use(calls=((0, ("name", "description", "required")),)),
    "mcp_types.PromptMessage": Use(calls=((0, ("role", "content")),)),
    "mcp_types.ReadResourceRequestParams": Use(has=("uri",)),
    "mcp_types.ReadResourceResult": Use(calls=((0, ("contents",)),), has=("ttl_ms", "cache_scope")),
    "mcp_types.PROTOCOL_VERSION_META_KEY": Use(is_a=str),
    "mcp_types.REQUEST_TIMEOUT": Use(is_a=int),
    "mcp_types.RequestId": Use(),
    "mcp_types.RequestParams": Use(),
    "mcp_types.Resource": Use(has=("uri", "name", "title", "description", "mime_type")),
    "mcp_types.ResourceTemplate": Use(
        has=("uri_template", "name", "title", "description", "mime_type")
    ),
    "mcp_types.ResourceTemplateReference": Use(has=("uri",)),
    "mcp_types.ResourceUpdatedNotification": Use(calls=((0, ("params",)),)),
    "mcp_types.ResourceUpdatedNotificationParams": Use(calls=((0, ("uri", "_meta")),)),
    "mcp_types.SERVER_INFO_META_KEY": Use(is_a=str),
    "mcp_types.ServerCapabilities": Use(has=("tools", "prompts", "resources")),
    "mcp_types.SubscribeRequestParams": Use(has=("uri",)),
    "mcp_types.SubscriptionFilter": Use(
        calls=((0, ("resource_subscriptions",)),), has=("resource_subscriptions",)
    ),
    "mcp_types.SubscriptionsAcknowledgedNotification": Use(calls=((0, ("params",)),)),
    "mcp_types.SubscriptionsAcknowledgedNotificationParams": Use(
        calls=((0, ("notifications", "_meta")),)
    ),
    "mcp_types.SubscriptionsListenRequestParams": Use(has=("notifications",)),
    "mcp_types.SubscriptionsListenResult": Use(calls=((0, ("_meta",)),)),
    "mcp_types.TextContent": Use(calls=((0, ("text",)),)),
    "mcp_types.TextResourceContents": Use(has=("uri", "mime_type", "text")),
    "mcp_types.UnsubscribeRequestParams": Use(has=("uri",)),
    "mcp_types.jsonrpc_message_adapter": Use(is_a=TypeAdapter),
    "mcp_types.version.HANDSHAKE_PROTOCOL_VERSIONS": Use(is_a=(tuple, list, frozenset)),
    "mcp_types.version.KNOWN_PROTOCOL_VERSIONS": Use(is_a=(tuple, list)),
    "mcp_types.version.LATEST_HANDSHAKE_VERSION": Use(is_a=str),
    "mcp_types.version.is_version_at_least": Use(calls=((2, ()),)),
}
"""Symbol → what our code does with it; behaviour that a name does not tell is tested below."""


def of_sdk(module: str) -> bool:
    return module.split(".")[0] in SDK


def symbols(tree: ast.Module) -> set[str]:
    """Every symbol of the SDK that a module uses, through ``import x as y`` as well."""
    found, modules = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and of_sdk(node.module):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if of_sdk(alias.name):
                    modules[alias.asname or alias.name] = alias.name
    for node in ast.walk(tree) if modules else ():
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in modules:
            found.add(f"{modules[ast.unparse(node.value)]}.{node.attr}")
    return found


def users() -> dict[str, list[str]]:
    """Symbol → our files that stand on it."""
    out: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in symbols(ast.parse(path.read_text())):
            out.setdefault(name, []).append(str(path.relative_to(PACKAGE.parent)))
    return out


USERS = users()


def test_every_symbol_of_the_sdk_that_we_import_has_a_row() -> None:
    missing = {name: files for name, files in USERS.items() if name not in USES}
    assert not missing, f"say in USES what is relied upon: {missing}"
    assert not USES.keys() - USERS.keys(), f"not used any more: {USES.keys() - USERS.keys()}"


def test_symbols_behind_a_modules_alias_are_found() -> None:
    tree = ast.parse("import mcp_types as t\nimport mcp.shared.message\nt.A\nmcp.shared.message.B")
    assert symbols(tree) == {"mcp_types.A", "mcp.shared.message.B"}


@pytest.mark.parametrize("name", sorted(USES))
def test_a_symbol_is_there_as_we_use_it(name: str) -> None:
    where = f"{name} moved; on it stand {USERS.get(name)}"
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute, None)
    assert found is not None, where
    use = USES[name]
    for count, keywords in use.calls:
        try:
            inspect.signature(found).bind(*[None] * count, **dict.fromkeys(keywords))
        except TypeError as error:
            pytest.fail(f"{where}: {error}")
    known = {*dir(found), *inspect.get_annotations(found)} if inspect.isclass(found) else set()
    for base in getattr(found, "__mro__", ()):
        known |= {*inspect.get_annotations(base), *getattr(base, "model_fields", ())}
    assert set(use.has) <= known, f"{where}: {set(use.has) - known} is gone"
    assert use.is_a is None or isinstance(found, use.is_a), where


# What a name does not tell.


def server(
    handler: Callable[[ServerRequestContext[Any], types.CallToolRequestParams], Any], **more: Any
) -> Server[Any]:
    return Server("contract", on_call_tool=handler, **more)


def session() -> Session:
    return Session(
        "s", Kind.NAMED, ANONYMOUS, None, protocol_version=LATEST_HANDSHAKE_VERSION, lane=Lane(1)
    )


def test_our_connection_has_what_the_sdks_has() -> None:
    """transport/kernel.py makes it without the SDK's ``__init__``: an attribute that comes anew has
    to be looked at."""
    body = ast.parse(inspect.getsource(Connection.__init__).strip()).body[0]
    assert isinstance(body, ast.FunctionDef)
    assert [ast.unparse(each) for each in body.body] == [
        "self.outbound = outbound",
        "self.protocol_version = protocol_version",
        "self.session_id = session_id",
        "self.client_capabilities = None",
        "self.client_params = client_params",
        "self.initialized = anyio.Event()",
        "self.state = {}",
        "self.exit_stack = AsyncExitStack()",
    ]
    ours = _Connection(session())
    asked_for = [ours.has_cleanup]
    assert ours.initialized.is_set()
    assert vars(ours).keys() | {"exit_stack"} == vars(connected()).keys()
    stack = ours.exit_stack
    asked_for.append(ours.has_cleanup)
    assert isinstance(stack, AsyncExitStack)
    assert ours.exit_stack is stack
    assert asked_for == [False, True]


def connected(version: str = LATEST_HANDSHAKE_VERSION) -> Connection:
    connection = Connection(_Channel(session()), protocol_version=version)
    connection.initialized.set()
    return connection


SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/mcp", "headers": []}


def exchange(method: str, params: dict[str, Any] | None, **more: Any) -> _Exchange:
    message = Message(method, params, more.get("id", 1))
    return _Exchange(session(), message, SCOPE, more.get("outlet"))


async def serve(
    on: Server[Any],
    method: str = "tools/call",
    params: dict[str, Any] | None = None,
    connection: Connection | None = None,
) -> dict[str, Any]:
    params = {"name": "x"} if params is None else params
    return await serve_one(
        on,
        exchange(method, params),
        method,
        params,
        connection=connection or connected(),
        lifespan_state=None,
    )


async def nothing(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
    return {"content": [], "resultType": "complete"}


def test_serve_one_is_the_runner_and_the_unwinding_and_nothing_else() -> None:
    """transport/kernel.py does what it does, but unwinds only where there is something: a change
    of the SDK's driver has to be looked at."""
    body = ast.parse(inspect.getsource(serve_one)).body[0]
    assert isinstance(body, ast.AsyncFunctionDef)
    assert [ast.unparse(each) for each in body.body[1:]] == [
        "runner = ServerRunner(server, connection, lifespan_state)",
        "try:\n    return await runner.on_request(dctx, method, params)\n"
        "finally:\n    await aclose_shielded(connection)",
    ]


async def test_unwinding_empties_the_connections_exit_stack() -> None:
    """Why transport/kernel.py makes a ``Connection`` for every POST: a shared one would be unwound
    under a call that still runs."""
    connection = connected()
    unwound: list[str] = []
    connection.exit_stack.callback(unwound.append, "unwound")
    await aclose_shielded(connection)
    assert unwound == ["unwound"], "transport/kernel.py could share a connection"


def test_a_server_begins_with_the_tracing_middleware() -> None:
    """transport/spans.py looks for it by its type."""
    assert [type(each) for each in Server("contract").middleware] == [OpenTelemetryMiddleware]


async def test_serve_one_reaches_the_handler_without_a_pause() -> None:
    """Why transport/lanes.py may wrap the handler: what arrived first asks for the lane first."""
    entered = False

    async def handler(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        nonlocal entered
        entered = True
        return {"content": []}

    serving = serve(server(handler))
    with pytest.raises(StopIteration):
        serving.send(None)
    assert entered, "transport/lanes.py: something before the handler awaits"


async def test_a_dict_passes_the_sieve_of_its_version() -> None:
    """tools/boundary.py makes one dict for both eras; the legacy one must not see its type."""

    async def handler(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        return RESULT

    legacy = await serve(server(handler))
    assert legacy == {key: value for key, value in RESULT.items() if key != "resultType"}
    params = {"name": "x", "_meta": ENVELOPE}
    modern = await serve(server(handler), params=params, connection=connected(MODERN))
    assert modern["resultType"] == "complete"
    assert modern["_meta"]["ccxt-mcp/failure"] == {"code": "timeout"}
    assert modern["structuredContent"] == {"deep": [1, {"n": "0.10"}]}


RESULT: dict[str, Any] = {
    "content": [{"type": "text", "text": "x"}],
    "structuredContent": {"deep": [1, {"n": "0.10"}]},
    "isError": True,
    "resultType": "complete",
    "_meta": {"ccxt-mcp/failure": {"code": "timeout"}},
}
ENVELOPE: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "1"},
}


async def test_a_handshake_is_written_to_the_connection_only_when_it_succeeds() -> None:
    """transport/kernel.py copies both from the connection to the session after an answer."""
    connection = connected()
    with pytest.raises(ValidationError):
        await serve(server(nothing), "initialize", {"protocolVersion": 7}, connection)
    written = [connection.client_params]
    answer = await serve(server(nothing), "initialize", HANDSHAKE, connection)
    assert answer["protocolVersion"] == connection.protocol_version == "2025-06-18"
    written.append(connection.client_params)
    assert [p and p.client_info.name for p in written] == [None, "t"]


async def test_the_request_gate_opens_by_the_initialized_event() -> None:
    """transport/kernel.py sets it: a session that its client named needs no handshake."""
    closed = Connection(_Channel(session()), protocol_version=LATEST_HANDSHAKE_VERSION)
    with pytest.raises(MCPError):
        await serve(server(nothing), connection=closed)
    assert await serve(server(nothing)) == {"content": []}


@pytest.mark.parametrize("error", [MCPError(-1, "said"), RuntimeError("unsaid")])
async def test_serve_one_raises_what_the_handler_raised(error: Exception) -> None:
    """transport/kernel.py is where an exception becomes an answer."""

    async def handler(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        raise error

    with pytest.raises(type(error)) as caught:
        await serve(server(handler))
    assert caught.value is error


def test_exceptions_become_error_data_or_nothing() -> None:
    """transport/kernel.py logs what it gets ``None`` for, and appends to the text of the rest."""

    class Model(BaseModel):
        needed: int

    said = handler_exception_to_error_data(MCPError(-1, "said", {"more": 1}))
    assert said is not None
    assert (said.code, said.message, said.data) == (-1, "said", {"more": 1})
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({})
    invalid = handler_exception_to_error_data(caught.value)
    assert invalid is not None
    assert invalid.code == types.INVALID_PARAMS
    assert invalid.message
    assert handler_exception_to_error_data(RuntimeError()) is None
    back = handler_exception_to_error_data(NoBackChannelError("ping"))
    assert back is not None
    assert "ping" in back.message


def members(protocol: type) -> set[str]:
    return {name for name in dir(protocol) if not name.startswith("_")}


def test_our_exchange_has_all_that_a_dispatch_context_has() -> None:
    """transport/kernel.py: ``_Exchange`` and ``_Channel`` satisfy protocols of the SDK."""
    ours = exchange("ping", None)
    assert {m for m in members(DispatchContext) if not hasattr(ours, m)} == set()
    assert members(DispatchContext) >= {"transport", "request_id", "message_metadata", "progress"}
    assert {m for m in members(Outbound) if not hasattr(_Channel, m)} == set()
    for kind, made in ((DispatchContext, _Exchange), (Outbound, _Channel)):
        for name in members(kind):
            theirs = inspect.getattr_static(kind, name)
            if inspect.isfunction(theirs):
                names = list(inspect.signature(theirs).parameters)
                assert list(inspect.signature(getattr(made, name)).parameters) == names, name


async def test_the_handlers_context_tells_what_the_request_said() -> None:
    """transport/lanes.py reads the workflow from ``ctx.meta``, tools/server.py the rest."""
    seen: list[ServerRequestContext[Any]] = []

    async def handler(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        seen.append(ctx)
        assert (params.name, params.arguments) == ("x", {"a": 1})
        return {"content": []}

    params = {"name": "x", "arguments": {"a": 1}, "_meta": {"ccxt-mcp/workflow": "w"}}
    await serve(server(handler), params=params)
    (ctx,) = seen
    assert (ctx.method, ctx.request_id, ctx.params) == ("tools/call", 1, params)
    assert (ctx.meta or {}).get("ccxt-mcp/workflow") == "w"


async def test_middleware_may_rewrite_the_parameters_or_refuse() -> None:
    """tools/server.py does both."""

    async def rewrite(ctx: ServerRequestContext[Any], call_next: CallNext) -> HandlerResult:
        if ctx.params == {"refuse": True}:
            raise MCPError(code=-7, message="refused")
        return await call_next(replace(ctx, params={"name": "rewritten"}))

    async def handler(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        return {"content": [{"type": "text", "text": params.name}]}

    on = server(handler)
    on.middleware.append(rewrite)
    answer = await serve(on, params={"name": 7})
    assert answer["content"][0]["text"] == "rewritten"
    with pytest.raises(MCPError, match="refused"):
        await serve(on, params={"refuse": True})


async def test_a_requests_handler_can_be_replaced_by_a_wrapper() -> None:
    """transport/lanes.py wraps ``tools/call`` of whatever server is mounted."""
    on = server(nothing)
    entry = on.get_request_handler("tools/call")
    assert entry is not None
    inner = entry.handler

    async def wrapper(ctx: ServerRequestContext[Any, Any], params: Any) -> Any:
        result = await inner(ctx, params)
        assert isinstance(result, dict)
        return {**result, "structuredContent": {"wrapped": True}}

    on.add_request_handler("tools/call", types.CallToolRequestParams, wrapper)
    assert (await serve(on))["structuredContent"] == {"wrapped": True}
    assert Server("bare").get_request_handler("tools/call") is None


async def test_notifications_reach_their_handler_and_its_failure_stays_there() -> None:
    """transport/kernel.py: ``ServerRunner.on_notify``; a POST is answered 202 whatever happens."""
    heard: list[Any] = []

    async def handler(ctx: ServerRequestContext[Any], params: Any) -> None:
        heard.append(ctx.method)
        raise RuntimeError("broken")

    on: Server[Any] = Server("x")
    method = "notifications/roots/list_changed"
    on.add_notification_handler(method, types.NotificationParams, handler)
    assert on.get_notification_handler(method) is not None
    assert on.get_notification_handler("notifications/cancelled") is None
    runner = ServerRunner(on, connected(), None)
    await runner.on_notify(exchange(method, None, id=None), method, None)
    assert heard == [method]


def test_a_shallow_copy_of_a_server_has_its_handlers_and_a_lifespan_of_its_own() -> None:
    """app.py: one server may stand behind several applications."""
    on = server(nothing)
    before, view = on.lifespan, copy.copy(on)

    @asynccontextmanager
    async def other(_: Server[Any]) -> AsyncIterator[None]:
        yield

    view.lifespan = other
    assert on.lifespan is before
    assert view.get_request_handler("tools/call") is on.get_request_handler("tools/call")
    assert view.middleware is on.middleware


def test_the_low_level_server_of_an_mcpserver_is_behind_its_session_manager() -> None:
    """app.py: ``create_app`` takes either."""
    high = MCPServer("high")

    @high.tool()
    def echo(value: str) -> str:
        return value

    high.streamable_http_app()
    low = high.session_manager.app
    assert isinstance(low, Server)
    assert low.get_request_handler("tools/call") is not None


SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


async def modern(
    on: Server[Any], params: dict[str, Any], *, leave: asyncio.Event | None = None
) -> tuple[int, bytes, list[str]]:
    """One modern call through the SDK's manager: status, body, and what its lifespan did."""
    lives: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Server[Any]) -> AsyncIterator[str]:
        lives.append("entered")
        yield "state"
        lives.append("left")

    view = copy.copy(on)
    view.lifespan = lifespan
    manager = StreamableHTTPSessionManager(app=view, max_request_body_size=10_000, stateless=True)
    params = {**params, "_meta": ENVELOPE}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    bodies = [json.dumps(message).encode()]
    sent: list[ScopeMessage] = []

    async def receive() -> ScopeMessage:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await (leave or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: ScopeMessage) -> None:
        sent.append(message)

    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": "tools/call",
        "mcp-name": params["name"],
    }
    scope = {**SCOPE, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    scope |= {"query_string": b"", "server": ("127.0.0.1", 1), "scheme": "http"}
    async with asyncio.timeout(5), manager.run():
        await manager.handle_request(scope, receive, send)
    status = next((m["status"] for m in sent if m["type"] == "http.response.start"), 0)
    return status, b"".join(m.get("body", b"") for m in sent), lives


async def test_the_manager_serves_a_modern_call_in_the_callers_context() -> None:
    """transport/endpoint.py sets the caller, transport/lanes.py reads it; app.py: the lifespan is
    entered once and its state reaches the handlers."""

    async def handler(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        said = {"s": SEEN.get(), "l": ctx.lifespan_context}
        return {"content": [], "structuredContent": said, "resultType": "complete"}

    token = SEEN.set("the caller")
    try:
        status, body, lives = await modern(server(handler), {"name": "x"})
    finally:
        SEEN.reset(token)
    assert status == 200
    assert b'"s":"the caller"' in body
    assert b'"l":"state"' in body
    assert lives == ["entered", "left"]


async def test_a_modern_client_that_leaves_cancels_its_call() -> None:
    """transport/lanes.py: a call that waits in a lane sees its client go."""
    leave, ended = asyncio.Event(), []

    async def handler(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        leave.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    await modern(server(handler), {"name": "x"}, leave=leave)
    assert ended == ["cancelled"]


async def test_a_tools_schema_is_looked_up_by_our_hook_and_not_by_listing() -> None:
    """tools/server.py: without the hook every modern call with arguments lists the tools."""
    asked: list[str] = []

    def schema(name: str) -> dict[str, Any] | None:
        asked.append(name)
        return {"type": "object"}

    async def listing(ctx: ServerRequestContext[Any], params: Any) -> Any:
        raise AssertionError("listed")

    on = server(nothing, get_tool_input_schema=schema, on_list_tools=listing)
    status, _, _ = await modern(on, {"name": "x", "arguments": {"a": 1}})
    assert (status, asked) == (200, ["x"])


async def test_cache_hints_are_told_to_modern_clients_only() -> None:
    """tools/server.py gives them for the list of tools."""

    async def listing(ctx: ServerRequestContext[Any], params: Any) -> Any:
        return {"tools": [], "resultType": "complete"}

    on: Server[Any] = Server(
        "x",
        on_list_tools=listing,
        cache_hints={"tools/list": CacheHint(ttl_ms=5, scope="public")},
    )
    assert await serve(on, "tools/list", {}) == {"tools": []}
    modern = await serve(on, "tools/list", {"_meta": ENVELOPE}, connected(MODERN))
    assert (modern["ttlMs"], modern["cacheScope"]) == (5, "public")


def test_ids_and_tokens_of_a_wrong_type_are_none() -> None:
    """transport/kernel.py: a cancellation or progress of nothing."""
    for value, read in ((1, 1), ("1", "1"), (True, None), (1.0, None), ([], None), (None, None)):
        assert cancelled_request_id_from_params({"requestId": value}) == read
        assert progress_token_from_params({"_meta": {"progressToken": value}}) == read
    assert cancelled_request_id_from_params(None) is None
    assert progress_token_from_params({"_meta": 7}) is None


def test_the_handshake_versions_are_the_legacy_era() -> None:
    """transport/endpoint.py decides a request's era by them, transport/registry.py a default."""
    assert LATEST_HANDSHAKE_VERSION in HANDSHAKE_PROTOCOL_VERSIONS
    assert {"2025-03-26", "2025-06-18", "2025-11-25"} <= set(HANDSHAKE_PROTOCOL_VERSIONS)
    assert MODERN not in HANDSHAKE_PROTOCOL_VERSIONS
