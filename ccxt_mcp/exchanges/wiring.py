"""Where CCXT's own request path meets this server: one subclass per exchange class.

Owns: the points at which something of ours has to happen inside CCXT (about to sign, answer read,
session wanted). Refuses: exchange logic; CCXT is the adapter, and a parallel hierarchy of exchange
classes is what this project does without.
"""

from __future__ import annotations

from importlib import import_module
from threading import Lock
from typing import Any, cast

from ccxt_mcp.exchanges.failures import spoken
from ccxt_mcp.exchanges.hardening import FrozenDict, FrozenList, harden
from ccxt_mcp.exchanges.http import WIRE
from ccxt_mcp.exchanges.loading import load_class
from ccxt_mcp.exchanges.truth import Untrue, check_answer, check_status

__all__ = ["Wired", "wired_class"]


class Wired:
    """Mixed in before a CCXT class. Adds no state; every hook calls on."""

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
        return await cast(Any, super()).fetch2(
            path, api, method, params, {} if config is None else config
        )

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
        try:
            check_status(status)
            result = cast(Any, super()).handle_errors(
                status, reason, url, method, headers, body, parsed, request_headers, request_body
            )
            check_answer(cast(Any, self).id, method, url, status, body, parsed)
        except Untrue as untrue:
            # As an error of CCXT's own, so that CCXT's code treats it as what it is.
            raise _error_class("BadResponse")(str(untrue)) from None
        except Exception as error:
            spoken(error, headers)
            raise
        return result

    def handle_http_status_code(
        self, code: int, reason: str, url: str, method: str, body: str
    ) -> None:
        try:
            cast(Any, super()).handle_http_status_code(code, reason, url, method, body)
        except Exception as error:
            spoken(error)
            raise
        if not 200 <= code < 300:
            # CCXT lets a status pass that its table lacks, and reads the body as a success.
            kind = "ExchangeError" if code < 500 else "ExchangeNotAvailable"
            refused = _error_class(kind)(f"{code} {reason} {body}")
            spoken(refused)
            raise refused

    def open(self, lazy: bool = False) -> None:
        """Never make a session: CCXT would make one per instance, with a TLS context of its own.

        An instance without its session has been released; using it is a mistake of ours.
        """
        if cast(Any, self).session is None:
            raise RuntimeError("this exchange instance has been released")

    def __del__(self) -> None:
        """Sessions are not the instances' to close, so there is nothing to warn of."""


_classes: dict[str, type[Any]] = {}
_making = Lock()
"""Prototypes are built in threads: without the lock two of them could harden one class twice."""


def wired_class(exchange: str) -> type[Any]:
    """CCXT's class of an exchange, hardened, with our hooks. Imported on first use."""
    with _making:
        if exchange not in _classes:
            base = load_class(exchange)
            harden(base)
            _classes[exchange] = type(exchange, (Wired, base), {"__module__": __name__})
        return _classes[exchange]


def _error_class(name: str) -> type[Exception]:
    # Late: importing any part of CCXT at import time would rule out the lazy package stubs.
    return cast(type[Exception], getattr(import_module("ccxt.base.errors"), name))
