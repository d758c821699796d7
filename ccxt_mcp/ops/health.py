"""``/health``, ``/live`` and ``/ready``.

Owns: what each caller may see of the server's state. Refuses: to hold state; everything shown is a
snapshot taken when asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ccxt_mcp.model import Scope

__all__ = ["AWAY", "MAX_PAGE", "Others", "Snapshot", "health_routes", "sees_sessions"]

MAX_PAGE = 1000
"""Most sessions in one answer of ``/health``."""

Snapshot = Callable[[int, int], dict[str, Any]]
"""(limit, offset) → the server's state with that page of its sessions."""

Others = Callable[[int, int], Awaitable[dict[str, Any]]]
"""(limit, offset) → the state of all replicas, with that page of their sessions."""

AWAY = 5.0
"""Seconds for which the store may be away before that counts."""

_NO_STORE = {"cache-control": "no-store"}


def health_routes(
    snapshot: Snapshot,
    *,
    ready: Callable[[], bool],
    may_see_all: Callable[[Request], bool],
    others: Others | None = None,
    away: Callable[[], float] | None = None,
) -> list[Route]:
    """The three routes.

    A replica stays ready while the store that all share is away: else all would leave their
    balancer at once, and whoever calls would meet a closed door instead of an answer that says when
    to come back. ``/ready?store=required`` is for a balancer that has somewhere else to go.

    Args:
        snapshot: gives the state; must not contain anything that only one caller may know.
        ready: whether the server takes work.
        others: what is to be said of all replicas; takes the place of the snapshot's members.
        away: seconds for which the store of all replicas has not answered.
        may_see_all: whether this caller may see the list of sessions: a loopback caller of a
            server without tokens, or a token with the scope ``ops``.
    """

    async def health(request: Request) -> Response:
        status = "healthy" if ready() else "not ready"
        if not may_see_all(request):
            return JSONResponse({"status": status}, headers=_NO_STORE)
        try:
            limit = _bounded(request, "limit", default=100, least=1, most=MAX_PAGE)
            offset = _bounded(request, "offset", default=0, least=0, most=10**9)
        except ValueError as wrong:
            return JSONResponse({"error": str(wrong)}, status_code=400, headers=_NO_STORE)
        found = {"status": status, **snapshot(limit, offset)}
        if others is not None:
            found |= await others(limit, offset)
        return JSONResponse(found, headers=_NO_STORE)

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"}, headers=_NO_STORE)

    async def readiness(request: Request) -> Response:
        needed = request.query_params.get("store") == "required"
        cut_off = needed and away is not None and away() > AWAY
        if ready() and not cut_off:
            return JSONResponse({"status": "ready"}, headers=_NO_STORE)
        return JSONResponse({"status": "not ready"}, status_code=503, headers=_NO_STORE)

    return [
        Route("/health", health, methods=["GET"]),
        Route("/live", live, methods=["GET"]),
        Route("/ready", readiness, methods=["GET"]),
    ]


def sees_sessions(scopes: frozenset[Scope], *, tokens_required: bool, loopback: bool) -> bool:
    """The rule behind ``may_see_all``."""
    return Scope.OPS in scopes if tokens_required else loopback


def _bounded(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most:
        return int(text)
    raise ValueError(f"`{name}` must be an integer from {least} to {most}")
