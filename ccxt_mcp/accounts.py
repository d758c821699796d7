"""Named exchange accounts: which there are, which one a call means, and their secrets.

Owns: the accounts of one server, resolved once at start from the settings and from variables such
as ``BINANCE_API_KEY``; the choice of the account that a call means. Refuses: credentials from
callers, and to show a secret in a ``repr``, a message or a pickle.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.settings.loading import refuse
from ccxt_mcp.settings.references import (
    SecretUnavailableError,
    exposed_literals,
    is_literal,
    resolve_secret,
)
from ccxt_mcp.settings.sources import alike, did_you_mean
from ccxt_mcp.settings.table import (
    CREDENTIAL_FIELDS,
    ENV_CREDENTIALS,
    AccountSettings,
    Settings,
)

__all__ = ["KEY_ONLY", "SECRET_ONLY", "Account", "Accounts", "load_accounts"]

KEY_ONLY = frozenset({"onetrading"})
SECRET_ONLY = frozenset({"blockchaincom", "cryptomus", "mudrex"})
"""Exchanges whose keys have only one half (CCXT 4.5.90, ``requiredCredentials``)."""

_VISIBLE = re.compile(r"[!-~]+")

_NOT_SECRET = frozenset({"uid", "walletAddress", "accountId"})
"""Credentials that identify and do not authorise; redacting them would blank out ordinary data."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account. ``credentials`` has CCXT's names (``apiKey``, ``secret``, …)."""

    name: str
    exchange: str
    credentials: Mapping[str, str] = field(repr=False)
    source: str = ""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"account {self.name} holds secrets and is never pickled or copied")

    def secrets(self) -> tuple[str, ...]:
        """The values that must not leave, for ``Redactor.add``."""
        return tuple(v for k, v in self.credentials.items() if k not in _NOT_SECRET)


class Accounts:
    """All accounts, in the order of their definition; immutable.

    Args:
        accounts: the accounts; names are unique.
        defaults: exchange (profile name) → name of its default account.
        warnings: sentences for the operator, free of secrets.
    """

    def __init__(
        self,
        accounts: Collection[Account] = (),
        *,
        defaults: Mapping[str, str] | None = None,
        warnings: Collection[str] = (),
        from_environment: bool = True,
    ) -> None:
        self._by_name = {account.name: account for account in accounts}
        self._defaults = dict(defaults or {})
        self._from_environment = from_environment
        self.warnings: tuple[str, ...] = tuple(warnings)

    def __repr__(self) -> str:
        return f"Accounts({', '.join(self.describe()) or 'none'})"

    def all(self) -> tuple[Account, ...]:
        """Every account."""
        return tuple(self._by_name.values())

    def for_exchange(self, exchange: str) -> tuple[Account, ...]:
        """The accounts of one exchange (profile name)."""
        return tuple(a for a in self._by_name.values() if a.exchange == exchange)

    def default_name(self, exchange: str) -> str | None:
        """The account that a call to this exchange uses when it names none; ``None`` if several."""
        if exchange in self._defaults:
            return self._defaults[exchange]
        found = self.for_exchange(exchange)
        return found[0].name if len(found) == 1 else None

    def describe(self) -> list[str]:
        """One line an account, for people: ``main: binance, from …``. No secrets."""
        return [f"{a.name}: {a.exchange}, from {a.source}" for a in self._by_name.values()]

    def secrets(self) -> tuple[str, ...]:
        """Every account's secrets, for ``Redactor.add``."""
        return tuple(secret for account in self.all() for secret in account.secrets())

    def resolve(
        self, exchange: str | None, account: str | None, *, default_exchange: str | None = None
    ) -> Account:
        """The account that a call means.

        By the account's name when it is given (in any case if that is one only), else the
        ``default_account`` or the only account of the exchange (or of the default exchange).

        Raises:
            Failure: ``unknown_account`` for a name or exchange without an account,
                ``invalid_argument`` when the two arguments contradict each other or leave a choice.
        """
        if account is not None:
            return self._named(exchange, account)
        chosen = exchange or default_exchange
        if chosen is None:
            raise Failure(
                Code.INVALID_ARGUMENT,
                f"Neither `exchange` nor `account` is given. {self._names()}",
                hint="Give `account`, or `exchange`, or set `default_exchange` on the server.",
                details={"accounts": list(self._by_name)},
            )
        name = self.default_name(chosen)
        if name is not None:
            return self._by_name[name]
        several = [a.name for a in self.for_exchange(chosen)]
        if not several:
            raise self._none_for(chosen)
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"{chosen} has several accounts: {', '.join(several)}; say which one with `account`",
            hint=f"Give `account`, or set `default_account` in [exchanges.{chosen}] on the server.",
            exchange=chosen,
            details={"accounts": several},
        )

    def _named(self, exchange: str | None, account: str) -> Account:
        meant_by_it = alike(account, self._by_name)
        found = self._by_name[meant_by_it[0]] if len(meant_by_it) == 1 else None
        if found is None:
            # The caller's word is cut and quoted: it may be anything.
            meant = did_you_mean(account[:64], self._by_name) or "."
            raise Failure(
                Code.UNKNOWN_ACCOUNT,
                f"There is no account {account[:64]!r}{meant} {self._names()}",
                exchange=exchange,
                details={"accounts": list(self._by_name)},
            )
        if exchange is not None and exchange != found.exchange:
            own = [a.name for a in self.for_exchange(exchange)]
            also = f" The accounts of {exchange[:64]}: {', '.join(own)}." if own else ""
            raise Failure(
                Code.INVALID_ARGUMENT,
                f"Account {found.name} is of exchange {found.exchange}, but `exchange` says"
                f" {exchange[:64]}.{also}",
                hint="Leave `exchange` out, or name an account of that exchange.",
                exchange=exchange,
            )
        return found

    def _names(self) -> str:
        if not self._by_name:
            return "No accounts are configured."
        return f"Accounts: {', '.join(f'{a.name} ({a.exchange})' for a in self.all())}."

    def _none_for(self, exchange: str) -> Failure:
        shown = exchange[:64]
        ways = f'add [accounts.NAME] with exchange = "{shown}" to ccxt-mcp.toml'
        if self._from_environment and exchange.isidentifier() and exchange.islower():
            prefix = shown.upper()
            ways = f"set {prefix}_API_KEY and {prefix}_SECRET, or {ways}"
        return Failure(
            Code.UNKNOWN_ACCOUNT,
            f"No account is configured for {shown}. {self._names()}",
            hint=f"On the server: {ways}, and start it again. Keys are never sent in a call.",
            exchange=exchange,
        )


