"""Values passed between rooms: who is calling, and on whose behalf.

Owns: the immutable words that both the transport and the tools need. Refuses: behaviour. The
transport sets ``CALLER`` before it hands a request to the MCP kernel; the tools read it, so that
neither has to import the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["ANONYMOUS", "CALLER", "Caller", "Principal", "Scope", "Toolset"]


class Scope(StrEnum):
    """What a caller may do. Without tokens (loopback only) a caller has all of them."""

    READ = "read"
    TRADE = "trade"
    FUNDS = "funds"
    OPS = "ops"


class Toolset(StrEnum):
    """Tools that a replica serves or leaves to others, together."""

    MARKET = "market"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: a token's name and its scopes. Two principals never share a session."""

    name: str
    scopes: frozenset[Scope]


ANONYMOUS = Principal(name="", scopes=frozenset(Scope))
"""The caller of a server without tokens: whoever reaches its loopback port."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One call's origin, as far as tools and logs may know it.

    ``session`` is the label under which the session is shown: a client-chosen name in full, a
    server-minted id as a short hash, ``-`` for a modern request without a workflow.
    ``queued_ms`` is the time that the call waited in its lane.
    ``usage`` tells what the caller's own session has done so far, as JSON values; None where a
    call belongs to no session.
    """

    principal: Principal = ANONYMOUS
    session: str = "-"
    client_ip: str | None = None
    queued_ms: float = field(default=0.0)
    usage: Callable[[], Mapping[str, Any]] | None = field(default=None, compare=False, repr=False)

    @property
    def flow(self) -> tuple[str, ...]:
        """On whose behalf a turn is taken where turns are shared out fairly: the session, or
        whoever calls without one."""
        if self.session == "-":
            return (self.principal.name, self.client_ip or "")
        return (self.principal.name, "session", self.session)


CALLER: ContextVar[Caller] = ContextVar("ccxt_mcp_caller", default=Caller())  # noqa: B039
