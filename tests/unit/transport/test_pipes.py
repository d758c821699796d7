"""A host at the other end of two pipes: its one lane, its cancellations, its ways to the end."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ccxt_mcp.tools.boundary import failure_result
from ccxt_mcp.tools.resources import refused
from ccxt_mcp.transport.lanes import queue_tool_calls
from ccxt_mcp.transport.pipes import serve_pipes
from ccxt_mcp.transport.registry import Registry
from ccxt_mcp.transport.subscribing import subscribe_resources
from tests.unit.transport.changing import SUBSCRIPTION, UPDATED, Changing
from tests.unit.transport.toy import INITIALIZE, Toy, call

LONGEST = 100_000


class Host:
    """Holds the ends of the pipes that a host holds."""

    def __init__(self, toy: Toy, *, lane_limit: int = 8) -> None:
        self.toy = toy
        theirs, self._out = os.pipe()
        self._in, ours = os.pipe()
        self._theirs = (theirs, ours)
        self._lines = os.fdopen(self._in, "rb", closefd=False)
        self._closed: set[int] = set()
        self.stop = asyncio.Event()
        server = toy.server()
        queue_tool_calls(server, refuse=failure_result)
        self.changing = Changing()
        subscribe_resources(server, self.changing, refuse=refused)
        self.registry = Registry(
            max_sessions=1,
            max_per_client=1,
            idle_timeout=60,
            adopt_named=True,
            lane_limit=lane_limit,
            lane_wait_max=60,
        )
        self.served = asyncio.create_task(
            serve_pipes(server, self.registry, theirs, ours, stop=self.stop, longest=LONGEST)
        )

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            line = message if isinstance(message, bytes) else json.dumps(message).encode()
            os.write(self._out, line + b"\n")

    async def receive(self) -> dict[str, Any]:
        line = await asyncio.to_thread(self._lines.readline)
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    async def open(self) -> None:
        self.send(INITIALIZE)
        assert "result" in await self.receive()
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def sends_no_more(self) -> None:
        self._close(self._out)

    def reads_no_more(self) -> None:
        self._close(self._in)

    def _close(self, descriptor: int) -> None:
        if descriptor not in self._closed:
            self._closed.add(descriptor)
            os.close(descriptor)

    def end(self) -> None:
        for descriptor in (self._out, self._in, *self._theirs):
            self._close(descriptor)


@asynccontextmanager
async def host(**options: Any) -> AsyncIterator[Host]:
    async with asyncio.timeout(20):
        before = asyncio.all_tasks()
        toy = Host(Toy(), **options)
        try:
            yield toy
            await toy.served
            assert asyncio.all_tasks() == before
            assert len(toy.registry) == 0
        finally:
            toy.stop.set()
            await asyncio.wait({toy.served})
            toy.end()


async def test_calls_run_one_after_the_other_in_their_order() -> None:
    async with host() as at:
        await at.open()
        at.send(call("hold", "a", 1), call("echo", "b", 2), call("echo", "c", 3))
        await at.toy.started.wait()
        at.send({"jsonrpc": "2.0", "id": 9, "method": "ping"})
        assert (await at.receive())["id"] == 9, "what is no call does not queue"
        at.toy.go.set()
        assert [(await at.receive())["id"] for _ in range(3)] == [1, 2, 3]
        assert at.toy.order == ["a", "b", "c"]
        assert at.toy.most_running == 1
        at.sends_no_more()


async def test_a_call_beyond_the_queue_is_refused_as_retryable() -> None:
    async with host(lane_limit=1) as at:
        await at.open()
        at.send(call("hold", "a", 1), call("echo", "b", 2), call("echo", "c", 3))
        refused = await at.receive()
        assert refused["id"] == 3
        assert refused["result"]["_meta"]["ccxt-mcp/failure"]["code"] == "overloaded"
        at.toy.go.set()
        assert [(await at.receive())["id"] for _ in range(2)] == [1, 2]
        at.sends_no_more()


async def test_a_call_that_runs_and_one_that_waits_can_be_cancelled() -> None:
    async with host() as at:
        await at.open()
        at.send(call("hold", "a", "one"), call("echo", "b", "two"), call("echo", "c", "three"))
        await at.toy.started.wait()
        for name in ("two", "one"):
            cancel = {"requestId": name, "reason": "not wanted"}
            at.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel})
        assert (await at.receive())["id"] == "three"
        assert at.toy.order == ["c"]
        at.sends_no_more()


async def test_a_call_cancelled_by_another_spelling_of_its_id_is_waited_for_no_more() -> None:
    """To the SDK "7" is 7. Without the same here, the end of input waits for an answer to "7" that
    nobody will give: for 20 seconds, here until the test's own bound."""
    async with host() as at:
        await at.open()
        at.send(call("hold", "a", "7"))
        await at.toy.started.wait()
        cancel = {"requestId": 7}
        at.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel})
        at.sends_no_more()
        async with asyncio.timeout(10):
            await at.served


