"""Binance's JSON shapes: pure functions from the venue's words to what goes on the wire.

Owns field names and number formats (strings with eight decimals). Refuses routes, checks and
caching. Source: Binance spot API documentation, "General endpoints", "Market Data endpoints",
"Account endpoints"; USD-M futures documentation, "Exchange Information", "Position Information
V3", "Notional and Leverage Brackets"; wallet documentation,
"All Coins' Information".
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ccxt_mcp.simulation.book import Book, PublicTrade
from ccxt_mcp.simulation.markets import Market, fixed8
from ccxt_mcp.simulation.orders import Account, Fill, Order, Position

__all__ = [
    "account",
    "agg_trade",
    "book_ticker",
    "coin",
    "day_ticker",
    "fill",
    "key_permissions",
    "leverage_bracket",
    "linear_symbol",
    "margin_pair",
    "order",
    "position",
    "rate_limits",
    "spot_symbol",
    "trade",
]

Json = dict[str, Any]

_FIAT = frozenset({"EUR"})
_ZERO = fixed8(0)


def rate_limits(limit: int | None) -> list[Json]:
    weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
    orders = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100}
    return [{**weight, "limit": limit or 1_000_000}, orders]


def spot_symbol(market: Market) -> Json:
    tick, step = fixed8(market.tick), fixed8(market.step)
    return {
        "symbol": market.id,
        "status": "TRADING",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": fixed8(market.tick * 100_000_000),
                "tickSize": tick,
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": step,
                "maxQty": fixed8(market.step * 900_000_000),
                "stepSize": step,
            },
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": _ZERO,
                "maxQty": fixed8(market.step * 9_000_000),
                "stepSize": _ZERO,
            },
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": "5",
                "bidMultiplierDown": "0.2",
                "askMultiplierUp": "5",
                "askMultiplierDown": "0.2",
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": fixed8(market.min_notional),
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def linear_symbol(market: Market) -> Json:
    tick, step = f"{market.tick.normalize():f}", f"{market.step.normalize():f}"
    lots = {"minQty": step, "maxQty": "1000000", "stepSize": step}
    return {
        "symbol": market.id,
        "pair": market.id,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "marginAsset": market.quote,
        "pricePrecision": _decimals(market.tick),
        "quantityPrecision": _decimals(market.step),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.015000",
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": f"{market.tick * 100_000_000:f}",
                "tickSize": tick,
            },
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": f"{market.min_notional:f}"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def _decimals(increment: Decimal) -> int:
    exponent = increment.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def day_ticker(book: Book, at: int, mini: bool = False) -> Json:
    day = book.day(at)
    last_id = book.last_trade_id(at)
    average = day.quote_volume * 10**8 // day.volume if day.volume else day.close
    edges: Json = {
        "symbol": book.market.id,
        "openPrice": fixed8(day.open),
        "highPrice": fixed8(day.high),
        "lowPrice": fixed8(day.low),
        "lastPrice": fixed8(day.close),
        "volume": fixed8(day.volume),
        "quoteVolume": fixed8(day.quote_volume),
        "openTime": at - 86_400_000,
        "closeTime": at,
        "firstId": last_id - day.count + 1,
        "lastId": last_id,
        "count": day.count,
    }
    if mini:
        return edges
    (bid, bid_qty), (ask, ask_qty) = _best(book, at)
    change = day.close - day.open
    return {
        **edges,
        "priceChange": ("-" if change < 0 else "") + fixed8(abs(change)),
        "priceChangePercent": f"{100 * change / day.open:.3f}",
        "weightedAvgPrice": fixed8(average),
        "prevClosePrice": fixed8(day.open),
        "lastQty": book.trades(last_id, 1, at)[0][3],
        "bidPrice": fixed8(bid),
        "bidQty": fixed8(bid_qty),
        "askPrice": fixed8(ask),
        "askQty": fixed8(ask_qty),
    }


def book_ticker(book: Book, at: int) -> Json:
    (bid, bid_qty), (ask, ask_qty) = _best(book, at)
    return {
        "symbol": book.market.id,
        "bidPrice": fixed8(bid),
        "bidQty": fixed8(bid_qty),
        "askPrice": fixed8(ask),
        "askQty": fixed8(ask_qty),
    }


def _best(book: Book, at: int) -> tuple[tuple[int, int], tuple[int, int]]:
    bids, asks = book.depth(at, 1)
    return bids[0] if bids else (0, 0), asks[0]


def trade(row: PublicTrade) -> Json:
    number, at, price, qty, quote, sold = row
    return {
        "id": number,
        "price": price,
        "qty": qty,
        "quoteQty": quote,
        "time": at,
        "isBuyerMaker": sold,
        "isBestMatch": True,
    }


def agg_trade(row: PublicTrade) -> Json:
    number, at, price, qty, _, sold = row
    return {
        "a": number,
        "p": price,
        "q": qty,
        "f": number,
        "l": number,
        "T": at,
        "m": sold,
        "M": True,
    }


def order(found: Order) -> Json:
    return {
        "symbol": found.market.id,
        "orderId": found.id,
        "orderListId": -1,
        "clientOrderId": found.client_id,
        "price": fixed8(found.price),
        "origQty": fixed8(found.quantity),
        "executedQty": fixed8(found.executed),
        "cummulativeQuoteQty": fixed8(found.spent),
        "status": found.status,
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": found.side,
        "stopPrice": _ZERO,
        "icebergQty": _ZERO,
        "time": found.created,
        "updateTime": found.updated,
        "isWorking": True,
        "workingTime": found.created,
        "origQuoteOrderQty": _ZERO,
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def fill(found: Fill) -> Json:
    return {
        "symbol": found.market.id,
        "id": found.id,
        "orderId": found.order_id,
        "orderListId": -1,
        "price": fixed8(found.price),
        "qty": fixed8(found.quantity),
        "quoteQty": fixed8(found.spent),
        "commission": fixed8(found.fee),
        "commissionAsset": found.fee_asset,
        "time": found.at,
        "isBuyer": found.side == "BUY",
        "isMaker": found.maker,
        "isBestMatch": True,
    }


def key_permissions(owner: Account) -> Json:
    return {
        "ipRestrict": False,
        "createTime": owner.created,
        "enableReading": True,
        "enableWithdrawals": owner.may_withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": True,
        "enablePortfolioMarginTrading": False,
    }


def account(owner: Account, updated: int, omit_zero: bool = False) -> Json:
    return {
        "makerCommission": 10,
        "takerCommission": 10,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": "0.00100000",
            "taker": "0.00100000",
            "buyer": _ZERO,
            "seller": _ZERO,
        },
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": updated,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": fixed8(b.free), "locked": fixed8(b.locked)}
            for asset, b in owner.balances.items()
            if b.free or b.locked or not omit_zero
        ],
        "permissions": ["SPOT"],
        "uid": owner.id,
    }


def coin(asset: str, owner: Account) -> Json:
    balance = owner.balances.get(asset)
    return {
        "coin": asset,
        "name": asset,
        "depositAllEnable": False,
        "withdrawAllEnable": False,
        "free": fixed8(balance.free) if balance else "0",
        "locked": fixed8(balance.locked) if balance else "0",
        "freeze": "0",
        "withdrawing": "0",
        "ipoing": "0",
        "ipoable": "0",
        "storage": "0",
        "isLegalMoney": asset in _FIAT,
        "trading": True,
        "networkList": [
            {
                "network": asset,
                "coin": asset,
                "name": asset,
                "isDefault": True,
                "depositEnable": False,
                "withdrawEnable": False,
                "withdrawIntegerMultiple": "0.00000001",
                "withdrawFee": "0.001",
                "withdrawMin": "0.002",
                "withdrawMax": "1000000",
                "minConfirm": 1,
                "unLockConfirm": 0,
            }
        ],
    }


def margin_pair(market: Market) -> Json:
    return {
        "id": market.id,
        "symbol": market.id,
        "base": market.base,
        "quote": market.quote,
        "isMarginTrade": True,
        "isBuyAllowed": True,
        "isSellAllowed": True,
    }


def position(held: Position) -> Json:
    """Source: USD-M futures documentation, "Position Information V3"."""
    notional = held.amount * held.mark
    margin = abs(notional) / held.leverage
    return {
        "symbol": held.market.id,
        "positionSide": "BOTH",
        "positionAmt": f"{held.amount:f}",
        "entryPrice": f"{held.entry:f}",
        "breakEvenPrice": f"{held.entry:f}",
        "markPrice": fixed8(held.mark),
        "unRealizedProfit": fixed8(held.amount * (held.mark - held.entry)),
        "liquidationPrice": f"{held.liquidation:f}",
        "isolatedMargin": fixed8(held.isolated),
        "isolatedWallet": fixed8(held.isolated),
        "notional": fixed8(notional),
        "marginAsset": held.market.quote,
        "initialMargin": fixed8(margin),
        "maintMargin": fixed8(abs(notional) / 250),
        "positionInitialMargin": fixed8(margin),
        "openOrderInitialMargin": "0",
        "adl": 2,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": held.updated,
    }


def leverage_bracket(market: Market) -> Json:
    """Source: USD-M futures documentation, "Notional and Leverage Brackets"."""
    row = {"bracket": 1, "initialLeverage": 125, "notionalCap": 50000, "notionalFloor": 0}
    return {"symbol": market.id, "brackets": [{**row, "maintMarginRatio": 0.004, "cum": 0.0}]}
