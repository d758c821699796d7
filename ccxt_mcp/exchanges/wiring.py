"""Where CCXT's own request path meets this server: one subclass per exchange class.

Owns: the points at which something of ours has to happen inside CCXT (about to sign, answer read,
session wanted). Refuses: exchange logic; CCXT is the adapter, and a parallel hierarchy of exchange
classes is what this project does without.
"""

from __future__ import annotations

from contextvars import ContextVar
from importlib import import_module
from threading import Lock
from typing import Any, cast

from ccxt_mcp.exchanges.failures import is_about_time, nothing_there, refused, spoken
from ccxt_mcp.exchanges.hardening import FrozenDict, FrozenList, harden
from ccxt_mcp.exchanges.http import WIRE
from ccxt_mcp.exchanges.loading import load_class
from ccxt_mcp.exchanges.nonce_rules import PLAIN
from ccxt_mcp.exchanges.quickening import quicken
from ccxt_mcp.exchanges.truth import (
    EXPECTED,
    NOTHING_DECLARED,
    Untrue,
    answers_of,
    check_answer,
    check_status,
)

__all__ = ["Wired", "wired_class"]


_HEADERS: ContextVar[Any] = ContextVar("ccxt_mcp_headers", default=None)
"""The headers of the answer being read: CCXT's check of the status is not given them."""


class Wired:
    """Mixed in before a CCXT class. Adds no state; every hook calls on."""

    pacing: Any = None
    """How the instance's requests are paced (``pacing.Pacing``); ``None`` for not at all."""

    answers = NOTHING_DECLARED
    """What is known of the class's answers (``shapes``)."""

    clock: Any = None
    """What corrects the instance's timestamps (``clocks.Clock``); ``None`` if nothing has to."""

    doubtful = False
    """Whether a request failed in a way that says nothing about the account. Some of CCXT's classes
    take every failure of a question ("is the account unified?") for a no."""

    async def fetch2(
        self,
        path: str,
        api: Any = "public",
        method: str = "GET",
        params: Any = None,
        config: Any = None,
    ) -> Any:
        """The one place where a request is about to be paced, given a nonce and signed."""
        if params is None:
            params = {}
        elif isinstance(params, (FrozenDict, FrozenList)):
            # An endpoint called without parameters; some exchanges' `sign` writes into them.
            params = params.copy()
        if self.clock is not None:
            await self.clock.correct(cast(Any, self).options)
        if config is None:
            config = {}
        expecting = EXPECTED.set(self.answers.expected(path, api, method, params))
        try:
            if self.pacing is None:
                return await cast(Any, super()).fetch2(path, api, method, params, config)
            cost = cast(Any, self).calculate_rate_limiter_cost(api, method, path, params, config)
            async with self.pacing.request(api, path, method, cost):
                return await cast(Any, super()).fetch2(path, api, method, params, config)
        except Exception as error:
            if not refused(error):
                self.doubtful = True
            raise
        finally:
            EXPECTED.reset(expecting)

    def incrementing_nonce(self) -> int:
        """A number above all that were used with the key, not only by this instance."""
        if self.pacing is None:
            return cast(int, cast(Any, super()).incrementing_nonce())
        return cast(int, self.pacing.nonce(int(cast(Any, self).nonce())))

    def nonce(self) -> Any:
        """What CCXT proposes: a reading of the clock, in the exchange's unit."""
        proposed = cast(Any, super()).nonce()
        if self.pacing is not None and cast(Any, self).id in PLAIN:
            return self.pacing.nonce(int(proposed))
        return proposed

    def handle_errors(
        self,
        status: int,
        reason: str,
        url: str,
        method: str,
        headers: Any,
        body: str,
        parsed: Any,
        request_headers: Any,
        request_body: Any,
    ) -> Any:
        """The one place where an answer has been read, before CCXT makes anything of it."""
        wire = WIRE.get()
        if wire is not None:
            wire.answered += 1
        if self.pacing is not None:
            self.pacing.answered(status, headers)
        _HEADERS.set(headers)
        try:
            check_status(status)
            _check_place(status, body)
            result = cast(Any, super()).handle_errors(
                status, reason, url, method, headers, body, parsed, request_headers, request_body
            )
            check_answer(EXPECTED.get(), method, status, body, parsed)
        except Untrue as untrue:
            # As an error of CCXT's own, so that CCXT's code treats it as what it is.
            raise _error_class("BadResponse")(str(untrue)) from None
        except Exception as error:
            spoken(error, headers, self._limit_hit(error, status))
            if self.clock is not None and is_about_time(error):
                self.clock.complained()
            raise
        return result

    def handle_http_status_code(
        self, code: int, reason: str, url: str, method: str, body: str
    ) -> None:
        try:
            cast(Any, super()).handle_http_status_code(code, reason, url, method, body)
        except Exception as error:
            if code in _NOTHING_THERE and type(error) is _error_class("ExchangeNotAvailable"):
                # CCXT takes it for an outage, which would be tried again in vain.
                error = _error_class("ExchangeError")(f"{code} {reason} {body}")
                nothing_there(error, code)
            spoken(error, _HEADERS.get(), self._limit_hit(error, code))
            raise error from None
        if not 200 <= code < 300:
            # CCXT lets a status pass that its table lacks, and reads the body as a success.
            kind = "ExchangeError" if code < 500 else "ExchangeNotAvailable"
            refused = _error_class(kind)(f"{code} {reason} {body}")
            spoken(refused, _HEADERS.get(), self._limit_hit(refused, code))
            raise refused

    def _limit_hit(self, error: BaseException, status: int) -> float | None:
        """Seconds to wait, if an error means that a rate limit was hit."""
        return None if self.pacing is None else self.pacing.refused(error, status)

    def open(self, lazy: bool = False) -> None:
        """Never make a session: CCXT would make one per instance, with a TLS context of its own.

        An instance without its session has been released; using it is a mistake of ours.
        """
        if cast(Any, self).session is None:
            raise RuntimeError("this exchange instance has been released")

    def __del__(self) -> None:
        """Sessions are not the instances' to close, so there is nothing to warn of."""


_NOTHING_THERE = frozenset({404, 405, 410})
"""Statuses of an address, or a method at it, that an exchange does not have."""

_classes: dict[str, type[Any]] = {}
_making = Lock()
"""Prototypes are built in threads: without the lock two of them could harden one class twice."""


def wired_class(exchange: str) -> type[Any]:
    """CCXT's class of an exchange, hardened, with our hooks. Imported on first use."""
    with _making:
        if exchange not in _classes:
            base = load_class(exchange)
            harden(base)
            quicken()
            own = {"__module__": __name__, "answers": answers_of(base)}
            _classes[exchange] = type(exchange, (Wired, base), own)
        return _classes[exchange]


def _check_place(status: int, body: str) -> None:
    """Raise CCXT's ``RestrictedLocation`` where the law or the exchange shuts the caller's country
    out: CCXT takes status 451 for an outage, which would be tried again in vain."""
    if status == 451 or (status >= 400 and "restricted location" in body[:2000].lower()):
        raise _error_class("RestrictedLocation")(f"{status} {body[:500]}")


def _error_class(name: str) -> type[Exception]:
    # Late: importing any part of CCXT at import time would rule out the lazy package stubs.
    return cast(type[Exception], getattr(import_module("ccxt.base.errors"), name))
