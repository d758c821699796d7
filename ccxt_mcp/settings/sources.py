"""Where settings come from: the TOML file and the environment, as one nested table.

Owns: reading both, and remembering for each key where its value stands. Refuses: to judge values
(``table`` does) beyond what makes a source unreadable or a variable's name meaningless.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ccxt_mcp.settings.table import (
    CREDENTIAL_FIELDS,
    AccountSettings,
    ExchangeProfile,
    Settings,
    TokenSettings,
)

__all__ = ["PREFIX", "TABLES", "Sources", "alike", "did_you_mean", "read_environment", "read_file"]

PREFIX = "CCXT_MCP_"
TABLES: Mapping[str, type[BaseModel]] = {
    "exchanges": ExchangeProfile,
    "accounts": AccountSettings,
    "tokens": TokenSettings,
}
_SPECIAL = ("CONFIG", "TOKEN", "TOKEN_SCOPES")

# Kubernetes gives every container variables about the services of its namespace, and a service
# called `ccxt-mcp` is the natural choice: CCXT_MCP_SERVICE_HOST, CCXT_MCP_PORT=tcp://10.0.0.7:3000.
_SERVICE_NAME = re.compile(
    r"SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_SERVICE_PORT = re.compile(r"(tcp|udp|sctp)://")


@dataclass
class Sources:
    """Values as a nested table, the origin of each leaf, and what is wrong so far.

    ``unreadable``: a file was named and nothing of it could be had.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unreadable: bool = False

    def give_up(self, problem: str) -> None:
        """Nothing of the file can be had."""
        self.problems.append(problem)
        self.unreadable = True

    def put(self, path: tuple[str, ...], value: Any, origin: str) -> None:
        """Set one value; what an earlier source said under this key is forgotten."""
        table = self.values
        for part in path[:-1]:
            below = table.get(part)
            if not isinstance(below, dict):
                # An earlier source has no table here: this one's is what counts.
                below = table[part] = {}
            table = below
        table[path[-1]] = value
        key = ".".join(path)
        for old in [o for o in self.origins if o.startswith(f"{key}.")]:
            del self.origins[old]
        self.origins[key] = origin


def did_you_mean(word: str, allowed: Collection[str]) -> str:
    """``; did you mean X?`` when one of the allowed words is near, else nothing."""
    near = difflib.get_close_matches(word.lower(), [a.lower() for a in allowed], n=1, cutoff=0.6)
    found = [a for a in allowed if near and a.lower() == near[0]]
    return f"; did you mean {found[0]}?" if found else ""


def alike(word: str, names: Iterable[str]) -> list[str]:
    """The names that a word means: itself, or else all that differ from it in case only."""
    found = {name for name in names if name.lower() == word.lower()}
    return [word] if word in found else sorted(found)


