"""The shipped nginx configuration, run by a real nginx before real replicas."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from ccxt_mcp.app import create_app
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.settings import Settings
from ccxt_mcp.store.memory import MemoryStore
from tests.cluster.proxy import NEEDS_NGINX, command, configured, running_nginx
from tests.cluster.standin import standing_in
from tests.redis_server import RedisServer
from tests.unit.transport.talker import Talker
from tests.unit.transport.toy import INITIALIZE

pytestmark = [pytest.mark.cluster, NEEDS_NGINX]

STREAM = {"Accept": "application/json, text/event-stream"}
CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "announce", "arguments": {}},
}
SAY: dict[str, Any] = {
    **CALL,
    "params": {"name": "say", "arguments": {}, "_meta": {"progressToken": "p"}},
}


class Served:
    """Replicas on loopback with one store, each of which can be stopped; their calls talk to one
    talker."""

    def __init__(self) -> None:
        self.talker = Talker()
        self._store = MemoryStore()
        self.ports: list[int] = []
        self.apps: list[Starlette] = []
        self._running: list[AsyncExitStack] = []

    async def start(self, **settings: Any) -> None:
        """One more."""
        known = Settings.model_validate({"trusted_proxies": ["127.0.0.1"], **settings})
        app = create_app(known, self.talker.server(), cluster=Cluster(self._store))
        self.apps.append(app)
        listener = bind("127.0.0.1", 0)
        self.ports.append(int(listener.getsockname()[1]))
        running = AsyncExitStack()
        await running.enter_async_context(serving(app, listener, app.state.connections))
        self._running.append(running)

    async def stop(self, which: int) -> None:
        """Its port is closed, and its connections."""
        await self._running[which].aclose()

    async def stop_all(self) -> None:
        for running in self._running:
            await running.aclose()


@asynccontextmanager
async def before(
    place: Path, count: int, **settings: Any
) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    """nginx before so many replicas, and a client of nginx."""
    replicas = Served()
    try:
        for _ in range(count):
            await replicas.start(**settings)
        async with (
            running_nginx(place, replicas.ports) as url,
            httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client,
        ):
            yield replicas, client
    finally:
        await replicas.stop_all()


async def opened(client: httpx.AsyncClient) -> dict[str, str]:
    """The headers of a session after its handshake."""
    answer = await client.post("/mcp", json=INITIALIZE, headers=STREAM)
    assert answer.status_code == 200, answer.text
    session = {**STREAM, "Mcp-Session-Id": answer.headers["Mcp-Session-Id"]}
    done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await client.post("/mcp", json=done, headers=session)).status_code == 202
    return session


async def messages(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The messages of a stream, each as soon as it is here."""
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


