"""Requests of the modern era, and of revisions that nobody knows.

Owns: what HTTP refuses before the SDK's own session manager serves them, since that does it without
a word. Refuses: to serve anything itself.
"""

from __future__ import annotations

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import PROTOCOL_VERSION_META_KEY
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS
from starlette.types import Receive, Scope, Send

from ccxt_mcp.transport.gate import Gate
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.wire import accepts, check_content_type, check_encoding, read_body, replayed

__all__ = ["serve_modern"]

_ALLOW = (b"allow", b"POST")
_ACCEPT_BOTH = (b"accept", b"application/json, text/event-stream")
_KNOWN = frozenset(version.encode() for version in KNOWN_PROTOCOL_VERSIONS)
_ENVELOPE = PROTOCOL_VERSION_META_KEY.encode()


async def serve_modern(
    manager: StreamableHTTPSessionManager,
    gate: Gate,
    scope: Scope,
    version: bytes,
    accept: bytes | None,
    content_type: bytes | None,
    content_length: bytes | None,
    receive: Receive,
    send: Send,
    *,
    max_body: int,
) -> None:
    """Serve one request whose ``MCP-Protocol-Version`` is no handshake revision.

    Raises:
        Refusal: 400, 405, 406, 413, 415 or 503.
    """
    if scope["method"] != "POST":
        if version not in _KNOWN:
            raise _unknown(version)
        raise Refusal(405, "Only POST is served in this protocol version", headers=[_ALLOW])
    check_content_type(content_type)
    body = await read_body(receive, content_length, max_body)
    check_encoding(body)
    # A modern client is told which revisions there are in the form that the SDK has for it.
    if version not in _KNOWN and _ENVELOPE not in body:
        raise _unknown(version)
    if accepts(accept) != (True, True):
        raise Refusal(
            406,
            "Answers are `application/json` or `text/event-stream`: this protocol version"
            " asks to accept both",
        )
    # The SDK wants both types named; a missing header and wildcards mean the same.
    others = [item for item in scope["headers"] if item[0] != b"accept"]
    scope = {**scope, "headers": [*others, _ACCEPT_BOTH]}
    gate.check()
    gate.enter()
    try:
        await manager.handle_request(scope, replayed(body, receive), send)
    finally:
        gate.leave()


def _unknown(version: bytes) -> Refusal:
    return Refusal(
        400,
        f"The MCP-Protocol-Version {version.decode('latin-1')[:40]!r} is not supported; supported"
        f" are {', '.join(KNOWN_PROTOCOL_VERSIONS)}",
    )
