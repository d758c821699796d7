"""One connection on which many wait at once: Redis pipelining, each reply to whoever is next.

Owns: which reply is whose, how long one is waited for, and finding out that a server says nothing
any more. Refuses: to connect (the library does, with its logins, TLS and sentinels), and to repeat.

The library's own way, a connection for each round trip, costs three times the CPU and the time of
this one: a lock, a pool, a stream and a task's turn for each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from hiredis import ProtocolError, Reader, pack_command
from redis._parsers import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TooLate

__all__ = ["Command", "Pipe"]

Command = tuple[str | bytes | int | float, ...]


class _Asked:
    __slots__ = ("count", "replies", "turn", "when")

    def __init__(self, count: int, turn: asyncio.Future[list[Any]], when: float) -> None:
        self.count = count
        self.turn = turn
        self.when = when
        self.replies: list[Any] = []


class Pipe(asyncio.Protocol):
    """A connection that has been made.

    Args:
        connection: ready for commands; nobody else uses it from here on.
        patience: seconds for a reply; of silence, while one is awaited, after which the connection
            is given up, as it is where a reply takes twice as long.

    Mutable: ``_awaited`` (in the order of the commands: who has gone is still there, for the reply
    that is to come), ``open`` (never set again), ``heard`` (when anything was, in seconds of the
    loop).
    """

    def __init__(self, connection: AbstractConnection, patience: float) -> None:
        self.open = True
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._awaited: deque[_Asked] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self.heard = self._loop.time()
        self._reader = Reader(replyError=BaseParser.parse_error)
        # The library made it and logged in; from here on it would only be in the way. Its writer is
        # kept because one that is forgotten closes its transport.
        self._writer = cast(asyncio.StreamWriter, connection._writer)
        connection._reader = connection._writer = None
        self._transport = cast(asyncio.Transport, self._writer.transport)
        self._transport.set_protocol(self)
        # What is written leaves at once: the loop would keep it until the end of its step, which
        # is longer than the way to the server and back.
        self._transport.set_write_buffer_limits(high=0)

    def __repr__(self) -> str:
        return f"<Pipe {'open' if self.open else 'closed'} {len(self._awaited)} awaited>"

    @property
    def idle(self) -> float:
        """Seconds since anything was heard; 0 while a reply is awaited."""
        return 0.0 if self._awaited else self._loop.time() - self.heard

    def ask(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Their replies, in their order; an error reply is a ``RedisError`` among them.

        The future may be cancelled: the commands are carried out all the same.

        Raises:
            ConnectionError: by the future; it failed, and what was asked may have been done.
            TimeoutError: by the future; no reply came in time.
            TypeError, ValueError: at once; they cannot be said, and none has been.
        """
        loop = self._loop
        turn: asyncio.Future[list[Any]] = loop.create_future()
        if not self.open:
            turn.set_exception(Disconnected("the connection is closed"))
            return turn
        # All of them first: one that cannot be said must not leave others said whose replies nobody
        # waits for.
        packed = [pack_command(each) for each in commands]  # type: ignore[arg-type]
        self._transport.write(packed[0] if len(packed) == 1 else b"".join(packed))
        self._awaited.append(_Asked(len(commands), turn, loop.time()))
        if self._alarm is None:
            self._alarm = loop.call_later(self._patience, self._look)
        return turn

    def retire(self) -> None:
        """Take nothing more; closed as soon as all have been answered."""
        self.open = False
        if not self._awaited:
            self._end(Disconnected("the connection is closed"))

    def close(self) -> None:
        """Take nothing more, and wait for nothing."""
        self._end(Disconnected("the connection is closed"))

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        reader, awaited = self._reader, self._awaited
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                asked = awaited[0]
                asked.replies.append(reply)
                if len(asked.replies) == asked.count:
                    del awaited[0]
                    if not asked.turn.done():
                        asked.turn.set_result(asked.replies)
        except (ProtocolError, IndexError) as error:
            self._end(Disconnected(f"the server says what nobody asked for: {error!r}"))
            return
        if not (self.open or awaited):
            self._end(Disconnected("the connection is closed"))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Disconnected(f"the connection was cut: {exc}"))

    def _look(self) -> None:
        """Tell those who have waited for too long, all with one timer."""
        self._alarm = None
        late = self._loop.time() - self._patience
        fresh = None
        for asked in self._awaited:
            if asked.when > late:
                fresh = asked.when
                break
            if not asked.turn.done():
                asked.turn.set_exception(TooLate("no reply in time"))
        if self._awaited:
            first = self._awaited[0].when
            silent = max(first, self.heard)
            if silent <= late:
                self._end(TooLate("the server says nothing"))
                return
            if first <= late - self._patience:
                # What is asked for now would come as late as this, for nobody, and so on.
                self._end(TooLate("the server cannot keep up"))
                return
            due = min(silent, first + self._patience)
            if fresh is not None:
                due = min(due, fresh)
            self._alarm = self._loop.call_at(due + self._patience, self._look)

    def _end(self, error: Exception) -> None:
        self.open = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._transport.abort()
        while self._awaited:
            turn = self._awaited.popleft().turn
            if not turn.done():
                # One each: those who raise it add to it where they were.
                turn.set_exception(type(error)(*error.args))
