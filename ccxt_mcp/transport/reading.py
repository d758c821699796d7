"""One GET that reads a track: what the client has missed, then what comes, until the track ends.

Owns: writing a track's events to one connection, with keep-alives. Refuses: to keep a place of its
own: what is replayed and what is live are the same events, read in the same loop, so that between
them nothing is lost and nothing comes twice; and to leave out what went for room before a slow
client took it: its connection ends, and whoever asks for the rest is told that it is gone.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Send

from ccxt_mcp.transport.responder import KEEP_ALIVE, KEEP_ALIVE_COMMENT, SSE_HEADERS
from ccxt_mcp.transport.track import Track

__all__ = ["read"]


async def read(track: Track, after: int, opening: bytes, receive: Receive, send: Send) -> None:
    """Write until the client leaves or has missed something, another connection takes over, or the
    track has ended.

    Args:
        after: the number of the event that the client has seen last.
        opening: sent first; tells proxies and clients at once that the stream stands.
    """
    reader = track.attach(after)

    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        reader.stop()

    leaving = asyncio.create_task(until_gone())
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]})
        await send({"type": "http.response.body", "body": opening, "more_body": True})
        while not (reader.stopped or reader.missed):
            chunk, reached = reader.pending()
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                reader.reached(reached)
            elif track.ended:
                break
            else:
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        await reader.woken()
                except TimeoutError:
                    chunk = KEEP_ALIVE_COMMENT
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not leaving.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        track.detach(reader)
        leaving.cancel()
        await asyncio.wait([leaving])
