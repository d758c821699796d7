"""Every outcome becomes wire format in one place: faults, scopes, malformed calls, the log line."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from ccxt_mcp.calls.bounds import Answer
from ccxt_mcp.calls.pipeline import Call, Calls
from ccxt_mcp.model import CALLER, Caller, Principal, Scope
from ccxt_mcp.tools.arguments import Arguments
from ccxt_mcp.tools.boundary import FAILURE_META, Boundary
from ccxt_mcp.tools.server import TOOLS
from ccxt_mcp.tools.tool import Tool, result_schema
from tests.unit.tools.test_arguments import SECRET
from tests.unit.tools.world import World


class _Nothing(Arguments):
    """No arguments."""


def tool(run: Any, scope: Scope = Scope.READ) -> Tool:
    """A tool with this body."""
    return Tool("sample", "Sample", "A sample.", _Nothing, result_schema(()), run, scope)


async def test_an_unexpected_fault_is_logged_and_not_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug's text may hold anything: the caller gets a reference, the log the redacted trace."""

    async def broken(call: Call, args: Any) -> Answer:
        raise ZeroDivisionError("balance of key hunter2 was lost")

    calls = Calls(
        world.gateway,
        world.accounts,
        world.calls.settings,
        redact=lambda text: text.replace("hunter2", "[redacted]"),
    )
    boundary = Boundary(calls, [tool(broken)])
    with caplog.at_level(logging.ERROR, "ccxt_mcp.faults"):
        result = await boundary.call("sample", {})
    failure = result["_meta"][FAILURE_META]
    assert failure["code"] == "internal"
    assert "hunter2" not in str(result)
    assert "ZeroDivisionError" not in str(result)
    (record,) = caplog.records
    assert failure["details"]["reference"] in record.getMessage()
    assert "ZeroDivisionError" in record.getMessage()
    assert "hunter2" not in record.getMessage()
    assert record.exc_info is None


async def test_a_missing_scope_is_refused_by_name(world: World) -> None:
    """A token without `read` gets the name of the scope, and the body does not run."""
    ran = []

    async def body(call: Call, args: Any) -> Answer:
        ran.append(call)
        return Answer({})

    boundary = Boundary(world.calls, [tool(body)])
    token = CALLER.set(Caller(Principal("bot", frozenset({Scope.TRADE}))))
    try:
        refused = await boundary.call("sample", {})
        CALLER.set(Caller(Principal("bot", frozenset({Scope.READ}))))
        allowed = await boundary.call("sample", None)
    finally:
        CALLER.reset(token)
    assert refused["_meta"][FAILURE_META]["code"] == "permission_denied"
    assert "`read`" in refused["content"][0]["text"]
    assert allowed["structuredContent"] == {}
    assert len(ran) == 1


async def test_every_call_leaves_one_line_with_its_outcome(
    world: World, call_lines: list[dict[str, Any]]
) -> None:
    """Session, caller, tool, exchange, account, times and outcome; `-` where there is none."""
    token = CALLER.set(Caller(Principal("bot", frozenset(Scope)), "wf-orders", queued_ms=12.34))
    boundary = Boundary(world.calls, TOOLS)
    try:
        await boundary.call("get_open_orders", {})
        await boundary.call("no\nsuch", {})
    finally:
        CALLER.reset(token)
    first, second = call_lines
    assert first.pop("ms") > 0
    assert first == {
        "session": "wf-orders",
        "caller": "bot",
        "tool": "get_open_orders",
        "exchange": "paper",
        "account": "main",
        "queued_ms": 12.3,
        "outcome": "ok",
    }
    assert second["tool"] == "no?such"
    assert second["exchange"] == "-"
    assert second["outcome"] == "unknown_tool"


async def test_a_cancelled_call_is_logged_as_cancelled_and_stays_cancelled(
    world: World, call_lines: list[dict[str, Any]]
) -> None:
    """A cancellation from outside is never turned into a result."""
    entered = asyncio.Event()

    async def body(call: Call, args: Any) -> Answer:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(Boundary(world.calls, [tool(body)]).call("sample", {}))
    async with asyncio.timeout(5):
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [line["outcome"] for line in call_lines] == ["cancelled"]


