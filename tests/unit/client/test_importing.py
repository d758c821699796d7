"""The client stands alone: a workflow's process pays for httpx and nothing of the server's."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import ccxt_mcp.client
heavy = {name.partition(".")[0] for name in sys.modules}
servers = {"ccxt", "mcp", "mcp_types", "aiohttp", "starlette", "uvicorn", "pydantic"}
assert not heavy & servers, heavy & servers
ours = {name for name in sys.modules if name.startswith("ccxt_mcp.")}
assert all(name.startswith("ccxt_mcp.client") for name in ours), ours
print("alone")
"""


def test_importing_it_brings_nothing_of_the_server() -> None:
    """Else each cron job would load CCXT, which takes longer than most of its calls."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "alone\n", done.stderr