@pytest.mark.parametrize("market", [(), (39_999,)], ids=["as-shipped", "with-a-pool-of-tools"])
def test_nginx_accepts_the_configuration(tmp_path: Path, market: tuple[int, ...]) -> None:
    file = configured(tmp_path, [39_997, 39_998], port=39_996, market=market)
    done = subprocess.run(
        command(file, "-t"), capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


async def test_a_whole_session_goes_through_nginx_and_nothing_is_held_back(tmp_path: Path) -> None:
    """Handshake, JSON, progress step by step, the session's own stream, DELETE, each at whichever
    of two replicas nginx chose. The next step is made when the last one has arrived."""
    async with before(tmp_path, 2) as (replicas, client), asyncio.timeout(20):
        session = await opened(client)
        plain = await client.post("/mcp", json=CALL, headers=session)
        assert plain.json()["result"]["content"] == [{"type": "text", "text": "announce"}]

        replicas.talker.tell(1)
        async with client.stream("POST", "/mcp", json=SAY, headers=session) as response:
            assert response.headers["content-type"] == "text/event-stream"
            assert "content-encoding" not in response.headers
            said = messages(response)
            for step, following in ((1, 2), (2, 3), (3, None)):
                assert (await anext(said))["params"]["progress"] == step
                replicas.talker.tell(following)
            assert "result" in await anext(said)

        async with client.stream("GET", "/mcp", headers=session) as own:
            assert own.status_code == 200
            assert (await client.post("/mcp", json=CALL, headers=session)).status_code == 200
            assert (await anext(messages(own)))["method"] == "notifications/tools/list_changed"

        assert [len(app.state.registry) for app in replicas.apps] == [1, 1], "one served it alone"
        assert (await client.delete("/mcp", headers=session)).status_code in (200, 204)
        assert (await client.post("/mcp", json=CALL, headers=session)).status_code == 404


async def test_a_client_that_leaves_is_noticed_behind_nginx(tmp_path: Path) -> None:
    """`proxy_ignore_client_abort` would let the call run on for nobody."""
    async with before(tmp_path, 1) as (replicas, client), asyncio.timeout(10):
        asking = asyncio.create_task(
            client.post("/mcp", json={**SAY, "id": 7}, headers={"Mcp-Session-Id": "wf-leaves"})
        )
        await replicas.talker.started.wait()
        asking.cancel()
        while not replicas.talker.cancelled:
            await asyncio.sleep(0.005)


async def test_when_a_replica_is_gone_the_other_one_takes_over(tmp_path: Path) -> None:
    """No call fails: a connection that was refused is nothing that was sent. Nor does the session
    know, whichever of both had opened it."""
    async with before(tmp_path, 2) as (replicas, client), asyncio.timeout(20):
        session = await opened(client)
        for stopped in (None, 0):
            if stopped is not None:
                await replicas.stop(stopped)
            for _ in range(6):
                answer = await client.post("/mcp", json=CALL, headers=session)
                assert answer.status_code == 200, answer.text
                assert "result" in answer.json()


async def test_a_replica_that_is_killed_loses_no_session(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """Two processes and a real store; one of them ends by SIGKILL, with the session's parts."""
    prefix = "nginx-kill"
    redis_server.come_of_age(prefix)
    replica = [sys.executable, "-m", "tests.cluster.one_replica", redis_server.url, prefix]
    processes = [subprocess.Popen(replica, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    echo = {**CALL, "params": {"name": "echo", "arguments": {"value": "here"}}}
    try:
        ports = []
        for process in processes:
            assert process.stdout is not None
            ports.append(int(await asyncio.to_thread(process.stdout.readline)))
        async with (
            asyncio.timeout(20),
            running_nginx(tmp_path, ports) as url,
            httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client,
        ):
            session = await opened(client)
            for killed in (None, processes[0]):
                if killed is not None:
                    killed.kill()
                    killed.wait(10)
                for _ in range(4):
                    answer = await client.post("/mcp", json=echo, headers=session)
                    assert answer.status_code == 200, answer.text
                    assert answer.json()["result"]["structuredContent"] == {"value": "here"}
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        redis_server.forget(prefix)


async def test_what_was_sent_to_a_replica_that_died_is_not_sent_to_another(tmp_path: Path) -> None:
    """One order would become two. The client is told that the call may have been carried out."""
    async with (
        standing_in(answers=False) as one,
        standing_in(answers=False) as two,
        running_nginx(tmp_path, [one.port, two.port]) as url,
        httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client,
    ):
        answer = await client.post("/mcp", json=CALL)
        plain = await client.post("/api/tools/get_ticker", json={})
    assert answer.status_code == 502
    assert "may have been carried out" in answer.json()["error"]["message"]
    assert "Retry-After" not in answer.headers
    assert plain.json()["error"]["code"] == "internal"
    assert len(one.heads) + len(two.heads) == 2


async def test_with_non_idempotent_one_call_would_be_two(tmp_path: Path) -> None:
    """Why the word must never be there: the same two replicas, and each gets the call."""
    never = {"proxy_next_upstream error timeout;": "proxy_next_upstream error non_idempotent;"}
    async with (
        standing_in(answers=False) as one,
        standing_in(answers=False) as two,
        running_nginx(tmp_path, [one.port, two.port], changes=never) as url,
        httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client,
    ):
        await client.post("/mcp", json=CALL)
    assert (len(one.heads), len(two.heads)) == (1, 1)


async def test_with_no_replica_the_client_is_told_that_nothing_was_sent(tmp_path: Path) -> None:
    """So that what trades may send it again. In the form of our own refusals, both ways."""
    closed = [bind("127.0.0.1", 0) for _ in range(2)]
    ports = [int(each.getsockname()[1]) for each in closed]
    for each in closed:
        each.close()
    async with (
        running_nginx(tmp_path, ports) as url,
        httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client,
    ):
        # The first finds both away; by the fourth nginx no longer asks them.
        for _ in range(4):
            answer = await client.post("/mcp", json=CALL)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json()["error"]["data"]["code"] == "overloaded"
        plain = await client.post("/api/tools/get_ticker", json={})
    assert plain.status_code == 503
    assert plain.json()["error"]["retryable"] is True


async def test_a_replica_that_is_back_gets_work_before_clients_give_up(tmp_path: Path) -> None:
    """Updated one after the other, by whoever waits for `/ready`: the second goes when the first is
    back. Left alone for ten seconds after its failures, the first got nothing, and for seven
    seconds nobody answered; a client that tries again three times gives up after two to four."""
    async with standing_in() as first, standing_in() as second:
        ports = [first.port, second.port]
    async with (
        running_nginx(tmp_path, ports) as url,
        httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client,
    ):
        while "no live upstreams" not in (tmp_path / "log.err").read_text():
            assert (await client.post("/mcp", json=CALL)).status_code == 503
        async with standing_in(port=ports[0]) as back, asyncio.timeout(4):
            while (await client.post("/mcp", json=CALL)).status_code == 503:
                await asyncio.sleep(0.05)
        assert len(back.heads) == 1


async def test_a_body_is_refused_at_the_size_at_which_a_replica_refuses_it(tmp_path: Path) -> None:
    limit = Settings().max_body_bytes
    body = json.dumps(CALL)
    kind = {"Content-Type": "application/json", "Mcp-Session-Id": "wf-large"}
    async with before(tmp_path, 1) as (_, client):
        whole = await client.post("/mcp", content=body + " " * (limit - len(body)), headers=kind)
        more = await client.post("/mcp", content=body + " " * (limit + 1 - len(body)), headers=kind)
    assert whole.status_code == 200
    assert more.status_code == 413
    assert more.json()["error"]["code"] == -32600


async def test_headers_arrive_and_a_clients_word_about_its_address_does_not(tmp_path: Path) -> None:
    said = {
        "Mcp-Session-Id": "wf-headers",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "get_ticker",
        "MCP-Protocol-Version": "2026-07-28",
        "Last-Event-ID": "3-7",
        "Authorization": "Bearer a-token-of-this-test",
        "Origin": "https://page.example",
    }
    async with (
        standing_in() as one,
        running_nginx(tmp_path, [one.port]) as url,
        httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client,
    ):
        await client.post("/mcp", json=CALL, headers={**said, "X-Forwarded-For": "203.0.113.9"})
        (head,) = one.heads
        logged = (tmp_path / "log.out").read_text()
    lines = {
        name.lower(): value for name, _, value in (x.partition(": ") for x in head.split("\r\n"))
    }
    for name, value in said.items():
        assert lines[name.lower()] == value
    assert lines["x-forwarded-for"] == "127.0.0.1"
    assert lines["host"] == url.removeprefix("http://")
    assert "203.0.113.9" not in head
    # Which requests there were, and no secret of theirs.
    assert "a-token-of-this-test" not in logged
    assert "wf-headers" not in logged


async def test_calls_of_a_tool_go_to_the_replicas_that_have_it(tmp_path: Path) -> None:
    """By `Mcp-Name`, and by the path of plain HTTP; whatever names no tool goes to the others."""
    async with (
        standing_in() as all_tools,
        standing_in() as market,
        running_nginx(tmp_path, [all_tools.port], market=[market.port]) as url,
        httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client,
    ):
        await client.post("/mcp", json=CALL, headers={"Mcp-Name": "get_ticker"})
        await client.post("/api/tools/get_orderbook", json={})
        assert (len(all_tools.heads), len(market.heads)) == (0, 2)
        await client.post("/mcp", json=CALL, headers={"Mcp-Name": "account_balance"})
        await client.post("/api/tools/account_balance", json={})
        await client.post("/mcp", json=CALL)
        assert (len(all_tools.heads), len(market.heads)) == (3, 2)


async def test_numbers_of_one_replica_are_not_served_for_all(tmp_path: Path) -> None:
    async with before(tmp_path, 1) as (_, client):
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/ready")).status_code == 200
