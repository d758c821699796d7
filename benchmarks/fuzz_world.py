"""The product over a simulated exchange in one event loop, driven from outside of it.

Owns: the application with its venue, sending one case to it in process, and the look around after
it: is anything left behind? Refuses: to generate (``fuzz_cases.py``) and to judge an answer
(``fuzz_checks.py``).

The loop stands still between two runs, as hypothesis draws the next case outside of it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
from collections import Counter, deque
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import unquote

import psutil
from starlette.applications import Starlette
from starlette.types import Message

from benchmarks.fuzz_bodies import set_accounts
from benchmarks.fuzz_cases import MINTED, Case
from benchmarks.fuzz_checks import Answer, judge, leaks, outcome
from ccxt_mcp import __version__
from ccxt_mcp.app import create_app
from ccxt_mcp.calls.pipeline import Calls
from ccxt_mcp.ops.logs import TextFormatter
from ccxt_mcp.product import assemble
from ccxt_mcp.redaction import RedactingFilter
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.settings import Settings
from ccxt_mcp.simulation import Fault, SimulatedExchange, SimulationConfig, demo_venue
from ccxt_mcp.tools.server import build_server

__all__ = ["BOUND", "World"]

_T = TypeVar("_T")

BOUND = 10.0
"""Seconds within which every case ends, and everything that it began."""
_MINTED_KEPT = 3
"""Sessions of the server's own that are kept for later cases; the oldest beyond it is ended."""
_LIMITS: dict[str, Any] = {
    # Well within ``BOUND``: what waits longest is a load of market tables in a process of its own.
    "ccxt_timeout": 3,
    "tool_timeout": 4,
    "max_sessions": 12,
    "max_sessions_per_client": 12,
    "lane_queue_max": 1,
    "max_body_bytes": 65_536,
    "session_idle_timeout": 30,
    "max_calls": 4,
    "call_queue_max": 2,
}
"""Small, so that what is bounded meets its bound all the time."""


