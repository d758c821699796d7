"""Many who wait on one connection: whose each reply is, and what becomes of them when it fails.

Against a server of the tests' own that answers when it is told to: a real one cannot be made to
answer the second command late, or with what nobody asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hiredis import Reader
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as TooLate

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.store.redis.links import FAULTS, Pipelined
from ccxt_mcp.store.redis.scripts import Script
from ccxt_mcp.store.redis.shards import Sharded
from ccxt_mcp.store.redis.wire import Call, Wire

PATIENCE = 0.3
_SCRIPT = Script("tell")
_CALLS: list[Call] = [(_SCRIPT, ["key"], ()), (_SCRIPT, ["key"], ())]


class Server:
    """Answers each command with ``answer``; what it is while ``held`` waits."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, ...]] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.answer: Callable[[tuple[bytes, ...]], bytes] = lambda command: b"+%s\r\n" % command[-1]
        self.go = asyncio.Event()
        self.go.set()
        self.lets_in = True
        self.serving = 0

    def hold(self) -> None:
        self.go.clear()

    def cut(self) -> None:
        for each in self.connections:
            each.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self.serving += 1
        parser = Reader()
        try:
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    if command[0] == b"CLIENT":
                        if self.lets_in:
                            writer.write(b"+OK\r\n")
                        continue
                    self.asked.append(tuple(command))
                    await self.go.wait()
                    writer.write(self.answer(tuple(command)))
        except ConnectionError:
            pass
        finally:
            self.serving -= 1
            writer.close()


@asynccontextmanager
async def serving(patience: float = 10.0) -> AsyncIterator[tuple[Server, Pipelined]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    link = Pipelined(ConnectionPool(host="127.0.0.1", port=port, protocol=2), patience)
    try:
        yield server, link
    finally:
        await link.close()
        server.go.set()
        server.cut()
        listening.close()
        await until(lambda: not server.serving)


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not found():
            await asyncio.sleep(0.002)


async def test_all_share_one_connection_and_each_has_its_own_replies() -> None:
    async with serving() as (server, link):
        async with asyncio.timeout(5):
            found = await asyncio.gather(
                *(link.execute([("GET", n), ("GET", -n)][: 1 + n % 2]) for n in range(50))
            )
    for n, replies in enumerate(found):
        assert replies == [b"%d" % n, b"%d" % -n][: 1 + n % 2]
    assert len(server.connections) == 1


async def test_the_replies_of_those_who_have_gone_are_nobody_elses() -> None:
    """Taken by whoever asks next, one caller's answer would be another's."""
    async with serving() as (server, link):
        await link.execute([("GET", "first")])
        server.hold()
        tasks = [asyncio.create_task(link.execute([("GET", n)])) for n in range(20)]
        await until(lambda: len(server.asked) > 1)
        for gone in tasks[::3]:
            gone.cancel()
        await asyncio.sleep(0)
        server.go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [n for n, each in enumerate(found) if each == [b"%d" % n]] == [
            n for n in range(20) if n % 3
        ]
        assert await link.execute([("GET", "last")]) == [b"last"]
        assert len(server.connections) == 1


async def test_what_is_large_does_not_hold_up_what_is_small() -> None:
    """On one connection a lease would be renewed only after another's market table has arrived."""
    async with serving() as (server, link):
        await link.execute([("GET", "small")])
        server.answer = lambda command: (
            b"$1000000\r\nbeginning" if command[-1] == b"large" else b"+%s\r\n" % command[-1]
        )
        large = asyncio.create_task(link.execute([("GET", "large")], large=True))
        await until(lambda: server.asked[-1][-1] == b"large")
        for n in range(3):
            assert await link.execute([("GET", n)]) == [b"%d" % n]
        assert not large.done()
        large.cancel()


@pytest.mark.parametrize("unsayable", [None, "\ud800"])
async def test_what_cannot_be_said_leaves_nothing_half_said(unsayable: Any) -> None:
    """The reply to what was said before it would be the next one's: another session's record."""
    async with serving() as (server, link):
        await link.execute([("GET", "first")])
        tasks = [
            asyncio.create_task(link.execute(commands))
            for commands in ([("GET", "secret"), ("GET", unsayable)], [("GET", "own")])
        ]
        half, own = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(half, TypeError | ValueError)
        assert own == [b"own"]
        assert b"secret" not in {command[-1] for command in server.asked}


async def test_a_server_that_cannot_keep_up_is_not_asked_behind_those_who_have_gone() -> None:
    """Each reply would come for somebody who has gone, later with each, and the line of them would
    grow for as long as anybody asks."""
    async with serving(PATIENCE) as (server, link):
        await link.execute([("GET", 0)])
        server.hold()
        pipe = link._pipes[False]
        loop = asyncio.get_running_loop()
        began, tasks = loop.time(), list[asyncio.Task[Any]]()
        server.answer = lambda command: b"*1000000\r\n" if command[-1] == b"slow" else b":1\r\n"
        tasks.append(asyncio.create_task(link.execute([("GET", "slow")])))
        await until(lambda: server.asked[-1][-1] == b"slow")
        server.go.set()
        async with asyncio.timeout(5):
            while pipe.open:
                server.connections[0].write(b":1\r\n")
                tasks.append(asyncio.create_task(link.execute([("GET", "next")])))
                await asyncio.sleep(0.01)
        assert loop.time() - began > 1.9 * PATIENCE
        server.answer = lambda command: b"+%s\r\n" % command[-1]
        assert await link.execute([("GET", "then")]) == [b"then"]
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_server_that_falls_silent_is_given_up_in_time_and_found_again() -> None:
    async with serving(PATIENCE) as (server, link):
        await link.execute([("GET", 1)])
        server.hold()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(FAULTS) as caught:
            await link.execute([("GET", 2)])
        assert isinstance(caught.value, TooLate | TimeoutError)
        assert PATIENCE * 0.9 < loop.time() - began < PATIENCE + 2
        server.go.set()
        assert await link.execute([("GET", 3)]) == [b"3"]
        assert len(server.connections) == 2


async def test_a_reply_that_is_late_behind_others_is_given_up_in_time() -> None:
    """A connection that is heard all the time is not silent, but those on it wait no longer for
    that."""
    async with serving(PATIENCE) as (server, link):
        await link.execute([("GET", 0)])
        loop = asyncio.get_running_loop()
        server.answer = lambda command: b"*1000000\r\n" if command[-1] == b"slow" else b":1\r\n"
        slow = asyncio.create_task(link.execute([("GET", "slow")]))
        began = loop.time()
        await until(lambda: server.asked[-1][-1] == b"slow")
        async with asyncio.timeout(5):
            while not slow.done():
                server.connections[0].write(b":1\r\n")
                await asyncio.sleep(0.01)
        assert isinstance(slow.exception(), TooLate)
        assert loop.time() - began < PATIENCE + 2


async def test_who_waits_on_a_connection_that_is_cut_hears_of_it() -> None:
    async with serving() as (server, link):
        await link.execute([("GET", 0)])
        server.hold()
        tasks = [asyncio.create_task(link.execute([("GET", n)])) for n in range(5)]
        await until(lambda: len(server.asked) > 1)
        server.cut()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, Disconnected) for each in found)
        assert len({id(each) for each in found}) == 5
        server.go.set()
        assert await link.execute([("GET", "again")]) == [b"again"]


