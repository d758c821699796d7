"""A configuration file to begin with, made from the table of settings.

Owns: which settings stand under which heading, and the example values of those whose default is
none. Refuses: facts about a setting that are not in the table.

In the file a line that begins with ``#`` and a space is for people; one that begins with ``#``
alone is a setting or a table with its default (or an example), to be switched on by removing it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ccxt_mcp.settings.sources import PREFIX, TABLES
from ccxt_mcp.settings.table import AccountSettings, ExchangeProfile, Settings, TokenSettings

__all__ = ["configuration_template"]

_WIDTH = 100

_HEAD = f"""\
# Configuration of ccxt-mcp: `ccxt-mcp serve` in this directory reads it, or --config FILE.
#
# A line that begins with # and a letter or a bracket is a setting with its default, or an example
# where there is none: remove the # to change it. Each can also be given as a variable, {PREFIX}
# and its name in capitals, which wins over this file. Check it with `ccxt-mcp doctor`.
"""

_HEADINGS: Mapping[str, str] = {
    "host": "Listening",
    "max_body_bytes": "What clients may take",
    "default_exchange": "Calls",
    "session_idle_timeout": "Sessions",
    "store_url": "Replicas",
    "log_level": "Logs",
    "data_dir": "Market tables",
    "exchange_keys_from_env": "Accounts from variables",
}
"""First setting of a group → heading."""

_EXAMPLES: Mapping[type[BaseModel], Mapping[str, Any]] = {
    Settings: {
        "default_exchange": "binance",
        "store_url": "redis://127.0.0.1:6379",
        "node_address": "10.0.0.5:3000",
        "data_dir": "~/.cache/ccxt-mcp",
    },
    ExchangeProfile: {
        "exchange": "binance",
        "base_url": "http://127.0.0.1:8900",
        "proxy": "http://proxy.example.org:8080",
        "ca_file": "exchange-ca.pem",
        "default_account": "main",
    },
    AccountSettings: {
        "exchange": "binance",
        "api_key": "env:BINANCE_MAIN_KEY",
        "secret": "file:secrets/binance-main",
        "password": "env:BINANCE_MAIN_PASSPHRASE",
        "uid": "env:BINANCE_MAIN_UID",
        "private_key": "file:secrets/wallet-key",
        "wallet_address": "env:WALLET_ADDRESS",
        "token": "env:ACCESS_TOKEN",
        "login": "env:LOGIN",
        "twofa": "env:TWOFA",
        "account_id": "env:ACCOUNT_ID",
    },
    TokenSettings: {"token": "env:CCXT_MCP_WORKFLOWS_TOKEN", "scopes": ["read"]},
}
"""Values to show where the table's default says nothing to copy."""

_LATER = {"ca_file": "Once there is such a file:"}
"""Settings whose example cannot be switched on as it is → what to say before it."""

_TABLES: tuple[tuple[str, type[BaseModel], str], ...] = (
    (
        "exchanges.paper",
        ExchangeProfile,
        "Exchanges. Every exchange of CCXT can be used under its id without any of this. A profile"
        " gives a name to an exchange with something changed; this one is CCXT's binance, pointed"
        " at `ccxt-mcp simulate`.",
    ),
    (
        "accounts.main",
        AccountSettings,
        "Accounts. `exchange` is a profile's name or CCXT's id. A key is best kept elsewhere:"
        " `env:NAME` is a variable, `file:PATH` a file (relative to this one; chmod 600). Most"
        " exchanges want api_key and secret alone.",
    ),
    (
        "tokens.workflows",
        TokenSettings,
        "Callers. With at least one token, every request needs `Authorization: Bearer <token>`. A"
        ' good one: python -c "import secrets; print(secrets.token_urlsafe(32))"',
    ),
)


def configuration_template() -> str:
    """The whole file, as TOML in which every setting is commented out."""
    parts = [_HEAD]
    for name, info in Settings.model_fields.items():
        if name in TABLES:
            continue
        if name in _HEADINGS:
            parts.append(f"\n# --- {_HEADINGS[name]} ---\n")
        parts.append(_setting(Settings, name, info))
    for header, model, words in _TABLES:
        title, _, rest = words.partition(". ")
        parts.append(f"\n# --- {title} ---\n\n{_comment(rest)}\n#[{header}]\n")
        parts += [
            _setting(model, name, info)
            for name, info in model.model_fields.items()
            if not (
                isinstance(info.json_schema_extra, dict) and "internal" in info.json_schema_extra
            )
        ]
    return "\n".join(parts)


def _setting(model: type[BaseModel], name: str, info: FieldInfo) -> str:
    examples = _EXAMPLES.get(model, {})
    value = examples[name] if name in examples else _default(info)
    extra: Any = info.json_schema_extra or {}
    unit = f" In {extra['unit']}." if extra.get("unit") in ("seconds", "bytes") else ""
    mark = f"# {_LATER[name]} " if name in _LATER else "#"
    return f"{_comment(f'{info.description}{unit}')}\n{mark}{name} = {_toml(value)}\n"


def _default(info: FieldInfo) -> Any:
    return info.get_default(call_default_factory=True, validated_data={})


def _comment(words: str) -> str:
    prefix = "# "
    return textwrap.fill(
        words,
        _WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return json.dumps(value.value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{}"
    return json.dumps(value) if isinstance(value, str) else str(value)
