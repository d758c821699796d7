"""The nginx configuration that is shipped, run on loopback in front of some replicas.

Owns: the few words of it that a test has to change (ports, names of replicas, files in /tmp) and
the process. Refuses: to change how requests are passed on; that is what is tested.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ccxt_mcp.serving import bind

__all__ = ["NEEDS_NGINX", "SHIPPED", "configured", "running_nginx"]

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx"

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

NEEDS_NGINX = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed (its package is called nginx everywhere)"
)


def replaced(text: str, pattern: str, by: str) -> str:
    """The text with every place of a pattern replaced, of which there is at least one."""
    found, count = re.subn(pattern, by, text)
    assert count, pattern
    return found


def configured(
    place: Path,
    replicas: Sequence[int],
    *,
    port: int,
    market: Sequence[int] = (),
    changes: Mapping[str, str] | None = None,
) -> Path:
    """The shipped configuration in ``place``, for these ports of loopback; its main file.

    Args:
        market: ports of replicas that have the market's tools only; switches their lines on.
        changes: words of ``ccxt-mcp.conf`` and what stands there instead, for tests that show what
            a line is for.
    """
    place.mkdir(parents=True, exist_ok=True)
    files = {name: (SHIPPED / name).read_text() for name in os.listdir(SHIPPED)}
    listed = files["replicas.conf"]
    line = re.compile(r"(?m)^(?:    server ccxt-mcp-\d:\d+( .*\n))+")
    shipped = line.search(listed)
    assert shipped is not None
    servers = "".join(f"    server 127.0.0.1:{each}{shipped[1]}" for each in replicas)
    listed = line.sub(servers, listed)
    main, how = files["nginx.conf"], files["ccxt-mcp.conf"]
    if market:
        listed = replaced(listed, r"(?m)^#(?=upstream|    |\})", "")
        own = "".join(f"    server 127.0.0.1:{each};\n" for each in market)
        listed = replaced(listed, r"(?m)^    server ccxt-mcp-market-1:.*\n", own)
        how = replaced(how, r"#(?=\w+ ccxt_mcp_market;)", "")
    how = replaced(how, r"listen 8080;", f"listen 127.0.0.1:{port};")
    for old, new in (changes or {}).items():
        how = replaced(how, re.escape(old), new)
    # One process of nginx, and whatever limit of open files this machine has.
    main = replaced(main, r"worker_processes auto;", "worker_processes 1;")
    main = replaced(main, r"(?m)^worker_rlimit_nofile .*\n", "")
    main = replaced(main, r"worker_connections \d+;", "worker_connections 256;")
    main = replaced(main, r"/tmp/", f"{place}/")
    main = replaced(main, r"/dev/std(out|err)", f"{place}/log.\\1")
    for name, text in (("replicas.conf", listed), ("ccxt-mcp.conf", how), ("nginx.conf", main)):
        (place / name).write_text(text)
    return place / "nginx.conf"


def command(file: Path, *more: str) -> list[str]:
    """nginx's command line; as root, its worker stays root, who alone sees a test's files."""
    assert NGINX is not None
    as_root = ["-g", "daemon off; user root;"] if os.geteuid() == 0 else ["-g", "daemon off;"]
    return [NGINX, "-p", str(file.parent), "-c", str(file), "-e", str(file.parent / "log.early"),
            *as_root, *more]  # fmt: skip


@asynccontextmanager
async def running_nginx(
    place: Path,
    replicas: Sequence[int],
    *,
    market: Sequence[int] = (),
    changes: Mapping[str, str] | None = None,
) -> AsyncIterator[str]:
    """nginx before these replicas; yields its base URL."""
    listener = bind("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    file = configured(place, replicas, port=port, market=market, changes=changes)
    # The port was free a moment ago; nginx opens it itself.
    listener.close()
    process = subprocess.Popen(command(file), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            while True:
                assert process.poll() is None, (place / "log.err").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
