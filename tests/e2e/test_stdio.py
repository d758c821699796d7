"""`ccxt-mcp stdio` as a desktop host starts it: a process, two pipes, and a log beside them."""

import asyncio
import contextlib
import fcntl
import json
import os
import select
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from ccxt_mcp.simulation import Fault, SimulatedExchange, SimulationConfig, demo_venue
from tests.e2e.test_python_clients import FAILURES, SUCCESSES
from tests.unit.transport.toy import INITIALIZE

COMMAND = ["-m", "ccxt_mcp", "stdio"]
NOISY = [str(Path(__file__).parent / "noisy_stdio.py"), "stdio"]
ROOT = Path(__file__).parents[2]
OPEN_ORDERS = "GET /api/v3/openOrders"
ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])
Mode = Literal["legacy", "auto"]


@dataclass
class Place:
    """A venue, and a configuration file that names it."""

    sim: SimulatedExchange
    config: Path
    secrets: list[str]

    @property
    def environ(self) -> dict[str, str]:
        home = str(self.config.parent)
        kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        return kept | {"HOME": home, "CCXT_MCP_DATA_DIR": home}

    def parameters(self, program: list[str]) -> StdioServerParameters:
        return StdioServerParameters(
            command=sys.executable,
            args=["-W", "error", *program, "--config", str(self.config)],
            env=self.environ,
            cwd=self.config.parent,
        )

    async def start(
        self,
        program: list[str] = COMMAND,
        *,
        stdin: int = PIPE,
        stdout: int = PIPE,
        stderr: int = PIPE,
        closed: str = "",
    ) -> Process:
        """The program, with the ends of its pipes in the test's own hands.

        ``closed`` is a shell's redirection.
        """
        arguments = [sys.executable, "-W", "error", *program, "--config", str(self.config)]
        return await asyncio.create_subprocess_exec(
            *["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *arguments],
            env=self.environ,
            cwd=self.config.parent,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            limit=2**22,
        )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    venue, accounts = demo_venue(seed=7, linear_symbols=4)
    async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue) as sim:
        config = tmp_path / "desk.toml"
        lines = [
            'default_exchange = "paper"',
            "exchange_keys_from_env = false",
            "[exchanges.paper]",
            'exchange = "binance"',
            f'base_url = "{sim.base_url}"',
            f'default_account = "{accounts[0].name}"',
            'rate_limit = "off"',
            "[exchanges.paper.options.fetchMarkets]",
            'types = ["spot", "linear"]',
        ]
        for account in accounts:
            lines += [
                f"[accounts.{account.name}]",
                'exchange = "paper"',
                f'api_key = "{account.api_key}"',
                f'secret = "{account.secret}"',
            ]
        config.write_text("\n".join(lines))
        config.chmod(0o600)
        yield Place(sim, config, [text for a in accounts for text in (a.api_key, a.secret)])


@asynccontextmanager
async def client(
    place: Place, mode: Mode, program: list[str] = COMMAND
) -> AsyncIterator[tuple[Client, Path]]:
    """The SDK's own client over its own stdio transport, and where the program's stderr goes."""
    log = place.config.parent / "stderr.txt"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(60))
        errors = stack.enter_context(log.open("w"))
        transport = stdio_client(place.parameters(program), errlog=errors)
        yield await stack.enter_async_context(Client(transport, mode=mode)), log


async def told_while_markets_load(place: Place, host: Client) -> None:
    place.sim.faults.add(Fault(kind="latency", route="*exchangeInfo", milliseconds=600, times=1))
    told: list[str | None] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    result = await host.call_tool("get_ticker", {"symbol": "BTC/USDT"}, progress_callback=progress)
    assert not result.is_error, result
    assert "loading the markets of paper" in told


async def ended_at_the_exchange_when_cancelled(place: Place, host: Client) -> None:
    """And the next one runs."""
    place.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
    running = asyncio.create_task(host.call_tool("get_open_orders", {}))
    waiting = asyncio.create_task(host.call_tool("account_balance", {}))
    while not place.sim.counters.snapshot().in_flight:
        await asyncio.sleep(0.01)
    assert not waiting.done()
    running.cancel()
    balance = await waiting
    assert not balance.is_error
    assert place.sim.counters.snapshot().in_flight == 0


@ERAS
async def test_the_same_as_over_http_in_both_eras(place: Place, mode: Mode) -> None:
    """Tools, failures, progress, cancellation; in one process, whose start is what costs."""
    async with client(place, mode) as (host, log):
        await told_while_markets_load(place, host)
        listed = await host.list_tools()
        assert {tool.name for tool in listed.tools} == set(SUCCESSES)
        resources = host.server_capabilities.resources
        assert resources is not None
        assert resources.subscribe
        for tool, arguments in SUCCESSES.items():
            result = await host.call_tool(tool, arguments)
            assert not result.is_error, (tool, result)
        for tool, arguments in FAILURES.items():
            result = await host.call_tool(tool, arguments)
            assert result.is_error, tool
        status = (await host.call_tool("server_status", {})).structured_content
        assert status is not None
        assert status["caller"]["session"] == "stdio"
        assert status["caller"]["scopes"] == ["funds", "ops", "read", "trade"]
        await ended_at_the_exchange_when_cancelled(place, host)
    text = log.read_text()
    assert "session=stdio" in text
    assert "tool=get_ticker" in text
    assert not [secret for secret in place.secrets if secret in text]


