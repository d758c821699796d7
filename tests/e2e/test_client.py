"""The client for workflows against a real server: both eras, restarts, cancellations, writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest

from ccxt_mcp.app import create_app
from ccxt_mcp.calls.bounds import Answer
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import OPERATIONS, Effect
from ccxt_mcp.client import CallFailed, SessionPool, Workflow, health
from ccxt_mcp.client.calls import Asked
from ccxt_mcp.client.wire import Era
from ccxt_mcp.product import assemble
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.simulation import Fault, SimulatedExchange, SimulationConfig, demo_venue
from ccxt_mcp.tools.arguments import Arguments
from ccxt_mcp.tools.server import TOOLS
from ccxt_mcp.tools.tool import Tool, result_schema
from tests.e2e.conftest import Stack, StackFactory, paper_settings, running_stack
from tests.e2e.relay import relayed

ERAS = get_args(Era)
ORDERS = "GET /api/v3/openOrders"
TRADES = "GET /api/v3/myTrades"
ROUTES = {"get_open_orders": ORDERS, "send": TRADES}
TICKER = {"symbol": "BTC/USDT"}


class _Numbered(Arguments):
    """Which one it is."""

    number: int = 0


@dataclass
class Writing:
    """A stack with a tool that is a write, and the numbers with which it was run."""

    stack: Stack
    order: list[int]

    def sent(self, tool: str) -> int:
        """Requests of a tool's that reached the venue."""
        return self.stack.sim.counters.by_route[ROUTES[tool]]


@pytest.fixture
async def writing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """The tool `send` is made of a private read, whose requests the venue counts."""
    order: list[int] = []

    async def send(call: Call, arguments: _Numbered) -> Answer:
        order.append(arguments.number)
        async with call.private(None, None, "fetch_my_trades") as lease:
            await call.fetch(lease, "fetch_my_trades", "BTC/USDT")
        return Answer({"sent": arguments.number})

    entry = replace(OPERATIONS["fetch_my_trades"], effect=Effect.WRITE)
    monkeypatch.setitem(OPERATIONS, "fetch_my_trades", entry)
    tool = Tool("send", "Send", "Sends.", _Numbered, result_schema(()), send, effect=Effect.WRITE)
    async with running_stack(tools=(*TOOLS, tool)) as running:
        await running.call("get_ticker", TICKER)
        yield Writing(running, order)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def nothing_left(stack: Stack) -> None:
    """No session of ours is at the server, and no request at the venue."""
    assert [each["sessionId"] for each in await stack.sessions() if _ours(each)] == []
    await until(lambda: not stack.sim.counters.in_flight)


def _ours(session: dict[str, Any]) -> bool:
    return str(session["sessionId"]).startswith(("wf-", "#"))


