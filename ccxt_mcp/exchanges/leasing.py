"""``async with`` around one lease.

Owns: that a lease taken is given back. Refuses: everything that a lease is (``lease``, ``pool``).
"""

from __future__ import annotations

from types import TracebackType

from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.exchanges.pool import AccountLike, ExchangeRoom

__all__ = ["Leasing"]


class Leasing:
    """``async with`` around one lease. Whatever ends the block gives the instance back."""

    __slots__ = ("_account", "_lease", "_room")

    def __init__(self, room: ExchangeRoom, account: AccountLike | None = None) -> None:
        self._room = room
        self._account = account
        self._lease: Lease | None = None

    async def __aenter__(self) -> Lease:
        if self._lease is not None:
            raise RuntimeError("a lease serves one `async with`; ask the gateway for another")
        if self._account is None:
            self._lease = await self._room.public()
        else:
            self._lease = await self._room.private(self._account)
        self._lease._renew = self._renew
        return self._lease

    async def _renew(self, lease: Lease) -> bool:
        return await self._room.renew(lease, self._account)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lease is not None:
            self._room.take_back(self._lease)
