"""Being told to stop: new work goes elsewhere, calls in flight finish, and the exit code is 0."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.unit.transport.toy import call

SERVER = """
import asyncio, sys
from ccxt_mcp.app import create_app
from ccxt_mcp.serving import bind, run_until_stopped
from ccxt_mcp.settings import Settings
from tests.unit.transport.toy import Toy

async def main():
    toy = Toy()
    app = create_app(Settings(), toy.server())

    async def commands():
        await asyncio.to_thread(sys.stdin.readline)
        toy.go.set()

    waiting = asyncio.create_task(commands())
    await run_until_stopped(
        app,
        bind("127.0.0.1", 0),
        drain=app.state.drain,
        started=lambda url: print(url, flush=True),
    )
    await waiting

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_drains(number: signal.Signals) -> None:
    """Steps: a call is held and a stream is open; the signal comes; readiness fails while the
    listener answers; a new call and a new stream are refused as retryable; the open stream ends;
    the held call finishes with its answer; the process ends with 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with (
            asyncio.timeout(30),
            httpx.AsyncClient(timeout=25, trust_env=False) as http,
            AsyncExitStack() as exits,
        ):
            url = (await process.stdout.readline()).decode().strip()

            async def post(session: str) -> httpx.Response:
                return await http.post(
                    f"{url}/mcp", json=call("hold"), headers={"Mcp-Session-Id": session}
                )

            held = asyncio.create_task(post("held"))
            while not any(
                item["inFlight"] for item in (await http.get(f"{url}/health")).json()["sessions"]
            ):
                await asyncio.sleep(0.01)
            stream = await exits.enter_async_context(
                http.stream("GET", f"{url}/mcp", headers={"Mcp-Session-Id": "held"})
            )
            chunks = stream.aiter_raw()
            assert await anext(chunks) == b": open\n\n"
            process.send_signal(number)
            while (await http.get(f"{url}/ready")).status_code != 503:
                await asyncio.sleep(0.01)
            assert (await http.get(f"{url}/live")).status_code == 200
            refused = await post("new")
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["connection"] == "close"
            failure = refused.json()["error"]["data"]
            assert (failure["code"], failure["retryable"]) == ("overloaded", True)
            assert [chunk async for chunk in chunks] == []
            assert not held.done()
            process.stdin.write(b"go\n")
            await process.stdin.drain()
            assert (await held).json()["result"]["content"]
            _, errors = await process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in errors
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
