"""A real Redis or Valkey server as tests use it: disturbed, looked into, and made older.

Where no program is found (``benchmarks.store_server``), the tests that need one are skipped.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from benchmarks.store_server import StoreServer
from ccxt_mcp.store.redis.keys import Keys

__all__ = ["RedisServer", "running_redis"]


class RedisServer:
    """One server. Stopped and started it has the same address and, unless it saved, no data."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._server.launch()

    def stop(self) -> None:
        """End it at once, with all that it knows."""
        self._server.end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it answer nothing, with all connections in place."""
        self._server.pause()

    def resume(self) -> None:
        self._server.resume()

    def client(self) -> redis.Redis:
        """A plain client, to look and to disturb."""
        return redis.Redis(port=self.port, socket_timeout=5, protocol=2)

    def come_of_age(self, prefix: str, keys: Sequence[str] | None = None) -> None:
        """Let leases of this prefix, or those under these keys, be granted at once, as of a store
        that is no longer young."""
        with self.client() as client:
            info: Any = client.info("server")
            with client.pipeline(transaction=False) as pipe:
                for key in Keys(prefix).all_leases() if keys is None else keys:
                    pipe.hset(key, "born", f"1 {info['run_id']}")
                pipe.execute()

    def forget(self, prefix: str) -> None:
        """Take away all that begins with it."""
        with self.client() as client:
            for key in client.scan_iter(f"{{{prefix}:*", count=1000):
                client.delete(key)


@contextlib.contextmanager
def running_redis(
    directory: Path, *options: str, sentinel: Path | None = None
) -> Iterator[RedisServer]:
    """A server for as long as this lasts; a sentinel by the configuration of that file."""
    server = RedisServer(StoreServer(*options, directory=directory, sentinel=sentinel))
    server.start()
    try:
        yield server
    finally:
        server.stop()
