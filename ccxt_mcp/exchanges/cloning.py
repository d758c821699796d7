"""Making an exchange instance for one call, for the price of a dict copy.

Owns: which parts of a prototype a clone shares and which it gets for itself. Refuses: constructing
(``prototypes``), deciding when (``pool``).

CCXT's constructor takes 1 to 2 ms and then wants its market tables; a clone of a loaded prototype
takes about 0.1 ms. Everything that can change is copied; what is shared is listed in ``FROZEN`` and
only read once the prototype is loaded. A test walks two clones of every exchange and finds nothing
else in common.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

__all__ = ["CREDENTIALS", "FROZEN", "FROZEN_OPTIONS", "Mould", "exact", "release"]

CREDENTIALS = (
    "apiKey",
    "secret",
    "uid",
    "accountId",
    "login",
    "password",
    "twofa",
    "privateKey",
    "walletAddress",
    "token",
)
"""CCXT's names for what an account may consist of; no other attribute is set from an account."""

_TABLES = (
    *("markets", "markets_by_id", "symbols", "ids", "codes", "currencies", "currencies_by_id"),
    *("baseCurrencies", "quoteCurrencies"),
    # Aliases of the same, made by CCXT's constructor.
    *("base_currencies", "quote_currencies", "marketsById", "currenciesById"),
)
_CONSTANTS = (
    *("api", "exceptions", "httpExceptions", "features", "countries", "requiredCredentials"),
    *("timeframes", "status", "userAgents", "networkAliases", "fees", "loaded_fees", "loadedFees"),
)
FROZEN = frozenset((*_TABLES, *_CONSTANTS))
"""Attributes that clones share with their prototype. Nothing in CCXT writes them during a call."""

FROZEN_OPTIONS = frozenset(
    (
        *("marketsByAltname", "hip3TokensByName", "cachedCurrenciesById"),
        # All markets or currencies once more, by another id: copied, 3,600 cost a call 35 ms.
        *("marketsByNumericId", "currenciesByNumericId"),
    )
)
"""Market tables that some exchanges keep in ``options``. ``delistedMarketsById`` is not one of
them: kraken writes it during calls."""

_FORGOTTEN = (
    *("last_http_response", "last_json_response", "last_response_headers", "last_request_body"),
    *("last_request_url", "last_request_headers", "markets_loading", "throttler", "tcp_connector"),
    *("aiohttp_socks_connector", "socks_proxy_sessions", "ssl_context", "asyncio_loop"),
    *("lastHttpResponse", "lastJsonResponse", "lastResponseHeaders", "lastRequestBody"),
    *("lastRequestUrl", "lastRequestHeaders", "marketsLoading", "pacing"),
)
"""What one call leaves behind on an instance, and what the HTTP session replaces."""

_CONTAINERS = (dict, list, set, deque, OrderedDict, bytearray)
_IMMUTABLE = (
    *(type(None), bool, int, float, str, bytes, tuple, frozenset, type, ModuleType),
    *(FunctionType, BuiltinFunctionType, logging.Logger, re.Pattern),
)


class Mould:
    """Makes clones of one prototype. The prototype must not change afterwards.

    ``strangers`` names attributes of a type that this module does not know; they are deep-copied.
    """

    def __init__(self, prototype: Any) -> None:
        self.prototype = prototype
        self._class = type(prototype)
        self._shared: dict[str, Any] = {}
        self._copied: list[tuple[str, Callable[[], Any]]] = []
        self._strange: list[tuple[str, Any]] = []
        attributes = {**_class_level(prototype), **vars(prototype)}
        attributes.update(dict.fromkeys(_FORGOTTEN), own_session=False, reloading_markets=False)
        attributes.update(session=None, enableRateLimit=False)
        options = attributes.pop("options") or {}
        self._options = _copier({k: v for k, v in options.items() if k not in FROZEN_OPTIONS})
        self._frozen_options = {k: v for k, v in options.items() if k in FROZEN_OPTIONS}
        for name, value in attributes.items():
            if name in FROZEN or isinstance(value, _IMMUTABLE):
                self._shared[name] = value
            elif isinstance(value, _CONTAINERS):
                self._copied.append((name, _copier(value)))
            else:
                self._strange.append((name, value))

    @property
    def strangers(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._strange)

    def clone(
        self,
        *,
        session: Any = None,
        credentials: Mapping[str, str] | None = None,
        number: Callable[[Any], Any] = float,
    ) -> Any:
        """An instance of its own. ``number=exact`` keeps the exchange's decimals as they came.

        Raises ``ValueError`` for a credential that CCXT does not know.
        """
        instance = object.__new__(self._class)
        state = instance.__dict__
        state.update(self._shared)
        for name, make in self._copied:
            state[name] = make()
        for name, value in self._strange:
            state[name] = copy.deepcopy(value)
        options = self._options()
        options.update(self._frozen_options)
        state["options"] = options
        state["session"] = session
        state["number"] = number
        state["asyncio_loop"] = asyncio.get_running_loop() if session is not None else None
        for name, secret in (credentials or {}).items():
            if name not in CREDENTIALS:
                raise ValueError(f"{name!r} is not a credential of CCXT")
            state[name] = secret
        return instance


def exact(value: Any) -> str:
    """A number as CCXT has it, as a plain decimal string; for ``number``.

    Raises ``ValueError`` for what is no finite number, which CCXT reads as absent. (``str`` itself,
    CCXT's own way to exact numbers, would pass any text on, and ``1e-05`` as it is.)
    """
    text = value if type(value) is str else str(value)
    if not isfinite(float(text)):
        raise ValueError("not a finite number")
    return format(Decimal(text), "f") if "e" in text or "E" in text else text


def release(instance: Any) -> None:
    """Make a clone unusable and free of secrets, whoever may still hold it.

    Instead of CCXT's ``close()``, which sleeps 250 ms; the session belongs to the profile.
    """
    state = instance.__dict__
    state["session"] = None
    for name in (*CREDENTIALS, *_FORGOTTEN):
        state[name] = None
    # Some exchanges keep tokens and keys here.
    state["options"] = {}


def _class_level(prototype: Any) -> dict[str, Any]:
    """Containers that an instance would otherwise share with every other through its class."""
    found: dict[str, Any] = {}
    for cls in reversed(type(prototype).__mro__):
        for name, value in vars(cls).items():
            if not name.startswith("_") and isinstance(value, _CONTAINERS):
                found[name] = value
    return found


def _copier(value: Any) -> Callable[[], Any]:
    """A function that copies ``value``, which must not change any more, all the way down.

    What is nested is found out once: most containers hold nothing but constants, and those are
    copied by C code in a tenth of the time of a walk.
    """
    kind = type(value)
    if kind is dict:
        pairs = [(key, _copier(each)) for key, each in value.items() if _is_container(each)]
    elif kind is list:
        pairs = [(i, _copier(each)) for i, each in enumerate(value) if _is_container(each)]
    else:
        return lambda: copy.deepcopy(value)
    if not pairs:
        plain: Callable[[], Any] = value.copy
        return plain

    def copied() -> Any:
        out = value.copy()
        for key, make in pairs:
            out[key] = make()
        return out

    return copied


def _is_container(value: Any) -> bool:
    return isinstance(value, _CONTAINERS)