def load_accounts(
    settings: Settings,
    environ: Mapping[str, str] | None = None,
    exchange_ids: Collection[str] = (),
) -> Accounts:
    """Resolve every account's secrets and check that the accounts make sense together.

    Args:
        environ: for ``env:`` values and for ``BINANCE_API_KEY``-style variables; the process's own
            when omitted.
        exchange_ids: CCXT's ids; an argument, so that this module need not import CCXT. When
            empty, no account comes from variables and accounts' exchanges are not checked.

    Raises:
        ConfigurationError: listing all that is wrong, by account and key, without values.
    """
    return _Loading(settings, os.environ if environ is None else environ, exchange_ids).run()


class _Loading:
    """One pass over the settings and the environment; collects before it judges."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], exchange_ids: Collection[str]
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._ids = exchange_ids
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._literals: list[str] = []
        self._accounts: dict[str, Account] = {}

    def run(self) -> Accounts:
        for name, body in self._settings.accounts.items():
            self._configured(name, body)
        if self._settings.exchange_keys_from_env:
            for exchange in sorted(self._ids):
                self._from_variables(exchange)
        defaults = self._defaults()
        if self._problems:
            refuse(self._problems)
        self._warnings += exposed_literals(self._settings, self._literals)
        return Accounts(
            tuple(self._accounts.values()),
            defaults=defaults,
            warnings=self._warnings,
            from_environment=self._settings.exchange_keys_from_env,
        )

    def _configured(self, name: str, body: AccountSettings) -> None:
        table = f"accounts.{name}"
        credentials: dict[str, str] = {}
        broken = False
        for key, ccxt_key in CREDENTIAL_FIELDS.items():
            value = getattr(body, key)
            if value is None:
                continue
            raw = value.get_secret_value()
            if is_literal(raw):
                self._literals.append(f"{table}.{key}")
            try:
                credentials[ccxt_key] = _sendable(key, resolve_secret(raw, self._environ))
            except SecretUnavailableError as error:
                broken = True
                self._problems.append(f"{self._at(f'{table}.{key}')}{table}.{key}: {error}")
        known = {*self._settings.exchanges, *self._ids}
        if self._ids and body.exchange not in known:
            meant = did_you_mean(body.exchange, known)
            self._problems.append(
                f"{self._at(f'{table}.exchange')}{table}.exchange: is neither an exchange profile"
                f" nor an exchange of CCXT{meant}"
            )
        missing = None if broken else self._missing_half(body.exchange, credentials)
        if missing:
            self._problems.append(f"{self._at(table)}{table}: {missing} is missing")
        elif not credentials and not broken:
            self._problems.append(
                f"{self._at(table)}{table}: has no credentials; give api_key and secret"
            )
        where = self._settings.origin(table)
        source = f"{where} [{table}]" if where else f"[{table}]"
        self._accounts[name] = Account(name, body.exchange, MappingProxyType(credentials), source)

    def _at(self, key: str) -> str:
        where = self._settings.origin(key)
        return f"{where}: " if where else ""

    def _missing_half(self, exchange: str, credentials: Mapping[str, Any]) -> str | None:
        """``api_key`` or ``secret`` when one stands without the other and the exchange has both."""
        if {"privateKey", "walletAddress", "token"} & credentials.keys():
            return None
        profile = self._settings.exchanges.get(exchange)
        ccxt_id = exchange if profile is None else profile.exchange
        if "apiKey" in credentials and "secret" not in credentials and ccxt_id not in KEY_ONLY:
            return "secret"
        if "apiKey" not in credentials and credentials and ccxt_id not in SECRET_ONLY:
            return "api_key"
        return None

    def _from_variables(self, exchange: str) -> None:
        prefix = exchange.upper()
        found = {
            key: self._environ[f"{prefix}_{key.upper()}"]
            for key in ENV_CREDENTIALS
            if self._environ.get(f"{prefix}_{key.upper()}", "").strip()
        }
        if not found:
            return
        variables = ", ".join(f"{prefix}_{key.upper()}" for key in found)
        if not {"api_key", "secret", "private_key", "wallet_address"} & found.keys():
            # A lone GATE_PASSWORD or DELTA_UID is probably not meant for an exchange.
            self._warnings.append(f"{variables} alone make no account for {exchange}; ignored")
            return
        if exchange in self._accounts:
            self._warnings.append(
                f"account {exchange} comes from {self._accounts[exchange].source};"
                f" {variables} ignored"
            )
            return
        credentials = {CREDENTIAL_FIELDS[key]: value for key, value in found.items()}
        missing = self._missing_half(exchange, credentials)
        if missing:
            self._problems.append(self._half_words(prefix, variables, missing))
            return
        try:
            _sendable("api_key", found.get("api_key", "-"))
        except SecretUnavailableError as error:
            self._problems.append(f"environment {prefix}_API_KEY: {error}")
            return
        source = f"environment {variables}"
        self._accounts[exchange] = Account(
            exchange, exchange, MappingProxyType(credentials), source
        )

    def _half_words(self, prefix: str, variables: str, missing: str) -> str:
        variable = f"{prefix}_{missing.upper()}"
        near = f"{prefix}_API_SECRET" if missing == "secret" else f"{prefix}_APIKEY"
        renamed = f" ({near} is set: rename it)" if self._environ.get(near) else ""
        return (
            f"environment {variables}: account {prefix.lower()} lacks {variable}{renamed}; set it,"
            " unset the others, or set CCXT_MCP_EXCHANGE_KEYS_FROM_ENV=false"
        )

    def _defaults(self) -> dict[str, str]:
        defaults: dict[str, str] = {}
        for exchange, profile in self._settings.exchanges.items():
            name = profile.default_account
            if name is None:
                continue
            key = f"exchanges.{exchange}.default_account"
            account = self._accounts.get(name)
            own = [a.name for a in self._accounts.values() if a.exchange == exchange]
            listed = f"its accounts: {', '.join(own)}" if own else "it has no accounts"
            if account is None:
                self._problems.append(
                    f"{self._at(key)}{key}: names no account{did_you_mean(name, own)} ({listed})"
                )
            elif account.exchange != exchange:
                self._problems.append(
                    f"{self._at(key)}{key}: account {name} is of exchange {account.exchange}"
                    f" ({listed})"
                )
            else:
                defaults[exchange] = name
        return defaults


def _sendable(key: str, value: str) -> str:
    """The value, unless it is an API key that no header can carry: something else came along when
    it was copied, and the exchange would never see it."""
    if key == "api_key" and not _VISIBLE.fullmatch(value):
        raise SecretUnavailableError(
            "has a space, a line break or another character that no API key has; copy it again"
        )
    return value
