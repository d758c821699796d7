"""The seam between the venue and a venue's way of speaking: one request in, one answer out.

Owns the words `WireRequest`, `WireAnswer` and the `Dialect` protocol. A dialect is synchronous: it
decides at once, and the server alone waits, injects faults and writes to sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ccxt_mcp.simulation.limits import Bans

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
    """One HTTP answer with its whole body; `error` is the venue's word for a refusal."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON
    error: str | None = None


class Dialect(Protocol):
    """What a venue's REST API must tell the server. Implementations hold no trading state."""

    @property
    def name(self) -> str:
        """What the dialect is called on the control surface."""

    @property
    def bans(self) -> Bans:
        """Who is shut out, by address."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Path prefixes (`/api/`) that belong to this dialect."""

    def route(self, request: WireRequest) -> str | None:
        """A stable name such as `GET /api/v3/depth`; None for a path the venue does not have."""

    def api_key(self, request: WireRequest) -> str | None:
        """The API key the request claims, unchecked."""

    def arrive(self, request: WireRequest) -> Callable[[], WireAnswer]:
        """Do what a venue does in the order in which requests reach it, before any latency.

        What is returned does the rest, called at most once. Neither raises for anything a client
        sends.
        """

    def failure(self, status: int) -> WireAnswer:
        """What the venue says with this HTTP status when it is the venue's own failure."""
