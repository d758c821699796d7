"""The application as one of several replicas.

Owns: when the node of an application begins and ends, what it says of itself, and what ``/health``
says of all. Refuses: behaviour of its own; what replicas share is in the rooms.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ccxt_mcp import __version__
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Failure
from ccxt_mcp.settings import Settings
from ccxt_mcp.transport.directory import Directory

__all__ = ["introduce", "joined", "name_node", "of_all"]


@asynccontextmanager
async def joined(cluster: Cluster | None) -> AsyncIterator[None]:
    """The node begins before everything that uses it, and ends after it."""
    if cluster is None:
        yield
        return
    await cluster.start()
    try:
        yield
    finally:
        await cluster.stop()


def introduce(cluster: Cluster, settings: Settings, load: Callable[[], Mapping[str, int]]) -> None:
    """Have the node say what it is; ``load`` is what it has to do now: ``calls``, ``sessions``."""
    cluster.membership.address = settings.node_address or f"{settings.host}:{settings.port}"
    cluster.membership.introduce(
        {
            "version": __version__,
            "toolsets": [each.value for each in settings.toolsets],
            "max": {"calls": settings.max_calls, "sessions": settings.max_sessions},
        },
        load,
    )


def name_node(cluster: Cluster | None, settings: Settings, listener: socket.socket) -> None:
    """Have the node say where it really listens, unless the settings say how it is reached."""
    if cluster is None or settings.node_address is not None:
        return
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    cluster.membership.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def of_all(
    cluster: Cluster, directory: Directory | None, limit: int, offset: int
) -> dict[str, Any]:
    """What ``/health`` says of all replicas. Without the store, of this one."""
    sessions: dict[str, Any] = {}
    try:
        nodes = await cluster.membership.all()
        if directory is not None:
            count, page = await directory.page(limit, offset)
            sessions = {"activeSessions": count, "sessions": page}
    except Failure:
        nodes = [{"id": cluster.node.id, **cluster.membership.said()}]
    trips = cluster.trips
    return {
        **sessions,
        "node": cluster.node.id,
        "nodes": nodes,
        "store": {
            "up": trips.up,
            "awaySeconds": round(trips.away, 1),
            "roundTrips": trips.total,
        },
    }
