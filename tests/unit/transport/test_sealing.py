"""What a client carries between the rounds of a call: for its caller, for a while, and unread."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import mcp_types as types
import pytest
from mcp.server import request_state
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.request_state import RequestStateBoundary
from starlette.applications import Starlette

from ccxt_mcp.app import create_app
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.product import assemble
from ccxt_mcp.settings import Settings
from ccxt_mcp.state_keys import StateKeys
from ccxt_mcp.transport.sealing import STATE_LIFETIME
from tests.unit.transport.toy import running

OLD, NEW = "o" * 32, "n" * 32
ONE, TWO = ({"Authorization": f"Bearer {digit * 32}"} for digit in "12")
TOKENS = {"one": {"token": "1" * 32}, "two": {"token": "2" * 32}}
MODERN = {
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "list_accounts",
}
FORM: dict[str, Any] = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
STATE = "an order of 3 BTC"
REFUSED = -32602


def question() -> types.InputRequiredResult:
    form = types.ElicitRequestFormParams(message="Really?", requested_schema=FORM)
    asked: dict[str, types.InputRequest] = {"sure": types.ElicitRequest(params=form)}
    return types.InputRequiredResult(input_requests=asked, request_state=STATE)


def low_level() -> Server[Any]:
    """Asks back once, and then says the state that came back and who sent it."""

    async def call_tool(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Any:
        if params.request_state is None:
            return question()
        return types.CallToolResult(content=[types.TextContent(text=said(params.request_state))])

    # The product's own name, for which states are sealed.
    return Server("ccxt-mcp", on_call_tool=call_tool)


def high_level() -> MCPServer:
    server = MCPServer("foreign")

    @server.tool()
    async def list_accounts(ctx: Context) -> types.CallToolResult | types.InputRequiredResult:
        if ctx.request_state is None:
            return question()
        return types.CallToolResult(content=[types.TextContent(text=said(ctx.request_state))])

    return server


def said(state: str) -> str:
    token = get_access_token()
    return f"{state} for {None if token is None else token.client_id}"


class Client:
    """A modern client with a token."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def call(
        self,
        token: dict[str, str],
        state: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        }
        params = {"name": "list_accounts", "arguments": arguments or {}, "_meta": meta}
        if state is not None:
            answers = {"sure": {"action": "accept", "content": {"ok": True}}}
            params |= {"requestState": state, "inputResponses": answers}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = await self._http.post("/mcp", json=body, headers=MODERN | token)
        found: dict[str, Any] = answer.json()
        return found

    async def state(self, token: dict[str, str]) -> str:
        result = (await self.call(token))["result"]
        assert result["resultType"] == "input_required"
        state: str = result["requestState"]
        assert STATE not in state
        return state


def settings(**more: Any) -> Settings:
    return Settings.model_validate(
        {"tokens": TOKENS, "exchange_keys_from_env": False, "request_state_keys": [NEW], **more}
    )


@asynccontextmanager
async def clients(*apps: Starlette) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [Client(await stack.enter_async_context(running(app))) for app in apps]


@pytest.mark.parametrize("server", [low_level, high_level])
async def test_a_state_is_opened_for_the_caller_that_it_was_sealed_for_and_no_other(
    server: Callable[[], Any],
) -> None:
    """The SDK binds states to callers that it knows: without ours, any token would do."""
    async with clients(create_app(settings(), server())) as (client,):
        state = await client.state(ONE)
        answer = await client.call(ONE, state)
        assert answer["result"]["content"][0]["text"] == f"{STATE} for one"
        for wrong in (
            await client.call(TWO, state),
            await client.call(ONE, state, {"exchange": "another"}),
            await client.call(ONE, state[:-4] + ("AAAA" if state[-4:] != "AAAA" else "BBBB")),
            await client.call(ONE, STATE),
            await client.call(ONE, ""),
        ):
            assert wrong["error"]["code"] == REFUSED
            assert STATE not in str(wrong)


