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
from typing import Any

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
]

_TIMEOUT = 60.0
_LIMIT = 1 << 22
_VERSION = "2025-11-25"
_FAILED = (b'"isError":true', b'"isError": true', b'"error":{')


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body of an HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One kept-alive connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

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
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(*self.address, limit=_LIMIT)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = await self._chunks(self._reader)
        else:
            body = b""
        return Answer(int(head[0].split(" ", 2)[1]), headers, body)

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        parts = []
        while True:
            size = int(await reader.readline(), 16)
            parts.append((await reader.readexactly(size + 2))[:-2])
            if size == 0:
                return b"".join(parts)

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None


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
