"""A replica in a process of its own, to be killed.

`python -m tests.cluster.one_replica STORE_URL PREFIX` says its port on standard output once it
serves.
"""

from __future__ import annotations

import asyncio
import sys

from ccxt_mcp.app import create_app
from ccxt_mcp.serving import bind, run_until_stopped
from ccxt_mcp.settings import Settings
from tests.unit.transport.toy import Toy


async def main(url: str, prefix: str) -> None:
    settings = Settings.model_validate(
        {"store_url": url, "store_prefix": prefix, "trusted_proxies": ["127.0.0.1"]}
    )
    app = create_app(settings, Toy().server())
    await run_until_stopped(
        app,
        bind("127.0.0.1", 0),
        connections=app.state.connections,
        drain=app.state.drain,
        started=lambda address: print(address.rpartition(":")[2], flush=True),
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
