"""Carries one scripted fault out on one HTTP request.

Owns the raw handling of the connection: half bodies, silence, resets. Relies on the server's
`handler_cancellation`: when the connection is gone, a handler that waits is cancelled, so nothing
here outlives its client. Refuses to choose faults (`faults.py`) and to know a dialect.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import NoReturn

import orjson
from aiohttp import web

from ccxt_mcp.simulation.dialect import JSON, WireAnswer
from ccxt_mcp.simulation.faults import Fault

__all__ = ["inflict", "respond"]

_PAGE = b"<!DOCTYPE html><html><head><title>Just a moment</title></head><body></body></html>"
_LINGER_NOTHING = struct.pack("ii", 1, 0)


def respond(answer: WireAnswer) -> web.Response:
    """The ordinary way out."""
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={"Content-Type": answer.content_type, **answer.headers},
    )


async def inflict(
    request: web.BaseRequest,
    fault: Fault,
    answer: Callable[[], WireAnswer],
    failure: Callable[[int], WireAnswer],
) -> web.StreamResponse:
    """Answer `request` the way `fault` says.

    `answer` executes the request (called at most once, and not at all by `hang`, `status`,
    `malformed`, `html`, `empty` and `reset`); `failure` words a status as the venue would.
    """
    match fault.kind:
        case "hang":
            return await _forever()
        case "reset":
            return await _reset(request)
        case "reply_lost":
            answer()
            return await _reset(request)
        case "drip":
            return await _drip(request, answer(), fault.interval_ms / 1000)
        case "truncated":
            return await _truncate(request, answer(), declare_all=fault.variant == "long")
        case "latency":
            await asyncio.sleep(fault.milliseconds / 1000)
            return respond(answer())
        case "status":
            said = failure(fault.status)
            body = said.body if fault.body is None else _encoded(fault.body)
            headers = {**said.headers, **fault.headers}
            return respond(WireAnswer(fault.status, body, headers, said.content_type))
        case "malformed":
            body = b"{}" if fault.body is None else _encoded(fault.body)
            return respond(WireAnswer(200, body, fault.headers))
        case "html":
            return respond(WireAnswer(200, _PAGE, fault.headers, "text/html;charset=UTF-8"))
        case "empty":
            return respond(WireAnswer(200, b"", fault.headers))


def _encoded(body: object) -> bytes:
    """Text and bytes as they are, anything else as JSON."""
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


async def _forever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("unreachable: nobody completes this future")


async def _reset(request: web.BaseRequest) -> NoReturn:
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            # Closing then discards what is unsent and answers with RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
        transport.abort()
    await _forever()


async def _head(request: web.BaseRequest, answer: WireAnswer) -> web.StreamResponse:
    response = web.StreamResponse(
        status=answer.status, headers={"Content-Type": JSON, **answer.headers}
    )
    response.content_length = len(answer.body)
    await response.prepare(request)
    return response


async def _drip(
    request: web.BaseRequest, answer: WireAnswer, interval: float
) -> web.StreamResponse:
    response = await _head(request, answer)
    for n in range(len(answer.body)):
        await response.write(answer.body[n : n + 1])
        await asyncio.sleep(interval)
    return response


async def _truncate(
    request: web.BaseRequest, answer: WireAnswer, *, declare_all: bool
) -> web.StreamResponse:
    half = answer.body[: max(1, len(answer.body) // 2)]
    if not declare_all:
        return respond(WireAnswer(answer.status, half, answer.headers))
    response = await _head(request, answer)
    await response.write(half)
    if request.transport is not None:
        request.transport.close()
    return await _forever()
