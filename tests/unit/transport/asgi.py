"""An HTTP client at the ASGI level: it can leave, read slowly, and see what it is sent when."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class Request:
    """One HTTP request at the ASGI level.

    ``leaves_after``: the client is gone once it was sent so many messages. ``slow``: it takes
    nothing until ``let_go`` is called.
    """

    def __init__(
        self,
        app: App,
        method: str,
        body: Any = None,
        *,
        leaves_after: int | None = None,
        slow: bool = False,
        **headers: str,
    ) -> None:
        pairs = {
            "host": "localhost",
            "content-type": "application/json",
            # As the protocol's clients write it.
            "accept": "application/json, text/event-stream",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": "/mcp",
            "raw_path": b"/mcp",
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(n.encode(), v.encode()) for n, v in pairs.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 3000),
        }
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        content = b"" if body is None else json.dumps(body).encode()
        self._inbox.put_nowait({"type": "http.request", "body": content, "more_body": False})
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.changed = asyncio.Event()
        self.blocked = asyncio.Event()
        self._free = asyncio.Event()
        if not slow:
            self._free.set()
        self.ended = asyncio.Event()
        """The response is complete; its task may go on."""
        self._gone = False
        sent = 0

        async def send(message: Any) -> None:
            nonlocal sent
            if not self._free.is_set() and not self._gone:
                self.blocked.set()
                # As uvicorn waits for its buffer: before anything is written.
                await self._free.wait()
            if self._gone:
                return
            assert not self.ended.is_set(), "sent after the response's end"
            sent += 1
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {n.decode(): v.decode() for n, v in message["headers"]}
            else:
                self.body += message.get("body", b"")
                if not message.get("more_body", False):
                    self.ended.set()
            self.changed.set()
            if leaves_after is not None and sent >= leaves_after:
                self.leave()

        self.task = asyncio.create_task(app(scope, self._inbox.get, send))

    def let_go(self) -> None:
        self._free.set()

    def leave(self) -> None:
        self._gone = True
        self._free.set()
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(5):
            while text not in self.body:
                assert not self.task.done(), self.body
                self.changed.clear()
                await self.changed.wait()

    async def done(self) -> "Request":
        async with asyncio.timeout(5):
            await self.task
        return self

    async def over(self) -> "Request":
        async with asyncio.timeout(5):
            await self.ended.wait()
        return self

    def events(self) -> list[dict[str, Any]]:
        return [
            json.loads(line.removeprefix("data: "))
            for line in self.body.decode().splitlines()
            if line.startswith("data: ")
        ]

    def ids(self) -> list[str]:
        """The ids of the events, in their order; that of the priming event too."""
        lines = self.body.decode().splitlines()
        return [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
