"""The client for workflows: a session each, failures with codes, retries where they do no harm.

It needs a server, not its libraries: importing it brings neither CCXT nor the MCP SDK.

```python
async with Workflow("orders-btc", "http://127.0.0.1:3000") as workflow:
    answer = await workflow.call("get_ticker", symbol="BTC/USDT")
```

docs/CLIENT.md is its reference.
"""

from ccxt_mcp.client.failures import CallFailed
from ccxt_mcp.client.health import Health, NodeHealth, SessionHealth, health
from ccxt_mcp.client.pool import PoolStats, SessionPool
from ccxt_mcp.client.workflow import Workflow

__all__ = [
    "CallFailed",
    "Health",
    "NodeHealth",
    "PoolStats",
    "SessionHealth",
    "SessionPool",
    "Workflow",
    "health",
]
