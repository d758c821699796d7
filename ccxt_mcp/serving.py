"""Running an ASGI application under uvicorn, for our own commands.

Owns: the listening socket and uvicorn's configuration. Refuses: a port that is taken, in words that
name a way out.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ccxt_mcp.connections.protocol import protocol_for
from ccxt_mcp.connections.registry import Connections
from ccxt_mcp.connections.sockets import raise_file_limit
from ccxt_mcp.errors import ConfigurationError

__all__ = ["address_of", "bind", "run_until_stopped", "serving"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 2048
_HANG_UP = 2
"""Seconds that connections get once no call is under way."""

_UNREAD_WHILE_DRAINING = 5.0
_UNREAD_AT_LAST = 1.0
"""Seconds that an answer may lie unread, instead of ``write_timeout``, while calls in flight finish
and once none is under way."""

Drain = Callable[[float], Awaitable[None]]

_GRACE = 20
"""Seconds that calls in flight get on shutdown; above the tool timeout."""
_STOPPING = JSONResponse(
    {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32603, "message": "The server is stopping: send the call again later"},
    },
    status_code=503,
    headers={"retry-after": "5"},
)


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; ``port`` 0 takes a free one.

    Raises:
        ConfigurationError: the address cannot be bound; the text says what to do instead.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        listener.close()
        if isinstance(error, UnicodeError):
            remedy = "not a host name: `host` must be an address of this machine"
        elif error.errno == errno.EADDRINUSE:
            remedy = "another program listens there: choose another `port` (`--port`), or stop it"
        elif error.errno in (errno.EACCES, errno.EPERM):
            remedy = "not permitted: ports below 1024 need privileges, choose a higher `port`"
        else:
            remedy = f"{error.strerror}: `host` must be an address of this machine"
        raise ConfigurationError(f"cannot listen on {host}:{port}: {remedy}") from None
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """``http://host:port`` of a listening socket, as a client on this machine reaches it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _answered(app: ASGIApp) -> ASGIApp:
    """The application, with an answer for the requests that the end of the server cuts short.

    uvicorn would answer 500 and log a traceback for each.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await app(scope, receive, note)
        except asyncio.CancelledError:
            # Only the server cancels a request's task, and the task ends here.
            if scope["type"] == "http" and not started:
                await _STOPPING(scope, receive, send)

    return run


class _Server(uvicorn.Server):
    """uvicorn with signals that end in exit code 0, and a moment to wait for."""

    def __init__(
        self,
        app: ASGIApp,
        connections: Connections | None,
        *,
        signals: bool,
        drain: Drain | None = None,
    ) -> None:
        self._connections = connections or Connections()
        super().__init__(
            uvicorn.Config(
                _answered(app),
                http=protocol_for(self._connections),
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_GRACE,
                lifespan="on",
                ws="none",
            )
        )
        self._signals = signals
        self._drain = drain
        self._draining: asyncio.Task[None] | None = None
        self._cut = False
        self.up = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.open_for_business()
        try:
            await super().startup(sockets)
        except SystemExit:
            raise ConfigurationError("the server did not start; the log says why") from None
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.drain(_UNREAD_AT_LAST)
        await super().shutdown(sockets)
        # Tasks that were cancelled may be waiting for a client to read what they have to say.
        self._connections.hang_up()
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=_HANG_UP)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # uvicorn's own raises the signal again after the shutdown, so a clean stop would end in
        # exit code 143, and it ignores a second SIGTERM.
        if not self._signals:
            yield
            return
        before = {name: signal.signal(name, self._stop) for name in _SIGNALS}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._drain is not None and self._draining is None and not self.should_exit:
            # In the loop, which a signal handler must not touch itself.
            self._loop.call_soon_threadsafe(self._begin_draining)
            return
        if self.should_exit or self._draining is not None:
            # uvicorn's own way would leave the lifespan open, and its connections with it.
            self.force_exit, self._cut = self._cut, True
            for task in self.server_state.tasks:
                task.cancel()
        self.should_exit = True

    def leave(self) -> None:
        """As the first signal does; without effect after it."""
        if self._drain is None:
            self.should_exit = True
        elif not self.should_exit:
            self._begin_draining()

    def _begin_draining(self) -> None:
        assert self._drain is not None
        if self._draining is None:
            self._draining = asyncio.create_task(self._finish(self._drain))

    async def _finish(self, drain: Drain) -> None:
        """The listener answers on: readiness fails visibly while calls in flight finish."""
        self._connections.drain(_UNREAD_WHILE_DRAINING)
        try:
            await drain(_GRACE)
        finally:
            # What is left now are connections without a call: idle, or half a request.
            self.config.timeout_graceful_shutdown = _HANG_UP
            self.should_exit = True


async def run_until_stopped(
    app: ASGIApp,
    listener: socket.socket,
    *,
    connections: Connections | None = None,
    drain: Drain | None = None,
    started: Callable[[str], None] | None = None,
    leaving: asyncio.Event | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; a second one cuts the calls in flight short.

    Args:
        connections: bounds and counts the clients; with the default bounds when omitted.
        drain: called with the seconds of grace at the first signal, while the listener answers on;
            what it does not wait for is hung up on afterwards.
        started: told the base URL once the listener answers.
        leaving: when set, the same as the first signal.

    Raises:
        ConfigurationError: the application did not start; its own error is in the log.
    """
    # What has been imported stays. Looking through it again would make each full garbage collection
    # hold the event loop for 20 ms longer; this is done while there is no session to be kept by it.
    gc.freeze()
    raise_file_limit()
    server = _Server(app, connections, signals=True, drain=drain)

    async def announce() -> None:
        await server.up.wait()
        if started is not None:
            started(address_of(listener))
        if leaving is not None:
            await leaving.wait()
            server.leave()

    announcing = asyncio.create_task(announce())
    try:
        await server.serve(sockets=[listener])
    finally:
        announcing.cancel()


@asynccontextmanager
async def serving(
    app: ASGIApp, listener: socket.socket, connections: Connections | None = None
) -> AsyncIterator[str]:
    """Serve in the running event loop while the context lasts; yields the base URL.

    ``connections`` bounds and counts the clients; with the default bounds when omitted.
    Installs no signal handlers, so it can stand beside other servers of one process.

    Raises:
        ConfigurationError: the application did not start; its own error is in the log.
    """
    server = _Server(app, connections, signals=False)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    up = asyncio.create_task(server.up.wait())
    try:
        await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
        if not server.started:
            await task
        yield address_of(listener)
    finally:
        up.cancel()
        server.should_exit = True
        await task
