"""Clients that are slow, silent, greedy or rude: each is bounded, and nobody else notices.

Raw sockets against a served application, with short timeouts by settings. Every wait is a wait for
the server to act; where uvicorn alone would never act, the test's own time limit is what ends it.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from ccxt_mcp.app import create_app
from ccxt_mcp.connections.limits import (
    MAX_HEADER_BYTES,
    MAX_HEADER_LINES,
    MAX_UNREAD_BYTES,
    ConnectionCounts,
)
from ccxt_mcp.serving import bind, serving
from ccxt_mcp.settings import Settings
from tests.unit.transport.toy import Toy, call

LIMIT = 60
"""Seconds for one test, far above every timeout that it sets."""
LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Served:
    """A served toy, and a way to it below HTTP."""

    app: Starlette
    toy: Toy
    url: str
    exits: AsyncExitStack

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def counts(self) -> ConnectionCounts:
        counts = self.app.state.connections.counts
        assert isinstance(counts, ConnectionCounts)
        return counts

    async def connect(self) -> "Peer":
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self.exits.push_async_callback(peer.leave)
        return peer


@dataclass
class Peer:
    """One raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """The next response with a Content-Length: status, headers, body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body

    async def rest(self) -> bytes:
        """All until the server has closed the connection; a reset is an end as well."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def leave(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Served]:
    toy = Toy()
    app = create_app(Settings.model_validate(settings), toy.server())
    async with asyncio.timeout(LIMIT), AsyncExitStack() as exits:
        url = await exits.enter_async_context(
            serving(app, bind("127.0.0.1", 0), app.state.connections)
        )
        exits.callback(toy.go.set)
        yield Served(app, toy, url, exits)


async def until(true: Callable[[], bool]) -> None:
    """Bounded by the test's limit."""
    while not true():
        await asyncio.sleep(0.01)


def post(body: dict[str, Any], *headers: str, session: str = "a") -> bytes:
    payload = json.dumps(body).encode()
    lines = [
        "POST /mcp HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Mcp-Session-Id: {session}",
        f"Content-Length: {len(payload)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + payload


def stream(session: str) -> bytes:
    return (
        f"GET /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: {session}\r\n"
        "Accept: text/event-stream\r\n\r\n"
    ).encode()


# Headers


async def test_a_client_that_never_sends_a_byte_is_hung_up_on_in_silence() -> None:
    """uvicorn's keep-alive timer starts after the first answer: such a connection stayed."""
    async with served(header_timeout=0.2) as it:
        peer = await it.connect()
        assert await peer.rest() == b""
        assert it.counts.timed_out_headers == 1
        await until(lambda: it.counts.open == 0)


@pytest.mark.parametrize("begun", [b"G", LIVE[:-2], b"\r\n", b"POST /mcp HTTP/1.1\r\nX: "])
async def test_a_client_that_never_finishes_its_headers_is_hung_up_on(begun: bytes) -> None:
    """Without the cure the connection, and its file, was kept for ever."""
    async with served(header_timeout=0.2) as it:
        peer = await it.connect()
        await peer.send(begun)
        status, headers, body = await peer.response()
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["error"]["message"] == "The request did not arrive in time"
        assert await peer.rest() == b""
        assert it.counts.timed_out_headers == 1


@pytest.mark.parametrize("begun", [b"GET /", b"\r\n"])
async def test_dripping_does_not_extend_the_time_for_headers(begun: bytes) -> None:
    """Each byte ended uvicorn's keep-alive timer, empty lines too, and nothing started another."""
    async with served(header_timeout=0.3) as it:
        peer = await it.connect()
        await peer.send(LIVE)
        assert (await peer.response())[0] == 200
        await peer.send(begun)

        async def drip() -> None:
            while True:
                await asyncio.sleep(0.02)
                await peer.send(b"\r\n" if begun == b"\r\n" else b"E")

        dripping = asyncio.create_task(drip())
        assert (await peer.response())[0] == 408
        dripping.cancel()
        await asyncio.wait([dripping])


async def test_a_client_that_thinks_between_requests_is_let_think() -> None:
    """The time for headers begins with their first byte, not with the end of the last answer."""
    async with served(header_timeout=0.1) as it:
        thinker, silent = await it.connect(), await it.connect()
        await thinker.send(LIVE)
        assert (await thinker.response())[0] == 200
        # Whole periods pass: three clients that say nothing are timed out, one after the other.
        assert await silent.rest() == b""
        for _ in range(2):
            assert await (await it.connect()).rest() == b""
        await thinker.send(LIVE)
        assert (await thinker.response())[0] == 200


CHUNKED_HEAD = (
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Mcp-Session-Id: a\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /live HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_HEADER_LINES + 2),
        b"GET /live HTTP/1.1\r\nX: " + b"a" * MAX_HEADER_BYTES,
        b"GET /" + b"a" * MAX_HEADER_BYTES,
        b"\r\n" * MAX_HEADER_BYTES,
        CHUNKED_HEAD + b"0\r\nX: " + b"a" * MAX_HEADER_BYTES * 2,
        CHUNKED_HEAD + b"0\r\n" + b"x: y\r\n" * (MAX_HEADER_LINES + 2),
        CHUNKED_HEAD + b"1;" + b"a" * MAX_HEADER_BYTES * 2,
    ],
    ids=["lines", "value", "url", "newlines", "trailer", "trailers", "extension"],
)
async def test_a_flood_of_headers_is_refused_before_it_ends(flood: bytes) -> None:
    """The parser knows no bound and keeps all of it: memory was the client's to choose."""
    async with served() as it:
        peer = await it.connect()
        it.exits.callback(peer.writer.transport.abort)
        await peer.send(flood)
        status, headers, _ = await peer.response()
        assert (status, headers["connection"]) == (431, "close")
        assert await peer.rest() == b""
        assert it.counts.too_large_headers == 1
        await until(lambda: not _requests())


