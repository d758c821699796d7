"""What the operating system is asked about connections.

Owns: the process's limit of open files, the options by which the kernel finds out about peers that
vanished, and how much it still holds for one. Refuses: to fail where a system has no such thing.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from ccxt_mcp.connections.limits import ConnectionLimits

__all__ = ["address_of", "capacity", "raise_file_limit", "unacknowledged", "watch_peer"]

_FILES = 65_536
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A peer that vanished without a word is noticed within two minutes."""


def capacity(limits: ConnectionLimits) -> int:
    """``max_connections``, but at most half of the files that the process may open: the others are
    for exchanges."""
    if sys.platform == "win32":
        return limits.max_connections
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits.max_connections
    return max(1, min(limits.max_connections, soft // 2))


def raise_file_limit() -> None:
    """Allow the process as many open files as it may allow itself, at most 65,536."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some systems name a hard limit that they do not grant.
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return


def address_of(transport: asyncio.Transport) -> str | None:
    """The peer's IP address; ``None`` where it has none (a local socket) or has left already."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return None
    # An address of one link has its interface behind a percent sign.
    return str(peer[0]).partition("%")[0]


def watch_peer(transport: asyncio.Transport, write_timeout: float) -> None:
    """Have the kernel find out about peers that vanished, where it can."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            *_KEEPALIVE,
            ("TCP_USER_TIMEOUT", max(1, int(write_timeout * 1000))),
        ):
            if hasattr(socket, name):
                peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        # The client has left already; the transport is about to say so.
        return


def unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes that the kernel holds for a peer which has not taken them; 0 where it cannot tell."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    peer = transport.get_extra_info("socket")
    if peer is None:
        return 0
    try:
        # SIOCOUTQ of tcp(7) has this number.
        answer = fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0
    return int.from_bytes(answer, sys.byteorder)
