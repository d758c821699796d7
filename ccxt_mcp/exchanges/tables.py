"""Market tables as a value: what loading an exchange's markets changed on a CCXT instance.

Owns: finding that change (on whatever attribute or option it is), putting it on another instance,
and letting go of it without a pause. Refuses: how tables travel (``snapshots``), where they are
kept (``shelf``), when they are loaded (``markets``).

Found by comparison, not by a list of names: besides the nine tables of CCXT's base class, 20
exchanges fill ``options`` while they load (kraken's ``marketsByAltname``, htx's
``networkNamesByChainIds``, …), and a table that is not carried over is a request or a wrong id
later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ccxt_mcp.exchanges.wiring import Wired

__all__ = ["Tables", "differences", "let_go"]

_PASSING = frozenset(
    (
        # What is about one process, one connection or one call, not about the exchange.
        *("session", "asyncio_loop", "own_session", "ssl_context", "tcp_connector", "throttler"),
        *("tokenBucket", "logger", "pacing", "number", "enableRateLimit", "origin", "timeout"),
        *("aiohttp_socks_connector", "socks_proxy_sessions", "lastRestRequestTimestamp"),
        *("markets_loading", "marketsLoading", "reloading_markets", "enableLastHttpResponse"),
        *("last_http_response", "last_json_response", "last_response_headers"),
        *("last_request_body", "last_request_url", "last_request_headers"),
        *("lastHttpResponse", "lastJsonResponse", "lastResponseHeaders", "lastRequestBody"),
        *("lastRequestUrl", "lastRequestHeaders", "lastNonce", "lastRestPollTimestamp"),
    )
)

PASSING_OPTIONS = frozenset(
    # A clock offset is right for minutes; who measures it is `clocks`.
    ("timeDifference",)
)

_MISSING = object()


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Tables:
    """What a load changed. Shared by every instance of every profile that it fits: read only.

    ``attributes`` and ``options`` by name; ``gone`` names the options that the load removed.
    ``markets`` counts the symbols, ``requests`` what the load sent, ``fetched_at`` is Unix time in
    seconds. ``origin`` is where they were had from: ``helper``, ``process``, ``disk`` or
    ``replica``.
    """

    attributes: Mapping[str, Any]
    options: Mapping[str, Any]
    gone: tuple[str, ...]
    fetched_at: float
    origin: str
    markets: int
    requests: int = 0

    def onto(self, instance: Any) -> None:
        """Give the tables to an instance that has none, by reference."""
        vars(instance).update(self.attributes)
        options = instance.options
        options.update(self.options)
        for name in self.gone:
            options.pop(name, None)


def differences(before: Any, after: Any) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Attributes and options that a load changed, and the names of options that it removed.

    ``before`` must not share containers with ``after``, or a change in place would not show. What
    our own hooks note on an instance (``wiring``) is about one instance and left out.
    """
    attributes = {
        name: value
        for name, value in vars(after).items()
        if name not in _PASSING
        and name != "options"
        and not hasattr(Wired, name)
        and _differs(vars(before), name, value)
    }
    old, new = before.options, after.options
    options = {
        name: value
        for name, value in new.items()
        if name not in PASSING_OPTIONS and _differs(old, name, value)
    }
    return attributes, options, tuple(name for name in old if name not in new)


def _differs(state: Mapping[str, Any], name: str, value: Any) -> bool:
    old = state.get(name, _MISSING)
    return old is not value and bool(old != value)


async def let_go(tables: Tables, slice_size: int = 200) -> None:
    """Drop tables little by little. The caller must not keep them in a variable.

    Freeing 3,600 markets at once holds the event loop for 12 ms (measured), and larger exchanges
    accordingly. Whatever is still in use elsewhere stays as it is: only references are dropped.
    """
    held = [
        value
        for table in (*tables.attributes.values(), *tables.options.values())
        if isinstance(table, (dict, list))
        for value in (table.values() if isinstance(table, dict) else table)
    ]
    del tables
    while held:
        del held[-slice_size:]
        await asyncio.sleep(0)
