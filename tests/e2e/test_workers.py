"""`serve --workers`: several processes behind one socket, over a real store."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.redis_server import RedisServer

SERVING = re.compile(r"serving MCP at (http://\S+)/mcp, (\d+) workers")


def environment(directory: Path, **more: str) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CCXT_MCP") and not name.endswith(("_API_KEY", "_SECRET"))
    }
    return inherited | {"CCXT_MCP_DATA_DIR": str(directory)} | more


@dataclass
class Command:
    """A running command, and what it has said."""

    process: asyncio.subprocess.Process
    said: list[str] = field(default_factory=list)
    url: str = ""

    async def listen(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.said.append(line.decode())
            if found := SERVING.search(self.said[-1]):
                self.url = found[1]

    def workers(self) -> list[int]:
        """The workers' process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return list(map(int, children.split()))


@asynccontextmanager
async def running(directory: Path, url: str, number: int = 2) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ccxt_mcp", "serve", "--port", "0", "--workers", str(number)),
        cwd=directory,
        env=environment(
            directory,
            CCXT_MCP_STORE_URL=url,
            CCXT_MCP_STORE_PREFIX=directory.name,
            PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
        ),
        stderr=asyncio.subprocess.PIPE,
    )
    command = Command(process)
    listening = asyncio.create_task(command.listen())
    try:
        async with asyncio.timeout(60):
            while not command.url and process.returncode is None:
                await asyncio.sleep(0.01)
        assert command.url, "".join(command.said)
        yield command
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await listening


async def node_behind(client: httpx.AsyncClient, url: str) -> str:
    """Which worker has the connection of this client."""
    return str((await client.get(f"{url}/health")).json()["node"])


@asynccontextmanager
async def one_client_each(url: str, number: int) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """A client for each worker, by its node: connections are opened until each has one."""
    async with AsyncExitStack() as stack, asyncio.timeout(20):
        found: dict[str, httpx.AsyncClient] = {}
        while len(found) < number:
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(timeout=20, trust_env=False))
                for _ in range(8)
            ]
            nodes = await asyncio.gather(*(node_behind(each, url) for each in clients))
            found |= dict(zip(nodes, clients, strict=True))
        yield found


async def status(client: httpx.AsyncClient, url: str, session: str) -> dict[str, object]:
    """One call in a session: what its own record says."""
    answer = await client.post(
        f"{url}/mcp",
        headers={"Mcp-Session-Id": session},
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "server_status", "arguments": {}},
        },
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()["result"]["structuredContent"]
    return found


async def opened(client: httpx.AsyncClient, url: str) -> str:
    """The id of a session that a worker gave out."""
    answer = await client.post(
        f"{url}/mcp",
        headers={"Accept": "application/json, text/event-stream"},
        json={
            "jsonrpc": "2.0",
            "id": 0,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        },
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["mcp-session-id"]


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while Path(f"/proc/{pid}/exe").exists() and _alive(pid):
            await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_two_workers_serve_one_dies_and_both_end(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """Steps: both serve, each known to the other; a session goes on at either; one is killed, the
    session goes on, and another takes its place; SIGTERM ends all with 0."""
    redis_server.come_of_age(tmp_path.name)
    async with running(tmp_path, redis_server.url) as command:
        assert sum("no accounts" in line for line in command.said) == 1
        async with one_client_each(command.url, 2) as clients:
            first, second = clients.values()
            listed = (await first.get(f"{command.url}/health")).json()["nodes"]
            assert {each["id"] for each in listed} == set(clients)
            assert len({each["address"] for each in listed}) == 1
            session = await opened(first, command.url)
            for client in (second, first):
                await status(client, command.url, session)
            before = command.workers()
            assert len(before) == 2

            os.kill(before[0], signal.SIGKILL)
            await gone(before[0])
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            # Whichever was killed: one of the two gave the session out, the other goes on with it.
            found = await status(client, command.url, session)
            assert found["session"]
        async with asyncio.timeout(20):
            while len(command.workers()) < 2:
                await asyncio.sleep(0.02)
        assert any("signal 9" in line for line in command.said)
        assert set(command.workers()) - set(before)
        # The new one need not serve yet: it ends all the same.
        command.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await command.process.wait() == 0
        for pid in before:
            assert not _alive(pid)
        assert not [line for line in command.said if "Traceback" in line]
