"""`ccxt-mcp stdio` with one more tool, which prints in every way in which a library might.

Run as a program by `test_stdio.py`; arguments as for `ccxt-mcp`.
"""

import functools
import os
import subprocess
import sys
from typing import Any

from ccxt_mcp import product
from ccxt_mcp.calls.bounds import Answer
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.cli import main
from ccxt_mcp.tools.arguments import Arguments
from ccxt_mcp.tools.server import TOOLS
from ccxt_mcp.tools.tool import Tool, result_schema

_KEPT = sys.stdout
"""As a library keeps it that was imported first."""


class _Nothing(Arguments):
    """No arguments."""


async def _noise(call: Call, _: Any) -> Answer:
    print("NOISE print")
    print("x" * 1000)
    print("NOISE kept", file=_KEPT, flush=True)
    print("NOISE original", file=sys.__stdout__, flush=True)
    os.write(1, b"NOISE descriptor\n")
    subprocess.run([sys.executable, "-c", "print('NOISE child', bool(input))"], check=True)
    asked = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.stdin.read())"], check=True
    )
    return Answer({"printed": asked.returncode == 0})


_TOOL = Tool("noise", "Noise", "Prints.", _Nothing, result_schema(()), _noise)

if __name__ == "__main__":
    product.assemble = functools.partial(product.assemble, tools=(*TOOLS, _TOOL))
    sys.exit(main())
