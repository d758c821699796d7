"""The server's side of a helper process: start it, read what it sends, see that it ends.

Owns: one process per load, its pipes and its end, on whatever way the load ends. Refuses: what the
process does (``loader``), and deciding what to do without it (``fetching``).

No ``multiprocessing``: nothing is forked with a running event loop's state in it, nothing is
unpickled, and no resource tracker stays behind. Nor the loop's own subprocesses: uvloop forks on
the loop's thread, which takes 25 ms of CPU (and 100 ms in all) in a process of 1 GB;
``subprocess`` uses vfork, and does it in a thread here.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges import jobs
from ccxt_mcp.exchanges.ingestion import Ingestion, Unreadable
from ccxt_mcp.exchanges.jobs import Job, failure_from
from ccxt_mcp.exchanges.pacing_apart import PacedFromAfar
from ccxt_mcp.exchanges.snapshots import MAX_FRAME, frame
from ccxt_mcp.exchanges.tables import Tables

__all__ = ["CannotHelp", "load_apart"]

_log = logging.getLogger("ccxt_mcp.exchanges")

_HANDED_DOWN = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "VIRTUAL_ENV")
_HANDED_DOWN_LIKE = ("LC_", "PYTHON", "LD_LIBRARY_PATH", "DYLD_", "COVERAGE_", "COV_")
_PROGRAM = "ccxt_mcp.exchanges.loader"
_WORDS = 4000
"""Characters of a helper's standard error that are kept."""
_END = 5.0


class CannotHelp(Exception):
    """No helper could be started, or what it loaded cannot be sent. The load can still be done
    inside the server; the text says why it has to be."""


async def load_apart(
    job: Job,
    *,
    limit: float,
    pacing: Any = None,
    redact: Callable[[str], str] = str,
    frames: list[bytes] | None = None,
) -> Tables:
    """Load an exchange's tables in a process of their own, in at most ``limit`` seconds.

    ``frames``, if given, gets the frames that they came in.

    Raises ``Failure``: the exchange's, ``timeout``, or ``internal`` if the process died or sent
    nonsense; and ``CannotHelp``. Whatever happens, the process has ended on return.
    """
    try:
        line = job.as_line()
        process = await _started()
    except (OSError, TypeError, ValueError) as error:
        raise CannotHelp(f"no process can be started ({type(error).__name__})") from None
    helper = _Helper(job, process, pacing, redact, frames)
    try:
        async with asyncio.timeout(limit):
            await helper.connect()
            return await helper.work(line)
    except TimeoutError:
        raise Failure(
            Code.TIMEOUT,
            f"{job.name}: the market tables were not loaded within {limit:g}s",
            exchange=job.name,
            operation="loadMarkets",
        ) from None
    finally:
        await helper.end()


async def _started() -> subprocess.Popen[bytes]:
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            (sys.executable, "-P", "-m", _PROGRAM),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
        )

    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # It is being started all the same; nobody else would see that it ends.
        await asyncio.wait([starting])
        if starting.exception() is None:
            process = starting.result()
            process.kill()
            process.communicate()
        raise


