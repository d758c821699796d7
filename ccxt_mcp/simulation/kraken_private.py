"""Kraken's answers to a signed request: one account's balances, orders and trades.

Owns the lists of one account's orders and fills across all markets, valid while the account does
not change. Refuses to authenticate (`kraken_checks`) and to change anything; order entry is
answered as to a key that may only query (see the seam in `venue.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from ccxt_mcp.simulation import kraken_wire as wire
from ccxt_mcp.simulation.kraken_checks import Params, Rejected, flag, listed, moment, whole
from ccxt_mcp.simulation.kraken_names import Names
from ccxt_mcp.simulation.orders import Account, Fill, Order
from ccxt_mcp.simulation.venue import Venue

__all__ = ["PrivateAnswers"]

_PAGE = 50


class _Ledger:
    """Everything of one account at one version, newest first."""

    __slots__ = ("fills", "fills_of", "orders", "version")

    def __init__(self, owner: Account) -> None:
        self.version = owner.version
        symbols = list(owner.symbols())
        self.orders = sorted(
            (o for s in symbols for o in owner.orders(s)),
            key=lambda o: (o.updated, o.id),
            reverse=True,
        )
        self.fills = sorted(
            (f for s in symbols for f in owner.fills(s)), key=lambda f: (f.at, f.id), reverse=True
        )
        self.fills_of: dict[tuple[str, int], list[Fill]] = {}
        for fill in reversed(self.fills):
            self.fills_of.setdefault((fill.market.id, fill.order_id), []).append(fill)


class PrivateAnswers:
    """Each public method takes the authenticated owner and the parameters and returns the JSON of
    the `result`, or raises `Rejected`."""

    def __init__(self, venue: Venue, names: Names) -> None:
        self._venue = venue
        self._names = names
        self._ledgers: dict[str, _Ledger] = {}

    def balance(self, owner: Account, params: Params) -> bytes:
        return orjson.dumps(wire.balances(owner))

    def key_permissions(self, owner: Account, params: Params) -> bytes:
        return orjson.dumps(wire.key_permissions(owner))

    def extended_balance(self, owner: Account, params: Params) -> bytes:
        return orjson.dumps(wire.extended_balances(owner))

    def open_orders(self, owner: Account, params: Params) -> bytes:
        rows = [o for o in self._ledger(owner).orders if o.resting and _named(o, params)]
        return orjson.dumps({"open": self._orders(owner, rows, params)})

    def closed_orders(self, owner: Account, params: Params) -> bytes:
        """Fifty of the orders that closed later than `start` and not later than `end`."""
        closing = params.get("closetime", "both")
        if closing not in ("open", "close", "both"):
            raise Rejected("EGeneral:Invalid arguments:closetime")
        within = self._period(owner, params)

        def fits(order: Order) -> bool:
            times = {"open": (order.created,), "close": (order.updated,)}
            return any(within(at) for at in times.get(closing, (order.created, order.updated)))

        found = [
            o for o in self._ledger(owner).orders if not o.resting and _named(o, params) and fits(o)
        ]
        page = found[_offset(params) :][:_PAGE]
        return orjson.dumps({"closed": self._orders(owner, page, params), "count": len(found)})

    def query_orders(self, owner: Account, params: Params) -> bytes:
        rows = []
        for market, number in self._resolved(params):
            order = owner.order(market, number)
            if order is not None and _named(order, params):
                rows.append(order)
        return orjson.dumps(self._orders(owner, rows, params))

    def trades_history(self, owner: Account, params: Params) -> bytes:
        within = self._period(owner, params)
        found = [f for f in self._ledger(owner).fills if within(f.at)]
        page = found[_offset(params) :][:_PAGE]
        return orjson.dumps({"trades": self._fills(page), "count": len(found)})

    def query_trades(self, owner: Account, params: Params) -> bytes:
        wanted = set(self._resolved(params))
        found = (f for f in self._ledger(owner).fills if (f.market.id, f.id) in wanted)
        return orjson.dumps(self._fills(found))

    def trade_volume(self, owner: Account, params: Params) -> bytes:
        answer: dict[str, Any] = {"currency": "ZUSD", "volume": "0.0000"}
        if "pair" in params:
            pairs = [listed(self._names, {"pair": n}).id for n in params["pair"].split(",")]
            answer["fees"] = {name: wire.fee_tier() for name in pairs}
            answer["fees_maker"] = {name: wire.fee_tier() for name in pairs}
        return orjson.dumps(answer)

    def not_yet(self, owner: Account, params: Params) -> bytes:
        raise Rejected("EGeneral:Permission denied")

    # Helpers

    def _ledger(self, owner: Account) -> _Ledger:
        known = self._ledgers.get(owner.api_key)
        if known is None or known.version != owner.version:
            known = self._ledgers[owner.api_key] = _Ledger(owner)
        return known

    def _orders(self, owner: Account, rows: Iterable[Order], params: Params) -> dict[str, Any]:
        fills_of, trades = self._ledger(owner).fills_of, flag(params, "trades")
        return {
            self._names.order_id(o): wire.order(
                self._names, o, fills_of.get((o.market.id, o.id), ()), trades=trades
            )
            for o in rows
        }

    def _fills(self, rows: Iterable[Fill]) -> dict[str, Any]:
        return {self._names.fill_id(f): wire.fill(self._names, f) for f in rows}

    def _resolved(self, params: Params) -> list[tuple[str, int]]:
        """(market id, number) of each id in `txid`; those that nothing can have are left out."""
        wanted = params.get("txid", "").split(",")
        if wanted == [""] or len(wanted) > _PAGE:
            raise Rejected("EGeneral:Invalid arguments:txid")
        return [found for name in wanted if (found := self._names.resolve(name.strip()))]

    def _period(self, owner: Account, params: Params) -> Callable[[int], bool]:
        """Whether a time (ms) is later than `start` and not later than `end`.

        Both are seconds, or the id of an order (its opening) or of a trade.
        """
        start, end = (self._edge(owner, params, name) for name in ("start", "end"))
        return lambda at: (start is None or at > start) and (end is None or at <= end)

    def _edge(self, owner: Account, params: Params, name: str) -> float | None:
        given = params.get(name, "")
        found = self._names.resolve(given)
        if found is None:
            at = moment(params, name)
            return None if at is None else at / 10**6
        if given.startswith("O"):
            order = owner.order(*found)
            return None if order is None else order.created
        fills = (f.at for f in owner.fills(found[0]) if f.id == found[1])
        return next(fills, None)


def _named(order: Order, params: Params) -> bool:
    """Whether the order has the client's id that was asked for; orders here have no `userref`."""
    if params.get("userref"):
        return False
    return params.get("cl_ord_id", order.client_id) == order.client_id


def _offset(params: Params) -> int:
    return whole(params, "ofs", 0, high=10**9)
