"""One HTTP connection: uvicorn's, with an end to everything that a client can draw out.

Owns: how long and how large the parts of a request may be, how long an answer may lie unread, and
what a client is told before it is hung up on. Refuses: the meaning of requests; it knows only where
their heads and bodies begin and end.

The code that every request passes is in ``data_received`` and the callbacks of the parser: no
timer is set there, and nothing is looked up where a request arrives in one piece.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any, ClassVar, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ccxt_mcp.connections.answers import ANSWERS
from ccxt_mcp.connections.limits import (
    LINGER,
    MAX_HEADER_BYTES,
    MAX_HEADER_LINES,
    MAX_PIPELINED,
    MAX_UNREAD_BYTES,
    PROGRESS_BYTES,
)
from ccxt_mcp.connections.registry import Connections
from ccxt_mcp.connections.sockets import address_of, unacknowledged, watch_peer

__all__ = ["Connection", "protocol_for"]

logger = logging.getLogger(__name__)

_QUIET: Final = 0
"""Everything that came has been a whole request."""
_HEAD: Final = 1
"""A request's head is awaited or arriving."""
_BODY: Final = 2
"""A request's body is arriving."""
_DEAF: Final = 3
"""What comes is thrown away; the answer under way is the last one."""
_LEAVING: Final = 4
"""What comes is thrown away; the last answer has been given."""


class _Unacceptable(Exception):
    """Ends the parser's work from inside one of its callbacks."""