async def test_whatever_prints_does_not_reach_the_host(place: Place) -> None:
    """One line of a library on standard output, and the host drops the connection or worse."""
    async with client(place, "auto", NOISY) as (host, log):
        for _ in range(3):
            result = await host.call_tool("noise", {})
            assert result.structured_content == {"printed": True}, result
    printed = log.read_text()
    for source in ("print", "kept", "original", "descriptor", "child True"):
        assert printed.count(f"NOISE {source}\n") == 3, printed


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def opened(process: Process, *more: dict[str, Any]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line(INITIALIZE))
    await process.stdin.drain()
    assert "result" in json.loads(await process.stdout.readline())
    process.stdin.write(line({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    for message in more:
        process.stdin.write(line(message))
    await process.stdin.drain()


def calling(request_id: int, tool: str) -> dict[str, Any]:
    params = {"name": tool, "arguments": {}}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


@asynccontextmanager
async def program(
    place: Place, command: list[str] = COMMAND, **pipes: Any
) -> AsyncIterator[Process]:
    async with asyncio.timeout(40):
        process = await place.start(command, **pipes)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.mark.parametrize(
    ("busy", "number"),
    [(False, signal.SIGINT), (True, signal.SIGTERM)],
    ids=["idle", "busy"],
)
async def test_a_signal_ends_it_with_exit_code_0_though_the_host_says_nothing(
    place: Place, busy: bool, number: signal.Signals
) -> None:
    async with program(place) as process:
        place.sim.faults.add(Fault(kind="hang", route=OPEN_ORDERS))
        await opened(process, *([calling(1, "get_open_orders")] if busy else []))
        while busy and not place.sim.counters.snapshot().in_flight:
            await asyncio.sleep(0.01)
        process.send_signal(number)
        assert await process.wait() == 0
        assert process.stderr is not None
        errors = (await process.stderr.read()).decode()
        assert "Traceback" not in errors, errors


async def test_the_end_of_input_ends_it_after_the_answers_with_exit_code_0(place: Place) -> None:
    async with program(place) as process:
        place.sim.faults.add(Fault(kind="latency", route=OPEN_ORDERS, milliseconds=300))
        await opened(process, calling(1, "get_open_orders"), calling(2, "account_balance"))
        assert process.stdin is not None
        process.stdin.close()
        out, errors = await process.communicate()
        answers = [json.loads(each) for each in out.splitlines()]
        assert [(each["id"], "isError" in each["result"]) for each in answers] == [
            (1, False),
            (2, False),
        ]
        assert process.returncode == 0
        assert b"Traceback" not in errors, errors


async def test_a_host_that_dies_leaves_no_process_behind(place: Place) -> None:
    """Both its pipes end at once, while a call runs: nobody is there to be answered."""
    theirs, mine = os.pipe()
    answers, sink = os.pipe()
    place.sim.faults.add(Fault(kind="latency", route=OPEN_ORDERS, milliseconds=300))
    try:
        async with program(place, stdin=theirs, stdout=sink) as process:
            os.close(theirs)
            os.close(sink)
            initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            for message in (INITIALIZE, initialized, calling(1, "get_open_orders")):
                os.write(mine, line(message))
            while not place.sim.counters.snapshot().in_flight:
                await asyncio.sleep(0.01)
            os.close(mine)
            os.close(answers)
            assert process.stderr is not None
            errors = (await process.stderr.read()).decode()
            assert await process.wait() == 0, errors
            assert "Traceback" not in errors, errors
            assert "the host reads no more" in errors
    finally:
        for descriptor in (theirs, mine, answers, sink):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.mark.parametrize("printing", [COMMAND, NOISY], ids=["log", "prints"])
async def test_a_host_that_does_not_read_standard_error_is_served_on(
    place: Place, printing: list[str]
) -> None:
    """Some never do. Once the pipe is full, 64 KiB or 500 calls later, what prints would wait for
    its reader for ever: the event loop, so no answer comes and no signal is heard."""
    errors, unread = os.pipe()
    fcntl.fcntl(unread, fcntl.F_SETPIPE_SZ, 4096)
    tool = "noise" if printing is NOISY else "server_status"
    try:
        async with program(place, printing, stderr=unread) as process:
            await opened(process)
            assert process.stdin is not None
            assert process.stdout is not None
            for number in range(8 if printing is NOISY else 60):
                process.stdin.write(line(calling(number, tool)))
                assert json.loads(await process.stdout.readline())["id"] == number
            assert select.select([], [unread], [], 0)[1] == [], "it is full"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        os.close(errors)
        os.close(unread)


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
async def test_without_one_of_its_pipes_it_is_refused_in_words(place: Place, closed: str) -> None:
    """Without the refusal the event loop's own descriptors stand there, and it aborts."""
    async with program(place, closed=closed) as process:
        _, errors = await process.communicate()
        assert process.returncode == 2, errors
        assert b"ccxt-mcp: standard " in errors
        assert b"is closed" in errors


async def test_without_standard_error_it_serves(place: Place) -> None:
    async with program(place, closed="2>&-") as process:
        await opened(process, calling(1, "server_status"))
        assert process.stdin is not None
        process.stdin.close()
        out, _ = await process.communicate()
        assert json.loads(out)["id"] == 1
        assert process.returncode == 0


async def test_a_configuration_that_cannot_work_is_refused_in_words(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("prot = 1\n")
    place = Place(SimulatedExchange(SimulationConfig()), bad, [])
    async with program(place) as process:
        out, errors = await process.communicate()
        assert process.returncode == 2
        assert out == b""
        assert b"prot" in errors
        assert b"Traceback" not in errors