async def test_a_cancellation_that_nobody_asked_for_is_a_fault(world: World) -> None:
    """Before: a shared task that was cancelled under a call ended the call without an answer."""

    async def body(call: Call, args: Any) -> Answer:
        shared = asyncio.create_task(asyncio.Event().wait())
        shared.cancel()
        await shared
        raise AssertionError

    async with asyncio.timeout(5):
        result = await Boundary(world.calls, [tool(body)]).call("sample", {})
    assert result["_meta"][FAILURE_META]["code"] == "internal"


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_cursor_that_was_never_given_out_is_refused(world: World, mode: str) -> None:
    """The list is one page; a made-up cursor is an error, not the same page again for ever."""
    async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
        with pytest.raises(MCPError, match="cursor"):
            await client.list_tools(cursor="abc")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_arguments_that_are_no_object_are_refused_in_words(world: World, mode: str) -> None:
    """Before: "Invalid request parameters" with nothing named. Now the parameter is named."""
    async with asyncio.timeout(10), Client(world.server, mode=mode) as client:
        dispatch = client.session._dispatcher
        meta: dict[str, Any] = {} if mode == "legacy" else {"_meta": _envelope()}
        cases: list[tuple[dict[str, Any], str]] = [
            ({"name": "list_accounts", "arguments": [1]}, "`arguments` of 'list_accounts'"),
            ({"name": "list_accounts", "arguments": "{}"}, "must be an object"),
            ({"arguments": {}}, "`name` must be a string"),
            ({"name": 5}, "`name` must be a string"),
        ]
        for params, words in cases:
            with pytest.raises(MCPError, match=words) as caught:
                await dispatch.send_raw_request("tools/call", {**params, **meta})
            assert caught.value.error.code == -32602
        null = await dispatch.send_raw_request(
            "tools/call",
            {"name": "list_accounts", "arguments": None, **meta},
        )
        assert null["structuredContent"]["total"] == 2


def _envelope() -> dict[str, Any]:
    """The `_meta` of a modern request."""
    return {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }


async def test_a_key_pasted_as_a_name_is_not_repeated(
    world: World, call_lines: list[dict[str, Any]]
) -> None:
    """A key given as exchange, account or symbol: refused, and in neither the text nor the log."""
    for name, arguments in [
        ("account_balance", {"account": SECRET}),
        ("account_balance", {"exchange": SECRET}),
        ("get_ticker", {"symbol": SECRET}),
        ("get_ohlcv", {"symbol": "BTC/USDT", "timeframe": "1h", "exchange": SECRET}),
        (SECRET, {}),
    ]:
        outcome = await world.call(name, arguments)
        assert outcome.is_error
        shown = (outcome.text + str(outcome.failure) + str(call_lines)).lower()
        assert SECRET[:16].lower() not in shown, (name, outcome)


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=70), st.just("5")
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = sorted({name for tool_ in TOOLS for name in tool_.arguments.model_fields})


async def test_any_json_as_arguments_gives_a_valid_result(world: World) -> None:
    """Fuzz through the whole stack: always a result of the documented form, never a traceback."""
    boundary = Boundary(world.calls, TOOLS)
    loop = asyncio.get_running_loop()
    await boundary.call("get_ticker", {"symbol": "BTC/USDT"})
    known = st.sampled_from(["BTC/USDT", "paper", "main", "1h", 5, "7", True, 1.0, "spot"])
    drawn = st.one_of(
        JSON,
        st.dictionaries(
            st.one_of(st.sampled_from(NAMES), st.text(max_size=9)),
            st.one_of(known, JSON),
            max_size=5,
        ),
    )

    def check(name: str, arguments: Any) -> None:
        pending = asyncio.run_coroutine_threadsafe(boundary.call(name, arguments), loop)
        result = pending.result(timeout=30)
        orjson.dumps(result)
        text = result["content"][0]["text"]
        if result.get("isError"):
            code = result["_meta"][FAILURE_META]["code"]
            assert code not in ("internal", "bad_response"), text
            assert text.startswith(f"{code}: ")
            assert "Traceback" not in text
            assert len(text) < 6_000
        else:
            assert orjson.loads(text) == result["structuredContent"]

    names = st.one_of(st.sampled_from([tool_.name for tool_ in TOOLS]), st.text(max_size=20))
    fuzz = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])(
        given(name=names, arguments=drawn)(check)
    )
    async with asyncio.timeout(90):
        await asyncio.to_thread(fuzz)
