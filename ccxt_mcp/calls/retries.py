"""Trying a read again, and saying what a failed write may have done.

Owns: the table failure → how often and after what pause, the conditions under which it holds, and
the failure that a write's caller gets. Refuses: writes (they are tried once, whatever happens),
waiting for a rate limit (the limiter does, before a request is sent), and knowing why a request
failed (``exchanges/failures.py`` has said so).

A read is tried again only while a whole CCXT timeout is left afterwards: the last attempt must be
able to end in the exchange's own words rather than in the tool's deadline. So a silence, which
takes the whole timeout, is not tried again, and a hanging exchange costs its caller 10 s, once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ccxt_mcp.calls.policy import Effect
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.failures import Wire
from ccxt_mcp.mechanisms.deadline import remaining

__all__ = ["RULES", "Rule", "after_a_write", "full_jitter", "persistently"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a failure is answered.

    Attributes:
        attempts: tries in all.
        pause: seconds that the first pause is at most; each further one is at most twice as long.
        if_answered: only if the exchange has answered every request of the failed attempt.
        if_retryable: only if the failure itself says that trying again can help.
    """

    attempts: int
    pause: float
    if_answered: bool = False
    if_retryable: bool = False


RULES: Mapping[Code, Rule] = {
    # Refused, reset, 5xx: a gateway or one of many servers; the next may be well.
    Code.EXCHANGE_UNAVAILABLE: Rule(3, 0.25, if_retryable=True),
    # Cut off or replaced by a page on the way. Once more only: a changed format stays changed.
    Code.BAD_RESPONSE: Rule(2, 0.1, if_retryable=True),
    # The exchange's own 504. A silence is not answered, and never tried again.
    Code.TIMEOUT: Rule(3, 0.25, if_answered=True),
    # A timestamp or nonce that came late; the clock is measured again meanwhile.
    Code.EXCHANGE_ERROR: Rule(2, 0.1, if_retryable=True),
}
"""Everything else is not tried again: it would fail again, or must not be sent again."""

PAUSE_MAX = 2.0
"""Seconds of one pause at most, unless the exchange names a longer one."""


def full_jitter(bound: float) -> float:
    """A pause of 0 to ``bound`` seconds: callers that failed together come back one by one."""
    return random.uniform(0.0, bound)


async def persistently(
    attempt: Callable[[], Awaitable[_T]],
    *,
    wire: Callable[[], Wire],
    ccxt_timeout: float,
    jitter: Callable[[float], float] = full_jitter,
) -> _T:
    """The outcome of a read, tried again where ``RULES`` says so and the deadline allows.

    Args:
        attempt: one try; raises ``Failure`` only, besides cancellation.
        wire: what the last try sent and read.
        ccxt_timeout: seconds that one request may take.
        jitter: turns the longest pause into the one to make.
    """
    tried = 0
    while True:
        tried += 1
        try:
            return await attempt()
        except Failure as failure:
            _end_if_cancelled()
            pause = _pause(failure, tried, wire(), ccxt_timeout, jitter)
            if pause is None:
                raise
        # Out here nothing is being handled: the next failure gets no context.
        await asyncio.sleep(pause)


def _end_if_cancelled() -> None:
    """CCXT makes an error of its own of a cancellation now and then: nobody waits any more."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from None


def _pause(
    failure: Failure,
    tried: int,
    wire: Wire,
    ccxt_timeout: float,
    jitter: Callable[[float], float],
) -> float | None:
    """Seconds until the next try; ``None`` if there must be none."""
    rule = RULES.get(failure.code)
    if rule is None or tried >= rule.attempts:
        return None
    if rule.if_answered and wire.answered < max(1, wire.sent):
        return None
    if rule.if_retryable and not failure.retryable:
        return None
    pause = max(jitter(min(PAUSE_MAX, rule.pause * 2 ** (tried - 1))), failure.retry_after or 0.0)
    left = remaining()
    return None if left is not None and left - pause < ccxt_timeout else pause


_UNDECIDED = frozenset(
    (Code.TIMEOUT, Code.EXCHANGE_UNAVAILABLE, Code.BAD_RESPONSE, Code.CANCELLED, Code.INTERNAL)
)
"""Failures that leave open whether a request that was sent has been carried out. All others are the
exchange's refusal, or were ours before anything was sent."""


def after_a_write(effect: Effect, failure: Failure, wire: Wire) -> Failure:
    """What the caller of a failed operation is told: for a write that was sent and not refused,
    ``outcome_unknown``; otherwise the failure as it is."""
    if effect is Effect.READ or wire.sent == 0 or failure.code not in _UNDECIDED:
        return failure
    return Failure(
        Code.OUTCOME_UNKNOWN,
        f"{failure.message.rstrip('.')}; it may have been carried out all the same",
        exchange=failure.exchange,
        operation=failure.operation,
        details=failure.details,
    )
