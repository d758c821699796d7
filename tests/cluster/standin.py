"""A replica that only listens: what reaches it is kept, and it answers or hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["StandIn", "standing_in"]


@dataclass
class StandIn:
    """``answers`` False: it takes the request and closes the connection, as a killed replica."""

    answers: bool = True
    port: int = 0
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (
                        int(line.partition(":")[2])
                        for line in head.splitlines()
                        if line.lower().startswith("content-length:")
                    ),
                    0,
                )
                await reader.readexactly(length)
                self.heads.append(head)
                if not self.answers:
                    return
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def standing_in(*, answers: bool = True, port: int = 0) -> AsyncIterator[StandIn]:
    """One of them, listening on loopback; at a free port, unless one is named."""
    one = StandIn(answers)
    server = await asyncio.start_server(one.serve, "127.0.0.1", port)
    one.port = int(server.sockets[0].getsockname()[1])
    try:
        yield one
    finally:
        server.close()
