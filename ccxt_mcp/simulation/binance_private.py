"""Binance's answers to a signed request: one account's balances, orders and trades.

Owns the cache of whole answers, valid while the account does not change. Refuses to authenticate
(`binance_checks`) and to change anything; order entry answers -1020 (see the seam in `venue.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from ccxt_mcp.simulation import binance_wire as wire
from ccxt_mcp.simulation.binance_checks import Params, Rejected, integer, listed
from ccxt_mcp.simulation.orders import Account, Order
from ccxt_mcp.simulation.venue import Venue

__all__ = ["PrivateAnswers"]

_DAY = 86_400_000


class PrivateAnswers:
    """Each public method takes the authenticated owner and the parameters and returns the body of a
    200, or raises `Rejected`."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._owned: dict[tuple[str, str], tuple[int, bytes]] = {}

    def account(self, owner: Account, params: Params) -> bytes:
        omit = params.get("omitZeroBalances", "false") == "true"
        return self._of(owner, f"account {omit}", lambda: wire.account(owner, owner.created, omit))

    def open_orders(self, owner: Account, params: Params) -> bytes:
        symbol = listed(self._venue.markets, params).id if "symbol" in params else None

        def rows() -> list[dict[str, Any]]:
            return [wire.order(o) for o in owner.resting(symbol)]

        return self._of(owner, f"openOrders {symbol}", rows)

    def order(self, owner: Account, params: Params) -> bytes:
        market = listed(self._venue.markets, params)
        order_id = integer(params, "orderId")
        client_id = params.get("origClientOrderId")
        found: Order | None
        if order_id is not None:
            found = owner.order(market.id, order_id)
            if found is not None and client_id not in (None, found.client_id):
                found = None
        elif client_id:
            found = owner.order_by_client_id(market.id, client_id)
        else:
            raise Rejected(
                -1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty!"
            )
        if found is None:
            raise Rejected(-2013, "Order does not exist.")
        return orjson.dumps(wire.order(found))

    def all_orders(self, owner: Account, params: Params) -> bytes:
        market = listed(self._venue.markets, params)
        first, start, end, limit = self._range(params, "orderId")
        rows = [
            o
            for o in owner.orders(market.id)
            if (first is None or o.id >= first)
            and (start is None or o.created >= start)
            and (end is None or o.created <= end)
        ]
        newest = first is None and start is None
        cut = rows[-limit:] if newest else rows[:limit]
        return orjson.dumps([wire.order(o) for o in cut])

    def my_trades(self, owner: Account, params: Params) -> bytes:
        market = listed(self._venue.markets, params)
        first, start, end, limit = self._range(params, "fromId")
        if first is not None and (start is not None or end is not None):
            raise Rejected(-1128, "Combination of optional parameters invalid.")
        order_id = integer(params, "orderId")
        rows = [
            f
            for f in owner.fills(market.id)
            if (order_id is None or f.order_id == order_id)
            and (first is None or f.id >= first)
            and (start is None or f.at >= start)
            and (end is None or f.at <= end)
        ]
        newest = first is None and start is None
        cut = rows[-limit:] if newest else rows[:limit]
        return orjson.dumps([wire.fill(f) for f in cut])

    def positions(self, owner: Account, params: Params) -> bytes:
        symbol = listed(self._venue.linear, params).id if "symbol" in params else None
        rows = [p for p in owner.positions if symbol in (None, p.market.id)]
        return orjson.dumps([wire.position(p) for p in rows])

    def leverage_brackets(self, owner: Account, params: Params) -> bytes:
        return orjson.dumps([wire.leverage_bracket(m) for m in self._venue.linear.values()])

    def key_permissions(self, owner: Account, params: Params) -> bytes:
        return orjson.dumps(wire.key_permissions(owner))

    def coins(self, owner: Account, params: Params) -> bytes:
        names = dict.fromkeys([*self._venue.assets, *owner.balances])
        return self._of(owner, "coins", lambda: [wire.coin(a, owner) for a in names])

    def margin_pairs(self, owner: Account, params: Params) -> bytes:
        return b"[]"

    def not_yet(self, owner: Account, params: Params) -> bytes:
        raise Rejected(-1020, "Orders cannot be entered on the simulated exchange yet.")

    def _range(self, params: Params, name: str) -> tuple[int | None, int | None, int | None, int]:
        start, end = integer(params, "startTime"), integer(params, "endTime")
        if start is not None and end is not None and end - start > _DAY:
            raise Rejected(-1127, "More than 24 hours between startTime and endTime.")
        limit = integer(params, "limit", low=1, high=1_000) or 500
        return integer(params, name), start, end, limit

    def _of(self, owner: Account, what: str, make: Callable[[], object]) -> bytes:
        """An answer that only changes when the account does."""
        known = self._owned.get((owner.api_key, what))
        if known is not None and known[0] == owner.version:
            return known[1]
        body = orjson.dumps(make())
        self._owned[(owner.api_key, what)] = (owner.version, body)
        return body
