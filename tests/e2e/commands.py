"""The command line as a user types it, and the same in this process.

A process of its own costs two seconds of CPU, nearly all of them for imports: it is for what only a
process shows (descriptors, signals, its exit, the first start of a command). What a command says
and which code it ends with is asked of `main` here.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO
from unittest import mock

from ccxt_mcp.cli import main

__all__ = ["clean", "run", "run_beside", "run_here"]


def clean(**environ: str) -> dict[str, str]:
    """The environment without settings and keys of ours, and with `environ`."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CCXT_MCP") and not name.endswith(("_API_KEY", "_SECRET"))
    }
    return inherited | {"NO_COLOR": "", "TERM": "xterm-256color", "COLUMNS": "200"} | environ


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "ccxt_mcp", *arguments],
        cwd=cwd,
        env=clean(**environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_here(
    *arguments: str, cwd: Path | None = None, out: TextIO | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """A command in this process; `out` stands for its standard output.

    Not for one that goes on to serve: it sets up the logging of the process.
    """
    printed, err = io.StringIO(), io.StringIO()
    log = logging.getLogger("ccxt_mcp")
    level = log.level
    with (
        mock.patch.dict(os.environ, clean(**environ), clear=True),
        chdir(cwd or Path.cwd()),
        redirect_stdout(out or printed),
        redirect_stderr(err),
    ):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else -1
        finally:
            # `doctor` keeps its own log to errors.
            log.setLevel(level)
    return subprocess.CompletedProcess(arguments, code, printed.getvalue(), err.getvalue())


async def run_beside(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, while something in this one answers it."""
    return await asyncio.to_thread(run, *arguments, cwd=cwd)
