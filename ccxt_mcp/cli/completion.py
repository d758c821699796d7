"""``ccxt-mcp completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
import sys

from ccxt_mcp.cli.running import Commands, described

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  bash   ccxt-mcp completion bash > ~/.local/share/bash-completion/completions/ccxt-mcp
  zsh    ccxt-mcp completion zsh > "${fpath[1]}/_ccxt-mcp"

It holds for shells that are opened afterwards; make it anew after an update.
"""


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    completion = described(
        commands, "completion", "print a script that completes commands in a shell", _EXAMPLES
    )
    completion.add_argument("shell", choices=("bash", "zsh"), help="the shell")
    completion.set_defaults(command=_completion)


async def _completion(arguments: argparse.Namespace) -> None:
    import shtab

    from ccxt_mcp.cli import parser

    sys.stdout.write(shtab.complete(parser(), shell=arguments.shell).rstrip("\n") + "\n")