class Connection(HttpToolsProtocol):
    """One connection.

    Mutable besides uvicorn's own:

    - ``_phase``, and ``_deadline`` (loop time), which means something in every phase but quiet
    - ``_active``: the request whose answer is next, until that is complete
    - ``_head``, ``_gap``, ``_unread``: bytes of the head so far, since the last piece of a body,
      and of a body that nobody reads; ``_chunk``, ``_ended``: of what came last, its size and
      whether a request ended in it
    - ``_pieces``, ``_before_body``: pieces of all bodies, and how many there were before this one
    - ``_unsent``, ``_unsent_since``: bytes that lay unread when the client last took some (0: none)
    """

    registry: ClassVar[Connections]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._phase = _HEAD
        self._deadline = math.inf
        self._active: RequestResponseCycle | None = None
        self._chunk = self._head = self._gap = self._unread = 0
        self._ended = False
        self._pieces = self._before_body = 0
        self._refusal = 400
        self._unsent = 0
        self._unsent_since = 0.0

    # The transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if not self.registry.admit(self, address_of(transport)):
            self._turn_away(transport)
            return
        super().connection_made(transport)
        watch_peer(transport, self.registry.limits.write_timeout)
        self._deadline = self.loop.time() + self.registry.limits.header_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        self.registry.forget(self)
        super().connection_lost(exc)
        # uvicorn tells only the newest request, and an earlier one would never learn of it.
        self._abandon()
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        before = self._phase
        if before >= _DEAF:
            return
        self._unset_keepalive_if_required()
        self.registry.busy(self)
        self._chunk = len(data)
        self._ended = False
        pieces = self._pieces
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            logger.debug("refused a request with %d: %s", self._refusal, error)
            self._refuse(self._refusal)
            return
        except httptools.HttpParserUpgrade:
            # What follows is of no protocol that is spoken here; the request itself is answered.
            if self._active is not None:
                self._active.keep_alive = False
            self._phase, self._deadline = _DEAF, math.inf
            return
        phase = self._phase
        if phase == _QUIET:
            if self._active is None:
                self._came_for_nothing(before)
        elif phase == _HEAD:
            self._head_goes_on(before)
        else:
            self._body_goes_on(before, pieces)

    # The parser's side

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = _HEAD

    def on_headers_complete(self) -> None:
        if len(self.headers) > MAX_HEADER_LINES or (
            self._head + self._chunk > MAX_HEADER_BYTES
            and len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > MAX_HEADER_BYTES
        ):
            self._refusal = 431
            raise _Unacceptable
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Unacceptable
        for index, (name, value) in enumerate(self.headers):
            if value and value[-1] in b" \t":
                # No part of the value (RFC 9110, 5.5); the parser takes away those before it alone.
                self.headers[index] = (name, value.rstrip(b" \t"))
        super().on_headers_complete()
        # Trailers come by the same callback. In the request's own list they would be headers that
        # nobody in front of this server has seen as such.
        self.headers = []
        self._before_body = self._pieces
        self._phase = _BODY
        if self.registry.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._pieces += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._ended = True
        self._phase = _QUIET

    # uvicorn's side

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._active = None
        super().on_response_complete()
        if self._active is not None or self.transport.is_closing():
            return
        if self._phase == _QUIET:
            self.registry.idle(self)
        elif (
            self._phase == _BODY and self.expect_100_continue and self._pieces == self._before_body
        ):
            # The client may now send the body or leave it out, and nobody could tell the next
            # request from it.
            self.transport.close()

    def shutdown(self) -> None:
        if self._active is None:
            self.transport.close()
        else:
            self._active.keep_alive = False

    # The registry's side

    def check(self, now: float) -> None:
        """Act on what is overdue at ``now`` (loop time)."""
        phase = self._phase
        if phase in (_HEAD, _BODY) and self.flow.read_paused:
            # Whether the rest has come is not known: it is this server that does not read.
            limits = self.registry.limits
            patience = limits.header_timeout if phase == _HEAD else limits.body_timeout
            self._deadline = now + patience
        elif phase != _QUIET and now >= self._deadline:
            self._overdue()
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self._unsent = 0
            return
        # The kernel takes more from us only once a third of its own buffer, megabytes, is free.
        unsent += unacknowledged(self.transport)
        if not self._unsent or unsent <= self._unsent - PROGRESS_BYTES:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since >= self.registry.write_timeout:
            self.registry.counts.timed_out_write += 1
            self.hang_up()

    def begin_draining(self) -> None:
        """Let the answer under way be the last one."""
        if self._active is not None:
            self._active.keep_alive = False

    def hang_up(self) -> None:
        """End at once, unsent data included."""
        self.transport.abort()

    def make_room(self) -> None:
        """End, being idle."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def resume_writing(self) -> None:
        self._unsent = 0
        super().resume_writing()

    # Its own

    def _came_for_nothing(self, before: int) -> None:
        """Bytes that began no request, while none is being answered."""
        if before == _BODY or self._ended:
            # The rest of a body whose request has been answered long since.
            self._unread = 0
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            self.registry.idle(self)
        else:
            # Empty lines, which the parser skips, would keep the connection for ever.
            self._phase = _HEAD
            self._head = 0
            self._head_goes_on(_QUIET)

    def _head_goes_on(self, before: int) -> None:
        if before != _HEAD or self._ended:
            self._head = 0
            self._deadline = self.loop.time() + self.registry.limits.header_timeout
        if not self._ended:
            self._head += self._chunk
        lines = self.headers
        if self._head > MAX_HEADER_BYTES or (lines is not None and len(lines) > MAX_HEADER_LINES):
            self._refuse(431)

    def _body_goes_on(self, before: int, pieces: int) -> None:
        if before != _BODY or self._ended:
            self._gap = self._unread = 0
            self._deadline = self.loop.time() + self.registry.limits.body_timeout
        self._gap = 0 if self._pieces != pieces else self._gap + self._chunk
        if self._active is None:
            self._unread += self._chunk
        # Beyond the head, so that there are trailers: chunks and their extensions are not kept.
        if self._gap > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADER_LINES:
            self._refuse(431)
        elif self._unread > MAX_UNREAD_BYTES:
            self.hang_up()

    def _overdue(self) -> None:
        counts = self.registry.counts
        if self._phase == _LEAVING:
            self.transport.abort()
        elif self._phase == _BODY:
            counts.timed_out_body += 1
            self._refuse(408)
        else:
            counts.timed_out_headers += 1
            if self._head:
                self._refuse(408)
            else:
                self.transport.close()

    def _refuse(self, status: int) -> None:
        """Read no further; answer what was arriving, unless something else is being answered."""
        if status == 431:
            self.registry.counts.too_large_headers += 1
        active = self._active
        if active is not None and not (self._phase == _BODY and active is self.cycle):
            # An earlier request, which came whole, has its answer first.
            active.keep_alive = False
            self._phase, self._deadline = _DEAF, math.inf
            return
        begun = self._phase == _BODY and (active is None or active.response_started)
        self._abandon()
        self._linger(b"" if begun else ANSWERS[status])

    def _abandon(self) -> None:
        """Let every request that is not answered see that its client is gone."""
        waiting = [cycle for cycle, _ in self.pipeline]
        for cycle in waiting if self._active is None else [self._active, *waiting]:
            cycle.disconnected = True
            # Asked for its body now, it would be told to go on, behind the last word.
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()

    def _linger(self, answer: bytes = b"") -> None:
        """Say the last word, and give the client a moment to read it."""
        self._phase, self._deadline = _LEAVING, self.loop.time() + LINGER
        if self.transport.is_closing():
            return
        if self.flow is not None:
            self.flow.resume_reading()
        if answer:
            self.transport.write(answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        if self.registry.turn_away(self):
            self._linger(ANSWERS[503])
        else:
            self._phase = _LEAVING
            transport.abort()


def protocol_for(registry: Connections) -> type[Connection]:
    """The class for ``uvicorn.Config(http=...)``; its connections belong to ``registry``."""
    return type("Connection", (Connection,), {"registry": registry})
