"""A venue that says what others have said: raw answers by request, over real HTTP.

Owns: one loopback server that answers from a list, and what it was asked in vain. Refuses: making
anything up: a request that is not in the list gets 404 and stays on record, for the test to fail by
its name.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

__all__ = ["Answer", "Replay", "replaying"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One raw answer.

    Attributes:
        method: of the request.
        path: of the request, whole.
        asks: fields of the request's query or body (JSON or form) that it must have.
        about: fields that say which market or coin is meant: what they must be if they are there.
        body: what is answered.
        name: how the answer is called in the list.
    """

    method: str
    path: str
    asks: Mapping[str, Any]
    about: Mapping[str, Any]
    body: Any
    name: str

    def fits(self, method: str, path: str, asked: Mapping[str, Any]) -> bool:
        return (
            method == self.method
            and path == self.path
            and all(str(asked.get(key)) == str(value) for key, value in self.asks.items())
            and all(str(asked.get(key, value)) == str(value) for key, value in self.about.items())
        )


@dataclass
class Replay:
    """A running venue. Mutable: all of it, by the test alone.

    Attributes:
        answers: the first that fits is given.
        spoil: what becomes of an answer's JSON before it is sent, given its name.
        served: names of the answers given.
        asked: what each of them was asked with, in the same order.
        unexpected: requests that no answer fits, as ``METHOD /path?query body``.
    """

    answers: Sequence[Answer]
    spoil: Callable[[Answer], str] = field(default=lambda answer: json.dumps(answer.body))
    url: str = ""
    served: list[str] = field(default_factory=list)
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    async def _handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        asked = {**_fields(text), **request.query}
        path = request.rel_url.raw_path
        for answer in self.answers:
            if answer.fits(request.method, path, asked):
                self.served.append(answer.name)
                self.asked.append(asked)
                return web.Response(text=self.spoil(answer), content_type="application/json")
        self.unexpected.append(f"{request.method} {request.rel_url} {text}".strip())
        return web.json_response({"replay": "nothing is recorded for this request"}, status=404)


def _fields(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return dict(parse_qsl(text))
    return value if isinstance(value, dict) else {}


@asynccontextmanager
async def replaying(answers: Sequence[Answer]) -> AsyncIterator[Replay]:
    """A venue on a free port of loopback."""
    replay = Replay(answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", replay._handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        replay.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield replay
    finally:
        await runner.cleanup()
