"""HTTP clients that misbehave: connections that are cut where a well-made client never would.

Owns: the bytes of MCP requests in both eras, reading an answer of either kind to its end, and the
ways to leave (close, reset, half-close). Refuses: to mend anything; what breaks is told as `Gone`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["LEGACY", "MODERN", "Answer", "Gone", "Leaving", "Line", "initialize", "tool", "wire"]

LEGACY = "2025-11-25"
MODERN = "2026-07-28"

Leaving = Literal["close", "reset"]

_ACCEPT = "application/json, text/event-stream"
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing sends RST instead of FIN."""


class Gone(Exception):
    """The connection ended before a whole answer was here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `messages` are its JSON-RPC messages, one unless it was a stream."""

    status: int
    headers: dict[str, str]
    messages: list[dict[str, Any]]

    def replies(self) -> list[dict[str, Any]]:
        """The messages that answer a request: results and errors, not notifications."""
        return [each for each in self.messages if "method" not in each]


def wire(
    method: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    path: str = "/mcp",
    last: bool = False,
) -> bytes:
    """The bytes of a request; `last` asks the server to close the connection after its answer."""
    payload = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Accept: {_ACCEPT}"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(payload)}"]
    if last:
        lines.append("Connection: close")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + payload


def tool(
    name: str, arguments: Mapping[str, Any], request_id: int | str, meta: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """A `tools/call`."""
    params = {"name": name, "arguments": dict(arguments), "_meta": dict(meta)}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def initialize() -> dict[str, Any]:
    """The handshake's request."""
    params = {
        "protocolVersion": LEGACY,
        "capabilities": {},
        "clientInfo": {"name": "chaos", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params}


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Line:
        try:
            return cls(*await asyncio.open_connection(*address, limit=1 << 22))
        except OSError as error:
            raise Gone(f"refused: {error}") from None

    def send(self, data: bytes) -> None:
        """Hand bytes to the kernel, as far as it takes them at once."""
        self._writer.write(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    def leave(self, how: Leaving = "close") -> None:
        """Hang up, whatever is under way."""
        if how == "reset":
            holder = self._writer.get_extra_info("socket")
            # The other side may have been quicker.
            with suppress(OSError):
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._writer.transport.abort()
        self._writer.close()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers (lower-case names)."""
        try:
            raw = await self._reader.readuntil(b"\r\n\r\n")
        except (OSError, EOFError) as error:
            raise Gone(str(error)) from None
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return int(first.split(" ", 2)[1]), headers

    async def chunk(self) -> bytes:
        """The next piece of a body of unknown length; empty at its end."""
        try:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            return (await self._reader.readexactly(size + 2))[:-2]
        except (OSError, EOFError) as error:
            raise Gone(str(error)) from None

    async def answer(self) -> Answer:
        """The whole next answer. Raises `Gone` if it does not come, or not whole."""
        status, headers = await self.head()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while piece := await self.chunk():
                body += piece
        elif length := int(headers.get("content-length", "0")):
            try:
                body = await self._reader.readexactly(length)
            except (OSError, EOFError) as error:
                raise Gone(str(error)) from None
        return Answer(status, headers, _messages(headers.get("content-type", ""), body))

    async def rest(self) -> bytes:
        """What the server sends until it closes."""
        try:
            return await self._reader.read()
        except OSError as error:
            raise Gone(str(error)) from None

    async def ask(self, data: bytes) -> Answer:
        """Send a request and read its answer."""
        self.send(data)
        return await self.answer()


def _messages(kind: str, body: bytes) -> list[dict[str, Any]]:
    if kind.startswith("text/event-stream"):
        lines = (line for line in body.split(b"\n") if line.startswith(b"data:"))
        return [json.loads(line[5:]) for line in lines]
    return [json.loads(body)] if kind.startswith("application/json") else []
