"""The helper process that loads one exchange's market tables: ``python -m …exchanges.loader``.

Owns: the child's side of the pipes. Refuses: being imported by the server (it starts it), and the
load itself (``jobs``).

Loading 3,600 markets takes CCXT half a second without a pause, which no event loop should spend. In
a thread it would still hold the interpreter's lock for most of that.

Standard input: the job as one JSON line, then answers to pacing questions. It stays open; when it
ends, the server is gone and the child leaves. Standard output: frames (``snapshots``). Standard
error: for people.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ccxt_mcp.errors import Code, ConfigurationError, Failure
from ccxt_mcp.exchanges import jobs
from ccxt_mcp.exchanges.failures import TABLE
from ccxt_mcp.exchanges.http import open_session, trusting
from ccxt_mcp.exchanges.jobs import Job, failure_from, failure_words, fetch_tables
from ccxt_mcp.exchanges.loading import install_lazy_ccxt
from ccxt_mcp.exchanges.snapshots import Unsendable, frame, write

__all__ = ["main"]

_REQUEST: ContextVar[int] = ContextVar("request", default=0)
"""The request that the task at hand has under way, by its number."""


class _Parent:
    """The server at the other end of the pipes."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._asked = 0

    def tell(self, kind: bytes, body: Any) -> None:
        self.pass_on(frame(kind, body))

    def pass_on(self, data: bytes) -> None:
        # Blocks while the server is busy; at that point nothing else is to be done here.
        self._out.write(data)
        self._out.flush()

    def listen(self, loop: asyncio.AbstractEventLoop, lines: BinaryIO) -> None:
        """Read the server's answers in a thread of their own; leave when they end."""

        def read() -> None:
            try:
                for line in lines:
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(self._answer, orjson.loads(line))
            finally:
                # The server is gone, killed perhaps amid a line: nobody wants the tables.
                os._exit(0)

        threading.Thread(target=read, daemon=True).start()

    def _answer(self, answer: dict[str, Any]) -> None:
        waiting = self._waiting.pop(answer["request"], None)
        if waiting is None or waiting.done():
            return
        if answer.get("failure") is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(failure_from(answer["failure"]))

    # What `Wired` asks of a pacing:

    @contextlib.asynccontextmanager
    async def request(self, api: Any, path: str, method: str, cost: float) -> AsyncIterator[None]:
        self._asked += 1
        number = self._asked
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        asking = {"request": number, "api": api, "path": path, "method": method, "cost": cost}
        self.tell(jobs.ASKING, asking)
        await waiting
        token = _REQUEST.set(number)
        answered = False
        try:
            yield
            answered = True
        finally:
            _REQUEST.reset(token)
            self.tell(jobs.DONE, {"request": number, "answered": answered})

    def answered(self, status: int, headers: Any) -> None:
        kept = {str(key): str(value) for key, value in dict(headers or {}).items()}
        body = {"request": _REQUEST.get(), "status": status, "headers": kept}
        self.tell(jobs.ANSWERED, body)

    def refused(self, error: BaseException, status: int) -> None:
        kind = next((c.__name__ for c in type(error).__mro__ if c.__name__ in TABLE), "BaseError")
        body = {"request": _REQUEST.get(), "status": status, "kind": kind, "words": str(error)}
        self.tell(jobs.REFUSED, body)

    def nonce(self, proposed: int) -> int:
        return proposed


async def _work(job: Job, parent: _Parent) -> None:
    plain = job.base_url is not None and job.base_url.startswith("http:")
    try:
        tls = None if plain else await trusting(job.trust)
        session = open_session(base_url=job.base_url, proxy=job.proxy, tls=tls)
    except ConfigurationError as error:
        raise Failure(
            Code.INTERNAL,
            f"{job.name}: {error}",
            hint=f"Correct [exchanges.{job.name}] in the server's configuration.",
            exchange=job.name,
        ) from None
    try:
        tables = await fetch_tables(
            job, job.timeout_ms, session, pacing=parent if job.paced else None, origin="helper"
        )
    finally:
        await session.close()
    last = b""
    with _spooled(job.spool) as spool:
        for data in write(tables, job.fingerprint):
            spool(data)
            parent.pass_on(last)
            last = data
    # Not before the file is complete: this frame is what the server takes it over on.
    parent.pass_on(last)


@contextlib.contextmanager
def _spooled(path: str | None) -> Iterator[Callable[[bytes], None]]:
    """Write a copy for the disk. One that cannot be written is left out: the server will see."""
    if path is None:
        yield lambda _: None
        return
    file: BinaryIO | None = None
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        file = os.fdopen(os.open(path, flags, 0o600), "wb")
    except OSError as error:
        print(f"tables are not kept on disk: {error}", file=sys.stderr)

    def spool(data: bytes) -> None:
        nonlocal file
        if file is None:
            return
        try:
            file.write(data)
        except OSError as error:
            print(f"tables are not kept on disk: {error}", file=sys.stderr)
            with contextlib.suppress(OSError):
                file.close()
            file = None
            Path(path).unlink(missing_ok=True)

    try:
        yield spool
    finally:
        if file is not None:
            try:
                file.close()
            except OSError:
                Path(path).unlink(missing_ok=True)


def main() -> int:
    """Read the job, load, write the tables. Exit code 0 if the outcome was told, 1 otherwise."""
    # Ctrl-C in a terminal goes to all of its processes; the server decides about this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever prints must not print into the frames.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(OSError, AttributeError):
        # The server's calls come first.
        os.nice(5)
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    job = Job(**orjson.loads(line))
    parent = _Parent(out)
    parent.tell(jobs.READY, {})
    install_lazy_ccxt()

    async def run() -> None:
        parent.listen(asyncio.get_running_loop(), sys.stdin.buffer)
        try:
            await _work(job, parent)
        except Failure as failure:
            parent.tell(jobs.FAILED, failure_words(failure))
        except Unsendable as error:
            parent.tell(jobs.UNSENDABLE, {"where": str(error)})

    asyncio.run(run())
    # Taking tables and modules apart in order takes longer than writing them did.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
