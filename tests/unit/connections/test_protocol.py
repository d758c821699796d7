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
