"""Being told to stop: new work goes elsewhere, calls in flight finish, and the exit code is 0."""

import asyncio
import json
import signal
import socket
import sys
from contextlib import AsyncExitStack
from typing import Any

import httpx

from tests.unit.transport.toy import call

SERVER = """
import asyncio, sys
import uvloop
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

# As `serve` does.
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
"""


async def test_the_first_signal_drains() -> None:
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
            process.send_signal(signal.SIGTERM)
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


async def test_rude_clients_do_not_delay_the_exit() -> None:
    """Steps: streams are open, an answer lies unread with a call waiting behind it to be sent, one
    request has half its headers, one half its body, one connection is idle. The signal comes, and
    the process ends with 0 before the grace of 20 s is over, which the answer that cannot be sent
    took up whole."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    peers: list[socket.socket] = []
    loop = asyncio.get_running_loop()

    async def connect(data: bytes) -> socket.socket:
        peer = socket.socket()
        peers.append(peer)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        await loop.sock_connect(peer, ("127.0.0.1", port))
        await loop.sock_sendall(peer, data)
        return peer

    def post(body: dict[str, Any], session: str) -> bytes:
        payload = json.dumps(body).encode()
        return (
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Mcp-Session-Id: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (session.encode(), len(payload), payload)
        )

    try:
        async with asyncio.timeout(60), httpx.AsyncClient(timeout=25, trust_env=False) as http:
            url = (await process.stdout.readline()).decode().strip()
            port = int(url.rsplit(":", 1)[1])
            for number in range(5):
                first = await connect(post(call("echo"), f"s{number}"))
                assert (await loop.sock_recv(first, 100)).startswith(b"HTTP/1.1 200")
                stream = await connect(
                    b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: s%d\r\n\r\n" % number
                )
                assert (await loop.sock_recv(stream, 100)).startswith(b"HTTP/1.1 200")
            await connect(b"POST /mcp HTTP/1.1\r\nHost: loc")
            await connect(post(call("echo"), "half")[:-10])
            large = post(call("echo", "x" * 400_000), "unread")
            unread = await connect(b"")
            try:
                async with asyncio.timeout(2):
                    while True:
                        await loop.sock_sendall(unread, large)
            except TimeoutError:
                pass
            sessions = (await http.get(f"{url}/health")).json()["sessions"]
            assert [s["sessionId"] for s in sessions if s["inFlight"] or s["queued"]] == []
            started = loop.time()
            process.send_signal(signal.SIGTERM)
            while (await http.get(f"{url}/ready")).status_code != 503:
                await asyncio.sleep(0.01)
            for path in ("/live", "/health"):
                assert (await http.get(f"{url}{path}")).headers["connection"] == "close"
            modern = {
                "MCP-Protocol-Version": "2026-07-28",
                "Mcp-Method": "tools/call",
                "Mcp-Name": "echo",
            }
            refused = await http.post(f"{url}/mcp", json=call("echo"), headers=modern)
            assert refused.headers["connection"] == "close"
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            _, errors = await process.communicate()
        assert process.returncode == 0
        # The grace: a promise, not a measurement.
        assert loop.time() - started < 20
        assert b"Traceback" not in errors
    finally:
        for peer in peers:
            peer.close()
        if process.returncode is None:
            process.kill()
            await process.wait()
