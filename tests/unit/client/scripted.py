"""A server that answers as a script says, for what a real one cannot be made to say."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import respx

URL = "http://127.0.0.1:3999"
READ = "look"
WRITE = "send"


def result(request_id: Any, body: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={"jsonrpc": "2.0", "id": request_id, "result": body})


def rpc_error(code: int, message: str = "no", **data: Any) -> httpx.Response:
    error = {"code": code, "message": message} | ({"data": data} if data else {})
    return httpx.Response(200, json={"jsonrpc": "2.0", "id": None, "error": error})


def refusal(status: int, headers: dict[str, str] | None = None, **data: Any) -> httpx.Response:
    error = {"code": -32600, "message": "refused"} | ({"data": data} if data else {})
    body = {"jsonrpc": "2.0", "id": None, "error": error}
    return httpx.Response(status, json=body, headers=headers)


def tool_failure(code: str, *, retryable: bool, **more: Any) -> dict[str, Any]:
    failure = {"code": code, "message": "it failed", "retryable": retryable, "hint": "h"} | more
    return {
        "content": [{"type": "text", "text": "it failed"}],
        "isError": True,
        "_meta": {"ccxt-mcp/failure": failure},
    }


class Scripted:
    """Answers handshakes and lists by itself, and each tool call by the next entry of `script`.

    An entry is a response, an exception to raise, or the `result` of a JSON-RPC response; the last
    one is repeated.
    """

    def __init__(self, mock: respx.MockRouter | None, *script: Any) -> None:
        self.script = list(script)
        self.seen: Counter[str] = Counter()
        self.requests: list[httpx.Request] = []
        if mock is not None:
            mock.post(f"{URL}/mcp").mock(side_effect=self.answer)
            mock.delete(f"{URL}/mcp").mock(side_effect=self.ended)

    def ended(self, request: httpx.Request) -> httpx.Response:
        self.seen["DELETE"] += 1
        return httpx.Response(204)

    def answer(self, request: httpx.Request) -> httpx.Response:
        message = json.loads(request.content)
        self.seen[message["method"]] += 1
        self.requests.append(request)
        match message["method"]:
            case "initialize":
                answer = result(message["id"], {"protocolVersion": "2025-11-25"})
                answer.headers["mcp-session-id"] = request.headers["mcp-session-id"]
                return answer
            case "tools/list":
                tools = [
                    {"name": name, "annotations": {"readOnlyHint": name == READ}}
                    for name in (READ, WRITE)
                ]
                return result(message["id"], {"tools": tools})
            case "tools/call":
                entry = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if isinstance(entry, Exception):
                    raise entry
                return entry if isinstance(entry, httpx.Response) else result(message["id"], entry)
            case "ping":
                return result(message["id"], {})
            case _:
                return httpx.Response(202)

    @property
    def calls(self) -> int:
        return self.seen["tools/call"]


class Way(httpx.AsyncBaseTransport):
    """The way of a caller's own to a scripted server: it does not tell how far a request is.

    Calls wait until `go` is set, if it is given; `called` is set when one has arrived.
    """

    def __init__(self, server: Scripted, go: asyncio.Event | None = None) -> None:
        self.server = server
        self.go = go
        self.called = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return self.server.ended(request)
        answer = self.server.answer(request)
        if json.loads(request.content)["method"] == "tools/call":
            self.called.set()
            if self.go is not None:
                await self.go.wait()
        return answer


def streamed(*messages: dict[str, Any], form: str = "text/event-stream") -> httpx.Response:
    """An answer as an event stream."""
    events = "".join(f"data: {json.dumps(message)}\n\n" for message in messages)
    return httpx.Response(200, headers={"content-type": form}, content=events.encode())


PROGRESS = {
    "jsonrpc": "2.0",
    "method": "notifications/progress",
    "params": {"progressToken": 3, "progress": 1},
}
