"""What a client carries for the server between the rounds of a call: sealed, for its caller alone.

In the modern era a server that asks back keeps nothing: its state goes to the client and comes back
with the answer (``requestState``). Owns: that every server that is served here has the SDK's seal
around that state, with our keys where it brings no policy of its own, and that the SDK knows our
caller, so that a state that was sealed for one is refused for another. Refuses: the seal itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity

from ccxt_mcp.model import Principal

__all__ = ["STATE_LIFETIME", "USER", "known_to_sdk", "seal_states"]

STATE_LIFETIME = 600.0
"""Seconds in which a client has to come back with the answer."""

USER = auth_context_var
"""Where the SDK looks for who is calling."""


@lru_cache(maxsize=1024)
def known_to_sdk(principal: Principal) -> AuthenticatedUser | None:
    """The caller as the SDK knows callers, without the token itself; None without tokens."""
    if not principal.name:
        return None
    scopes = sorted(scope.value for scope in principal.scopes)
    return AuthenticatedUser(
        AccessToken(token="", client_id=principal.name, subject=principal.name, scopes=scopes)
    )


def seal_states(server: Server[Any], keys: Sequence[str]) -> None:
    """Seal what this server's answers carry, unless it has a seal of its own (``MCPServer`` has).

    Args:
        keys: the first seals, each opens; without any, one that this process makes for itself.
    """
    if any(isinstance(each, RequestStateBoundary) for each in server.middleware):
        return
    if keys:
        security = RequestStateSecurity(keys=keys, ttl=STATE_LIFETIME)
    else:
        security = RequestStateSecurity.ephemeral(ttl=STATE_LIFETIME)
    boundary = RequestStateBoundary(security, default_audience=server.name)
    # Inside the SDK's tracing and around everything else, which sees the state open.
    traced = bool(server.middleware) and isinstance(server.middleware[0], OpenTelemetryMiddleware)
    server.middleware.insert(int(traced), boundary)
