"""The helper process: what becomes of a load whose process fails, hangs, dies or cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges import helper
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.helper import CannotHelp, load_apart
from ccxt_mcp.exchanges.jobs import Job, failure_from, failure_words
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.simulation import Fault, SimulatedExchange, SimulationConfig
from tests.unit.exchanges.conftest import ROOT, Bench, paper, until

MARKETS = "GET /api/v3/exchangeInfo"


def children() -> list[psutil.Process]:
    """This process's, without the store's server that other tests have it keep."""
    return [
        each
        for each in psutil.Process().children()
        if each.is_running()
        and each.status() != psutil.STATUS_ZOMBIE
        and not each.name().startswith(("redis", "valkey"))
    ]


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "_PROGRAM", "tests.unit.exchanges.bad_helper")


def job(does: str = "") -> Job:
    return Job("paper", "binance", "f", 1000, "", options={"does": does})


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    before = {each.pid for each in children()}
    files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    yield
    assert {each.pid for each in children()} <= before
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= files


@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("crashes", "exit code 1"),
        ("is killed", "signal 9"),
        ("prints", "cannot be read"),
        ("babbles", "cannot be read"),
        ("stops", "ended before its work was done"),
    ],
)
async def test_a_helper_that_fails_is_a_failure_worth_another_try(
    does: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with nothing_left(), caplog.at_level(logging.WARNING):
        async with asyncio.timeout(20):
            with pytest.raises(Failure) as caught:
                await load_apart(
                    job(does), limit=15, redact=lambda text: text.replace("s3cr3t", "***")
                )
    assert (caught.value.code, caught.value.retryable) == (Code.INTERNAL, True)
    assert words in caught.value.message
    assert caught.value.operation == "loadMarkets"
    # Its own words are for the log, without secrets; a traceback is nobody's answer.
    assert "Traceback" not in str(caught.value.as_dict())
    assert "s3cr3t" not in caplog.text
    if does == "crashes":
        assert "helper process of paper: out of order: ***" in caplog.text


@pytest.mark.usefixtures("bad")
async def test_a_helper_that_hangs_is_killed_at_the_limit() -> None:
    with nothing_left():
        async with asyncio.timeout(20):
            with pytest.raises(Failure) as caught:
                await load_apart(job("hangs"), limit=1)
    assert caught.value.code is Code.TIMEOUT
    assert "not loaded within 1s" in caught.value.message


@pytest.mark.usefixtures("bad")
async def test_a_cancelled_load_kills_its_helper() -> None:
    with nothing_left():
        task = asyncio.create_task(load_apart(job("hangs"), limit=60))
        await until(lambda: bool(children()))
        task.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.mark.usefixtures("bad")
async def test_what_a_helper_cannot_do_is_told_apart_from_what_failed() -> None:
    """In these cases a load in the server can succeed; after a crash or a timeout it might not."""
    for does, words in (("leaves", "cannot run here"), ("cannot send", "options.x holds a lock")):
        async with asyncio.timeout(20):
            with pytest.raises(CannotHelp, match=words):
                await load_apart(job(does), limit=15)


@pytest.mark.usefixtures("bad")
async def test_a_helper_gets_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: a child inherits the whole environment, API keys included."""
    monkeypatch.setenv("BINANCE_API_KEY", "k3y")
    monkeypatch.setenv("CCXT_MCP_TOKENS__A__TOKEN", "t0ken")
    async with asyncio.timeout(20):
        with pytest.raises(Failure) as caught:
            await load_apart(job("shows its environment"), limit=15)
    assert "PATH=" in caught.value.message
    assert "k3y" not in caught.value.message
    assert "t0ken" not in caught.value.message