async def test_large_bounds_are_exact_where_a_request_comes_in_one_piece() -> None:
    """A large body in the same packet is no header; headers of one byte too many are."""
    async with served() as it:
        peer = await it.connect()
        await peer.send(post(call("echo", "x" * 300_000)))
        assert (await peer.response())[0] == 200
        for lines, status in ((MAX_HEADER_LINES - 1, 200), (MAX_HEADER_LINES, 431)):
            peer = await it.connect()
            await peer.send(LIVE[:-2] + b"x: y\r\n" * lines + b"\r\n")
            assert (await peer.response())[0] == status
        fixed = len("/live") + len("Host") + len("localhost") + 4 + len("X") + 4
        for size, status in ((MAX_HEADER_BYTES - fixed, 200), (MAX_HEADER_BYTES - fixed + 1, 431)):
            peer = await it.connect()
            await peer.send(LIVE[:-2] + b"X: " + b"a" * size + b"\r\n\r\n")
            assert (await peer.response())[0] == status


async def test_trailers_are_no_headers() -> None:
    """uvicorn put them among the headers, where a proxy in front of it has seen none of them: with
    `Mcp-Session-Id`, `Authorization` or `X-Forwarded-For` it would be another request."""
    async with served() as it:
        peer = await it.connect()
        body = json.dumps(call("echo")).encode()
        await peer.send(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n%b\r\n0\r\nMcp-Session-Id: smuggled\r\n\r\n"
            % (len(body), body)
        )
        status, _, answer = await peer.response()
        assert status == 400
        assert b"Mcp-Session-Id is missing" in answer
        await peer.send(LIVE)
        assert (await peer.response())[0] == 200


# Bodies


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("kept", [1, -20])
async def test_a_client_that_never_finishes_its_body_is_hung_up_on(version: str, kept: int) -> None:
    """The application waited for the rest for ever. Now it sees that the client has gone."""
    async with served(body_timeout=0.2) as it:
        peer = await it.connect()
        whole = post(call("echo"), f"MCP-Protocol-Version: {version}")
        end = whole.index(b"\r\n\r\n") + 4
        await peer.send(whole[:end] if kept == 1 else whole[:kept])
        assert (await peer.response())[0] == 408
        assert await peer.rest() == b""
        assert it.counts.timed_out_body == 1
        await until(lambda: it.counts.open == 0)
        await until(lambda: not _requests())


def _requests() -> list[str]:
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if name.endswith("run_asgi")]


async def test_a_call_that_lasts_longer_than_a_body_may_take_is_left_alone() -> None:
    """Its body is complete: what takes time is the answer."""
    async with served(body_timeout=0.1, header_timeout=0.1, write_timeout=0.1) as it:
        peer = await it.connect()
        await peer.send(post(call("hold", "x" * 200_000)))
        await it.toy.started.wait()
        for _ in range(3):
            assert await (await it.connect()).rest() == b""
        it.toy.go.set()
        assert (await peer.response())[0] == 200
        assert it.counts.timed_out_body == 0


