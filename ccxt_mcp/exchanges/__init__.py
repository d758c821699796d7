"""Exchanges through CCXT: isolated instances, one authority over what they share.

Knows CCXT, not MCP. Nothing outside this package imports CCXT. The way in is ``gateway.Gateway``;
``loading.install_lazy_ccxt`` is for entry points.
"""

from ccxt_mcp.exchanges.catalog import ExchangeFacts
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.exchanges.loading import install_lazy_ccxt
from ccxt_mcp.exchanges.pool import AccountLike

__all__ = ["AccountLike", "ExchangeFacts", "Gateway", "Lease", "install_lazy_ccxt"]