@pytest.mark.parametrize("said", [b"?nonsense\r\n", b"+asked\r\n+not asked\r\n"])
async def test_a_server_that_says_what_nobody_asked_for_is_not_believed(said: bytes) -> None:
    """Its next reply would be taken for the answer to another question."""
    async with serving() as (server, link):
        server.answer = lambda command: said
        with suppress(*FAULTS):
            await link.execute([("GET", 1)])
        server.answer = lambda command: b"+%s\r\n" % command[-1]
        await until(lambda: server.connections[0].transport.is_closing())
        assert await link.execute([("GET", 2)]) == [b"2"]


async def test_an_error_is_the_reply_of_its_command_alone() -> None:
    async with serving() as (server, link):
        server.answer = lambda command: (
            b"-ERR no such thing\r\n" if command[-1] == b"1" else b"+%s\r\n" % command[-1]
        )
        first, second, third = await link.execute([("GET", n) for n in range(3)])
        assert (first, third) == (b"0", b"2")
        assert isinstance(second, ResponseError)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "is starting"),
        (b"-NOAUTH Authentication required.\r\n", "does not let this server in"),
        (b"-ERR max number of clients reached\r\n", "cannot be reached"),
        (b"-ERR something else\r\n", "refused what was asked"),
    ],
)
async def test_no_error_reply_is_taken_for_an_answer(said: bytes, words: str) -> None:
    """The library tells some as failures of the connection, but here nobody else raises them: a
    server that loads its data would have answered every question with an exception."""
    async with serving() as (server, link):
        wire = Wire(lambda: link, 10.0)
        wire.open()
        server.answer = lambda command: said
        for asked in (wire.command("GET", 1), wire.run(_SCRIPT, ["key"]), wire.run_all(_CALLS)):
            with pytest.raises(Failure, match=words) as refused:
                await asked
            assert refused.value.code is Code.STORE_UNAVAILABLE
        server.answer = lambda command: b"+%s\r\n" % command[-1]
        assert await wire.command("GET", 2) == b"2"