async def test_the_rest_of_a_refused_body_is_not_waited_for_long() -> None:
    """It was waited for without end: an answered request had no timer once its body went on."""
    async with served(body_timeout=0.2) as it:
        peer = await it.connect()
        await peer.send(b"POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 99\r\n\r\nab")
        assert (await peer.response())[0] == 421
        await peer.send(b"cd")
        assert await peer.rest() == b""
        assert it.counts.timed_out_body == 1


async def test_only_so_much_of_a_refused_body_is_read_away() -> None:
    """A client could have had the server read for all of the body's time, for nothing."""
    async with served(body_timeout=600) as it:
        peer = await it.connect()
        length = MAX_UNREAD_BYTES * 4
        await peer.send(
            b"POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: %d\r\n\r\n" % length
        )
        assert (await peer.response())[0] == 421
        peer.writer.write(b"x" * (MAX_UNREAD_BYTES + 1_000_000))
        await until(lambda: it.counts.open == 0)


async def test_a_refused_body_that_arrives_leaves_the_connection_in_use() -> None:
    """As before: the answer came early, the body was read away, the next request is served."""
    async with served(body_timeout=5) as it:
        peer = await it.connect()
        await peer.send(b"POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 4\r\n\r\nab")
        assert (await peer.response())[0] == 421
        await peer.send(b"cd")
        await peer.send(LIVE)
        assert (await peer.response())[0] == 200


async def test_a_request_that_is_refused_is_not_asked_to_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It waits for "100 Continue", and a body that is no body comes with its head. Without the cure
    the application asked for the body after the connection's last word, and a traceback was logged
    for each such request."""
    async with asyncio.timeout(LIMIT), served() as server:
        peer = await server.connect()
        head, _, _ = post(call("echo"), "Expect: 100-continue").partition(b"\r\n\r\n")
        kept = [line for line in head.split(b"\r\n") if b"ontent-" not in line.split(b":")[0]]
        chunked = [b"Content-Type: application/json", b"Transfer-Encoding: chunked"]
        await peer.send(b"\r\n".join([*kept, *chunked, b"", b"no chunk\r\n"]))
        status, _, _ = await peer.response()
        assert status == 400
        assert await peer.rest() == b""
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_expect_100_continue_is_answered_when_the_body_is_wanted() -> None:
    async with served() as it:
        peer = await it.connect()
        head, _, body = post(call("echo"), "Expect: 100-continue").partition(b"\r\n\r\n")
        await peer.send(head + b"\r\n\r\n")
        assert (await peer.response())[0] == 100
        await peer.send(body)
        assert (await peer.response())[0] == 200
        await peer.send(LIVE)
        assert (await peer.response())[0] == 200


async def test_a_body_that_was_asked_about_and_not_wanted_ends_the_connection() -> None:
    """The client may leave it out; the next request would have been taken for the body."""
    async with served() as it:
        peer = await it.connect()
        await peer.send(
            b"POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 40\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert (await peer.response())[0] == 421
        assert await peer.rest() == b""


async def test_a_broken_body_that_was_asked_about_is_refused_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """uvicorn tells the client to go on when the application asks for the body: behind the refusal
    of the connection it was a traceback in the log, for as many as a stranger cares to send."""
    caplog.set_level(logging.WARNING)
    async with served() as it:
        peer = await it.connect()
        head = post(call("echo"), "Expect: 100-continue").partition(b"\r\n\r\n")[0]
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        await peer.send(b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b"zz\r\n"]))
        assert (await peer.rest()).startswith(b"HTTP/1.1 400")
        await until(lambda: it.counts.open == 0)
    assert caplog.records == []


# Answers that nobody reads


async def deaf_socket(it: Served, buffer: int = 4096) -> socket.socket:
    """A connection whose kernel takes little, and whose client reads only what a test reads."""
    peer = socket.socket()
    it.exits.callback(peer.close)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    peer.setblocking(False)
    await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", it.port))
    return peer


LARGE = 400_000


async def fill(it: Served, peer: socket.socket, session: str) -> None:
    """Ask for large answers, until the server reads no more of it: it cannot send."""
    data = post(call("echo", "x" * LARGE), session=session)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(0.5):
            for _ in range(40):
                await loop.sock_sendall(peer, data)
    except (TimeoutError, ConnectionError):
        return


async def test_a_client_that_does_not_read_its_answers_is_hung_up_on() -> None:
    """`send` waited without end, and with it the request, its session and, at the end, the
    server."""
    async with served(write_timeout=0.3, max_body_bytes=1_000_000) as it:
        peer = await deaf_socket(it)
        await fill(it, peer, "deaf")
        await until(lambda: it.counts.timed_out_write == 1)
        await until(lambda: it.counts.open == 0)
        await until(lambda: not _requests())
        (session,) = it.app.state.registry.describe(10, 0)
        assert session["inFlight"] == 0


async def test_a_stream_that_nobody_reads_is_ended() -> None:
    """It kept its session's one place for a stream, and whatever else was queued."""
    async with served(write_timeout=0.3) as it:
        opener = await it.connect()
        await opener.send(post(call("echo"), session="s"))
        assert (await opener.response())[0] == 200
        peer = await deaf_socket(it)
        await asyncio.get_running_loop().sock_sendall(peer, stream("s"))
        session = _session(it, "s")
        await until(lambda: session.stream is not None)
        payload = b'{"jsonrpc":"2.0","method":"x","params":"' + b"x" * 50_000 + b'"}'
        while session.stream is not None:
            session.stream.push(payload)
            await asyncio.sleep(0.001)
        assert it.counts.timed_out_write == 1


