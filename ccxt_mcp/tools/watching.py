"""Which resources change, and how it is found out: their tools are run again and again.

Owns: what a subscribed address means (which market, whose orders), on whose behalf it is polled and
what of an answer counts as a change. Refuses: pauses and failures (``mechanisms/polling.py``), and
sessions and streams (the transport's).

A poll goes the way of every call. Prices are polled for everybody at once; an account is polled for
each caller that watches it, as that caller, so that what it may not see, nothing tells it of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.polling import Over, Polling, Topic, Watch
from ccxt_mcp.model import CALLER, Caller, Principal, Scope
from ccxt_mcp.settings import Settings
from ccxt_mcp.telemetry import RECORDER, Recorder
from ccxt_mcp.tools.boundary import Boundary
from ccxt_mcp.tools.resources import CHANGING, behind, refused

__all__ = ["POLLED", "Watching"]

POLLED = "(subscriptions)"
"""Stands where a call's session would; no session can have this name."""

_EVERYBODY = Principal("", frozenset({Scope.READ}))
"""On whose behalf prices are polled."""

_FORBIDDEN = frozenset({Code.PERMISSION_DENIED, Code.UNKNOWN_ACCOUNT})
"""What ends a subscription: its caller may not see the thing any more."""

_MAX_AGE_MS = 60_000


class Watching:
    """The resources of one server that can be watched.

    Args:
        boundary: runs the tools.
        settings: ``ticker_poll_interval`` and ``orders_poll_interval``, in seconds.
    """

    def __init__(self, boundary: Boundary, settings: Settings) -> None:
        self._boundary = boundary
        self._settings = settings
        self._polling = Polling()

    def __len__(self) -> int:
        """How many things are polled."""
        return len(self._polling)

    async def watch(self, uri: str, changed: Callable[[], None]) -> Watch:
        """Watch a resource for the caller of this moment.

        Args:
            uri: its address, as for ``resources/read``.
            changed: called on the event loop whenever the contents have changed.

        Returns:
            The watch, started: whoever has it stops it.

        Raises:
            MCPError: there is no such resource, it does not change, this caller may not read it, or
                it cannot be read now.
        """
        tool, arguments = behind(uri)
        try:
            watch = self._polling.watch(await self._topic(tool, arguments), changed)
            await watch.first()
        except Failure as failure:
            raise refused(uri, failure) from None
        return watch

    async def close(self) -> None:
        """End all polling."""
        await self._polling.close()

    async def _topic(self, tool: str, arguments: dict[str, Any]) -> Topic:
        recorder = RECORDER.get()
        if tool == "get_ticker":
            exchange, symbol = await self._boundary.prepare(tool, arguments, _market)
            interval = self._settings.ticker_poll_interval
            asked = {
                "exchange": exchange,
                "symbol": symbol,
                "maxAgeMs": min(_MAX_AGE_MS, int(interval * 1000)),
            }
            return Topic(
                (tool, exchange, symbol),
                interval,
                self._question(tool, asked, _EVERYBODY, recorder, _price),
            )
        if tool == "get_open_orders":
            account = await self._boundary.prepare(tool, arguments, _account)
            principal = CALLER.get().principal
            return Topic(
                (tool, account, principal),
                self._settings.orders_poll_interval,
                self._question(tool, {"account": account}, principal, recorder, _orders),
            )
        raise Failure(
            Code.NOT_SUPPORTED,
            "This resource does not change while the server runs.",
            hint=f"What can be subscribed to: {', '.join(CHANGING.values())}.",
        )

    def _question(
        self,
        tool: str,
        arguments: dict[str, Any],
        principal: Principal,
        recorder: Recorder,
        what_counts: Callable[[dict[str, Any]], Any],
    ) -> Callable[[], Coroutine[Any, Any, bytes]]:
        async def ask() -> bytes:
            # The poller's context is its own: nobody else sees these.
            CALLER.set(Caller(principal=principal, session=POLLED))
            RECORDER.set(recorder)
            try:
                data, _ = await self._boundary.run(tool, arguments)
            except Failure as failure:
                if failure.code in _FORBIDDEN:
                    raise Over(failure) from None
                raise
            return _fingerprint(what_counts(data))

        return ask


async def _market(call: Call, args: Any) -> tuple[str, str]:
    listing = await call.listing(args.exchange, "fetch_ticker")
    return listing.exchange, await call.symbol(listing, args.symbol)


async def _account(call: Call, args: Any) -> str:
    return call.choose_account(args.exchange, args.account).name


def _price(data: dict[str, Any]) -> Any:
    """A ticker but for its moment, which is another one each time."""
    return {k: v for k, v in data["ticker"].items() if k not in ("timestamp", "datetime")}


def _orders(data: dict[str, Any]) -> Any:
    """The orders; those beyond the bounds of an answer by their number."""
    return [data["orders"], data["total"]]


def _fingerprint(value: Any) -> bytes:
    written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(written, digest_size=16).digest()
