"""``ccxt-mcp init``: a commented configuration file to begin with."""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path

from ccxt_mcp.cli.running import Commands, described, say
from ccxt_mcp.errors import ConfigurationError

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  ccxt-mcp init                              writes ./ccxt-mcp.toml, every setting commented out
  ccxt-mcp init --file /etc/ccxt-mcp.toml    somewhere else
  ccxt-mcp init --force                      replaces the file that is there
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
    try:
        _write(file, configuration_template(), replace=arguments.force)
    except FileExistsError:
        raise ConfigurationError(
            f"{file} is there already and was left as it is: choose another name with `--file`,"
            " or replace it with `--force`"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror or type(error).__name__}"
        ) from None
    named = "" if file == Path("ccxt-mcp.toml") else f" --config {file}"
    say(f"wrote {file}, readable by you alone; every setting in it is commented out")
    say("next:")
    say("  edit it: name an account under [accounts.NAME], its keys as env:NAME or file:PATH")
    say(f"  ccxt-mcp doctor{named}    checks it, and the way to each exchange")
    say(f"  ccxt-mcp serve{named}     serves it")


def _write(file: Path, text: str, *, replace: bool) -> None:
    """For this user alone, from the first moment on."""
    # A file that is to be replaced stays whole until the new one is.
    target = file.with_name(f".{file.name}.{secrets.token_hex(4)}") if replace else file
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(target, flags, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    if replace:
        os.replace(target, file)
