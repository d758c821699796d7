"""Replicas as processes that come and go, and a router before them.

Owns: one server process at one port, started as users start it, killed, stopped or made to stand
still; the router that sends each request to any of them; their common configuration. Refuses: the
load, when what is killed, and the verdict (``replicas.py``).
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
from aiohttp import web

from benchmarks.processes import environment
from benchmarks.stage import free_port
from ccxt_mcp.simulation import SimulatedExchange
from ccxt_mcp.simulation.accounts import derive_keys

__all__ = ["Replica", "Router", "configuration"]

_STARTING = 60.0
_PASSED_ON = {"content-type", "accept", "mcp-session-id", "mcp-protocol-version"}
_PASSED_ON |= {"mcp-method", "mcp-name", "last-event-id", "retry-after"}


class Replica:
    """One server process, which comes and goes at one port.

    Mutable: ``up``, set from when it is ready until it is killed or has ended, not while it stands
    still.
    """

    def __init__(self, home: Path, config: Path, number: int) -> None:
        self.port = free_port()
        self.up = asyncio.Event()
        self._home = home / f"replica-{number}"
        self._home.mkdir()
        self._config = config
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Start it and wait until it is ready."""
        with (self._home / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ccxt_mcp", "serve"),
                *("--config", str(self._config), "--port", str(self.port)),
                stderr=log,
                env=environment(self._home) | {"CCXT_MCP_DATA_DIR": str(self._home / "data")},
            )
        async with asyncio.timeout(_STARTING):
            while True:
                with suppress(aiohttp.ClientError):
                    async with http.get(self.url + "/ready") as answer:
                        if answer.status == 200:
                            self.up.set()
                            return
                await asyncio.sleep(0.1)

    async def sleep(self, seconds: float) -> None:
        """Stand still in the middle of whatever it does, with all its connections."""
        assert self._process is not None
        self.up.clear()
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)
        self.up.set()

    async def stop(self, how: signal.Signals) -> int | None:
        process = self._process
        if process is None or process.returncode is not None:
            return None if process is None else process.returncode
        if how is signal.SIGKILL:
            self.up.clear()
        process.send_signal(how)
        async with asyncio.timeout(60):
            code = await process.wait()
        self.up.clear()
        return code

    def complaints(self) -> list[str]:
        log = (self._home / "log").read_text()
        return [f"the log: {log[-3000:]}"] if "Traceback" in log or " ERROR " in log else []


class Router:
    """Each request to a replica that is drawn. What could not be sent goes to another; what was
    sent is never sent again."""

    def __init__(self, replicas: list[Replica], http: aiohttp.ClientSession, seed: int) -> None:
        self._replicas = replicas
        self._http = http
        self._dice = random.Random(seed)
        self.url = ""

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        order = self._dice.sample(self._replicas, len(self._replicas))
        headers = {k: v for k, v in request.headers.items() if k.lower() in _PASSED_ON}
        for replica in order:
            try:
                answer = await self._http.request(
                    request.method, replica.url + request.path_qs, data=body, headers=headers
                )
            except aiohttp.ClientConnectorError:
                continue
            except aiohttp.ClientError:
                return web.Response(status=502)
            return await self._pass_on(request, answer)
        return web.Response(status=503)

    async def _pass_on(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        async with answer:
            headers = {k: v for k, v in answer.headers.items() if k.lower() in _PASSED_ON}
            back = web.StreamResponse(status=answer.status, headers=headers)
            try:
                await back.prepare(request)
                async for chunk in answer.content.iter_any():
                    await back.write(chunk)
                await back.write_eof()
            except (aiohttp.ClientError, ConnectionError):
                # In the middle of an answer there is no other way to say it.
                if request.transport is not None:
                    request.transport.abort()
            return back


def configuration(home: Path, store: str, sim: SimulatedExchange, accounts: list[str]) -> Path:
    """The file that all replicas have in common."""
    lines = [f'store_url = "{store}"', 'default_exchange = "paper"']
    lines += [
        "exchange_keys_from_env = false",
        'log_level = "warning"',
    ]
    lines += ["max_sessions_per_client = 2000"]
    lines += ["[exchanges.paper]", 'exchange = "binance"', 'rate_limit = "off"']
    lines += [f'base_url = "{sim.base_url}"']
    lines += ['options = { fetchMarkets = { types = ["spot"] } }']
    for name in accounts:
        key, secret = derive_keys(7, name)
        lines += [f"[accounts.{name}]", 'exchange = "paper"']
        lines += [f'api_key = "{key}"', f'secret = "{secret}"']
    path = home / "server.toml"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path
