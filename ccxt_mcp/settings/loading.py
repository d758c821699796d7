"""From the sources to one valid ``Settings``, or to one error that lists all that is wrong.

Owns: the order of the sources (defaults < TOML file < environment < overrides) and the words of a
violation. Refuses: to repeat a value in those words: anything may have been pasted anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, get_args

from pydantic import ValidationError

from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.settings.kinds import is_loopback_host
from ccxt_mcp.settings.sources import (
    PREFIX,
    TABLES,
    Sources,
    did_you_mean,
    read_environment,
    read_file,
)
from ccxt_mcp.settings.table import Settings, cache_dir

__all__ = ["DEFAULT_FILE", "check_exposure", "load_settings", "refuse"]

DEFAULT_FILE = "ccxt-mcp.toml"
_TOML_TYPES = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text in quotes",
    "path_type": "a path in quotes",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def load_settings(
    path: Path | None = None, environ: Mapping[str, str] | None = None, **overrides: Any
) -> Settings:
    """Read, merge and validate the configuration.

    Args:
        path: the TOML file; else the one that ``CCXT_MCP_CONFIG`` names, else ``ccxt-mcp.toml`` in
            the working directory if there is one.
        environ: the environment; the process's own when omitted.
        overrides: settings by name, strongest of all; ``None`` means not given.

    Raises:
        ConfigurationError: listing every violation with its file or variable and its key.
    """
    environ = os.environ if environ is None else environ
    sources = Sources()
    if not (environ.get(f"{PREFIX}DATA_DIR") or "").strip():
        sources.values["data_dir"] = str(cache_dir(environ))
    file = _config_file(path, environ, sources)
    if file is not None:
        read_file(sources, file)
    read_environment(sources, environ)
    for name, value in overrides.items():
        if value is not None:
            sources.put((name,), value, f"option --{name.replace('_', '-')}")
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(sources.values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        for e in errors:
            # A list whose every entry is wrong is also "too short": say the cause alone.
            size = len(e["loc"])
            if not any(len(o["loc"]) > size and o["loc"][:size] == e["loc"] for o in errors):
                sources.problems.append(_words(e, sources))
    # Outside the handler, so that no chained traceback shows pydantic's view of the input.
    if settings is None or sources.problems:
        refuse(sources.problems, unreadable=sources.unreadable)
    settings._config_file = file
    settings._origins = MappingProxyType(_with_tables(sources.origins))
    return settings


def refuse(problems: Sequence[str], *, unreadable: bool = False) -> NoReturn:
    """Raise one ``ConfigurationError`` that lists all problems."""
    raise ConfigurationError.listing(problems, unreadable=unreadable)


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond this machine when everybody could use the accounts.

    Raises:
        ConfigurationError: no token, a host beyond loopback and no ``insecure_no_auth``.
    """
    if is_loopback_host(settings.host) or settings.tokens or settings.insecure_no_auth:
        return
    raise ConfigurationError(
        f"host {settings.host} is reachable from other machines, and without a token everybody"
        " there could use the accounts. Set CCXT_MCP_TOKEN (or a [tokens.NAME] table in the"
        " configuration file), or listen on 127.0.0.1, or say --insecure-no-auth if the network"
        " itself keeps strangers out. A token is made by"
        ' `python -c "import secrets; print(secrets.token_urlsafe(32))"`.'
    )


def _config_file(path: Path | None, environ: Mapping[str, str], sources: Sources) -> Path | None:
    named = environ.get(f"{PREFIX}CONFIG", "").strip()
    if path is not None:
        found, who = path, "option --config"
    elif named:
        found, who = Path(named), f"environment {PREFIX}CONFIG"
    else:
        found = Path(DEFAULT_FILE)
        return found if found.is_file() else None
    if found.is_file():
        return found
    what = "is a directory" if found.is_dir() else "does not exist"
    sources.give_up(f"{who}: the file {found} {what}")
    return None


def _with_tables(origins: Mapping[str, str]) -> dict[str, str]:
    """The origins, with one for each table: that of its first key."""
    out = dict(origins)
    for key, origin in origins.items():
        first, _, rest = key.partition(".")
        if first in TABLES and rest:
            table, _, _ = key.rpartition(".")
            out.setdefault(table, origin)
    return out


def _words(error: Any, sources: Sources) -> str:
    path: tuple[str | int, ...] = error["loc"]
    key = ""
    for part in path:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    return f"{_where(path, sources)}{key}: {_what(error, path)}"


def _where(path: tuple[str | int, ...], sources: Sources) -> str:
    names = [str(part) for part in path if not isinstance(part, int)]
    for length in range(len(names), 0, -1):
        key = ".".join(names[:length])
        origin = sources.origins.get(key) or next(
            (o for k, o in sources.origins.items() if k.startswith(f"{key}.")), None
        )
        if origin is not None:
            return f"{origin}: "
    return ""


def _what(error: Any, path: tuple[str | int, ...]) -> str:
    kind: str = error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return "is required"
    if kind in ("literal_error", "enum"):
        allowed = _choices(path)
        given = error["input"] if isinstance(error["input"], str) else ""
        return f"must be one of {', '.join(allowed)}{did_you_mean(given, allowed)}"
    if kind in _TOML_TYPES:
        return f"must be {_TOML_TYPES[kind]}"
    if kind in ("string_too_short", "too_short"):
        return "must not be empty"
    # The remaining kinds are bounds, whose words hold only the bound.
    return str(error["msg"]).replace("Input should be", "must be")


def _unknown(path: tuple[str | int, ...]) -> str:
    name = str(path[-1])
    if len(path) == 1:
        fields = list(Settings.model_fields)
        return f"is not a setting{did_you_mean(name, fields)} (docs/CONFIGURATION.md lists all)"
    fields = [f for f in TABLES[str(path[0])].model_fields if f != "name"]
    return f"is not a key of this table{did_you_mean(name, fields)} (keys: {', '.join(fields)})"


def _choices(path: tuple[str | int, ...]) -> list[str]:
    names = [str(part) for part in path if not isinstance(part, int)]
    model: Any = Settings if len(names) == 1 else TABLES[names[0]]
    annotation = model.model_fields[names[-1]].annotation
    while get_args(annotation) and not isinstance(get_args(annotation)[0], str):
        annotation = get_args(annotation)[0]
    return [str(choice) for choice in get_args(annotation) or list(annotation)]
