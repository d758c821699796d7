"""The keys with which the server seals what a client carries for it between the rounds of a call.

Owns: reading them from the configuration, and the words for one that cannot be used. Refuses: to
show a key, and to seal with one that could be guessed; the sealing is the SDK's
(``transport/sealing.py``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ccxt_mcp.settings.loading import refuse
from ccxt_mcp.settings.references import (
    SecretUnavailableError,
    exposed_literals,
    is_literal,
    resolve_secret,
)
from ccxt_mcp.settings.table import Settings

__all__ = ["SHORTEST_KEY", "StateKeys"]

SHORTEST_KEY = 32
"""Bytes of a key."""
_KEY = "request_state_keys"
_REMEDY = 'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`'


@dataclass(frozen=True, slots=True, repr=False)
class StateKeys:
    """``keys``: the first seals, each opens; empty where the process makes one of its own.
    ``warnings``: sentences for the operator, free of secrets."""

    keys: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_settings(
        cls, settings: Settings, environ: Mapping[str, str] | None = None
    ) -> StateKeys:
        """The configured keys, ``env:`` and ``file:`` resolved.

        Raises:
            ConfigurationError: listing every key that is missing, too short or there twice.
        """
        environ = os.environ if environ is None else environ
        origin = settings.origin(_KEY)
        found: list[str] = []
        problems: list[str] = []
        literal = False
        for number, value in enumerate(settings.request_state_keys):
            raw = value.get_secret_value()
            literal |= is_literal(raw)
            try:
                key = resolve_secret(raw, environ).strip()
                if len(key.encode()) < SHORTEST_KEY:
                    raise SecretUnavailableError(
                        f"is shorter than {SHORTEST_KEY} bytes and could be guessed; {_REMEDY}"
                    )
                if key in found:
                    raise SecretUnavailableError("is there twice")
            except SecretUnavailableError as error:
                problems.append(f"{origin + ': ' if origin else ''}{_KEY}[{number}]: {error}")
                continue
            found.append(key)
        if problems:
            refuse(problems)
        warnings = exposed_literals(settings, [_KEY] if literal else [])
        return cls(tuple(found), tuple(warnings))
