"""What the commands about a running server share: its place, the token, words of others."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ccxt_mcp.errors import ConfigurationError

__all__ = ["add_server", "seconds", "server_url", "token_of"]

_URL = "http://127.0.0.1:3000"
_TOKEN = "CCXT_MCP_TOKEN"


def add_server(command: argparse.ArgumentParser) -> None:
    """Add the arguments that say which server, and with which token.

    A token itself is none of them: every user of the machine could read it in the list of
    processes.
    """
    command.add_argument(
        "--url", default=_URL, help=f"the server's URL, with /mcp or without ({_URL})"
    )
    given = command.add_mutually_exclusive_group()
    given.add_argument(
        "--token-env",
        metavar="NAME",
        help=f"environment variable that holds the token ({_TOKEN}, where it is set)",
    )
    given.add_argument("--token-file", type=Path, metavar="FILE", help="file that holds the token")


def server_url(arguments: argparse.Namespace) -> str:
    """The URL, looked at.

    Raises:
        ConfigurationError: it cannot be one.
    """
    from ccxt_mcp.client.address import base_of

    try:
        return base_of(arguments.url)
    except ValueError as error:
        raise ConfigurationError(f"--url: {error}") from None


def token_of(arguments: argparse.Namespace) -> str | None:
    """The token to send; None where none is given.

    Raises:
        ConfigurationError: what was named holds none.
    """
    if arguments.token_file is not None:
        try:
            token = arguments.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text"
            raise ConfigurationError(f"--token-file {arguments.token_file}: {reason}") from None
        where = f"--token-file {arguments.token_file}"
    else:
        token = os.environ.get(arguments.token_env or _TOKEN, "").strip()
        if not token and arguments.token_env is None:
            return None
        where = f"--token-env {arguments.token_env or _TOKEN}"
    if not token:
        raise ConfigurationError(f"{where}: it is empty or not set")
    from ccxt_mcp.client.address import authorization

    try:
        authorization(token)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    return str(token)


def seconds(text: str) -> float:
    """The type of an argument that is a time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value <= 86_400:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