def _session(it: Served, label: str) -> Any:
    (found,) = [s for s in it.app.state.registry._sessions.values() if s.label == label]
    return found


async def test_a_slow_reader_that_goes_on_reading_gets_everything() -> None:
    """Only who takes nothing is hung up on: without the look at what was taken meanwhile, every
    large answer to a slow client was cut short."""
    async with served(write_timeout=0.3, max_body_bytes=1_000_000) as it:
        peer = await deaf_socket(it, 65_536)
        loop = asyncio.get_running_loop()
        asked = 12
        sending = asyncio.create_task(
            loop.sock_sendall(peer, post(call("echo", "x" * LARGE), session="slow") * asked)
        )
        got = 0
        # Each answer holds the value twice, as text and as structure.
        while got < asked * LARGE * 2:
            chunk = await loop.sock_recv(peer, 65_536)
            assert chunk, got
            got += len(chunk)
            await asyncio.sleep(0.01)
        await sending
        assert it.counts.timed_out_write == 0


async def test_the_kernel_looks_after_peers_that_vanish() -> None:
    """A stream whose peer lost its power would stay until the next reboot."""
    seen: list[socket.socket] = []
    async with served(write_timeout=7) as it:
        peer = await it.connect()
        await peer.send(LIVE)
        await peer.response()
        (member,) = it.app.state.connections._open
        seen.append(member.transport.get_extra_info("socket"))
        (accepted,) = seen
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_every_request_of_a_lost_connection_learns_of_it() -> None:
    """uvicorn told only the newest: a stream with another request behind it was for ever, and with
    it its session's place for a stream."""
    async with served() as it:
        peer = await it.connect()
        await peer.send(post(call("echo"), session="s"))
        assert (await peer.response())[0] == 200
        await peer.send(stream("s"))
        await peer.reader.readuntil(b": open\n\n")
        await peer.send(LIVE)
        (member,) = it.app.state.connections._open
        await until(lambda: len(member.pipeline) == 1)
        session = _session(it, "s")
        # Reading is paused behind a pipelined request, so the end is the server's to find.
        member.hang_up()
        await until(lambda: session.stream is None)


# Too many


async def test_the_longest_idle_connection_makes_room() -> None:
    async with served(max_connections=3) as it:
        peers = [await it.connect() for _ in range(3)]
        for peer in (peers[1], peers[0], peers[2], peers[1]):
            await peer.send(LIVE)
            assert (await peer.response())[0] == 200
        late = await it.connect()
        await late.send(LIVE)
        assert (await late.response())[0] == 200
        assert await peers[0].rest() == b""
        for peer in (peers[1], peers[2]):
            await peer.send(LIVE)
            assert (await peer.response())[0] == 200
        await until(lambda: it.counts.open == 3)
        assert it.counts.refused_full == 0


async def test_one_too_many_is_told_so_when_all_are_busy(caplog: pytest.LogCaptureFixture) -> None:
    """Without a bound the process ran out of files, and then nobody was answered, exchanges
    included. One line in the log tells of it, not one for each."""
    caplog.set_level(logging.INFO)
    async with served(max_connections=2) as it:
        busy = [await it.connect() for _ in range(2)]
        for number, peer in enumerate(busy):
            await peer.send(post(call("hold"), session=str(number)))
        await until(lambda: it.toy.running == 2)
        for _ in range(3):
            late = await it.connect()
            await late.send(LIVE)
            status, headers, _ = await late.response()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert await late.rest() == b""
        assert (it.counts.open, it.counts.refused_full) == (2, 3)
        it.toy.go.set()
        for peer in busy:
            assert (await peer.response())[0] == 200
        late = await it.connect()
        await late.send(LIVE)
        assert (await late.response())[0] == 200
    assert len([r for r in caplog.records if "turned away" in r.getMessage()]) == 1