def read_file(sources: Sources, path: Path) -> None:
    """Read a TOML file into the table; a relative path in it is relative to the file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        sources.give_up(f"{path}: cannot be read: {error.strerror or 'unknown reason'}")
        return
    except UnicodeDecodeError as error:
        sources.give_up(f"{path}: is not UTF-8 text (byte {error.start})")
        return
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        sources.give_up(f"{path}: is not valid TOML: {_toml_words(error, text)}")
        return
    for parts, value in _leaves(document):
        sources.put(parts, _anchored(parts, value, path.absolute().parent), str(path))


def _toml_words(error: tomllib.TOMLDecodeError, text: str) -> str:
    words = str(error)
    at = re.search(r"\(at (?:line (\d+), column (\d+)|end of document)\)", words)
    if at is None:
        return "syntax error"
    line = at[1] or str(text.count("\n") + 1)
    what = words[: at.start()].strip()
    # Only the parser's fixed sentences; others quote the document, where a secret may stand.
    if not re.fullmatch(r"[A-Za-z ,'=\[\]-]{1,80}", what) or what.startswith("Cannot"):
        what = "a key or table is defined twice" if what.startswith("Cannot") else "syntax error"
    column = f", column {at[2]}" if at[2] else ""
    quotes = " (text values need quotes)" if what == "Invalid value" else ""
    return f"line {line}{column}: {what}{quotes}"


def _leaves(
    table: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> Iterable[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        path = (*prefix, key)
        # `options` is one value, handed to CCXT whole.
        if isinstance(value, dict) and value and len(path) < 3:
            yield from _leaves(value, path)
        else:
            yield path, value


def _anchored(path: tuple[str, ...], value: Any, base: Path) -> Any:
    if not isinstance(value, str) or not value:
        return value
    if path == ("data_dir",) or (path[0] == "exchanges" and path[2:] == ("ca_file",)):
        return value if value.startswith("~") else os.path.join(base, value)
    if path[0] in ("accounts", "tokens") and value.startswith("file:"):
        name = value[5:].strip()
        if name and not name.startswith("~"):
            return f"file:{os.path.join(base, name)}"
    return value


def read_environment(sources: Sources, environ: Mapping[str, str]) -> None:
    """Read ``CCXT_MCP_…`` variables into the table. An empty one counts as not set."""
    known_tables = {table: list(sources.values.get(table) or ()) for table in TABLES}
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX)
        value = environ[variable]
        if name == variable or name in _SPECIAL or _from_orchestrator(name, value):
            continue
        path = _path(variable, name, known_tables, sources.problems)
        if path is not None and value.strip():
            sources.put(path, value, f"environment {variable}")
    _read_token(sources, environ)


def _from_orchestrator(name: str, value: str) -> bool:
    if _SERVICE_NAME.fullmatch(name):
        return True
    return name == "PORT" and _SERVICE_PORT.match(value) is not None


def _path(
    variable: str, name: str, known: Mapping[str, list[str]], problems: list[str]
) -> tuple[str, ...] | None:
    parts = name.split("__")
    first = parts[0].lower()
    scalars = [key for key in Settings.model_fields if key not in TABLES]
    if len(parts) == 1 and first in scalars and name == name.upper():
        return (first,)
    if first in TABLES and len(parts) == 3 and parts[1]:
        key = parts[2].lower()
        keys = [k for k, f in TABLES[first].model_fields.items() if not _internal(f)]
        if key in keys:
            return (first, _table_name(parts[1], known[first]), key)
        stem = f"{PREFIX}{parts[0]}__{parts[1]}__".upper()
        meant = did_you_mean(stem + key.upper(), [stem + k.upper() for k in keys])
        problems.append(
            f"environment {variable}: [{first}.NAME] has no key {key}{meant}"
            f" (keys: {', '.join(keys)})"
        )
        return None
    if first in TABLES:
        problems.append(
            f"environment {variable}: {first} is a table of tables; name a key as"
            f" {PREFIX}{first.upper()}__NAME__KEY"
        )
        return None
    names = [PREFIX + key.upper() for key in (*scalars, *_SPECIAL)]
    names += [f"{PREFIX}{table.upper()}__NAME__KEY" for table in TABLES]
    problems.append(
        f"environment {variable}: is not a setting{did_you_mean(variable, names)}"
        " (docs/CONFIGURATION.md lists all)"
    )
    return None


def _internal(info: Any) -> bool:
    return bool((info.json_schema_extra or {}).get("internal"))


def _table_name(part: str, known: Iterable[str]) -> str:
    # A variable's name cannot hold `-` or `.`: PAPER_TWO means the file's `paper-two`.
    def plain(name: str) -> str:
        return re.sub(r"[-.]", "_", name).lower()

    return next((name for name in known if plain(name) == plain(part)), part.lower())


def _read_token(sources: Sources, environ: Mapping[str, str]) -> None:
    """``CCXT_MCP_TOKEN`` is the token named ``default``: all that a container needs."""
    token = environ.get(f"{PREFIX}TOKEN")
    scopes = environ.get(f"{PREFIX}TOKEN_SCOPES", "").strip()
    if token is None:
        if scopes:
            sources.problems.append(
                f"environment {PREFIX}TOKEN_SCOPES: needs {PREFIX}TOKEN, which is not set"
            )
        return
    if not token.strip():
        # Not the same as unset: whoever wrote it wanted callers to need a token.
        sources.problems.append(
            f"environment {PREFIX}TOKEN: is set but empty; give it a token, or unset it"
        )
        return
    sources.put(("tokens", "default", "token"), token.strip(), f"environment {PREFIX}TOKEN")
    if scopes or "tokens.default.scopes" not in sources.origins:
        sources.put(
            ("tokens", "default", "scopes"),
            scopes or "read,ops",
            f"environment {PREFIX}TOKEN_SCOPES",
        )


assert set(CREDENTIAL_FIELDS) < set(AccountSettings.model_fields)
