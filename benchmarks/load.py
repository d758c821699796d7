"""A cheap HTTP client: keep-alive connections that send the same bytes again and again.

Owns: framing of HTTP/1.1 requests and answers, MCP's handshake, and closed loops of callers.
Refuses an answer that is not a success: what is measured has to be the real thing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from benchmarks.processes import BenchmarkError, Child

__all__ = [
    "Caller",
    "Connection",
    "Load",
    "drive",
    "list_tools",
    "minted",
    "named",
    "run_load",
    "tool_call",
    "workflow",
]

_TIMEOUT = 60.0
_VERSION = "2025-11-25"
_MODERN = "2026-07-28"
_FAILED = (b'"isError":true', b'"isError": true', b'"error":{')


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body of an HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Wire(asyncio.Protocol):
    """One connection's answers; one request under way at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._head: tuple[int, dict[str, str], int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no subclass of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the server closed the connection"))

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        assert self.transport is not None
        self._received.clear()
        self._head = None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._waiting is None or self._waiting.done():
            return
        if self._head is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = _head(bytes(self._received[:end]), end + 4)
        status, headers, start = self._head
        if "content-length" in headers:
            if len(self._received) - start >= int(headers["content-length"]):
                self._waiting.set_result(Answer(status, headers, bytes(self._received[start:])))
        elif headers.get("transfer-encoding") != "chunked":
            self._waiting.set_result(Answer(status, headers, b""))
        elif self._received.endswith(b"0\r\n\r\n"):
            body = _dechunked(bytes(self._received[start:]))
            self._waiting.set_result(Answer(status, headers, body))


def _head(head: bytes, start: int) -> tuple[int, dict[str, str], int]:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(first.split(" ", 2)[1]), headers, start


def _dechunked(raw: bytes) -> bytes:
    parts = []
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        raw = rest[int(size, 16) + 2 :]
    return b"".join(parts)


class Connection:
    """A kept-alive connection; opened, and opened again, when something is sent."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self._wire = _Wire()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The bytes of a request."""
        payload = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: {}:{}".format(*self.address)]
        if body is not None:
            lines.append("Content-Type: application/json")
            lines.append("Accept: application/json, text/event-stream")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines.append(f"Content-Length: {len(payload)}")
        return "\r\n".join([*lines, "", ""]).encode() + payload

    async def send(self, request: bytes) -> Answer:
        """Send prepared bytes and read the whole answer."""
        if self._wire.transport is None:
            loop = asyncio.get_running_loop()
            _, self._wire = await loop.create_connection(_Wire, *self.address)
        return await self._wire.send(request)

    async def close(self) -> None:
        if self._wire.transport is not None:
            self._wire.transport.close()


class Caller:
    """One session on one connection, repeating one request."""

    def __init__(self, connection: Connection, headers: Mapping[str, str]) -> None:
        self.connection = connection
        self._headers = dict(headers)
        self._request = b""

    def prepare(self, message: Mapping[str, Any]) -> Caller:
        """Take this JSON-RPC request as what `call` sends."""
        self._request = self.connection.request("POST", "/mcp", message, self._headers)
        return self

    def at(self, connection: Connection) -> Caller:
        """The same session on another connection."""
        return Caller(connection, self._headers)

    async def call(self) -> bytes:
        """Send it; the body of the answer. Raises `BenchmarkError` for anything but success."""
        answer = await self.connection.send(self._request)
        if answer.status != 200 or any(mark in answer.body[:400] for mark in _FAILED):
            raise BenchmarkError(f"a call failed: {answer.status} {answer.body[:600]!r}")
        return answer.body

    async def result(self) -> dict[str, Any]:
        """Send it; the decoded result."""
        found = json.loads(await self.call())["result"]
        assert isinstance(found, dict)
        return found

    async def end(self) -> None:
        """Send DELETE for the session."""
        await self.connection.send(self.connection.request("DELETE", "/mcp", None, self._headers))


class _Workflow(Caller):
    """One workflow of the modern era: each tool call tells all that a handshake would."""

    def __init__(self, connection: Connection, name: str) -> None:
        super().__init__(connection, {})
        self._meta = {
            "io.modelcontextprotocol/protocolVersion": _MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
            "ccxt-mcp/workflow": name,
        }

    def prepare(self, message: Mapping[str, Any]) -> Caller:
        self._headers = {
            "MCP-Protocol-Version": _MODERN,
            "Mcp-Method": message["method"],
            "Mcp-Name": message["params"]["name"],
        }
        return super().prepare({**message, "params": {**message["params"], "_meta": self._meta}})


def tool_call(tool: str, **arguments: Any) -> dict[str, Any]:
    """A `tools/call` request."""
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }


def list_tools() -> dict[str, Any]:
    """A `tools/list` request."""
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def named(connection: Connection, name: str) -> Caller:
    """A session that the client names: plain HTTP, no handshake."""
    return Caller(connection, {"Mcp-Session-Id": name})


def workflow(connection: Connection, name: str) -> Caller:
    """Calls of the modern era under a common name."""
    return _Workflow(connection, name)


async def minted(connection: Connection) -> Caller:
    """A session by handshake, as the clients of the legacy era open it."""
    hello = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": _VERSION,
            "capabilities": {},
            "clientInfo": {"name": "benchmark", "version": "1"},
        },
    }
    answer = await connection.send(connection.request("POST", "/mcp", hello))
    session = answer.headers.get("mcp-session-id")
    if answer.status != 200 or session is None:
        raise BenchmarkError(f"initialize failed: {answer.status} {answer.body[:400]!r}")
    headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": _VERSION}
    done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await connection.send(connection.request("POST", "/mcp", done, headers))
    return Caller(connection, headers)


async def drive(callers: Sequence[Caller], calls: int) -> float:
    """All callers at once, each sending its next request as it has its answer; wall seconds."""
    left = calls

    async def loop(caller: Caller) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await caller.call()

    started = time.perf_counter()
    async with asyncio.timeout(_TIMEOUT), asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(loop(caller))
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Load:
    """What some calls took: wall seconds, and CPU seconds of the process that served them."""

    calls: int
    wall: float
    cpu: float

    @property
    def cpu_per_call(self) -> float:
        return self.cpu / self.calls

    @property
    def per_second(self) -> float:
        return self.calls / self.wall

    @property
    def per_cpu_second(self) -> float:
        return self.calls / self.cpu


async def run_load(server: Child, callers: Sequence[Caller], calls: int) -> Load:
    """`drive`, with the server's CPU."""
    before = server.cpu
    wall = await drive(callers, calls)
    return Load(calls, wall, server.cpu - before)
