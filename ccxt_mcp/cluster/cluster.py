"""The common store as one process uses it.

Owns: in which order the parts begin and end. Refuses: what they do.
"""

from __future__ import annotations

import hashlib
import hmac

from ccxt_mcp.cluster.holding import Leaseholder
from ccxt_mcp.cluster.membership import Membership
from ccxt_mcp.cluster.node import Node
from ccxt_mcp.cluster.sharing import Sharing
from ccxt_mcp.settings import Settings
from ccxt_mcp.store.measured import Measured, Trips
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Store

__all__ = ["Cluster"]


class Cluster:
    """A node with what it holds and shares, and the store behind it.

    Args:
        store: shared by all replicas; opened and closed here.
        prefix: of the replicas' names in the store; all that share it are one cluster.
    """

    def __init__(
        self, store: Store, node_id: str | None = None, *, prefix: str = "ccxt-mcp"
    ) -> None:
        self.trips = Trips()
        self.store: Store = Measured(store, self.trips)
        self.salt = hashlib.sha256(f"ccxt-mcp names of {prefix}".encode()).digest()
        self.node = Node(self.store, node_id)
        self.leases = Leaseholder(self.node)
        self.sharing = Sharing(self.node)
        self.membership = Membership(self.node)

    @classmethod
    def from_settings(cls, settings: Settings) -> Cluster | None:
        """The cluster that ``store_url`` names; None where a process is on its own.

        Raises:
            ConfigurationError: the URL cannot be used, or the extra `redis` is not installed.
        """
        if settings.store_url is None:
            return None
        return cls(
            store_at(
                settings.store_url.get_secret_value(),
                prefix=settings.store_prefix,
                timeout=settings.store_timeout,
            ),
            prefix=settings.store_prefix,
        )

    def hidden(self, *texts: str) -> str:
        """A name for these, the same in all replicas, that does not say what they are: 32
        hexadecimal digits."""
        message = "\0".join(texts).encode()
        return hmac.new(self.salt, message, hashlib.sha256).hexdigest()[:32]

    async def start(self) -> None:
        """Begin. A store that is away is waited for by each call, not here."""
        await self.store.open()
        await self.node.start()
        await self.leases.start()
        await self.membership.start()

    async def stop(self) -> None:
        """End; what was said last arrives."""
        await self.membership.stop()
        await self.leases.stop()
        await self.node.stop()
        await self.store.close()

    def __repr__(self) -> str:
        return f"<Cluster {self.node!r} {self.leases!r}>"
