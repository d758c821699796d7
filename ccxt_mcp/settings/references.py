"""Values that point at a secret: ``env:NAME``, ``file:PATH``, or the secret itself.

Owns: resolving them, and the words for one that cannot be resolved. Refuses: to put any part of a
resolved or literal value into those words; variable names and paths may be shown.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from ccxt_mcp.settings.table import Settings

__all__ = ["SecretUnavailableError", "exposed_literals", "is_literal", "resolve_secret"]

_LARGEST = 65_536
"""Bytes; a private key has some 3,000."""


class SecretUnavailableError(ValueError):
    """A secret could not be had; the text says which variable or file is to blame."""


def is_literal(value: str) -> bool:
    """Whether the value is the secret itself."""
    return not value.startswith(("env:", "file:"))


def resolve_secret(value: str, environ: Mapping[str, str]) -> str:
    """The secret that ``value`` is or points at.

    One trailing newline of a file is removed, since editors and ``echo`` add it.

    Raises:
        SecretUnavailableError: the variable is not set or empty; the file is missing, unreadable,
            not a regular file, empty, too large or not UTF-8 text; the literal is empty.
    """
    if value.startswith("env:"):
        name = value[4:].strip()
        if not name:
            raise SecretUnavailableError("`env:` needs the name of a variable: env:MY_KEY")
        found = environ.get(name)
        if found is None:
            raise SecretUnavailableError(f"the environment variable {name} is not set")
        if not found.strip():
            raise SecretUnavailableError(f"the environment variable {name} is empty")
        return found
    if value.startswith("file:"):
        return _read(value[5:].strip())
    if not value.strip():
        raise SecretUnavailableError("is empty")
    return value


def _read(name: str) -> str:
    if not name:
        raise SecretUnavailableError("`file:` needs a path: file:/run/secrets/my_key")
    try:
        with open(Path(name).expanduser(), "rb", opener=_opened) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SecretUnavailableError(
                    f"the file {name} cannot be read: it is no regular file but a pipe or a device"
                )
            raw = file.read(_LARGEST + 1)
    except SecretUnavailableError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a usable path"
        raise SecretUnavailableError(f"the file {name} cannot be read: {reason}") from None
    if len(raw) > _LARGEST:
        raise SecretUnavailableError(f"the file {name} is larger than {_LARGEST} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SecretUnavailableError(f"the file {name} is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise SecretUnavailableError(f"the file {name} is empty")
    return text


def _opened(path: str, flags: int) -> int:
    # Without waiting: opening a named pipe would last until somebody writes into it.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def exposed_literals(settings: Settings, keys: Iterable[str]) -> list[str]:
    """A warning when secrets stand in a configuration file that other users may read.

    Args:
        keys: dotted keys whose values are literal secrets.
    """
    file = settings.config_file
    if file is None:
        return []
    exposed = [key for key in keys if settings.origin(key) == str(file)]
    try:
        readable = bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return []
    if not exposed or not readable:
        return []
    return [
        f"{file} holds secrets ({', '.join(exposed)}) and other users of this machine may read it:"
        f" run `chmod 600 {file}`, or write env:NAME or file:PATH instead of the secrets"
    ]
