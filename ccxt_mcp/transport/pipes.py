"""MCP over two file descriptors, for hosts that start the server as a program of their own.

Owns: the lines of JSON-RPC in both directions, the one session that such a host is, and the way it
ends. Refuses: the protocol, which is the SDK's in both eras; and signals and the process's own
standard streams, which are the command's (``cli/stdio.py``).

Reading and writing is done in threads: a descriptor may be a pipe, a terminal or a file, and what
makes it non-blocking would do so for everybody else who holds it. They are daemons, since a read
cannot be ended from outside: the SDK's own stdio server, which waits for its thread, does not stop
at a signal before the host sends another line.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from ccxt_mcp.model import ANONYMOUS, CALLER, Caller
from ccxt_mcp.transport.refusal import Refusal, encode
from ccxt_mcp.transport.registry import REGISTRY, Registry
from ccxt_mcp.transport.session import SESSION
from ccxt_mcp.transport.wire import parse

__all__ = ["serve_pipes"]

logger = logging.getLogger(__name__)

_NAME = "stdio"
_GRACE = 20.0
"""Seconds that requests get to be answered once the host sends no more; above the tool timeout."""
_LAST_WORDS = 2.0
"""Seconds in which the host can still read what has been answered, once nothing else is done."""

_T = TypeVar("_T")


class _Owed:
    """Requests that were read and have neither been answered nor cancelled.

    ``_ids`` counts them by id, of which a client may use one several times; "7" is 7 there, as to
    the SDK. ``nothing`` is set exactly while there are none.
    """

    def __init__(self) -> None:
        self._ids: Counter[RequestId] = Counter()
        self.nothing = asyncio.Event()
        self.nothing.set()

    def asked(self, request_id: RequestId) -> None:
        self._ids[coerce_request_id(request_id)] += 1
        self.nothing.clear()

    def settled(self, request_id: RequestId | None) -> None:
        if request_id is None or (known := coerce_request_id(request_id)) not in self._ids:
            return
        self._ids[known] -= 1
        self._ids = +self._ids
        if not self._ids:
            self.nothing.set()


class _Aloud:
    """What is said to the host that belongs to no call; a session's own stream, always read.

    Mutable: ``_unsaid``, as many as the session has subscriptions at most.
    """

    connected = True

    def __init__(self) -> None:
        self._unsaid: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    def push(self, message: bytes) -> None:
        self._unsaid.append(message)
        self._wake.set()

    def push_once(self, message: bytes) -> None:
        if message not in self._unsaid:
            self.push(message)

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def say(self, outgoing: MemoryObjectSendStream[SessionMessage]) -> None:
        """Say it, for as long as anybody listens."""
        with outgoing, suppress(anyio.BrokenResourceError):
            while not self._closed:
                await self._wake.wait()
                self._wake.clear()
                while self._unsaid:
                    message = jsonrpc_message_adapter.validate_json(self._unsaid.popleft())
                    await outgoing.send(SessionMessage(message))


async def serve_pipes(
    server: Server[Any],
    registry: Registry,
    source: int,
    sink: int,
    *,
    stop: asyncio.Event,
    longest: int,
) -> None:
    """Serve one host until it sends no more, reads no more, or ``stop`` is set.

    At the end of ``source`` what has been asked is answered first, for at most 20 seconds. When the
    host does not read any more, and at ``stop``, calls under way are cancelled. Writes at exchanges
    finish in any case, as everywhere.

    Args:
        server: answers in both eras; the host's first request decides which. Its lifespan is
            entered here.
        registry: has the one session, in which calls run one after the other.
        source: descriptor of what the host sends, a JSON-RPC message a line.
        sink: descriptor of what the host reads.
        stop: ends serving.
        longest: bytes of a line; a longer one is answered with an error and read past.
    """
    # In a task, for its own context: every call finds there whose it is.
    await asyncio.create_task(_serve(server, registry, source, sink, stop, longest))


async def _serve(
    server: Server[Any],
    registry: Registry,
    source: int,
    sink: int,
    stop: asyncio.Event,
    longest: int,
) -> None:
    session = registry.find_or_open(ANONYMOUS, _NAME, None)
    REGISTRY.set(registry)
    SESSION.set(session)
    CALLER.set(Caller(session=session.label))
    owed = _Owed()
    incoming, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, answered = anyio.create_memory_object_stream[SessionMessage](0)
    session.stream = aloud = _Aloud()
    saying = asyncio.create_task(aloud.say(outgoing.clone()))
    # At the end of what the host sends, only what it asked for is owed to it, and no news.
    reading = asyncio.create_task(
        _read(source, incoming, outgoing.clone(), owed, longest, registry.close_streams)
    )
    writing = asyncio.create_task(_write(sink, answered, owed))
    stopping = asyncio.create_task(stop.wait())
    for end in (writing, stopping):
        end.add_done_callback(lambda _: reading.cancel())
    try:
        await server.run(received, outgoing, server.create_initialization_options())
    finally:
        reading.cancel()
        saying.cancel()
        stopping.cancel()
        await asyncio.wait({reading, writing}, timeout=_LAST_WORDS)
        writing.cancel()
        ends = await asyncio.gather(reading, saying, writing, stopping, return_exceptions=True)
        registry.close(session)
    for outcome in ends:
        if isinstance(outcome, Exception):
            raise outcome


async def _read(
    source: int,
    incoming: MemoryObjectSendStream[SessionMessage | Exception],
    outgoing: MemoryObjectSendStream[SessionMessage],
    owed: _Owed,
    longest: int,
    ending: Callable[[], None],
) -> None:
    """Pass on what the host sends. The end of ``incoming`` is the end of serving."""
    lines = os.fdopen(source, "rb", closefd=False)
    with incoming, outgoing, suppress(anyio.BrokenResourceError):
        while line := await _aside(lambda: _next(lines, longest)):
            if not line.strip():
                continue
            try:
                message = _message(line, longest)
            except Refusal as refusal:
                error = ErrorData(code=refusal.rpc_code, message=refusal.message)
                answer = JSONRPCError(jsonrpc="2.0", id=refusal.request_id, error=error)
                await outgoing.send(SessionMessage(answer))
                continue
            if isinstance(message.message, JSONRPCRequest):
                owed.asked(message.message.id)
            elif (
                isinstance(message.message, JSONRPCNotification)
                and message.message.method == "notifications/cancelled"
            ):
                owed.settled(cancelled_request_id_from_params(message.message.params))
            await incoming.send(message)
        ending()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await owed.nothing.wait()


def _next(lines: BinaryIO, longest: int) -> bytes:
    """The next line; of one that is too long, more than ``longest`` bytes of its beginning."""
    # With room for its end: a newline, and a carriage return before it.
    line = lines.readline(longest + 2)
    rest = line
    while len(rest) > longest and not rest.endswith(b"\n"):
        rest = lines.readline(longest + 2)
    return line


def _message(line: bytes, longest: int) -> SessionMessage:
    """One line's message.

    Raises:
        Refusal: it is none; the text says why.
    """
    if len(line.rstrip(b"\r\n")) > longest:
        raise Refusal(413, f"The line is longer than {longest} bytes (`max_body_bytes`)")
    if isinstance(parse(line, "line"), list):
        raise Refusal(400, "JSON-RPC batches are not served here: send one message a line")
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError:
        raise Refusal(400, "The line must be one JSON-RPC object") from None


async def _write(
    sink: int, answered: MemoryObjectReceiveStream[SessionMessage], owed: _Owed
) -> None:
    """Write what is to be said, a message a line, until there is nothing more or nobody reads."""
    with answered:
        async for out in answered:
            line = _line(out.message)
            try:
                await _aside(lambda line=line: _put(sink, line))  # type: ignore[misc]
            except OSError as error:
                logger.info("the host reads no more (%s)", type(error).__name__)
                return
            if isinstance(out.message, JSONRPCResponse | JSONRPCError):
                owed.settled(out.message.id)


def _line(message: JSONRPCMessage) -> bytes:
    try:
        return encode(message.model_dump(by_alias=True, exclude_unset=True)) + b"\n"
    except (TypeError, ValueError, RecursionError):
        if not isinstance(message, JSONRPCResponse):
            raise
        logger.exception("an answer cannot be JSON")
        error = {"code": INTERNAL_ERROR, "message": "Internal server error"}
        return encode({"jsonrpc": "2.0", "id": message.id, "error": error}) + b"\n"


def _put(sink: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(sink, rest) :]


def _aside(work: Callable[[], _T]) -> asyncio.Future[_T]:
    """What ``work`` returns, done in a thread that nobody waits for at the end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        # The loop may be closed: then nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="ccxt-mcp stdio", daemon=True).start()
    return done