async def test_a_server_that_can_only_be_read_is_left_for_a_new_connection() -> None:
    """It is no master any more; who is may be found out by connecting."""
    async with serving() as (server, link):
        server.answer = lambda command: b"-READONLY You can't write against a replica\r\n"
        [reply] = await link.execute([("SET", "a", 1)])
        assert isinstance(reply, ReadOnlyError)
        server.answer = lambda command: b"+%s\r\n" % command[-1]
        assert await link.execute([("SET", "a", 2)]) == [b"2"]
        assert len(server.connections) == 2


async def test_those_who_come_while_it_is_connected_wait_for_one_connection() -> None:
    async with serving(PATIENCE) as (server, link):
        server.lets_in = False
        tasks = [asyncio.create_task(link.execute([("GET", n)])) for n in range(5)]
        await until(lambda: bool(server.connections))
        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert all(isinstance(each, TimeoutError) for each in found[1:])
        assert len(server.connections) == 1
        server.lets_in = True
        assert await link.execute([("GET", "then")]) == [b"then"]


async def test_a_link_that_is_closed_leaves_nobody_waiting() -> None:
    async with serving() as (server, link):
        server.lets_in = False
        connecting = asyncio.create_task(link.execute([("GET", 1)]))
        await until(lambda: bool(server.connections))
        await link.close()
        with pytest.raises(Disconnected):
            await connecting


async def test_nothing_is_repeated_on_what_was_left() -> None:
    """It would connect anew, and nobody would ever close that."""
    async with serving() as (server, link):
        wire = Wire(lambda: link, 10.0)
        wire.open()
        await wire.command("GET", 1)
        server.hold()
        asked = asyncio.create_task(wire.command("GET", 2))
        await until(lambda: len(server.asked) == 2)
        await wire.close()
        with pytest.raises(Failure, match="is leaving"):
            await asked
        assert len(server.connections) == 1


def in_a_cluster(server: Server, link: Pipelined, said: bytes, patience: float) -> Sharded:
    """Of this server alone, which says this to all commands with keys."""
    place = link._pool.connection_kwargs
    host, port = place["host"], place["port"]
    slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n+%s\r\n:%d\r\n" % (host.encode(), port)
    server.answer = lambda command: slots if command[0] == b"CLUSTER" else said
    return Sharded([(host, port)], lambda _: Pipelined(link._pool, patience), patience)


async def test_nobody_is_led_on_in_a_cluster_that_was_left() -> None:
    """It would connect to the next server, and nobody would ever close that."""
    async with serving() as (server, link):
        cluster = in_a_cluster(server, link, b"-TRYAGAIN\r\n", 10.0)
        asked = asyncio.create_task(cluster.execute([("EVALSHA", "script", 1, "key")]))
        await until(lambda: len(server.asked) > 2)
        await cluster.close()
        with pytest.raises(Disconnected):
            await asked
        assert len(server.connections) == 1


async def test_who_is_led_in_a_circle_takes_breath() -> None:
    """While a slot is handed over two servers may each name the other. Asked without a pause, they
    and this one are busy with nothing else."""
    async with serving() as (server, link):
        cluster = in_a_cluster(server, link, b"-MOVED 1 127.0.0.1:1\r\n", PATIENCE)
        with pytest.raises(TimeoutError):
            await cluster.execute([("EVALSHA", "script", 1, "key")])
        assert len(server.asked) < 20
        await cluster.close()


async def test_what_was_replaced_is_closed_with_the_rest() -> None:
    """Who still waited there would wait on, and its connection be left to nobody."""
    async with serving() as (server, link):
        server.answer = lambda command: (
            b"" if command[-1] == b"never" else b"-READONLY not here\r\n"
        )
        first = asyncio.create_task(link.execute([("GET", 1)]))
        waits = asyncio.create_task(link.execute([("GET", "never")]))
        await first
        server.answer = lambda command: b"+%s\r\n" % command[-1]
        assert await link.execute([("GET", "again")]) == [b"again"]
        assert len(server.connections) == 2
        await link.close()
        with pytest.raises(Disconnected):
            async with asyncio.timeout(2):
                await waits


async def test_a_connection_that_was_quiet_for_long_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What lies between may have forgotten it: found out by waiting for a reply in vain."""
    async with serving() as (server, link):
        await link.execute([("GET", 1)])
        monkeypatch.setattr("ccxt_mcp.store.redis.links._STALE", 0.0)
        assert await link.execute([("GET", 2)]) == [b"2"]
        assert len(server.connections) == 2
