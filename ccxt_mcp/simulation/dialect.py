"""The seam between the venue and a venue's way of speaking: one request in, one answer out.

Owns the words `WireRequest`, `WireAnswer` and the `Dialect` protocol. A dialect is synchronous: it
decides at once, and the server alone waits, injects faults and writes to sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["JSON", "Dialect", "WireAnswer", "WireRequest"]

JSON = "application/json;charset=UTF-8"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP request. `path` and `query` are exactly as sent (still percent-encoded)."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    peer: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """One HTTP answer with its whole body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON


class Dialect(Protocol):
    """What a venue's REST API must tell the server. Implementations hold no trading state."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Path prefixes (`/api/`) that belong to this dialect."""

    def route(self, request: WireRequest) -> str | None:
        """A stable name such as `GET /api/v3/depth`; None for a path the venue does not have."""

    def api_key(self, request: WireRequest) -> str | None:
        """The API key the request claims, unchecked."""

    def answer(self, request: WireRequest) -> WireAnswer:
        """Decide. Never raises for anything a client sends."""

    def failure(self, status: int) -> WireAnswer:
        """What the venue says with this HTTP status when it is the venue's own failure."""
