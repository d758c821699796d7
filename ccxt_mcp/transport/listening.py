"""GET: the session's own stream, and reading on where a stream was cut.

Owns: which track a GET reads and from where. Refuses: a GET without a session, a second stream of
the session's own beside one that is being read, and ids of events that are not to be had.
"""

from __future__ import annotations

from starlette.types import Receive, Send

from ccxt_mcp.errors import Failure
from ccxt_mcp.transport.directory import unavailable
from ccxt_mcp.transport.events import RETRY, Track, foreign
from ccxt_mcp.transport.gate import Gate
from ccxt_mcp.transport.parts import Part
from ccxt_mcp.transport.reading import read
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.resuming import PRIMED
from ccxt_mcp.transport.session import Session
from ccxt_mcp.transport.stream import Stream

__all__ = ["listen"]


async def listen(
    session: Session, gate: Gate, last_event_id: str | None, receive: Receive, send: Send
) -> None:
    """Serve one GET of a session, until its client leaves or the stream ends.

    Raises:
        Refusal: 400 for an event id that is not to be had, 409 where the session's own stream is
            being read, 503 while the server drains.
    """
    here = session.events is not None and session.events.owns(last_event_id or "")
    if session.part is not None and not here:
        await _listen_anywhere(session, session.part, gate, last_event_id, receive, send)
        return
    if last_event_id is not None:
        if session.events is None:
            raise foreign()
        track, after = session.events.find(last_event_id)
        # Not the gate's: what a call still under way has to say has nowhere else to go.
        await _heard(session, track, after, b": open\n" + RETRY + b"\n", receive, send)
        return
    gate.check()
    if session.listening:
        raise Refusal(409, "The session's stream is open already; close that one first")
    if session.handshaken:
        await _listen_resumably(session, receive, send)
        return
    session.stream = stream = Stream()
    session.heard()
    try:
        await stream.serve(receive, send)
    finally:
        session.stream = None
        session.unheard()


async def _listen_anywhere(
    session: Session,
    part: Part,
    gate: Gate,
    last_event_id: str | None,
    receive: Receive,
    send: Send,
) -> None:
    """The same of a session that replicas share: its own stream, or another replica's stream."""
    directory = part.directory
    try:
        if last_event_id is not None and "-" in last_event_id:
            await directory.following.serve(part, last_event_id, receive, send)
            return
        if last_event_id is None:
            gate.check()
        elif not session.handshaken:
            raise foreign()
        await directory.announce(part)
        await directory.own_streams.serve(
            part,
            last_event_id,
            receive,
            send,
            ids=session.handshaken,
            primed=session.handshaken and session.protocol_version in PRIMED,
        )
    except Failure as failure:
        raise unavailable(failure) from failure


async def _listen_resumably(session: Session, receive: Receive, send: Send) -> None:
    def abandoned() -> None:
        track.close()
        if session.stream is track:
            session.stream = None

    if session.stream is not None:
        session.stream.close()
    session.stream = track = session.open_track(abandoned)
    opening = b": open\n\n"
    if session.protocol_version in PRIMED:
        opening += track.prime()
    try:
        await _heard(session, track, track.last, opening, receive, send)
    finally:
        if track.ended and session.stream is track:
            session.stream = None


async def _heard(
    session: Session, track: Track, after: int, opening: bytes, receive: Receive, send: Send
) -> None:
    """Read a track; while it is the session's own, its subscriptions are at work."""
    if track is session.stream:
        session.heard()
    try:
        await read(track, after, opening, receive, send)
    finally:
        session.unheard()