@pytest.mark.parametrize("adopt", [True, False], ids=["named", "minted"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_workflow_has_a_session_of_its_own_while_it_lasts(
    make_stack: StackFactory, era: Era, adopt: bool
) -> None:
    """Also where the server adopts no names: its own id, or in the modern era no session."""
    stack = await make_stack(adopt_named_sessions=adopt)
    async with Workflow("orders-btc", stack.url, era=era) as workflow:
        answer = await workflow.call("get_ticker", TICKER)
        assert answer["ticker"]["symbol"] == "BTC/USDT"
        assert (await workflow.call("get_ticker", symbol="ETH/USDT"))["ticker"]["last"]
        report = await health(stack.url)
        assert report.sessions is not None
        if adopt:
            (session,) = report.sessions
            assert session.session_id == workflow.session_id
            assert session.session_id.startswith("wf-orders-btc-")
            assert session.calls == 2
        if era == "2025-11-25":
            (session,) = report.sessions
            assert session.client is not None
            assert session.client.startswith("orders-btc/")
        assert report.active_sessions == len(report.sessions)
    await nothing_left(stack)


@pytest.mark.parametrize("era", ERAS)
async def test_gathered_calls_run_in_their_order_and_all_of_them(
    writing: Writing, era: Era
) -> None:
    """Sent at once on connections of their own they could arrive in any order: nothing keeps a call
    on a kept-alive connection behind one whose connection has to be opened first."""
    calls: list[Asked] = [("send", {"number": number}) for number in range(12)]
    calls.insert(5, ("get_ticker", {"symbol": "NO/PE"}))
    async with Workflow("w", writing.stack.url, era=era) as workflow:
        with pytest.raises(CallFailed, match="unknown_symbol"):
            await workflow.gather(*calls)
        assert writing.order == list(range(12))
        outcomes = await workflow.gather(*calls, "list_accounts", return_exceptions=True)
    assert isinstance(outcomes[5], CallFailed)
    assert [type(each) for each in outcomes].count(dict) == 13
    assert writing.order == [*range(12), *range(12)]


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_call_leaves_nothing_on_either_side(stack: Stack, era: Era) -> None:
    """Also one that waits in the workflow's line, and what comes behind it goes on."""
    async with Workflow("w", stack.url, era=era) as workflow:
        await workflow.call("get_ticker", TICKER)
        stack.sim.faults.add(Fault(kind="latency", route=ORDERS, milliseconds=20_000))
        before = stack.sim.counters.answers.copy()
        running = asyncio.create_task(workflow.call("get_open_orders"))
        await until(lambda: stack.sim.counters.in_flight > 0)
        waiting = asyncio.create_task(workflow.call("get_open_orders"))
        behind = asyncio.create_task(workflow.call("get_ticker", TICKER))
        await until(lambda: workflow.in_flight == 3)
        waiting.cancel()
        running.cancel()
        async with asyncio.timeout(10):
            assert (await behind)["ticker"]
            await asyncio.wait({running, waiting})
        await until(lambda: not stack.sim.counters.in_flight)
        answers = stack.sim.counters.answers - before
        assert answers["none"] == 1
        assert workflow.in_flight == 0
        stack.sim.faults.clear()
    await nothing_left(stack)


async def test_the_callers_deadline_ends_a_read_and_tells_a_writes_fate(writing: Writing) -> None:
    stack = writing.stack
    async with Workflow("w", stack.url, timeout=0.3) as workflow:
        await workflow.tools()
        for route in ROUTES.values():
            stack.sim.faults.add(Fault(kind="latency", route=route, milliseconds=1500))
        with pytest.raises(CallFailed) as caught:
            await workflow.call("get_open_orders")
        assert (caught.value.code, caught.value.retryable) == ("timeout", True)
        with pytest.raises(CallFailed) as caught:
            await workflow.call("send", number=1)
        assert (caught.value.code, caught.value.retryable) == ("outcome_unknown", False)
        # It ran to its end at the server, once, and the next call came after it.
        await workflow.call("list_accounts", timeout=10)
        assert writing.order == [1]
    await nothing_left(stack)


@pytest.mark.parametrize("kind", ["get_open_orders", "send"])
async def test_a_connection_that_is_cut_under_a_call(writing: Writing, kind: str) -> None:
    """The read is asked again; the write has arrived, so it must not be, and is told as such."""
    stack = writing.stack
    async with relayed(stack.url) as relay, Workflow("w", relay.url) as workflow:
        fault = Fault(kind="latency", route=ROUTES[kind], milliseconds=300, times=1)
        stack.sim.faults.add(fault)
        before = writing.sent(kind)
        call = asyncio.create_task(workflow.call(kind))
        await until(lambda: writing.sent(kind) > before)
        relay.cut()
        if kind == "send":
            with pytest.raises(CallFailed) as caught:
                await call
            assert caught.value.code == "outcome_unknown"
            assert caught.value.attempts == 1
        else:
            assert (await call)["orders"]
        assert (await workflow.call("list_accounts"))["accounts"]
        assert writing.sent(kind) - before == (1 if kind == "send" else 2)
    await nothing_left(stack)


@pytest.mark.parametrize("kind", ["get_open_orders", "send"])
async def test_a_failing_exchange_is_asked_again_for_reads_only(
    writing: Writing, kind: str
) -> None:
    """The server repeats a read itself; the client once more, and a write neither of them."""
    stack = writing.stack
    async with Workflow("w", stack.url, retries=1) as workflow:
        stack.sim.faults.add(Fault(kind="status", status=503, route=ROUTES[kind]))
        before, runs = writing.sent(kind), len(writing.order)
        with pytest.raises(CallFailed) as caught:
            await workflow.call(kind)
        if kind == "send":
            assert (caught.value.attempts, writing.sent(kind) - before) == (1, 1)
            assert len(writing.order) - runs == 1
        else:
            assert caught.value.attempts == 2
            assert writing.sent(kind) - before > 1


async def test_tokens_and_scopes(make_stack: StackFactory) -> None:
    token = "0123456789abcdef-reader"
    stack = await make_stack(tokens={"reader": {"token": token, "scopes": ["read"]}})
    for wrong in (None, "0123456789abcdef-other"):
        with pytest.raises(CallFailed) as caught:
            async with Workflow("w", stack.url, token=wrong):
                raise AssertionError("not reached")
        assert caught.value.code == "permission_denied"
        assert "token" in caught.value.hint.lower()
        with pytest.raises(CallFailed, match="permission_denied"):
            await health(stack.url, wrong)
    async with (
        Workflow("w", stack.url, token=token) as workflow,
        SessionPool(2, stack.url, token=token) as pool,
    ):
        assert (await workflow.call("get_ticker", TICKER))["ticker"]
        assert (await pool.call("get_ticker", TICKER))["ticker"]
        assert token not in repr(workflow) + repr(pool)
    report = await health(stack.url, token)
    assert (report.status, report.sessions) == ("healthy", None)


@pytest.mark.parametrize("era", ERAS)
async def test_a_caller_is_told_of_long_work(make_stack: StackFactory, era: Era) -> None:
    stack = await make_stack(load_apart=True)
    stack.sim.faults.add(Fault(kind="latency", route="*exchangeInfo", milliseconds=600))
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    async with Workflow("w", stack.url, era=era) as workflow:
        await workflow.call("get_ticker", TICKER, on_progress=progress)
        assert {message for _, _, message in told} == {"loading the markets of paper"}
        told.clear()
        await workflow.call("get_ticker", TICKER, on_progress=lambda *each: told.append(each))
        assert told == []


async def test_a_call_that_is_cancelled_in_its_stream_ends_at_the_server(
    make_stack: StackFactory,
) -> None:
    """In the older era the end of a stream means no more than that: the client says so as well."""
    stack = await make_stack(load_apart=True)
    stack.sim.faults.add(Fault(kind="latency", route="*exchangeInfo", milliseconds=3000))
    told = asyncio.Event()
    async with Workflow("w", stack.url) as workflow:
        asked: Callable[..., None] = lambda *_: told.set()  # noqa: E731
        call = asyncio.create_task(workflow.call("get_ticker", TICKER, on_progress=asked))
        async with asyncio.timeout(10):
            await told.wait()
        call.cancel()
        await asyncio.wait({call})
        stack.sim.faults.clear()
        async with asyncio.timeout(5):
            while any(each["inFlight"] for each in await stack.sessions()):
                await asyncio.sleep(0.01)


@dataclass
class Restartable:
    """A server that can be stopped and started again at its port, before one venue."""

    url: str
    stop: Callable[[], Any]
    start: Callable[[], Any]


@asynccontextmanager
async def restartable(**more: Any) -> AsyncIterator[Restartable]:
    venue, accounts = demo_venue(seed=7)
    async with AsyncExitStack() as exits:
        sim = await exits.enter_async_context(
            SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue)
        )
        running = AsyncExitStack()
        exits.push_async_callback(lambda: running.aclose())
        port = 0

        async def start() -> str:
            nonlocal port
            product = assemble(paper_settings(sim, accounts, **more), environ={}, load_apart=False)
            app = create_app(product=product)
            url = await running.enter_async_context(
                serving(app, bind("127.0.0.1", port), app.state.connections)
            )
            port = int(url.rsplit(":", 1)[1])
            return url

        yield Restartable(await start(), running.aclose, start)


@pytest.mark.parametrize("adopt", [True, False], ids=["named", "minted"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_restart_in_the_middle_is_survived(era: Era, adopt: bool) -> None:
    """Reads that fall into it are asked again; afterwards the session is there again, and ends."""
    async with (
        restartable(adopt_named_sessions=adopt) as server,
        Workflow("w", server.url, era=era, retries=20) as workflow,
        SessionPool(3, server.url, era=era, retries=20) as pool,
    ):
        await workflow.call("get_ticker", TICKER)
        await pool.gather(*[("get_ticker", TICKER)] * 3)
        await server.stop()
        calls = [
            asyncio.create_task(workflow.call("get_ticker", TICKER)),
            *(asyncio.create_task(pool.call("get_ticker", TICKER)) for _ in range(3)),
        ]
        await asyncio.sleep(0)
        await server.start()
        async with asyncio.timeout(60):
            again = await asyncio.gather(*calls)
        assert all(each["ticker"] for each in again)
        if adopt:
            report = await health(server.url)
            assert report.sessions is not None
            assert workflow.session_id in {each.session_id for each in report.sessions}
        await workflow.aclose()
        await pool.aclose()
        assert (await health(server.url)).active_sessions == 0


async def test_without_a_server_a_call_is_unreachable_and_nothing_was_sent() -> None:
    async with restartable() as server, Workflow("w", server.url, retries=1) as workflow:
        await workflow.call("get_ticker", TICKER)
        await server.stop()
        with pytest.raises(CallFailed) as caught:
            await workflow.call("get_ticker", TICKER)
        assert (caught.value.code, caught.value.retryable) == ("unreachable", True)
        assert caught.value.attempts == 2
        with pytest.raises(CallFailed, match="unreachable"):
            await health(server.url)


async def test_a_session_that_somebody_ended_is_opened_anew_for_a_write_too(
    make_stack: StackFactory, writing: Writing
) -> None:
    """The id that the server gave out answers 404 then, before anything is begun."""
    stack = writing.stack
    async with Workflow("w", stack.url) as workflow:
        await workflow.call("send", number=1)
        ended = await stack.http.delete(
            f"{stack.url}/mcp", headers={"Mcp-Session-Id": workflow.session_id}
        )
        assert ended.status_code == 204
        assert await workflow.call("send", number=2) == {"sent": 2}
    assert writing.order == [1, 2]
    await nothing_left(stack)
