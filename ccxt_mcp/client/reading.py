"""The server's answers, as JSON or as an event stream.

Owns: how much of an answer is read, and whether it is the one to this request. Refuses: connections
and requests (``wire.py``), and what failures mean (``translation.py``).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, TypeAlias

import httpx

from ccxt_mcp.client.failures import CallFailed, Fate, failed
from ccxt_mcp.client.translation import of_rpc_error, of_status

__all__ = ["OnProgress", "ProgressFailed", "content_of", "json_of", "refusal_of", "result_of"]

OnProgress: TypeAlias = Callable[[float, float | None, str | None], Awaitable[None] | None]
"""(progress, total or None, message or None), a function or a coroutine function."""

_MOST_BYTES = 64 * 2**20
"""Of an answer, or of one event of a stream, as it is once it is unpacked."""


class ProgressFailed(Exception):
    """Carries what ``on_progress`` raised past all who would take it for the call's own failure.

    Attributes:
        error: what it raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def result_of(
    response: httpx.Response,
    request_id: int,
    on_progress: OnProgress | None,
    streamed: Callable[[], None],
) -> dict[str, Any]:
    """The result in an answer with status 200.

    Args:
        response: not read yet.
        request_id: of the request that it has to answer.
        on_progress: told of what comes before the result.
        streamed: called once the answer has turned out to be a stream.

    Raises:
        CallFailed: there is no result, or none to this request.
        ProgressFailed: ``on_progress`` raised.
    """
    form = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if form == "text/event-stream":
        streamed()
        async with aclosing(_events(response)) as events:
            async for data in events:
                message = _message(data)
                if message.get("method") == "notifications/progress" and on_progress is not None:
                    await _tell_progress(on_progress, message.get("params"))
                elif _answers(message, request_id):
                    return _reply(message)
        raise failed("connection_lost", "the stream ended before the answer came", Fate.UNKNOWN)
    message = _message(await content_of(response))
    if not _answers(message, request_id):
        raise failed("unexpected_answer", "the answer is to another request", Fate.UNKNOWN)
    return _reply(message)


async def refusal_of(response: httpx.Response) -> CallFailed:
    """The failure in an answer with another status than 200."""
    try:
        body = json_of(await content_of(response))
    except (ValueError, CallFailed):
        body = None
    after = response.headers.get("retry-after", "")
    wait = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else None
    return of_status(response.status_code, body, wait)


async def content_of(response: httpx.Response) -> bytes:
    """The whole body.

    Raises:
        CallFailed: it is larger than any answer of a server.
    """
    parts: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        _bounded(size)
        parts.append(chunk)
    return b"".join(parts)


def json_of(data: bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is none. NaN and its like are none, and what is nested without measure is
            not read.
    """
    try:
        return json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _bounded(size: int) -> None:
    if size > _MOST_BYTES:
        most = f"the answer is larger than {_MOST_BYTES >> 20} MiB"
        raise failed("unexpected_answer", most, Fate.UNKNOWN)


def _message(data: bytes) -> dict[str, Any]:
    try:
        message = json_of(data)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise failed("unexpected_answer", "the answer is not a JSON object", Fate.UNKNOWN)
    return message


def _answers(message: Mapping[str, Any], request_id: int) -> bool:
    """Whether this answers that request; an error may not know to which request it belongs."""
    if message.get("jsonrpc") != "2.0" or "method" in message:
        return False
    return message.get("id") == request_id or ("error" in message and message.get("id") is None)


def _reply(message: Mapping[str, Any]) -> dict[str, Any]:
    if "error" in message:
        raise of_rpc_error(message["error"])
    result = message.get("result")
    if not isinstance(result, dict):
        raise failed("unexpected_answer", "the answer has no result", Fate.UNKNOWN)
    return result


async def _events(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event that has any.

    Not by ``aiter_lines``: that also splits at U+2028 and its like, which JSON may contain.
    """
    data: list[bytes] = []
    rest: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        _bounded(size)
        *lines, last = chunk.split(b"\n")
        for part in lines:
            line = b"".join((*rest, part)).removesuffix(b"\r")
            rest.clear()
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line:
                if any(data):
                    yield b"\n".join(data)
                data = []
                size = len(last)
        rest.append(last)


async def _tell_progress(on_progress: OnProgress, params: Any) -> None:
    if not isinstance(params, Mapping):
        return
    progress, total, message = (params.get(key) for key in ("progress", "total", "message"))
    if not isinstance(progress, int | float):
        return
    try:
        told = on_progress(
            progress,
            total if isinstance(total, int | float) else None,
            message if isinstance(message, str) else None,
        )
        if inspect.isawaitable(told):
            await told
    except Exception as error:
        raise ProgressFailed(error) from error