async def test_what_was_asked_is_answered_when_the_host_sends_no_more() -> None:
    """Without it, a pipe of three requests from a shell ends before any of them is answered."""
    async with host() as at:
        await at.open()
        at.send(call("hold", "a", 1), call("echo", "b", 2))
        await at.toy.started.wait()
        at.sends_no_more()
        at.toy.go.set()
        assert [(await at.receive())["result"]["content"][0]["text"] for _ in range(2)] == [
            "a",
            "b",
        ]


async def test_a_stop_ends_it_while_the_host_says_nothing_and_a_call_hangs() -> None:
    """A read of a descriptor cannot be cancelled: with the SDK's own stdio server this waits for
    the host's next line, so for ever."""
    async with host() as at:
        await at.open()
        at.send(call("hold", "a", 1))
        await at.toy.started.wait()
        at.stop.set()
        answer = await at.receive()
        assert answer["id"] == 1
        assert "closed" in answer["error"]["message"]
        assert at.toy.running == 0


async def test_a_host_that_reads_no_more_ends_it_and_its_calls() -> None:
    async with host() as at:
        await at.open()
        at.reads_no_more()
        at.send({"jsonrpc": "2.0", "id": 1, "method": "ping"}, call("hold", "a", 2))
        await at.served
        assert at.toy.running == 0


async def test_a_host_that_neither_reads_nor_leaves_does_not_hold_the_stop() -> None:
    """A write of a descriptor cannot be cancelled either."""
    async with host() as at:
        await at.open()
        for letter in "xy":
            at.send(call("echo", letter * 40_000))
            while at.toy.order[-1:] != [letter * 40_000]:
                await asyncio.sleep(0.005)
        at.stop.set()
        await at.served


async def test_a_line_that_is_too_long_is_answered_and_read_past() -> None:
    """Without the bound, a line without an end fills the memory."""
    async with host() as at:
        await at.open()
        for size in (LONGEST + 1, LONGEST + 2, LONGEST + 3, 5 * LONGEST):
            await asyncio.to_thread(at.send, b"x" * size)
            answer = await at.receive()
            assert answer["error"]["code"] == -32600
            assert "longer than 100000 bytes" in answer["error"]["message"]
        await asyncio.to_thread(at.send, b'"%s"' % (b"x" * (LONGEST - 2)))
        assert "The line must be one" in (await at.receive())["error"]["message"]
        at.send(call("echo", "still here", 7))
        assert (await at.receive())["id"] == 7
        at.sends_no_more()


async def test_what_is_no_message_is_answered_and_the_next_one_served() -> None:
    async with host() as at:
        await at.open()
        for line, code, words in (
            (b"{", -32700, "the line is not valid JSON"),
            (b"\xff\xfe", -32700, "not valid JSON"),
            (b"[]", -32600, "batches"),
            (b'{"jsonrpc": "2.0", "method": "tools/call"}', -32600, "`id` is missing"),
            (b'{"jsonrpc": "2.0", "id": 5, "method": "ping", "params": []}', -32602, "params"),
        ):
            at.send(line)
            answer = await at.receive()
            assert answer["error"]["code"] == code, line
            assert words in answer["error"]["message"]
        at.send(b"", call("echo", "still here", 7))
        assert (await at.receive())["result"]["structuredContent"] == {"value": "still here"}
        at.sends_no_more()


async def test_a_host_is_told_of_what_it_has_subscribed_to() -> None:
    """What it has not read yet is said once, and the end of what it sends waits for no news."""
    async with host() as it:
        await it.open()
        params = {"uri": "test://a"}
        it.send({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": params})
        assert (await it.receive())["result"] == {}
        it.changing.change("test://a", times=100)
        told = {"jsonrpc": "2.0", "method": UPDATED, "params": params}
        assert await it.receive() == told
        it.changing.change("test://a")
        assert await it.receive() == told
        it.send({"jsonrpc": "2.0", "id": 2, "method": "resources/unsubscribe", "params": params})
        assert (await it.receive())["result"] == {}
        assert it.changing.at_work("test://a") == 0
        it.send({"jsonrpc": "2.0", "id": 3, "method": "resources/subscribe", "params": params})
        assert (await it.receive())["result"] == {}
        it.sends_no_more()
        await it.served
        assert it.changing.at_work("test://a") == 0


async def test_a_modern_hosts_stream_of_subscriptions_ends_with_what_it_sends() -> None:
    """An open stream is a request that was never answered: the server would stay for the whole of
    its grace, 20 s, after every host that has left."""
    async with host() as it:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = {"notifications": {"resourceSubscriptions": ["test://a"]}, "_meta": meta}
        it.send({"jsonrpc": "2.0", "id": 9, "method": "subscriptions/listen", "params": params})
        acknowledged = await it.receive()
        assert acknowledged["params"]["_meta"] == {SUBSCRIPTION: 9}
        it.changing.change("test://a")
        assert (await it.receive())["method"] == UPDATED
        it.sends_no_more()
        async with asyncio.timeout(5):
            assert (await it.receive())["id"] == 9
            await it.served
        assert it.changing.at_work("test://a") == 0
        assert it.registry.quota.taken == 0
