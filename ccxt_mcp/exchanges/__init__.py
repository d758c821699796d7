"""Exchanges through CCXT: isolated instances, one authority over what they share.

Knows CCXT, not MCP. Nothing outside this package imports CCXT. The way in is ``gateway.Gateway``;
``loading.install_lazy_ccxt`` is for entry points.

The names below are imported when they are asked for: the helper process (``loader``) runs a module
of this package and needs half of what the gateway does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccxt_mcp.exchanges.catalog import ExchangeFacts
    from ccxt_mcp.exchanges.gateway import Gateway
    from ccxt_mcp.exchanges.lease import Lease
    from ccxt_mcp.exchanges.loading import install_lazy_ccxt
    from ccxt_mcp.exchanges.pool import AccountLike

__all__ = ["AccountLike", "ExchangeFacts", "Gateway", "Lease", "install_lazy_ccxt"]

_HOMES = {
    "AccountLike": "pool",
    "ExchangeFacts": "catalog",
    "Gateway": "gateway",
    "Lease": "lease",
    "install_lazy_ccxt": "loading",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)