@pytest.mark.parametrize("server", [low_level, high_level])
async def test_a_state_is_refused_after_its_time(
    server: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with clients(create_app(settings(), server())) as (client,):
        state = await client.state(ONE)

        class Later:
            past = STATE_LIFETIME - 5

            @classmethod
            def time(cls) -> float:
                return time.time() + cls.past

        monkeypatch.setattr(request_state, "time", Later)
        assert "result" in await client.call(ONE, state)
        Later.past = STATE_LIFETIME + 1
        assert (await client.call(ONE, state))["error"]["code"] == REFUSED


async def test_the_product_opens_what_was_sealed_with_its_keys_for_its_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No tool of it asks back yet; what another process of the same name and keys has sealed."""
    product = create_app(product=assemble(settings(), environ={}, keep_on_disk=False))
    another = create_app(settings(), low_level())
    strange = create_app(settings(request_state_keys=[OLD]), low_level())
    async with clients(product, another, strange) as (client, other, stranger):
        state = await other.state(ONE)
        opened = await client.call(ONE, state)
        assert not opened["result"].get("isError")
        assert "accounts" in opened["result"]["structuredContent"]
        for wrong in (
            await client.call(TWO, state),
            await client.call(ONE, await stranger.state(ONE)),
            await client.call(ONE, "forged"),
        ):
            assert wrong["error"]["code"] == REFUSED

        class Later:
            @staticmethod
            def time() -> float:
                return time.time() + STATE_LIFETIME + 1

        monkeypatch.setattr(request_state, "time", Later)
        assert (await client.call(ONE, state))["error"]["code"] == REFUSED


async def test_a_new_key_is_put_in_front_of_the_old_one() -> None:
    before, between, after = (
        create_app(settings(request_state_keys=keys), low_level())
        for keys in ([OLD], [NEW, OLD], [NEW])
    )
    async with clients(before, between, after) as (old, both, new):
        assert "result" in await both.call(ONE, await old.state(ONE))
        assert "result" in await new.call(ONE, await both.state(ONE))
        assert "error" in await new.call(ONE, await old.state(ONE))
        assert "error" in await old.call(ONE, await both.state(ONE))


async def test_without_keys_a_process_opens_its_own_states_and_no_others() -> None:
    bare: dict[str, Any] = {"tokens": {}, "request_state_keys": []}
    one, two = (create_app(settings(**bare), low_level()) for _ in range(2))
    async with clients(one, two) as (first, second):
        state = await first.state({})
        answer = await first.call({}, state)
        assert answer["result"]["content"][0]["text"] == f"{STATE} for None"
        assert (await second.call({}, state))["error"]["code"] == REFUSED


async def test_a_server_behind_two_applications_is_sealed_once() -> None:
    server = low_level()
    for _ in range(2):
        create_app(settings(), server)
    assert sum(isinstance(each, RequestStateBoundary) for each in server.middleware) == 1
    own = high_level()
    app = create_app(settings(), own)
    async with clients(app) as (client,):
        assert "result" in await client.call(ONE, await client.state(ONE))


async def test_callers_of_requests_side_by_side_are_not_mixed_up() -> None:
    async with clients(create_app(settings(), low_level())) as (client,):
        one, two = await client.state(ONE), await client.state(TWO)
        for token, state, name in ((ONE, one, "one"), (TWO, two, "two")) * 3:
            answer = await client.call(token, state)
            assert answer["result"]["content"][0]["text"] == f"{STATE} for {name}"
        assert get_access_token() is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["guessable"], "shorter than 32 bytes"),
        ([OLD, OLD], "there twice"),
        (["env:NOT_THERE"], "NOT_THERE is not set"),
        (["file:/does/not/exist"], "cannot be read"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_and_not_shown(keys: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        StateKeys.from_settings(settings(request_state_keys=keys), {})
    assert words in str(error.value)
    assert f"request_state_keys[{len(keys) - 1}]" in str(error.value)
    assert "guessable" not in str(error.value)
    assert OLD not in str(error.value)


def test_keys_come_from_files_and_variables_and_are_kept_out_of_sight(tmp_path: Any) -> None:
    (tmp_path / "key").write_text(OLD + "\n")
    given = settings(request_state_keys=[f"file:{tmp_path}/key", "env:KEY"])
    found = StateKeys.from_settings(given, {"KEY": NEW})
    assert found.keys == (OLD, NEW)
    assert OLD not in repr(found)
    literal = settings(request_state_keys=[OLD])
    assert OLD not in repr(literal)
    product = assemble(literal, environ={}, keep_on_disk=False)
    assert OLD not in product.redactor.text(f"the key is {OLD}")
