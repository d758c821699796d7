"""Kraken's JSON shapes: pure functions from the venue's words to what goes on the wire.

Owns field names and number formats: amounts are strings with eight decimals, prices with the
decimals of their pair, times are seconds. Refuses routes, checks and caching. Source: Kraken REST
documentation, "Market Data" and "Account Data".
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Any

from ccxt_mcp.simulation.book import Book, Candle, PublicTrade, candle_open
from ccxt_mcp.simulation.kraken_names import Names, Pair, asset_altname, asset_id
from ccxt_mcp.simulation.markets import UNIT, Market, fixed8
from ccxt_mcp.simulation.orders import Account, Fill, Order

__all__ = [
    "asset",
    "asset_pair",
    "balances",
    "candle",
    "depth",
    "extended_balances",
    "fee_tier",
    "fill",
    "joined",
    "key_permissions",
    "order",
    "seconds",
    "ticker",
    "trade",
]

Json = dict[str, Any]

_FEE_PERCENT = 0.1  # what the venue takes from every fill
_NO_POSITION = "TKH2SE-M7IF5-CFI7LT"  # one id for all fills outside a margin position
_STATUS = {
    "NEW": "open",
    "PARTIALLY_FILLED": "open",
    "FILLED": "closed",
    "CANCELED": "canceled",
}


def seconds(milliseconds: int) -> float:
    """Seconds with the tenth of a millisecond that Kraken's times always have.

    Without it a client that multiplies by 1,000 and cuts would often be one millisecond early.
    """
    return round(milliseconds / 1000 + 0.0001, 4)


def _decimals(increment: Decimal) -> int:
    exponent = increment.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _price(market: Market, value: Decimal | int) -> str:
    exact = value * UNIT if isinstance(value, int) else value
    return f"{exact.quantize(market.tick, ROUND_DOWN):f}"


def asset(name: str) -> Json:
    return {
        "aclass": "currency",
        "altname": asset_altname(name),
        # The venue accounts in units of 1e-8 for all, so fiat is not cut to four decimals here.
        "decimals": 10 if asset_id(name).startswith("X") else 8,
        "display_decimals": 5,
        "status": "enabled",
    }


def asset_pair(pair: Pair) -> Json:
    market = pair.market
    smallest = max(market.step, (market.min_notional / market.anchor).quantize(market.step))
    return {
        "altname": pair.altname,
        "wsname": pair.wsname,
        "aclass_base": "currency",
        "base": asset_id(market.base),
        "aclass_quote": "currency",
        "quote": asset_id(market.quote),
        "lot": "unit",
        "cost_decimals": 8,
        "pair_decimals": _decimals(market.tick),
        "lot_decimals": _decimals(market.step),
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, _FEE_PERCENT]],
        "fees_maker": [[0, _FEE_PERCENT]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": f"{smallest.normalize():f}",
        "costmin": f"{market.min_notional:f}",
        "tick_size": f"{market.tick:f}",
        "status": "online",
    }


def ticker(book: Book, at: int) -> Json:
    """Pairs of figures are those since midnight (UTC) and of the last 24 hours."""
    market, day = book.market, book.day(at)
    (bid, bid_lots), (ask, ask_lots) = _best(book, at)
    midnight = candle_open("1d", at)
    _, o, h, low, c, volume, _, spent, count, *_ = book.candle("1d", midnight, at)
    today = Decimal(spent) / Decimal(volume) if Decimal(volume) else Decimal(c)
    whole_day = day.quote_volume * 10**8 // day.volume if day.volume else day.close
    last = book.trades(book.last_trade_id(at), 1, at)[0]

    def top(price: int, lots: int) -> list[str]:
        amount = Decimal(lots) * UNIT
        return [_price(market, price), f"{amount.to_integral_value(ROUND_DOWN):f}", fixed8(lots)]

    return {
        "a": top(ask, ask_lots),
        "b": top(bid, bid_lots),
        "c": [_price(market, day.close), last[3]],
        "v": [volume, fixed8(day.volume)],
        "p": [_price(market, today), _price(market, whole_day)],
        "t": [count, day.count],
        "l": [_price(market, Decimal(low)), _price(market, day.low)],
        "h": [_price(market, Decimal(h)), _price(market, day.high)],
        "o": _price(market, Decimal(o)),
    }


def _best(book: Book, at: int) -> tuple[tuple[int, int], tuple[int, int]]:
    bids, asks = book.depth(at, 1)
    return bids[0] if bids else (0, 0), asks[0]


def depth(book: Book, at: int, count: int) -> Json:
    bids, asks = book.depth(at, count)
    market, second = book.market, at // 1000
    return {
        "asks": [[_price(market, p), fixed8(q), second] for p, q in asks],
        "bids": [[_price(market, p), fixed8(q), second] for p, q in bids],
    }


def candle(market: Market, row: Candle) -> list[int | str]:
    opened, o, h, low, c, volume, _, spent, count, *_ = row
    mean = Decimal(spent) / Decimal(volume) if Decimal(volume) else Decimal(0)
    prices = [_price(market, Decimal(text)) for text in (o, h, low, c)]
    return [opened // 1000, *prices, _price(market, mean), volume, count]


def joined(opened: int, rows: Sequence[Candle]) -> Candle:
    """Neighbouring candles, oldest first, as one that opened at `opened` (ms)."""
    first, last = rows[0], rows[-1]

    def total(column: int) -> str:
        return fixed8(sum((Decimal(str(row[column])) for row in rows), Decimal(0)))

    return (
        opened,
        first[1],
        max((row[2] for row in rows), key=Decimal),
        min((row[3] for row in rows), key=Decimal),
        last[4],
        total(5),
        last[6],
        total(7),
        sum(row[8] for row in rows),
        total(9),
        total(10),
        "0",
    )


def trade(market: Market, row: PublicTrade) -> list[Any]:
    number, at, price, quantity, _, sold = row
    text = _price(market, Decimal(price))
    return [text, quantity, seconds(at), "s" if sold else "b", "l", "", number]


def balances(owner: Account) -> dict[str, str]:
    return {asset_id(a): fixed8(b.free + b.locked) for a, b in owner.balances.items()}


def extended_balances(owner: Account) -> Json:
    return {
        asset_id(a): {"balance": fixed8(b.free + b.locked), "hold_trade": fixed8(b.locked)}
        for a, b in owner.balances.items()
    }


def key_permissions(owner: Account) -> Json:
    created = str(owner.created // 1_000)
    permitted = ["query-funds", "query-open-trades", "query-closed-trades", "modify-trades"]
    return {
        "apiKeyName": owner.name,
        "apiKey": owner.api_key,
        "nonce": str(owner.last_nonce),
        "nonceWindow": 0,
        "permissions": [*permitted, *(["withdraw-funds"] if owner.may_withdraw else [])],
        "validUntil": "0",
        "queryFrom": "0",
        "queryTo": "0",
        "createdTime": created,
        "modifiedTime": created,
        "ipAllowlist": [],
        "lastUsed": created,
    }


def _fee(found: Fill) -> Decimal:
    """The fee in quote currency, in which Kraken takes it by default."""
    if found.fee_asset == found.market.quote:
        return found.fee
    return (found.fee * found.price).quantize(UNIT, ROUND_DOWN)


def order(names: Names, found: Order, fills: Sequence[Fill], *, trades: bool) -> Json:
    """`fills` are those of this order; their ids are told when `trades` is set."""
    market, pair = found.market, names.of(found.market)
    side, price = found.side.lower(), _price(market, found.price)
    average = found.spent / found.executed if found.executed else Decimal(0)
    shape: Json = {
        "refid": None,
        "userref": None,
        "cl_ord_id": found.client_id,
        "status": _STATUS[found.status],
        "opentm": seconds(found.created),
        "starttm": 0,
        "expiretm": 0,
        "descr": {
            "pair": pair.altname,
            "type": side,
            "ordertype": "limit",
            "price": price,
            "price2": "0",
            "leverage": "none",
            "order": f"{side} {fixed8(found.quantity)} {pair.altname} @ limit {price}",
            "close": "",
        },
        "vol": fixed8(found.quantity),
        "vol_exec": fixed8(found.executed),
        "cost": fixed8(found.spent),
        "fee": fixed8(sum((_fee(f) for f in fills), Decimal(0))),
        "price": _price(market, average),
        "stopprice": _price(market, 0),
        "limitprice": _price(market, 0),
        "misc": "",
        "oflags": "fciq",
    }
    if not found.resting:
        shape["closetm"] = seconds(found.updated)
        shape["reason"] = "User requested" if found.status == "CANCELED" else None
    if trades and fills:
        shape["trades"] = [names.fill_id(f) for f in fills]
    return shape


def fill(names: Names, found: Fill) -> Json:
    return {
        "ordertxid": names.fill_order_id(found),
        "postxid": _NO_POSITION,
        "pair": names.of(found.market).id,
        "time": seconds(found.at),
        "type": found.side.lower(),
        "ordertype": "limit",
        "price": _price(found.market, found.price),
        "cost": fixed8(found.spent),
        "fee": fixed8(_fee(found)),
        "vol": fixed8(found.quantity),
        "margin": "0.00000000",
        "leverage": "0",
        "misc": "",
        "trade_id": found.id,
        "maker": found.maker,
    }


def fee_tier() -> Json:
    percent = f"{_FEE_PERCENT:.4f}"
    return {
        "fee": percent,
        "minfee": percent,
        "maxfee": percent,
        "nextfee": None,
        "tiervolume": "0.0000",
        "nextvolume": None,
    }