async def test_health_counts_connections() -> None:
    async with served() as it, httpx.AsyncClient(trust_env=False) as http:
        await it.connect()
        await until(lambda: it.counts.open == 1)
        assert (await http.get(f"{it.url}/health")).json()["connections"] == 2


async def test_hundreds_of_streams_stand_beside_calls_and_leave_nothing() -> None:
    async with served(max_sessions_per_client=1000) as it:
        peers = []
        for number in range(300):
            peer = await it.connect()
            peers.append(peer)
            await peer.send(post(call("echo"), session=f"s{number}"))
            assert (await peer.response())[0] == 200
            await peer.send(stream(f"s{number}"))
            await peer.reader.readuntil(b": open\n\n")
        assert it.counts.open == 300
        one = await it.connect()
        await one.send(post(call("echo"), session="one"))
        assert (await one.response())[0] == 200
        for peer in peers:
            peer.writer.transport.abort()
        await until(lambda: it.counts.open == 1)
        await until(lambda: not _requests())
        assert all(s.stream is None for s in it.app.state.registry._sessions.values())


# Rude ones


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding:\x0bchunked",
        b"Content-Length: +5",
        b"Content-Length: 5,5",
        b"Content-Length : 5",
        b"Content-Length: 5\nX: y",
        b"X: a\rContent-Length: 5",
        b"X: a\r\n folded: b",
        b"X: \x00",
    ],
)
async def test_a_request_that_two_readers_would_read_differently_is_refused(headers: bytes) -> None:
    """Request smuggling: what is the body for one is the next request for the other."""
    async with served() as it:
        peer = await it.connect()
        await peer.send(
            b"POST /live HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n" + CHUNKED + LIVE
        )
        status, answer, _ = await peer.response()
        assert (status, answer["connection"]) == (400, "close")
        assert await peer.rest() == b""


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"\x00" * 100,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"BREW / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "GET /ü HTTP/1.1\r\nHost: ü\r\n\r\n".encode(),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_what_is_no_http_is_refused_and_not_logged(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A scanner's visit was a line in the log for each try, at the level of warnings."""
    caplog.set_level(logging.INFO)
    async with served() as it:
        peer = await it.connect()
        await peer.send(garbage)
        assert (await peer.response())[0] == 400
        assert await peer.rest() == b""
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_garbage_behind_a_request_does_not_take_its_answer() -> None:
    """uvicorn answered 400 at once, in the place of the call's own answer, and gave the call up."""
    async with served() as it:
        peer = await it.connect()
        await peer.send(post(call("hold", "mine")))
        await it.toy.started.wait()
        (member,) = it.app.state.connections._open
        await peer.send(b"\x00garbage" + LIVE)
        await until(lambda: not member.cycle.keep_alive)
        it.toy.go.set()
        status, headers, body = await peer.response()
        assert (status, headers["connection"]) == (200, "close")
        assert b"mine" in body
        assert await peer.rest() == b""


async def test_an_upgrade_is_not_made_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It was two warnings for each request, one of them with advice about packages."""
    caplog.set_level(logging.INFO)
    async with served(header_timeout=0.2) as it:
        peer = await it.connect()
        await peer.send(LIVE[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + LIVE)
        status, headers, _ = await peer.response()
        assert (status, headers["connection"]) == (200, "close")
        assert await peer.rest() == b""
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with served() as it:
        peer = await it.connect()
        requests = [post(call("echo", str(number), number)) for number in range(20)]
        await peer.send(b"".join(requests))
        for number in range(20):
            status, _, body = await peer.response()
            assert (status, json.loads(body)["id"]) == (200, number)


async def test_a_pipeline_has_an_end() -> None:
    """What one read of the socket held was queued, thousands of requests at a time."""
    async with served() as it:
        peer = await it.connect()
        await peer.send(post(call("hold")) + LIVE * 1000)
        await it.toy.started.wait()
        (member,) = it.app.state.connections._open
        assert len(member.pipeline) == 32
        it.toy.go.set()
        status, headers, _ = await peer.response()
        assert (status, headers["connection"]) == (200, "close")
        assert await peer.rest() == b""
