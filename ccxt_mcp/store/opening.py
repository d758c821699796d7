"""Which store a URL names.

Owns: the words for a URL that cannot be used. Refuses: to connect.
"""

from __future__ import annotations

from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.store.protocol import Store

__all__ = ["store_at"]


def store_at(url: str, *, prefix: str, timeout: float) -> Store:
    """The store at a URL, not yet opened.

    Raises:
        ConfigurationError: the URL cannot be used, or the extra `redis` is not installed.
    """
    raise ConfigurationError("no store can be opened yet")
