"""The lane of a session that several replicas serve: after this replica's own, everybody's.

Owns: one call's turn in the common store, and what becomes of a call that loses it. Refuses: calls
of sessions that have ended elsewhere, and to go on with a turn that may be another's by now: a read
is interrupted, a write sends nothing more (``check_held``) and says what became of it.

One round trip before the call (which also finds the session's record, renews its life and tells
whether it was changed), and one after it that nobody waits for. The first may be under way while
the call is still being read and checked (``ask_early``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ccxt_mcp.cluster.holding import HELD, LENGTH, Holding
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.head_start import HeadStart
from ccxt_mcp.mechanisms.interruption import Interruption
from ccxt_mcp.mechanisms.lane import waited_too_long
from ccxt_mcp.telemetry import Step, timed
from ccxt_mcp.transport.directory import Directory
from ccxt_mcp.transport.parts import EarlyTurn, Part
from ccxt_mcp.transport.session import Session

__all__ = ["ask_early", "in_turn"]

_LOST = "this replica could not keep the session's turn, so the call was ended"

_T = TypeVar("_T")


def ask_early(session: Session) -> None:
    """Ask for the turn of a call that has just come, if it is the next of its session here.

    It is for a call that comes to the lane in the same step of the loop, as all do that are not
    refused before, unless the server has a middleware that waits. After that it is given back:
    others would wait for as long, nobody renews it, and a bound in time of the store's would end
    whatever the call waits for then.
    """
    part = session.part
    if part is None or part.early is not None or session.lane.busy:
        return
    directory = part.directory
    part.early = HeadStart(
        directory.cluster.leases.take(
            part.name, record=True, ttl=directory.ttl, patience=directory.parts.lane_wait_max
        )
    )
    asyncio.get_running_loop().call_soon(_give_back, part, part.early)


def _give_back(part: Part, early: EarlyTurn) -> None:
    if part.early is early:
        part.early = None
        holding = early.close()
        if holding is not None:
            part.directory.cluster.leases.give(holding)


async def in_turn(
    directory: Directory,
    session: Session,
    work: Callable[[], Awaitable[_T]],
    *,
    arrived: float,
    wait_max: float,
    refused: Callable[[BaseException], None],
) -> _T:
    """Do the work when it is the session's turn among all replicas.

    Args:
        session: whose local lane the caller holds.
        arrived: when the call came, in seconds of ``perf_counter``.
        wait_max: seconds from then on that it may wait.
        refused: told, where the work was not begun.

    Raises:
        Failure: ``overloaded``, ``session_not_found`` or ``store_unavailable``; or the work's own.
    """
    left = max(0.0, wait_max - (time.perf_counter() - arrived))
    # A session may be opened again under its name, but not by a call that stood in line before:
    # its client may have ended the session meanwhile.
    fresh = wait_max - left < 0.001
    try:
        with timed(Step.LANE):
            holding = await _take(directory, session, left, wait_max, fresh)
    except BaseException as error:
        refused(error)
        raise
    held = HELD.set((*HELD.get(), holding))
    turn = Interruption()
    try:
        with turn:
            holding.on_loss(lambda: turn.interrupt(_LOST))
            return await work()
    finally:
        holding.on_loss(None)
        HELD.reset(held)
        _give(directory, session, holding)
    raise Failure(Code.STORE_UNAVAILABLE, _LOST, retry_after=LENGTH)


async def _take(
    directory: Directory, session: Session, left: float, wait_max: float, fresh: bool
) -> Holding:
    part = session.part
    assert part is not None
    leases, until = directory.cluster.leases, time.perf_counter() + left
    early, part.early = part.early, None
    try:
        holding = await (
            early or leases.take(part.name, record=True, ttl=directory.ttl, patience=left)
        )
        if holding is None and fresh and await directory.reopen(session):
            left = max(0.0, until - time.perf_counter())
            holding = await leases.take(part.name, record=True, ttl=directory.ttl, patience=left)
    except TimeoutError:
        raise waited_too_long(wait_max) from None
    if holding is None:
        directory.drop(session)
        raise Failure(Code.SESSION_NOT_FOUND, "the session was ended before it was the call's turn")
    if holding.version != part.version:
        try:
            there = await directory.read_again(session)
        except BaseException:
            leases.give(holding)
            raise
        if not there:
            leases.give(holding)
            raise Failure(Code.SESSION_NOT_FOUND, "the session was ended")
    return holding


def _give(directory: Directory, session: Session, holding: Holding) -> None:
    part, usage = session.part, session.usage
    assert part is not None
    now = (usage.calls, usage.errors, usage.timeouts)
    tally = {
        name: float(count - before)
        for name, count, before in zip(("calls", "errors", "timeouts"), now, part.told, strict=True)
        if count != before
    }
    part.told = now
    directory.cluster.leases.give(holding, tally={**tally, "latencyMs": usage.last})
