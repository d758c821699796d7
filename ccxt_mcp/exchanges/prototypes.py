"""Keyless prototypes: what every instance of an exchange profile is cloned from.

Owns: constructing a CCXT instance from a profile (options, timeout, sandbox). Refuses: keys. Tables
that were loaded with a key would hold that account's fees and permissions.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.wiring import wired_class

__all__ = ["Profile", "build_prototype"]

DEFAULT_OPTIONS = {
    # Binance's open orders of all symbols weigh forty times as much as those of one; CCXT refuses
    # until this is off. The weight is for the limiter to count.
    "warnOnFetchOpenOrdersWithoutSymbol": False,
}

OWN_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # While it reads a balance, CCXT would approve a fee for itself on every order to come.
    "aster": {"builderFee": False},
    "grvt": {"builderFee": False},
}
"""CCXT id → further defaults."""

_SILENT = logging.Logger("ccxt", level=logging.CRITICAL + 1)
"""CCXT logs every request at debug level, headers, keys and signed address included. This logger is
outside the logging tree, so that no configuration can switch it on."""


class Profile(Protocol):
    """What this package needs of an exchange profile (``settings.ExchangeProfile`` is one)."""

    @property
    def name(self) -> str: ...
    @property
    def exchange(self) -> str: ...
    @property
    def sandbox(self) -> bool: ...
    @property
    def options(self) -> dict[str, Any]: ...


def build_prototype(profile: Profile, timeout_ms: int) -> Any:
    """A constructed, keyless instance with empty tables. Blocks for an import: call in a thread.

    Raises ``Failure`` (``not_supported``) if the profile asks for a sandbox that is not there, and
    (``internal``) if CCXT cannot be constructed with the profile's options.
    """
    cls = wired_class(profile.exchange)
    config = {
        "timeout": timeout_ms,
        # Pacing belongs to `Wired.fetch2`, where one budget can serve all instances: CCXT's own
        # bucket is per instance and polls.
        "enableRateLimit": False,
        "logger": _SILENT,
        "options": {
            **DEFAULT_OPTIONS,
            **OWN_OPTIONS.get(profile.exchange, {}),
            **copy.deepcopy(profile.options),
        },
    }
    try:
        instance = cls(config)
    except Exception as error:
        kind = type(error).__name__
        raise Failure(
            Code.INTERNAL,
            f"{profile.name}: CCXT's {profile.exchange} cannot be set up with the profile's"
            f" options ({kind})",
            hint=f"Check [exchanges.{profile.name}.options] in the server's configuration.",
            exchange=profile.name,
        ) from None
    if profile.sandbox:
        _use_sandbox(instance, profile)
    return instance


def _use_sandbox(instance: Any, profile: Profile) -> None:
    # Every exchange has the key 'test'; only about half have an address behind it. Asking CCXT
    # instead would be a TypeError (kraken) or silently no address at all.
    if not instance.urls.get("test"):
        raise Failure(
            Code.NOT_SUPPORTED,
            f"{profile.name}: {profile.exchange} has no sandbox in CCXT",
            hint=f"Set `sandbox = false` in [exchanges.{profile.name}], or use the simulated"
            " exchange (`ccxt-mcp simulate`) through `base_url`.",
            exchange=profile.name,
        )
    instance.set_sandbox_mode(True)
