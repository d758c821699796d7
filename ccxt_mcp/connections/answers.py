"""What a client is told by the connection itself, before it is hung up on.

Owns: four whole HTTP responses, made once. Refuses: everything that an application answers. They
have the form of the other refusals (``transport/refusal.py``), so that MCP clients can read them.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from ccxt_mcp.connections.limits import MAX_HEADER_BYTES, MAX_HEADER_LINES

__all__ = ["ANSWERS"]


def _answer(status: int, code: int, message: str, *headers: bytes) -> bytes:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    body = json.dumps(error).encode()
    lines = (
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"cache-control: no-store",
        b"connection: close",
        *headers,
    )
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return head + b"\r\n".join(lines) + b"\r\n\r\n" + body


ANSWERS = {
    400: _answer(400, -32600, "Invalid HTTP request received."),
    408: _answer(408, -32600, "The request did not arrive in time"),
    431: _answer(
        431,
        -32600,
        f"The request line and the headers are more than {MAX_HEADER_BYTES} bytes or"
        f" {MAX_HEADER_LINES} lines",
    ),
    503: _answer(503, -32603, "The server has no connection left; try again", b"retry-after: 1"),
}
"""Status → response."""
