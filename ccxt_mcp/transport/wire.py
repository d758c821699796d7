"""Reading what one POST says: one MCP message, or a batch of them.

Owns: the body's size bound and the checks on the JSON-RPC envelope, each with a remedy in its
words. Refuses: everything that is not a request, notification or response object, or an array
(``batch.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from mcp_types import INVALID_PARAMS, RequestId
from starlette.types import Message as ScopeMessage
from starlette.types import Receive

from ccxt_mcp.transport.refusal import PARSE_ERROR, Refusal

__all__ = [
    "ClientGone",
    "Message",
    "accepts",
    "check_content_type",
    "check_encoding",
    "check_length",
    "envelope",
    "parse",
    "read_body",
    "reads_streams",
    "replayed",
]

_NOT_WANTED = re.compile(rb";\s*q\s*=\s*0(\.0*)?\s*(;|$)")
"""A media range of quality 0."""
_LONGEST_HANDSHAKE = 16_384
"""Bytes of an ``initialize``: its session keeps what it says."""


_REMEMBERED = 32
"""Header values whose meaning is remembered: nearly all clients send one of very few."""


class ClientGone(Exception):
    """The client left before its request was complete: nobody is there to be answered."""


@dataclass(frozen=True, slots=True)
class Message:
    """One JSON-RPC message of a client. ``method`` is None for a response to a request of ours."""

    method: str | None
    params: Mapping[str, Any] | None
    id: RequestId | None

    @property
    def is_request(self) -> bool:
        """Whether an answer is owed."""
        return self.method is not None and self.id is not None


def check_length(declared: bytes | None, limit: int) -> None:
    """Refuse a body by its Content-Length, before any of it is read.

    Raises:
        Refusal: 413.
    """
    if (
        declared is not None
        and declared.isdigit()
        and (len(declared) > 18 or int(declared) > limit)
    ):
        raise _too_large(limit)


async def read_body(receive: Receive, declared: bytes | None, limit: int) -> bytes:
    """The request's body of at most ``limit`` bytes.

    Raises:
        Refusal: 413 beyond the limit, as soon as that is known.
        ClientGone: the connection ended first.
    """
    check_length(declared, limit)
    first = await receive()
    if first["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = first.get("body", b"")
    if not first.get("more_body", False):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts = bytearray(body)
    while True:
        if len(parts) > limit:
            raise _too_large(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts += message.get("body", b"")
        if not message.get("more_body", False):
            if len(parts) > limit:
                raise _too_large(limit)
            return bytes(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """The channel of a request whose body has been read: gives it again, whole, then the rest."""
    given = False

    async def replay() -> ScopeMessage:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


@lru_cache(maxsize=_REMEMBERED)
def check_content_type(value: bytes | None) -> None:
    """Only JSON: what a foreign web page can send without asking first is refused.

    Raises:
        Refusal: 415.
    """
    media = (value or b"").split(b";", 1)[0].strip().lower()
    if media != b"application/json":
        shown = repr(value.decode("latin-1")[:80]) if value else "missing"
        raise Refusal(415, f"The Content-Type is {shown}; send `Content-Type: application/json`")


@lru_cache(maxsize=_REMEMBERED)
def accepts(value: bytes | None) -> tuple[bool, bool]:
    """(may the answer be JSON, may it be an event stream); a missing header is ``*/*``."""
    if value is None or not value.strip():
        return True, True
    json = sse = False
    for part in value.lower().split(b","):
        if _NOT_WANTED.search(part):
            continue
        match part.partition(b";")[0].strip():
            case b"*/*":
                return True, True
            case b"application/json" | b"application/*":
                json = True
            case b"text/event-stream" | b"text/*":
                sse = True
    return json, sse


def reads_streams(accept: bytes | None) -> bool:
    """Whether a client says by name that it reads event streams.

    ``*/*`` is what curl, ``fetch`` and HTTP libraries send without being asked; who writes no more
    than that parses one JSON object.
    """
    return accept is not None and b"text/" in accept.lower()


def parse(body: bytes, what: str = "body") -> Message | list[Any]:
    """One JSON-RPC message, or the unread entries of a batch. ``what`` it stands in is for words.

    Raises:
        Refusal: 400 (413 for too long a handshake), with the JSON-RPC code and the request's id
            where one could be read.
    """
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        wrong = "empty" if not body.strip() else "not valid JSON"
        raise Refusal(400, f"Parse error: the {what} is {wrong}", rpc_code=PARSE_ERROR) from None
    if isinstance(decoded, list):
        return decoded
    return envelope(decoded, len(body), what)


def check_encoding(body: bytes) -> None:
    """JSON is UTF-8 here (RFC 8259, section 8.1). Python's own reader, which is the SDK's, guesses
    others by their zeros, and whoever looks at the bytes on their way sees something else.

    Raises:
        Refusal: 400.
    """
    try:
        zeros = "\0" in body.decode()
    except UnicodeDecodeError:
        zeros = True
    if zeros:
        raise Refusal(400, "Parse error: the body is not UTF-8", rpc_code=PARSE_ERROR)


def envelope(decoded: Any, size: int, what: str = "body") -> Message:
    """The JSON-RPC message that a decoded value of ``size`` bytes is.

    Raises:
        Refusal: as ``parse``.
    """
    if not isinstance(decoded, dict):
        raise Refusal(400, f"The {what} must be one JSON-RPC object")
    request_id = decoded.get("id")
    has_id = "id" in decoded
    if has_id and (not isinstance(request_id, str | int) or isinstance(request_id, bool)):
        raise Refusal(400, "The JSON-RPC `id` must be a string or an integer")
    if decoded.get("jsonrpc") != "2.0":
        raise Refusal(400, f'The {what} must carry `"jsonrpc": "2.0"`', request_id=request_id)
    if "method" not in decoded:
        if has_id and ("result" in decoded or "error" in decoded):
            return Message(None, decoded, request_id)
        raise Refusal(400, "The JSON-RPC `method` is missing", request_id=request_id)
    method = decoded["method"]
    if not isinstance(method, str):
        raise Refusal(400, "The JSON-RPC `method` must be a string", request_id=request_id)
    params = decoded.get("params")
    if params is not None and not isinstance(params, dict):
        raise Refusal(
            400,
            "The JSON-RPC `params` must be an object",
            rpc_code=INVALID_PARAMS,
            request_id=request_id,
        )
    if not has_id and not method.startswith("notifications/"):
        raise Refusal(
            400,
            f"The JSON-RPC `id` is missing: `{method[:64]}` is a request, and one without an `id`"
            ' cannot be answered; add for instance `"id": 1`',
        )
    if method == "initialize" and size > _LONGEST_HANDSHAKE:
        raise Refusal(
            413,
            f"The `initialize` is larger than {_LONGEST_HANDSHAKE} bytes",
            request_id=request_id,
        )
    return Message(method, params, request_id)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"The body is larger than {limit} bytes (`max_body_bytes`)")
