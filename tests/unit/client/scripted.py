"""A server that answers as a script says, for what a real one cannot be made to say."""

from __future__ import annotations

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
    return httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, "error": error})


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

    def __init__(self, mock: respx.MockRouter, *script: Any) -> None:
        self.script = list(script)
        self.seen: Counter[str] = Counter()
        self.requests: list[httpx.Request] = []
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
