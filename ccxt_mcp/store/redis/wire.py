"""Round trips to the store: scripts run, within a bound, with failures in our words.

Owns: one repetition after a connection that was cut, scripts that the server has forgotten, and how
what goes wrong is told. Refuses: to wait for a store that is away: each call
finds out for itself, so it recovers with the first that succeeds.

No text of a failure has an address or a password in it; the log has the library's words, which name
the address but never the password.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.store.redis.links import FAULTS, Link
from ccxt_mcp.store.redis.pipe import Command
from ccxt_mcp.store.redis.scripts import Script

__all__ = ["Call", "Wire"]

_log = logging.getLogger("ccxt_mcp.store")

Argument = str | bytes | int | float
Call = tuple[Script, Sequence[str], Sequence[Argument]]
"""A script, its keys (all of one name) and its arguments."""

_RETRY_AFTER = 1.0
_WELL = 2.0
"""Seconds without a failure after which it is said to be back: one that is full or can only be read
still does a part of what is asked, hundreds of times a second."""
_WORDS = {
    "OOM": "the store is full",
    "READONLY": "the store can only be read",
    "LOADING": "the store is starting",
    "CLUSTERDOWN": "the store's cluster is down",
    "MASTERDOWN": "the store has lost its master",
    "NOREPLICAS": "the store has too few replicas",
    "MISCONF": "the store cannot save what it is told",
    "BUSY": "the store is busy",
    "NOAUTH": "the store does not let this server in",
    "WRONGPASS": "the store does not let this server in",
    "NOPERM": "the store does not permit what this server asks",
    "CERTIFICATE_VERIFY_FAILED": "the store's certificate is not trusted",
}
_KNOWN = re.compile(r"\b(" + "|".join(_WORDS) + r")\b")
_CLASSES: dict[type[Exception], str] = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    BusyLoadingError: "LOADING",
    ClusterDownError: "CLUSTERDOWN",
    MasterDownError: "MASTERDOWN",
    NoPermissionError: "NOPERM",
    AuthenticationError: "NOAUTH",
}
"""Errors whose first word the library takes away."""


class Wire:
    """One store's servers.

    Args:
        link: makes the way to them; called when opened, on the loop that uses it.
        timeout: seconds for a round trip with all that it needs.

    Mutable: ``_link`` (None unless open), ``_away`` (steady seconds of the last round trip that
    failed; None once it is said to be back).
    """

    def __init__(self, link: Callable[[], Link], timeout: float) -> None:
        self._make = link
        self.timeout = timeout
        self._link: Link | None = None
        self._away: float | None = None

    def __repr__(self) -> str:
        state = "closed" if self._link is None else "open" if self._away is None else "away"
        return f"<Wire {state}>"

    def open(self) -> None:
        if self._link is None:
            self._link = self._make()

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            try:
                async with asyncio.timeout(self.timeout):
                    await link.close()
            except FAULTS:
                _log.debug("the store was not there to be left")

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument] = (),
        *,
        again: bool = True,
        large: bool = False,
    ) -> Any:
        """What the script answers: text as bytes, numbers as int, ``false`` as None.

        Args:
            again: whether it may be repeated where its connection was cut, so that it may have been
                done twice.
            large: whether what is said or answered may take long on its way.

        Raises:
            Failure: ``store_unavailable``.
        """
        call = (script, keys, args)
        [reply] = await self._ask([_named(call)], again, large)
        if isinstance(reply, RedisError):
            [reply] = await self._in_full([call], [reply], again, large)
        return reply

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """As ``run`` for several, in one round trip to each server."""
        replies = await self._ask([_named(call) for call in calls], True, False)
        return await self._in_full(calls, replies, True, False)

    async def command(self, *command: Argument) -> Any:
        """What a plain command answers; as ``run``."""
        [reply] = await self._ask([command], True, False)
        if isinstance(reply, RedisError):
            raise self._failed(reply) from None
        return reply

    async def connection(self, key: str) -> AbstractConnection:
        """A new connection of the caller's own. Raises as ``run``."""
        try:
            return await self._opened().connection(key)
        except FAULTS as error:
            raise self._failed(error) from None

    def _opened(self) -> Link:
        if self._link is None:
            raise Failure(
                Code.STORE_UNAVAILABLE, "this replica is leaving", retry_after=_RETRY_AFTER
            )
        return self._link

    async def _ask(self, commands: Sequence[Command], again: bool, large: bool) -> list[Any]:
        began = time.monotonic()
        try:
            try:
                replies = await self._opened().execute(commands, large=large)
            except (TimeoutError, RedisTimeoutError):
                raise
            except FAULTS:
                if not again:
                    raise
                async with asyncio.timeout(began + self.timeout - time.monotonic()):
                    # Not where it was left meanwhile.
                    replies = await self._opened().execute(commands, large=large)
        except FAULTS as error:
            raise self._failed(error) from None
        if self._away is not None and not any(isinstance(each, RedisError) for each in replies):
            self._well(self._away)
        return replies

    async def _in_full(
        self, calls: Sequence[Call], replies: list[Any], again: bool, large: bool
    ) -> list[Any]:
        """The replies, none of which is an error: scripts that the server does not know (it has
        been restarted, or has forgotten them) are told again."""
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            told = [
                ("EVAL", script.source, len(keys), *keys, *args)
                for script, keys, args in (calls[i] for i in unknown)
            ]
            for i, reply in zip(unknown, await self._ask(told, again, large), strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, RedisError):
                raise self._failed(reply) from None
        return replies

    def _failed(self, error: BaseException) -> Failure:
        known = _KNOWN.search(str(error))
        kind = next((kind for each, kind in _CLASSES.items() if isinstance(error, each)), None)
        if kind is None and known is not None:
            kind = known.group()
        if kind is not None:
            words = _WORDS[kind]
        elif isinstance(error, TimeoutError | RedisTimeoutError):
            words = "the store did not answer in time"
        elif isinstance(error, ResponseError):
            words = "the store refused what was asked"
            _log.error("the store refused what was asked: %s", error)
        else:
            words = "the store cannot be reached"
        before, self._away = self._away, time.monotonic()
        if before is None:
            _log.warning("%s: %s", words, f"{type(error).__name__}: {error}"[:300])
        return Failure(Code.STORE_UNAVAILABLE, words, retry_after=_RETRY_AFTER)

    def _well(self, away: float) -> None:
        if time.monotonic() - away >= _WELL:
            self._away = None
            _log.warning("the store is back")


def _named(call: Call) -> Command:
    script, keys, args = call
    return ("EVALSHA", script.digest, len(keys), *keys, *args)