def _environment() -> dict[str, str]:
    """What the helper needs of this environment: keys in variables are none of its business."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _HANDED_DOWN or name.startswith(_HANDED_DOWN_LIKE)
    }
    # The same modules, however this process came to find them.
    kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return kept


class _Helper:
    """One running process. Mutable: ``_ready`` (it has begun to work)."""

    def __init__(
        self,
        job: Job,
        process: subprocess.Popen[bytes],
        pacing: Any,
        redact: Callable[[str], str],
        frames: list[bytes] | None,
    ) -> None:
        self._job = job
        self._frames = frames
        self._process = process
        self._redact = redact
        self._ready = False
        self._paced = PacedFromAfar(pacing, self._say)
        self._out = asyncio.StreamReader(limit=1 << 18)
        self._error = asyncio.StreamReader()
        self._pipes: list[asyncio.BaseTransport] = []
        self._in: asyncio.WriteTransport | None = None
        self._words: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Take the pipes. Raises ``CannotHelp`` where the event loop cannot read pipes."""
        loop, process = asyncio.get_running_loop(), self._process
        try:
            for reader, pipe in ((self._out, process.stdout), (self._error, process.stderr)):
                made: tuple[asyncio.BaseTransport, Any] = await loop.connect_read_pipe(
                    functools.partial(asyncio.StreamReaderProtocol, reader), pipe
                )
                self._pipes.append(made[0])
            self._in, _ = await loop.connect_write_pipe(asyncio.Protocol, process.stdin)
            self._pipes.append(self._in)
        except (OSError, NotImplementedError) as error:
            raise CannotHelp(f"pipes cannot be read ({type(error).__name__})") from None
        self._words = asyncio.create_task(self._listen())

    async def work(self, line: bytes) -> Tables:
        self._say(line)
        ingestion = Ingestion(self._job.fingerprint, "helper")
        try:
            while (found := await self._frame()) is not None:
                kind, body = found
                if kind == jobs.READY:
                    self._ready = True
                elif kind in (jobs.ASKING, jobs.ANSWERED, jobs.REFUSED, jobs.DONE):
                    self._paced.take(kind, orjson.loads(body))
                elif kind == jobs.FAILED:
                    failure = failure_from(orjson.loads(body), self._redact)
                    if failure.retry_after is None:
                        failure.retry_after = self._paced.wait
                    raise failure
                elif kind == jobs.UNSENDABLE:
                    raise CannotHelp(str(orjson.loads(body)["where"]))
                else:
                    ingestion.feed(kind, body)
                    if self._frames is not None:
                        self._frames.append(frame(kind, body))
                    if ingestion.tables is not None:
                        return ingestion.tables
                    # A millisecond's work; then it is the others' turn.
                    await asyncio.sleep(0)
        except (Unreadable, ValueError, TypeError, LookupError) as error:
            raise self._broken(f"sent what cannot be read ({error})") from None
        raise await self._ended()

    async def end(self) -> None:
        """Kill the process unless it is gone, and take leave of its pipes."""
        # Nothing else reaps it: the number can be no other process's yet.
        self._process.kill()
        for pipe in self._pipes:
            pipe.close()
        if self._words is not None:
            self._words.cancel()
        ending = asyncio.create_task(self._see_off())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait([ending])
            raise

    async def _see_off(self) -> None:
        await self._paced.close()
        if self._words is not None:
            await asyncio.gather(self._words, return_exceptions=True)
        await asyncio.to_thread(self._process.wait)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        # Transports close their pipes one turn of the loop after they were told to.
        await asyncio.sleep(0)

    async def _frame(self) -> tuple[bytes, bytes] | None:
        """The next frame; ``None`` at the end of the process."""
        try:
            length = int.from_bytes(await self._out.readexactly(4), "big")
            if not 1 <= length <= MAX_FRAME:
                raise Unreadable("no frames")
            data = await self._out.readexactly(length)
        except asyncio.IncompleteReadError:
            return None
        return data[:1], data[1:]

    async def _listen(self) -> None:
        """Keep the end of what the process says to people, and log it if it failed."""
        words = b""
        while more := await self._error.read(_WORDS):
            words = (words + more)[-_WORDS:]
        if words.strip():
            text = self._redact(words.decode(errors="replace").strip())
            _log.warning("helper process of %s: %s", self._job.name, text)

    async def _ended(self) -> Failure | CannotHelp:
        # Its output has ended; that it has itself, and is not merely silent, is seen to here.
        code = await asyncio.to_thread(self._waited)
        if self._words is not None:
            await asyncio.wait([self._words], timeout=1)
        if not self._ready and code > 0:
            # A Python that cannot import us; it will not be able to the next time either.
            return CannotHelp(f"the helper process cannot run here (exit code {code})")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return self._broken(f"ended before its work was done ({how})")

    def _waited(self) -> int:
        try:
            return self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _broken(self, what: str) -> Failure:
        return Failure(
            Code.INTERNAL,
            f"{self._job.name}: the process that loads market tables {what}",
            retryable=True,
            hint="Try again; if it lasts, the server's log has the process's own words.",
            exchange=self._job.name,
            operation="loadMarkets",
        )

    def _say(self, line: bytes) -> None:
        # Short lines, and a process that reads or is dead: never worth waiting for.
        if self._in is not None and not self._in.is_closing():
            self._in.write(line)
