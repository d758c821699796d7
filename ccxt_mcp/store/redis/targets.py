"""Where a store's servers are, and how one gets there.

Owns: what a URL came to, in the library's terms. Refuses: to connect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.store.redis import RedisStore
from ccxt_mcp.store.redis.links import Link, Pipelined
from ccxt_mcp.store.redis.sentinels import Sentinels
from ccxt_mcp.store.redis.shards import Address, Sharded

__all__ = ["Target", "store_of"]


@dataclass(frozen=True)
class Target:
    """What a store's URL names.

    Attributes:
        kind: `server`, `unix`, `sentinel` or `cluster`.
        hosts: of the server, the sentinels, or some nodes of the cluster.
        path: of the socket.
        credentials: `username`, `password`; not in its repr.
    """

    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    path: str
    service: str
    database: int
    credentials: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(repr=False)


def store_of(target: Target, *, prefix: str, timeout: float) -> RedisStore:
    """A store there, not yet opened.

    Raises:
        ConfigurationError: a host or an option of the URL cannot be used.
    """
    if target.kind == "server" and len(target.hosts) != 1:
        raise ConfigurationError("store_url: several hosts are sentinels or nodes of a cluster")
    common: dict[str, Any] = {
        **target.credentials,
        "socket_connect_timeout": timeout,
        # The wire has a bound for the whole; one for each write and read costs a task each.
        "socket_timeout": None,
        "socket_keepalive": True,
        # One repetition is the wire's too, which knows what may be repeated.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if target.tls:
        common |= _tls(target.options)
    return RedisStore(lambda: _link(target, common, timeout), prefix=prefix, timeout=timeout)


def _link(target: Target, common: dict[str, Any], timeout: float) -> Link:
    def server(address: Address) -> Link:
        place: dict[str, Any] = {
            "connection_class": SSLConnection if target.tls else Connection,
            "host": address[0],
            "port": address[1],
        }
        return Pipelined(ConnectionPool(db=target.database, **place, **common), timeout)

    if target.kind == "cluster":
        return Sharded(target.hosts, server, timeout)
    if target.kind == "sentinel":
        sentinel = Sentinels(
            target.hosts,
            {key: value for key, value in common.items() if key not in ("username", "password")}
            # One that hangs leaves time to ask another.
            | {"ssl": target.tls, "socket_timeout": timeout / 3}
            | {"socket_connect_timeout": timeout / 3}
            | {
                key.removeprefix("sentinel_"): value
                for key, value in target.options.items()
                if key.startswith("sentinel_")
            },
        )
        return Pipelined(
            SentinelConnectionPool(
                target.service,
                sentinel,
                ssl=target.tls,
                db=target.database,
                **common,
            ),
            timeout,
            sentinel,
        )
    if target.kind == "unix":
        kept = {key: value for key, value in common.items() if key != "socket_keepalive"}
        kept |= {"connection_class": UnixDomainSocketConnection, "path": target.path}
        return Pipelined(ConnectionPool(db=target.database, **kept), timeout)
    [address] = target.hosts
    return server(address)


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: value for key, value in options.items() if key.startswith("ssl_")}
    if "ssl_check_hostname" in kept:
        word = kept["ssl_check_hostname"].lower()
        if word not in ("true", "false"):
            raise ConfigurationError("store_url: ssl_check_hostname is true or false")
        kept["ssl_check_hostname"] = word == "true"
    if kept.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise ConfigurationError("store_url: ssl_cert_reqs is none, optional or required")
    return kept
