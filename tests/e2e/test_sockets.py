"""What only a real socket shows: clients that leave half way, and a server that is told to stop."""

import asyncio
import json
import logging
import signal
import sys
from typing import Any

import httpx
import pytest

from ccxt_mcp.app import create_app
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.settings import Settings
from tests.unit.transport.toy import Toy, call

HELD = """
import asyncio
from ccxt_mcp.app import create_app
from ccxt_mcp.serving import bind, run_until_stopped
from ccxt_mcp.settings import Settings
from tests.unit.transport.toy import Toy

class Loud(Toy):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "running" and value:
            print("running", flush=True)

app = create_app(Settings(), Loud().server())
listener = bind("127.0.0.1", 0)
asyncio.run(run_until_stopped(app, listener, started=lambda url: print(url, flush=True)))
"""


def request(body: dict[str, Any], *headers: str) -> bytes:
    payload = json.dumps(body).encode()
    lines = [
        "POST /mcp HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + payload


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_a_client_that_leaves_amid_its_body_leaves_no_trace(
    version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the modern era it was a traceback in the log."""
    caplog.set_level(logging.WARNING)
    app = create_app(Settings(), Toy().server())
    async with asyncio.timeout(5), serving(app, bind("127.0.0.1", 0)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(request(call("echo"), f"MCP-Protocol-Version: {version}")[:-5])
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert caplog.records == []
    assert len(app.state.registry) == 0


async def stopped(*signals: signal.Signals) -> tuple[bytes, str, int | None]:
    """(answer to a call that runs for ever, stderr, exit code) of a server that got the signals."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HELD,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(15):
            port = int((await process.stdout.readline()).decode().rsplit(":", 1)[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(call("hold"), "Mcp-Session-Id: a"))
            assert await process.stdout.readline() == b"running\n"
            for number in signals:
                process.send_signal(number)
                # The first one closes the listener; the second must not overtake it.
                await closed(port)
            answer = await reader.read()
            writer.close()
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return answer, errors.decode(), process.returncode


async def closed(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.close()
        await asyncio.sleep(0.01)


async def test_a_second_signal_cuts_calls_short_with_an_answer() -> None:
    """It was a 500 and three tracebacks, and the exchanges' connections stayed open."""
    answer, errors, code = await stopped(signal.SIGTERM, signal.SIGINT)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"stopping" in answer
    assert "Traceback" not in errors
    assert code == 0


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b", "nosuch.invalid"])
def test_a_host_that_cannot_be_one_is_refused_in_words(host: str) -> None:
    """A label that is too long was a UnicodeError."""
    with pytest.raises(ConfigurationError, match="`host` must be an address of this machine"):
        bind(host, 0)


async def test_a_request_inherits_nothing_from_the_one_before_it_on_its_connection() -> None:
    """Flow control of a large body makes the event loop run what follows on the connection in the
    context of the request that caused it: a modern call without a workflow was then queued and
    counted in the session of an earlier one, perhaps of another caller behind the same proxy."""
    settings = Settings.model_validate({"max_body_bytes": 1_000_000})
    app = create_app(settings, Toy().server())
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    modern = call("echo")
    modern["params"]["_meta"] = meta
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
    async with (
        asyncio.timeout(10),
        serving(app, bind("127.0.0.1", 0)) as url,
        httpx.AsyncClient(
            trust_env=False, limits=httpx.Limits(max_connections=1), timeout=5
        ) as http,
    ):
        for _ in range(5):
            large = call("echo", "x" * 300_000)
            await http.post(f"{url}/mcp", json=large, headers={"Mcp-Session-Id": "wf"})
            answer = await http.post(f"{url}/mcp", json=modern, headers=headers)
            assert answer.status_code == 200
        (shown,) = app.state.registry.describe(10, 0)
    assert (shown["sessionId"], shown["calls"]) == ("wf", 5)