class _Log(logging.Handler):
    """Keeps what must not be logged: errors, and lines with a secret in them."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.wrong: list[str] = []
        self.secrets: tuple[str, ...] = ()
        self.setFormatter(TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self.wrong.append(f"logged: {text[-2000:]}")
        self.wrong += [f"the log {what}: {text[:300]}" for what in leaks(text, self.secrets)]


class World:
    """A running product. Entered and driven from outside of its loop.

    Args:
        home: a directory of its own for what the product keeps.
        sockets: whether it also listens; ``address`` says where.
    """

    def __init__(self, home: Path, *, sockets: bool = False) -> None:
        self._home = home
        self._sockets = sockets
        self._runner = asyncio.Runner()
        self._stop = asyncio.Event()
        self._minted: deque[str] = deque(maxlen=_MINTED_KEPT)
        self._log = _Log()
        self._level = logging.WARNING
        self.address: tuple[str, int] | None = None
        self.secrets: tuple[str, ...] = ()
        self.outcomes: Counter[str] = Counter()

    def __enter__(self) -> World:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.INFO)
        root.addHandler(self._log)
        self.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, trace: TracebackType | None
    ) -> None:
        try:
            self._stop.set()
            self.run(self._living_ends())
        finally:
            self._runner.close()
            root = logging.getLogger()
            root.removeHandler(self._log)
            root.setLevel(self._level)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run the loop until the work is done."""
        return self._runner.run(work)

    async def _start(self) -> None:
        up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # One task enters and leaves it all: the SDK's task group belongs to the task that made it.
        self._life = asyncio.create_task(self._live(up))
        await asyncio.wait({self._life, up}, return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            await self._life
        await self.send(_WARM)
        assert not await self.quiet(), "the first call left something behind"
        self._baseline = _tasks()

    async def _living_ends(self) -> None:
        await self._life

    async def _live(self, up: asyncio.Future[None]) -> None:
        venue, accounts = demo_venue(seed=7)
        set_accounts(accounts)
        self.secrets = tuple(s for a in accounts for s in (a.api_key, a.secret))
        self._log.secrets = self.secrets
        async with AsyncExitStack() as stack:
            config = SimulationConfig(rate_limit=None)
            sim = await stack.enter_async_context(SimulatedExchange(config, venue=venue))
            self.sim = sim
            settings = Settings.model_validate(
                {
                    **_LIMITS,
                    "default_exchange": "paper",
                    "exchange_keys_from_env": False,
                    "data_dir": str(self._home),
                    "exchanges": {
                        "paper": {
                            "exchange": "binance",
                            "base_url": sim.base_url,
                            "options": {"fetchMarkets": {"types": ["spot"]}},
                            "default_account": accounts[0].name,
                            "rate_limit": "off",
                        }
                    },
                    "accounts": {
                        a.name: {"exchange": "paper", "api_key": a.api_key, "secret": a.secret}
                        for a in accounts
                    },
                }
            )
            product = assemble(settings, environ={})
            # Made anew to have it in hand: nothing of the product's shows who waits for a slot.
            self.calls = Calls(
                product.gateway, product.accounts, settings, redact=product.redactor.text
            )
            server = build_server(self.calls, version=__version__)
            server.lifespan = product.server.lifespan
            self._log.addFilter(RedactingFilter(product.redactor))
            self.settings = settings
            self.app: Starlette = create_app(product=replace(product, server=server))
            self.registry = self.app.state.registry
            if self._sockets:
                listener = bind("127.0.0.1", 0)
                self.address = listener.getsockname()[:2]
                await stack.enter_async_context(serving(self.app, listener))
            else:
                await stack.enter_async_context(self.app.router.lifespan_context(self.app))
            up.set_result(None)
            await self._stop.wait()

    def named(self, headers: tuple[tuple[str, bytes], ...]) -> list[tuple[bytes, bytes]]:
        """The headers with the server's own session ids where a case stands for one."""
        out = []
        for name, value in headers:
            if value.startswith(MINTED.encode()):
                index = int(value[len(MINTED) :])
                value = self._minted[index].encode() if index < len(self._minted) else b"ccxtmcp-0"
            out.append((name.encode(), value))
        return out

    async def group(self, cases: list[Case]) -> list[str]:
        """Send cases at the same time, in process; what was wrong with their answers."""
        answers = await asyncio.gather(*map(self.send, cases))
        return await self.judged(cases, answers)

    async def judged(self, cases: list[Case], answers: list[Answer]) -> list[str]:
        """What is wrong with the answers, and with what was logged on the way to them."""
        wrong = []
        for case, answer in zip(cases, answers, strict=True):
            self.outcomes[outcome(case, answer)] += 1
            found = judge(case, answer, secrets=self.secrets, alone=len(cases) == 1)
            wrong += [f"{what}  <- {case!r:.1500}" for what in found]
            minted = answer.headers.get("mcp-session-id")
            if minted is not None:
                if len(self._minted) == _MINTED_KEPT:
                    await self.send(_end(self._minted[0]))
                self._minted.append(minted)
        wrong += self._log.wrong
        self._log.wrong = []
        return wrong

    async def send(self, case: Case) -> Answer:
        """One case to the application in process, as an ASGI server would."""
        answer, gone = Answer(), asyncio.Event()
        body = deque(_pieces(case.body, case.pieces))
        if case.early:
            body.pop()
        loop = asyncio.get_running_loop()

        def leave() -> None:
            if not answer.complete:
                answer.left = True
            gone.set()

        async def receive() -> Message:
            if body:
                piece = body.popleft()
                return {
                    "type": "http.request",
                    "body": piece,
                    "more_body": bool(body) or case.early,
                }
            if case.early:
                leave()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if answer.left:
                return
            if message["type"] == "http.response.start":
                if answer.status is not None:
                    answer.wrong.append("two answers to one request")
                answer.status = message["status"]
                for name, value in message.get("headers", ()):
                    answer.headers[name.decode()] = value.decode("latin-1")
                return
            if answer.status is None or answer.complete:
                answer.wrong.append("a body before its start or after its end")
            answer.body += message.get("body", b"")
            if not message.get("more_body", False):
                answer.complete = True
                gone.set()
            elif case.endless:
                loop.call_later(0.005, leave)

        raw, _, query = case.path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": case.method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": self.named(case.headers),
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 3000),
        }
        if case.leaves is not None:
            loop.call_later(case.leaves, leave)
        try:
            async with asyncio.timeout(BOUND):
                await self.app(scope, receive, send)
        except TimeoutError:
            answer.wrong.append(f"not done after {BOUND:g} s")
        except Exception:
            answer.wrong.append(f"raised: {traceback.format_exc()[-3000:]}")
        return answer

    async def quiet(self) -> list[str]:
        """What is left behind once nothing is under way; waits at most ``BOUND`` for that."""
        left: list[str] = []
        try:
            async with asyncio.timeout(BOUND):
                while left := self._left():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pass
        if len(self.registry) > self.settings.max_sessions:
            left.append(f"{len(self.registry)} sessions")
        return left

    def _left(self) -> list[str]:
        left = []
        baseline = getattr(self, "_baseline", None)
        if baseline is not None and (more := _tasks() - baseline):
            left.append(f"tasks {sorted(str(task) for task in more)}")
        admission = self.calls.admission
        if admission.running or admission.waiting:
            left.append(repr(admission))
        for session in self.registry._sessions.values():
            if session.requests or session.running or session.lane.busy or session.lane.waiting:
                left.append(f"{session!r} requests={session.requests} running={session.running}")
            if session.listening:
                left.append(f"{session!r} with its stream open")
        return left

    def slow(self) -> None:
        """Let a few calls to come last, so that their clients are watched and kept waiting."""
        self.sim.faults.clear()
        self.sim.faults.add(Fault(kind="latency", times=5, milliseconds=60))

    def rss(self) -> float:
        """Resident memory of this process in MiB, after a collection."""
        gc.collect()
        return float(psutil.Process().memory_info().rss) / 2**20


def _tasks() -> set[asyncio.Task[Any]]:
    """The tasks of the product; the simulated exchange has one for each connection kept alive."""
    return {
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task()
        and "RequestHandler.start" not in getattr(task.get_coro(), "__qualname__", "")
    }


def _pieces(body: bytes, count: int) -> list[bytes]:
    step = max(1, -(-len(body) // count))
    return [body[at : at + step] for at in range(0, len(body), step)] or [b""]


def _end(session_id: str) -> Case:
    headers = (("host", b"localhost"), ("mcp-session-id", session_id.encode()))
    return Case("DELETE", "/mcp", headers, b"")


_WARM = Case(
    "POST",
    "/mcp",
    (("host", b"localhost"), ("content-type", b"application/json"), ("mcp-session-id", b"warm")),
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"account_balance"}}',
)
