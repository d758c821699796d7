"""Connections in front of applications that the product does not have."""

import asyncio
from typing import Any

import httpx

from ccxt_mcp.connections.limits import ConnectionLimits
from ccxt_mcp.connections.registry import Connections
from ccxt_mcp.serving import bind, serving


async def lifespan(receive: Any, send: Any) -> None:
    for stage in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{stage}.complete"})


async def test_a_body_that_the_application_does_not_read_yet_is_nobodys_fault() -> None:
    """uvicorn stops reading at 64 KiB. The client waits for the server, and not the other way
    round: without the look at that, it was told that its body came too late."""
    read = asyncio.Event()
    waiting = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        waiting.set()
        await read.wait()
        size = 0
        while True:
            message = await receive()
            assert message["type"] == "http.request"
            size += len(message["body"])
            if not message["more_body"]:
                break
        text = str(size).encode()
        headers = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    connections = Connections(ConnectionLimits(body_timeout=0.4, header_timeout=0.1))
    async with (
        asyncio.timeout(10),
        serving(app, bind("127.0.0.1", 0), connections) as url,
        httpx.AsyncClient(trust_env=False, timeout=5) as http,
    ):
        asking = asyncio.create_task(http.post(url, content=b"x" * 2_000_000))
        await waiting.wait()
        while connections.counts.timed_out_headers < 6:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2]))
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        read.set()
        assert (await asking).text == "2000000"
        assert connections.counts.timed_out_body == 0


async def test_blanks_around_a_headers_value_are_no_part_of_it() -> None:
    """RFC 9110, 5.5. The parser takes those before a value away and leaves those behind it: a
    routing header of 2026-07-28 then did not match its body, and `Mcp-Session-Id: a ` was another
    session than `a`."""
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        seen.extend(value for name, value in scope["headers"] if name == b"x-name")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with asyncio.timeout(10), serving(app, bind("127.0.0.1", 0)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2]))
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        values = (b"X-Name:bare", b"X-Name: \t in the middle \t ", b"X-Name:  ")
        writer.write(head + b"".join(value + b"\r\n" for value in values) + b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
        writer.close()
        await writer.wait_closed()
    assert seen == [b"bare", b"in the middle", b""]
