"""The job of loading one exchange's market tables, in whichever process it is done.

Owns: what a helper process is told and the words that it answers with, and the load itself.
Refuses: processes (``helper`` on this side, ``loader`` on the other), and keys: a job holds a
profile and nothing of an account.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.cloning import Mould
from ccxt_mcp.exchanges.http import RoutedSession
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.exchanges.prototypes import Profile, build_prototype
from ccxt_mcp.exchanges.tables import Tables, differences

__all__ = [
    "ANSWERED",
    "ASKING",
    "DONE",
    "FAILED",
    "READY",
    "REFUSED",
    "UNSENDABLE",
    "Job",
    "failure_from",
    "failure_words",
    "fetch_tables",
]

READY, FAILED, UNSENDABLE = b"R", b"F", b"U"
ASKING, ANSWERED, REFUSED, DONE = b"P", b"A", b"X", b"D"
"""Kinds of frames besides those of ``snapshots``; the last four are about pacing."""


@dataclass(frozen=True)
class Job:
    """What a helper is told. ``trust`` is the PEM file to trust, ``spool`` a file to be written
    beside the pipe, ``paced`` whether to ask before each request. No field may hold a key."""

    name: str
    exchange: str
    fingerprint: str
    timeout_ms: int
    trust: str
    base_url: str | None = None
    proxy: str | None = field(default=None, repr=False)
    sandbox: bool = False
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    paced: bool = False
    spool: str | None = None

    def as_line(self) -> bytes:
        return orjson.dumps(vars(self)) + b"\n"


async def fetch_tables(
    profile: Profile,
    timeout_ms: int,
    session: RoutedSession,
    *,
    pacing: Any,
    redact: Callable[[str], str] = str,
    origin: str,
) -> Tables:
    """Have CCXT load an exchange's markets, here and now. Raises ``Failure``."""
    prototype, other = await asyncio.to_thread(
        lambda: (build_prototype(profile, timeout_ms), build_prototype(profile, timeout_ms))
    )
    # Of a prototype of its own, so that even a change to what clones share would be seen.
    before = Mould(other).clone()
    instance = Mould(prototype).clone(session=session)
    instance.pacing = pacing
    lease = Lease(instance, None, exchange=profile.name, private=False, redact=redact)
    started, sent = time.time(), session.requests
    await lease.call("load_markets")
    if not instance.markets:
        # Accepted, an empty table would make CCXT load it again inside every call.
        raise Failure(
            Code.BAD_RESPONSE, f"{profile.name}: no markets listed", exchange=profile.name
        )
    attributes, options, gone = differences(before, instance)
    requests = session.requests - sent
    return Tables(attributes, options, gone, started, origin, len(instance.markets), requests)


def failure_words(failure: Failure) -> dict[str, Any]:
    """A failure as JSON values that ``failure_from`` reads."""
    return {
        "code": failure.code.value,
        "message": failure.message,
        "hint": failure.hint,
        "retryable": failure.retryable,
        "exchange": failure.exchange,
        "operation": failure.operation,
        "retry_after": failure.retry_after,
        "details": failure.details,
    }


def failure_from(words: Mapping[str, Any], redact: Callable[[str], str] = str) -> Failure:
    """The failure that ``failure_words`` wrote. Raises ``ValueError`` or ``LookupError``."""
    rest = {key: words[key] for key in ("hint", "retryable", "exchange", "operation")}
    return Failure(
        Code(words["code"]),
        redact(words["message"]),
        **rest,
        retry_after=words["retry_after"],
        details=words["details"],
    )