async def test_a_process_is_not_started_on_the_loops_thread(
    bench_apart: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: uvloop forked there, 25 ms of CPU in a server of 1 GB, more with each exchange."""
    threads: list[bool] = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            threads.append(threading.current_thread() is threading.main_thread())
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    async with asyncio.timeout(20), bench_apart.gateway.public("paper"):
        assert threads == [False]


async def test_a_load_given_up_while_its_process_starts_leaves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread cannot be cancelled: the process comes into being after its load has ended."""
    begun, go = threading.Event(), threading.Event()

    class Slow(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            begun.set()
            go.wait(10)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    with nothing_left():
        task = asyncio.create_task(load_apart(job(), limit=60))
        await until(begun.is_set)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_where_no_process_can_start_the_server_loads_itself(
    bench_apart: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for executable in ("", "/nonexistent/python", str(Path("/bin/false"))):
        monkeypatch.setattr(sys, "executable", executable)
        gateway = Gateway(
            {"paper": paper(bench_apart.sim.base_url)}, on_progress=bench_apart.progress.append
        )
        async with asyncio.timeout(10), gateway.public("paper") as lease:
            assert lease.market("BTC/USDT")["id"] == "BTCUSDT"
        assert gateway.snapshot()["paper"]["marketsFrom"] == "process"
        assert any("in the server's own process" in each for each in bench_apart.progress)
        await gateway.close()


async def test_a_helper_killed_from_outside_poisons_nothing(bench_apart: Bench) -> None:
    """kill -9 in the midst of a load, as the kernel does when memory runs out."""
    bench_apart.sim.faults.add(Fault(kind="hang", route=MARKETS, times=1))

    async def orders() -> int:
        async with bench_apart.gateway.private(bench_apart.main) as lease:
            return len(await lease.call("fetch_open_orders"))

    waiters = [asyncio.create_task(orders()) for _ in range(3)]
    async with asyncio.timeout(20):
        await until(lambda: bench_apart.count(MARKETS) == 1)
        (child,) = children()
        child.kill()
        found = await asyncio.gather(*waiters, return_exceptions=True)
        assert [getattr(each, "code", each) for each in found] == [Code.INTERNAL] * 3
        assert all(isinstance(each, Failure) and each.retryable for each in found)
        assert await orders() == 7
    assert bench_apart.count(MARKETS) == 2


async def test_closing_the_gateway_kills_the_helper(bench_apart: Bench) -> None:
    bench_apart.sim.faults.add(Fault(kind="hang", route=MARKETS))
    with nothing_left():
        waiter = asyncio.create_task(bench_apart.gateway.public("paper").__aenter__())
        await until(lambda: bench_apart.count(MARKETS) == 1)
        async with asyncio.timeout(5):
            await bench_apart.gateway.close()
            with pytest.raises(Failure, match="shutting down"):
                await waiter
            # The venue sees the connection go.
            await until(lambda: bench_apart.sim.counters.snapshot().in_flight == 0)


_PARENT = """
import asyncio, sys
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.settings import ExchangeProfile

async def main():
    profile = ExchangeProfile(name="paper", exchange="binance", base_url=sys.argv[1])
    async with Gateway({"paper": profile}).public("paper"):
        pass

asyncio.run(main())
"""


async def test_no_orphan_stays_behind_a_killed_server() -> None:
    """The child sees its standard input end, whatever became of the server."""
    async with SimulatedExchange(SimulationConfig()) as sim:
        sim.faults.add(Fault(kind="hang"))
        server = subprocess.Popen(
            [sys.executable, "-c", _PARENT, sim.base_url],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(20):
                while not sim.counters.snapshot().by_route.get(MARKETS):
                    await asyncio.sleep(0.01)
            (child,) = psutil.Process(server.pid).children()
            server.send_signal(signal.SIGKILL)
            await asyncio.to_thread(child.wait, 10)
        finally:
            server.kill()
            server.wait()


async def test_a_load_apart_counts_where_all_requests_count() -> None:
    """Before each request of the helper the server's limiter is asked, and it hears the answer."""
    asked: list[Any] = []

    class Request:
        async def __aenter__(self) -> Request:
            return self

        async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
            asked.append(("done", None if kind is None else kind.__name__))

        def answered(self, status: int, headers: Any) -> None:
            asked.append((status, {key.lower() for key in headers} & {"x-mbx-used-weight-1m"}))

        def refused(self, error: BaseException, status: int) -> float:
            asked.append((type(error).__name__, status))
            return 7.0

    class Pacing:
        def request(self, api: Any, path: str, method: str, cost: float) -> Request:
            asked.append((api, path, method, cost))
            return Request()

    async with SimulatedExchange(SimulationConfig()) as sim:
        given = Job(
            *("paper", "binance", "f"),
            timeout_ms=5000,
            trust="",
            base_url=sim.base_url,
            options={"fetchMarkets": {"types": ["spot"]}},
            paced=True,
        )
        async with asyncio.timeout(20):
            await load_apart(given, limit=15, pacing=Pacing())
            assert asked == [
                (["public"], "exchangeInfo", "GET", 4),
                (200, {"x-mbx-used-weight-1m"}),
                ("done", None),
            ]
            asked.clear()
            sim.faults.add(Fault(kind="status", status=429))
            with pytest.raises(Failure) as caught:
                await load_apart(given, limit=15, pacing=Pacing())
    assert caught.value.code is Code.RATE_LIMITED
    assert caught.value.retry_after is not None
    assert ("RateLimitExceeded", 429) in asked or ("DDoSProtection", 429) in asked
    assert asked[-1] == ("done", "_Unanswered")


async def test_a_refused_request_ends_the_load_with_the_refusal() -> None:
    class Refusing:
        def request(self, *_: Any) -> Any:
            return self

        async def __aenter__(self) -> None:
            raise Failure(Code.RATE_LIMITED, "paper: wait", retry_after=3.0)

        async def __aexit__(self, *_: Any) -> None:
            raise AssertionError

    async with SimulatedExchange(SimulationConfig()) as sim, asyncio.timeout(20):
        given = Job("paper", "binance", "f", 5000, "", base_url=sim.base_url, paced=True)
        with pytest.raises(Failure) as caught:
            await load_apart(given, limit=15, pacing=Refusing())
        assert sim.counters.snapshot().total == 0
    assert (caught.value.code, caught.value.retry_after) == (Code.RATE_LIMITED, 3.0)


def test_the_helper_imports_half_of_the_server(apart: Callable[..., Any]) -> None:
    """Before: 0.33 s of CPU and 48 MB before it began, for pydantic, the gateway and its limits."""
    names = apart(
        "import json, sys, ccxt_mcp.exchanges.loader\n"
        "print(json.dumps([n for n in sys.modules if n.split('.')[0] in ('pydantic', 'mcp', 'ccxt')"
        " or n in ('ccxt_mcp.exchanges.gateway', 'ccxt_mcp.settings')]))"
    )
    assert names == []


def test_a_failure_keeps_its_words_on_the_way() -> None:
    failure = Failure(
        Code.RATE_LIMITED, "a", hint="b", retryable=False, exchange="c", operation="d",
        retry_after=1.5, details={"e": [1]},
    )  # fmt: skip
    assert failure_from(failure_words(failure)).as_dict() == failure.as_dict()


async def test_an_exchange_that_hides_its_markets_says_so() -> None:
    """Found by reading CCXT: alpaca and mudrex ask for a key. Before: a load that always failed
    as `authentication_failed`, with the account's keys in order."""
    for exchange in ("alpaca", "mudrex"):
        gateway = Gateway({exchange: ExchangeProfile(name=exchange, exchange=exchange)})
        with pytest.raises(Failure) as caught:
            async with asyncio.timeout(20), gateway.public(exchange):
                pass
        assert caught.value.code is Code.NOT_SUPPORTED
        assert "shows its markets to nobody without a key" in caught.value.message
        await gateway.close()
