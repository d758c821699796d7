"""Who is calling: bearer tokens and what each of them may do.

Owns: the tokens of one server and the comparison, by digest, of a request's token with them.
Refuses: to show a token in a ``repr`` or message, and to tell by its timing which token was nearly
right.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Collection, Mapping

from ccxt_mcp.model import ANONYMOUS, Principal
from ccxt_mcp.settings.loading import refuse
from ccxt_mcp.settings.references import (
    SecretUnavailableError,
    exposed_literals,
    is_literal,
    resolve_secret,
)
from ccxt_mcp.settings.table import Settings

__all__ = ["LONGEST_HEADER", "SHORTEST_TOKEN", "Tokens"]

SHORTEST_TOKEN = 16
LONGEST_HEADER = 4096
"""Characters of an ``Authorization`` header; a longer one is refused unread."""

_HEADER = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE)
_TOKEN = re.compile(r"[!-~]+")
_REMEDY = 'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`'


class Tokens:
    """The callers that this server knows; immutable.

    Args:
        tokens: (token, who it stands for) pairs; no two tokens are equal.
        warnings: sentences for the operator, free of secrets.
    """

    def __init__(
        self, tokens: Collection[tuple[str, Principal]] = (), *, warnings: Collection[str] = ()
    ) -> None:
        self._digests = tuple((_digest(token), principal) for token, principal in tokens)
        self._secrets = tuple(token for token, _ in tokens)
        self.warnings: tuple[str, ...] = tuple(warnings)

    def __repr__(self) -> str:
        return f"Tokens({', '.join(p.name for p in self.principals) or 'none'})"

    @classmethod
    def from_settings(cls, settings: Settings, environ: Mapping[str, str] | None = None) -> Tokens:
        """The configured tokens, ``env:`` and ``file:`` resolved.

        Raises:
            ConfigurationError: listing every token that is missing, too short, not usable in a
                header or equal to another one, by name.
        """
        tokens, literals = _load(settings, os.environ if environ is None else environ)
        return cls(tokens, warnings=exposed_literals(settings, literals))

    @property
    def required(self) -> bool:
        """Whether a request needs a token."""
        return bool(self._digests)

    @property
    def principals(self) -> tuple[Principal, ...]:
        """Every caller, in the order of definition."""
        return tuple(principal for _, principal in self._digests)

    def describe(self) -> list[str]:
        """One line a caller, for people: ``n8n: read, trade``. No secrets."""
        return [f"{p.name}: {', '.join(sorted(p.scopes))}" for p in self.principals]

    def secrets(self) -> tuple[str, ...]:
        """The tokens' texts, for ``Redactor.add``."""
        return self._secrets

    def authenticate(self, authorization_header: str | None) -> Principal | None:
        """Who sent this ``Authorization`` header; ``None`` refuses the request.

        Without tokens everybody is ``ANONYMOUS``. All tokens are compared, by digest and without
        an early exit, so that the time taken says nothing about any of them.
        """
        if not self._digests:
            return ANONYMOUS
        if authorization_header is None or len(authorization_header) > LONGEST_HEADER:
            return None
        match = _HEADER.fullmatch(authorization_header)
        if match is None:
            return None
        given = _digest(match[1])
        found: Principal | None = None
        for digest, principal in self._digests:
            if hmac.compare_digest(digest, given):
                found = principal
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _load(
    settings: Settings, environ: Mapping[str, str]
) -> tuple[list[tuple[str, Principal]], list[str]]:
    """The (token, principal) pairs, and the keys whose values are literal secrets."""
    problems: list[str] = []
    literals: list[str] = []
    names: dict[str, str] = {}
    tokens: list[tuple[str, Principal]] = []
    for name, body in settings.tokens.items():
        key = f"tokens.{name}.token"
        raw = body.token.get_secret_value()
        if is_literal(raw):
            literals.append(key)
        try:
            token = resolve_secret(raw, environ).strip()
            _check(token)
        except SecretUnavailableError as error:
            origin = settings.origin(key)
            problems.append(f"{origin + ': ' if origin else ''}{key}: {error}")
            continue
        if token in names:
            problems.append(
                f"tokens.{names[token]} and tokens.{name} are the same token; give each caller its"
                f" own: {_REMEDY}"
            )
            continue
        names[token] = name
        tokens.append((token, Principal(name=name, scopes=frozenset(body.scopes))))
    if problems:
        refuse(problems)
    return tokens, literals


def _check(token: str) -> None:
    if len(token) < SHORTEST_TOKEN:
        raise SecretUnavailableError(
            f"is shorter than {SHORTEST_TOKEN} characters and could be guessed; {_REMEDY}"
        )
    if not _TOKEN.fullmatch(token) or len(token) > LONGEST_HEADER - len("Bearer "):
        raise SecretUnavailableError(
            "has characters that a header cannot carry (only visible ASCII, no spaces), or is"
            f" longer than {LONGEST_HEADER - len('Bearer ')}; {_REMEDY}"
        )
