"""What a connection may take, and what has been counted of those that took more.

Owns: the limits' numbers and the counters. Refuses: to enforce any of them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ccxt_mcp.settings import Settings

__all__ = [
    "LINGER",
    "MAX_HEADER_BYTES",
    "MAX_HEADER_LINES",
    "MAX_LEAVING",
    "MAX_PIPELINED",
    "MAX_UNREAD_BYTES",
    "PROGRESS_BYTES",
    "ConnectionCounts",
    "ConnectionLimits",
]

MAX_HEADER_LINES = 100
MAX_HEADER_BYTES = 32_768
"""Request line and headers; also what may come between two pieces of a body, trailers included."""
MAX_UNREAD_BYTES = 16_777_216
"""Bytes of a body that are read for nobody, once its request has been answered without it."""
MAX_PIPELINED = 32
"""Requests that may wait for the answer to an earlier one of their connection."""
PROGRESS_BYTES = 65_536
"""What a slow reader must take within ``write_timeout`` if it does not take everything."""
LINGER = 1.0
"""Seconds in which what a refused client still sends is thrown away; closing at once would reset
the connection, and with it the answer that tells why."""
MAX_LEAVING = 256
"""Turned away clients that linger at a time; beyond it they are hung up on without an answer."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds, connections and networks (CIDR); see the settings of the same names."""

    header_timeout: float = 10.0
    body_timeout: float = 30.0
    write_timeout: float = 30.0
    max_connections: int = 8192
    trusted_proxies: tuple[str, ...] = ()

    def stands_for_many(self, address: str | None) -> bool:
        """Whether an address may be that of many clients: this machine's own, a trusted proxy's,
        or none at all (a local socket)."""
        if address is None:
            return True
        found = ipaddress.ip_address(address)
        if isinstance(found, ipaddress.IPv6Address):
            found = found.ipv4_mapped or found
        return found.is_loopback or any(
            found in ipaddress.ip_network(each, strict=False) for each in self.trusted_proxies
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> ConnectionLimits:
        """The limits that are configured."""
        return cls(
            settings.header_timeout,
            settings.body_timeout,
            settings.write_timeout,
            settings.max_connections,
            settings.trusted_proxies,
        )


@dataclass(slots=True)
class ConnectionCounts:
    """``open`` connections now; the others only grow, by one for each client that was refused."""

    open: int = 0
    refused_full: int = 0
    timed_out_headers: int = 0
    timed_out_body: int = 0
    timed_out_write: int = 0
    too_large_headers: int = 0
