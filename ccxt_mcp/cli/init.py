"""``ccxt-mcp init``: a commented configuration file to begin with."""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
from pathlib import Path

from ccxt_mcp.cli.running import Commands, described, say
from ccxt_mcp.errors import ConfigurationError

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  ccxt-mcp init                              writes ./ccxt-mcp.toml, every setting commented out
  ccxt-mcp init --file /etc/ccxt-mcp.toml    somewhere else
  ccxt-mcp init --force                      replaces it and keeps what was there as NAME.bak
"""


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    init = described(commands, "init", "write a commented configuration file", _EXAMPLES)
    init.add_argument(
        "--file",
        type=Path,
        default=Path("ccxt-mcp.toml"),
        metavar="FILE",
        help="where to (ccxt-mcp.toml)",
    )
    init.add_argument("--force", action="store_true", help="replace a file that is there")
    init.set_defaults(command=_init)


async def _init(arguments: argparse.Namespace) -> None:
    from ccxt_mcp.settings.template import configuration_template

    file: Path = arguments.file
    shown = _shown(file)
    if _is_directory(file):
        raise ConfigurationError(f"{shown} is a directory: name the file itself")
    try:
        kept = _write(file, configuration_template(), replace=arguments.force)
    except FileExistsError:
        raise ConfigurationError(
            f"{shown} is there already and was left as it is: choose another name with `--file`,"
            " or replace it with `--force`"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(f"{shown} cannot be written: {reason}") from None
    if kept is not None:
        say(f"kept what was there as {_shown(kept)}, readable by you alone")
    named = "" if file == Path("ccxt-mcp.toml") else f" --config {shlex.quote(shown)}"
    say(f"wrote {shown}, readable by you alone; every setting in it is commented out")
    say("next:")
    say("  edit it: name an account under [accounts.NAME], its keys as env:NAME or file:PATH")
    say(f"  ccxt-mcp doctor{named}    checks it, and the way to each exchange")
    say(f"  ccxt-mcp serve{named}     serves it")


def _is_directory(file: Path) -> bool:
    return file.name in ("", "..") or file.is_dir()


def _shown(file: Path) -> str:
    # A name may hold anything, a terminal's escape codes too.
    return "".join(c if c.isprintable() else "?" for c in str(file))


def _write(file: Path, text: str, *, replace: bool) -> Path | None:
    """Write the whole file or nothing, for this user alone from the first moment on.

    With ``replace``, what a symbolic link names is replaced, and the link stays. Returns where what
    was there is kept, if anything was.
    """
    kept = None
    if replace:
        file = file.resolve()
        if file.exists():
            kept = file.with_name(f"{file.name}.bak")
            _put(kept, file.read_bytes(), over=True)
    _put(file, text.encode(), over=replace)
    return kept


def _put(file: Path, content: bytes, *, over: bool) -> None:
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        if over:
            os.replace(unfinished, file)
        else:
            # Unlike a rename it fails where there is such a file.
            os.link(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
