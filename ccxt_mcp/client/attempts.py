"""The attempts of a call within its time, and what is known of it when there is no answer.

Owns: deadlines, which failures are tried again, and when a write's outcome is unknown. Refuses:
whose turn it is (``workflow.py``) and the requests themselves (``session.py``).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ccxt_mcp.client.calls import Catalogue
from ccxt_mcp.client.failures import CallFailed, Fate, failed, outcome_unknown
from ccxt_mcp.client.reading import ProgressFailed
from ccxt_mcp.client.session import Session
from ccxt_mcp.client.wire import Flight

__all__ = ["Attempts"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
"""Seconds; the pause before a retry is random, from 0 to a longest one that doubles."""

_T = TypeVar("_T")


class Attempts:
    """How the calls of one session are tried.

    Mutable: ``unsettled`` (the write that was sent last, while nobody knows whether it has ended).

    Args:
        session: in which they are made.
        catalogue: says which tools only read.
        retries: how often a read is tried again.
    """

    def __init__(self, session: Session, catalogue: Catalogue, retries: int) -> None:
        self.unsettled: str | None = None
        self._session = session
        self._catalogue = catalogue
        self._retries = retries

    async def within(
        self,
        what: str,
        seconds: float,
        work: Callable[[Flight], Awaitable[_T]],
        tool: str | None = None,
    ) -> _T:
        """Do some work within its time, again where that can help and does no harm.

        ``tool`` is the one that is called, None for what changes nothing.

        Raises:
            CallFailed: it has no result.
            Exception: what the caller's ``on_progress`` raised.
        """
        loop = asyncio.get_running_loop()
        deadline, flight = loop.time() + seconds, Flight()
        try:
            async with asyncio.timeout_at(deadline) as scope:
                tries = 0
                while True:
                    tries += 1
                    flight.again()
                    try:
                        found = await work(flight)
                    except CallFailed as failure:
                        told = self._judged(failure, tool, flight)
                        told.attempts = flight.attempts
                        pause = self._pause(told, tries)
                        # Before the call itself is begun there is nothing that could be repeated.
                        harmless = not flight.asked or self._reads(tool)
                        if not harmless or pause is None or loop.time() + pause >= deadline:
                            raise told from (None if told is failure else failure)
                    else:
                        if tool is not None:
                            # The session has one line: what was before has ended.
                            self.unsettled = None
                        return found
                    await asyncio.sleep(pause)
        except TimeoutError as error:
            doubt = self._given_up(tool, flight)
            if not scope.expired():
                raise
            late = f"no answer came within {seconds:g} s"
            if doubt is None:
                overdue = failed("timeout", f"{what}: {late}", Fate.NOT_STARTED)
            else:
                overdue = outcome_unknown(doubt, late)
            overdue.attempts = flight.attempts
            raise overdue from error
        except CallFailed:
            raise
        except ProgressFailed as carried:
            self._given_up(tool, flight)
            raised = carried.error
        except BaseException:
            # The caller left.
            self._given_up(tool, flight)
            raise
        # Out here, where it is nobody's but the caller's, also if it is a CallFailed.
        raise raised

    def _judged(self, failure: CallFailed, tool: str | None, flight: Flight) -> CallFailed:
        """The failure as it is for this tool: a write that may have arrived is none to repeat."""
        if tool is None or not flight.asked or self._reads(tool):
            return failure
        # A call that ended with its session may have been waiting or running, and a write runs on.
        if failure.fate is Fate.UNKNOWN or failure.code == "cancelled":
            self.unsettled = tool
            return outcome_unknown(tool, failure.message)
        return failure

    def _given_up(self, tool: str | None, flight: Flight) -> str | None:
        """Nobody waits any more; the tool, if that is a write that may have arrived."""
        self._session.give_up(flight)
        if tool is None or self._reads(tool) or not (flight.asked and flight.sent):
            return None
        self.unsettled = tool
        return tool

    def _reads(self, tool: str | None) -> bool:
        return tool is None or self._catalogue.reads(tool)

    def _pause(self, failure: CallFailed, tries: int) -> float | None:
        """Seconds before the next attempt; None for none."""
        if self._session.closed or not failure.retryable or tries > self._retries:
            return None
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tries - 1, 8))
        return (failure.retry_after or 0.0) + random.uniform(0, longest)
