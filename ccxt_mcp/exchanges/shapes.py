"""What a successful answer looks like, per exchange and endpoint; data for ``truth``.

Owns: the declared shapes, and the endpoints whose answer is no JSON or nothing. Refuses: judging.

Endpoints go by CCXT's own names (``privatePostOpenOrders``), which a test finds in its classes;
shapes are what CCXT's methods read (``ccxt/async_support/<exchange>.py``), checked against the
sample answers in its comments. A shape is written like the answer itself:

- ``[]`` a list, ``[row]`` a list of such rows, ``[row, ...]`` of at least one;
- ``{}`` an object; ``{"a": shape}`` one that has ``a``; ``"a?"`` may be absent or null; ``"*"``
  stands for every field not named, ``"+"`` for the same and at least one;
- ``(a, b)`` either; ``None`` null; ``object`` anything; a type a value of that type.

A subclass of CCXT's (``binanceus``, ``bybiteu``) has its base's rows. Where an exchange is known to
say "nothing" by null instead of an empty list, the row says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["ECHOES", "EMPTY", "SHAPES", "TEXTS", "Shape"]

Shape = Any

ROWS: Shape = [{}]
TUPLES: Shape = [[]]
SOME: Shape = [{}, ...]
BY_NAME: Shape = {"*": {}}
BOOK: Shape = {"bids": [[]], "asks": [[]]}
BOOK_OF_OBJECTS: Shape = {"bids": [{}], "asks": [{}]}
MAYBE_ROWS: Shape = (None, [{}])


def _each(shape: Shape, names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), shape)


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


def _within(envelope: Any, *rows: Mapping[str, Shape]) -> dict[str, Shape]:
    return {name: envelope(shape) for each in rows for name, shape in each.items()}


def _both(prefixes: Iterable[str], rows: Mapping[str, Shape]) -> dict[str, Shape]:
    return {prefix + name: shape for prefix in prefixes for name, shape in rows.items()}


_TICKER = ({"symbol": str}, [{"symbol": str}])
_ORDER = {"orderId": object}
_BINANCE = {
    **_each({"symbols": ROWS}, "publicGetExchangeInfo"),
    **_each({"symbols": ROWS}, "fapiPublicGetExchangeInfo dapiPublicGetExchangeInfo"),
    **_each(
        {"balances": [{"asset": str, "free": str, "locked": str}]},
        "privateGetAccount",
    ),
    **_each({"assets": ROWS, "positions?": ROWS}, "fapiPrivateV3GetAccount dapiPrivateGetAccount"),
    **_each({"assets": ROWS, "positions": ROWS}, "fapiPrivateV2GetAccount"),
    **_each(ROWS, "fapiPrivateV2GetPositionRisk fapiPrivateV3GetPositionRisk"),
    **_each(ROWS, "dapiPrivateGetPositionRisk sapiGetCapitalConfigGetall"),
    **_each(ROWS, "fapiPrivateGetLeverageBracket dapiPrivateV2GetLeverageBracket"),
    **_each([_ORDER], "privateGetOpenOrders privateGetAllOrders"),
    **_each(_ORDER, "privateGetOrder"),
    **_each(ROWS, "privateGetMyTrades fapiPrivateGetOpenAlgoOrders fapiPrivateGetAllAlgoOrders"),
    **_each(ROWS, "publicGetHistoricalTrades"),
    # One for a symbol, a list for all.
    **_each(_TICKER, "fapiPublicGetPremiumIndex dapiPublicGetPremiumIndex"),
    **_both(
        ("fapiPrivateGet", "dapiPrivateGet"),
        {"OpenOrders": [_ORDER], "AllOrders": [_ORDER], "Order": _ORDER, "UserTrades": ROWS},
    ),
    **_both(
        ("publicGet", "fapiPublicGet", "dapiPublicGet"),
        {
            "Time": {"serverTime": int},
            "Depth": BOOK,
            "Klines": TUPLES,
            "Trades": ROWS,
            "AggTrades": ROWS,
            "Ticker24hr": _TICKER,
            "TickerBookTicker": _TICKER,
            "TickerPrice": _TICKER,
        },
    ),
}

_BYBIT = _within(
    lambda result: {"retCode": object, "result": result},
    _each({"list": ROWS}, "privateGetV5AccountWalletBalance privateGetV5OrderRealtime"),
    _each({"list": ROWS}, "privateGetV5OrderHistory privateGetV5ExecutionList"),
    _each({"list": ROWS}, "privateGetV5PositionList publicGetV5MarketTickers"),
    _each({"list": ROWS}, "publicGetV5MarketInstrumentsInfo privateGetV5MarketInstrumentsInfo"),
    _each({"list": ROWS}, "publicGetV5MarketRecentTrade"),
    _each({"list": TUPLES}, "publicGetV5MarketKline publicGetV5MarketMarkPriceKline"),
    _each({"list": TUPLES}, "publicGetV5MarketIndexPriceKline"),
    _each({"b": [[]], "a": [[]]}, "publicGetV5MarketOrderbook"),
    _each({"rows": ROWS}, "privateGetV5AssetCoinQueryInfo"),
    _each({"balance": ROWS}, "privateGetV5AssetTransferQueryAccountCoinsBalance"),
    _each({}, "privateGetV5UserQueryApi privateGetV5AccountInfo publicGetV5MarketTime"),
)

_OKX = _within(
    lambda data: {"code": object, "data": data},
    # An account always has one record, with its currencies inside; without it, there is no answer.
    _each([{"details": ROWS}, ...], "privateGetAccountBalance"),
    _each([BOOK, ...], "publicGetMarketBooks publicGetMarketBooksFull"),
    _each(SOME, "publicGetPublicTime privateGetAccountConfig"),
    _each(TUPLES, "publicGetMarketCandles publicGetMarketHistoryCandles"),
    _each(TUPLES, "publicGetMarketMarkPriceCandles publicGetMarketIndexCandles"),
    _each(ROWS, "privateGetAssetBalances privateGetAssetCurrencies privateGetTradeOrder"),
    _each(ROWS, "privateGetTradeOrdersPending privateGetTradeOrdersAlgoPending"),
    _each(ROWS, "privateGetTradeOrdersHistory privateGetTradeOrdersHistoryArchive"),
    _each(ROWS, "privateGetTradeOrdersAlgoHistory privateGetTradeFills"),
    _each(ROWS, "privateGetTradeFillsHistory privateGetAccountPositions"),
    _each(ROWS, "publicGetPublicInstruments publicGetMarketTrades"),
    _each(ROWS, "publicGetMarketTicker publicGetMarketTickers"),
    _each(ROWS, "publicGetPublicFundingRate"),
)

_PRODUCT = "v3PublicGetBrokerageMarketProductsProductId"
_PRIVATE_PRODUCT = "v3PrivateGetBrokerageProductsProductId"
_COINBASE = {
    **_each({"accounts": ROWS}, "v3PrivateGetBrokerageAccounts"),
    **_each({"data": ROWS}, "v2PrivateGetAccounts v2PublicGetCurrencies"),
    **_each({"data": ROWS}, "v2PublicGetCurrenciesCrypto"),
    **_each({"data": {"rates": {}}}, "v2PublicGetExchangeRates"),
    **_each({"data": {}}, "v2PublicGetTime"),
    **_each({"epochSeconds": object}, "v3PublicGetBrokerageTime"),
    **_each({"balance_summary": {}}, "v3PrivateGetBrokerageCfmBalanceSummary"),
    **_each({"orders": ROWS}, "v3PrivateGetBrokerageOrdersHistoricalBatch"),
    **_each({"order": {}}, "v3PrivateGetBrokerageOrdersHistoricalOrderId"),
    **_each({"fills": ROWS}, "v3PrivateGetBrokerageOrdersHistoricalFills"),
    **_each({"products": ROWS}, "v3PublicGetBrokerageMarketProducts"),
    **_each({"products": ROWS}, "v3PrivateGetBrokerageProducts"),
    **_each({"pricebook": BOOK_OF_OBJECTS}, "v3PublicGetBrokerageMarketProductBook"),
    **_each({"pricebook": BOOK_OF_OBJECTS}, "v3PrivateGetBrokerageProductBook"),
    **_each({"pricebooks": [BOOK_OF_OBJECTS]}, "v3PrivateGetBrokerageBestBidAsk"),
    **_each({"candles": ROWS}, f"{_PRODUCT}Candles {_PRIVATE_PRODUCT}Candles"),
    **_each({"trades": ROWS}, f"{_PRODUCT}Ticker {_PRIVATE_PRODUCT}Ticker"),
    **_each({"positions": ROWS}, "v3PrivateGetBrokerageCfmPositions"),
    **_each({}, "v3PrivateGetBrokerageTransactionSummary"),
}

_KRAKEN = _within(
    lambda result: {"error": [], "result": result},
    # Keyed by currency, order id, trade id, pair.
    _each(BY_NAME, "privatePostBalanceEx privatePostQueryOrders privatePostQueryTrades"),
    _each({"*": object}, "privatePostBalance"),
    _each({"open": BY_NAME}, "privatePostOpenOrders"),
    _each({"closed": BY_NAME}, "privatePostClosedOrders"),
    _each({"trades": BY_NAME}, "privatePostTradesHistory"),
    _each(ROWS, "privatePostOpenPositions"),
    _each({"+": {}}, "publicGetTicker publicGetAssetPairs publicGetAssets"),
    _each({"+": BOOK}, "publicGetDepth"),
    _each({"last": object, "+": [[]]}, "publicGetOHLC publicGetTrades"),
    _each({"unixtime": int}, "publicGetTime"),
)

_ITEMS: Shape = {"items": MAYBE_ROWS}
_NULLABLE_BOOK: Shape = {"bids": (None, [[]]), "asks": (None, [[]])}
_KUCOIN = _within(
    lambda data: {"code": object, "data": data},
    _each(ROWS, "privateGetAccounts publicGetSymbols publicGetCurrencies"),
    _each({"accounts": ROWS}, "privateGetMarginAccount utaPrivateGetAccountBalance"),
    _each({"accounts": ROWS}, "utaPrivateGetAccountModeAccountBalance"),
    _each({"assets": ROWS}, "privateGetIsolatedAccounts"),
    _each({}, "futuresPrivateGetAccountOverview"),
    # The list of active orders comes bare, others in pages; null when there are none.
    _each((None, [{}], _ITEMS), "privateGetHfOrdersActive privateGetHfMarginOrdersActive"),
    _each(_ITEMS, "privateGetOrders privateGetHfOrdersDone privateGetHfMarginOrdersDone"),
    _each(_ITEMS, "privateGetStopOrder privateGetFills privateGetHfFills privateGetHfMarginFills"),
    _each(_ITEMS, "futuresPrivateGetOrders futuresPrivateGetStopOrders futuresPrivateGetFills"),
    _each(_ITEMS, "utaPrivateGetAccountModeOrderOpenList utaPrivateGetAccountModeOrderHistory"),
    _each(_ITEMS, "utaPrivateGetAccountModeOrderExecution"),
    _each((None, {}), "privateGetOrdersOrderId privateGetHfOrdersOrderId"),
    _each((None, {}), "futuresPrivateGetOrdersOrderId"),
    _each((None, [{}]), "futuresPrivateGetPositions"),
    _each({"ticker": ROWS}, "publicGetMarketAllTickers"),
    _each({}, "publicGetMarketStats futuresPublicGetTicker"),
    _each(ROWS, "futuresPublicGetAllTickers futuresPublicGetContractsActive"),
    _each(_NULLABLE_BOOK, "publicGetMarketOrderbookLevelLevelLimit"),
    _each(_NULLABLE_BOOK, "privateGetMarketOrderbookLevel2 futuresPublicGetLevel2Snapshot"),
    _each(_NULLABLE_BOOK, "futuresPublicGetLevel2Depth20 futuresPublicGetLevel2Depth100"),
    _each(TUPLES, "publicGetMarketCandles futuresPublicGetKlineQuery"),
    _each(ROWS, "publicGetMarketHistories futuresPublicGetTradeHistory"),
    _each(int, "publicGetTimestamp futuresPublicGetTimestamp"),
    _each({}, "futuresPublicGetFundingRateSymbolCurrent utaGetMarketFundingRate"),
    _each(ROWS, "utaV2GetMarketFundingRate"),
)

_GATE = {
    **_each({"server_time": int}, "publicSpotGetTime"),
    **_each({"balances": BY_NAME}, "privateUnifiedGetAccounts"),
    **_each(ROWS, "privateSpotGetAccounts privateMarginGetAccounts"),
    **_each([{"orders": ROWS}], "privateSpotGetOpenOrders"),
    **_each(ROWS, "privateSpotGetOrders privateSpotGetPriceOrders privateSpotGetMyTrades"),
    **_each({"id": object}, "privateSpotGetOrdersOrderId"),
    **_each(ROWS, "publicSpotGetTickers publicSpotGetTrades publicSpotGetCurrencies"),
    **_each(ROWS, "publicSpotGetCurrencyPairs publicMarginGetCurrencyPairs"),
    **_each(ROWS, "publicOptionsGetUnderlyings"),
    **_each(BOOK, "publicSpotGetOrderBook"),
    **_each(TUPLES, "publicSpotGetCandlesticks"),
    **_each(ROWS, "privateFuturesGetSettleMyTradesTimerange"),
    **_each(ROWS, "privateFuturesGetSettleOrdersTimerange"),
    **_both(
        ("privateFuturesGetSettle", "privateDeliveryGetSettle"),
        {
            "Accounts": {},
            "Orders": ROWS,
            "PriceOrders": ROWS,
            "OrdersOrderId": {"id": object},
            "MyTrades": ROWS,
            "Positions": ROWS,
        },
    ),
    **_both(
        ("publicFuturesGetSettle", "publicDeliveryGetSettle"),
        {
            "Contracts": ROWS,
            "Tickers": ROWS,
            "Trades": ROWS,
            "OrderBook": BOOK_OF_OBJECTS,
            "Candlesticks": ROWS,
        },
    ),
}

# Bitget says null where there is nothing to list.
_LISTED: Shape = {"list": MAYBE_ROWS}
_ORDER_LIST: Shape = (None, {"orderList": MAYBE_ROWS})
_ENTRUSTED: Shape = (None, {"entrustedList": MAYBE_ROWS})
_BITGET = _within(
    lambda data: {"code": object, "data": data},
    _each(ROWS, "privateSpotGetV2SpotAccountAssets privateMixGetV2MixAccountAccounts"),
    _each(ROWS, "privateMarginGetV2MarginCrossedAccountAssets"),
    _each(ROWS, "privateMarginGetV2MarginIsolatedAccountAssets"),
    _each({"assets": ROWS}, "privateUtaGetV3AccountAssets"),
    _each(ROWS, "privateUtaGetV3AccountFundingAssets"),
    _each(MAYBE_ROWS, "privateSpotGetV2SpotTradeUnfilledOrders privateSpotGetV2SpotTradeFills"),
    _each(MAYBE_ROWS, "privateSpotGetV2SpotTradeHistoryOrders"),
    _each(MAYBE_ROWS, "privateSpotGetV2SpotTradeOrderInfo"),
    _each(_ORDER_LIST, "privateSpotGetV2SpotTradeCurrentPlanOrder"),
    _each(_ORDER_LIST, "privateSpotGetV2SpotTradeHistoryPlanOrder"),
    _each(_ORDER_LIST, "privateMarginGetV2MarginCrossedOpenOrders"),
    _each(_ORDER_LIST, "privateMarginGetV2MarginIsolatedOpenOrders"),
    _each(_ORDER_LIST, "privateMarginGetV2MarginCrossedHistoryOrders"),
    _each(_ORDER_LIST, "privateMarginGetV2MarginIsolatedHistoryOrders"),
    _each(_ENTRUSTED, "privateMixGetV2MixOrderOrdersPending privateMixGetV2MixOrderOrdersHistory"),
    _each((None, {"fillList": MAYBE_ROWS}), "privateMixGetV2MixOrderFills"),
    _each(_LISTED, "privateUtaGetV3TradeUnfilledOrders privateUtaGetV3TradeHistoryOrders"),
    _each(_LISTED, "privateUtaGetV3TradeFills privateUtaGetV3PositionCurrentPosition"),
    _each(MAYBE_ROWS, "privateMixGetV2MixPositionAllPosition"),
    _each((None, {}), "privateMixGetV2MixOrderDetail"),
    _each(ROWS, "publicSpotGetV2SpotPublicSymbols publicSpotGetV2SpotPublicCoins"),
    _each(ROWS, "publicMarginGetV2MarginCurrencies"),
    _each(ROWS, "publicMixGetV2MixMarketContracts publicUtaGetV3MarketInstruments"),
    _each(ROWS, "publicSpotGetV2SpotMarketTickers publicMixGetV2MixMarketTicker"),
    _each(ROWS, "publicMixGetV2MixMarketTickers publicUtaGetV3MarketTickers"),
    _each(ROWS, "publicSpotGetV2SpotMarketFills publicSpotGetV2SpotMarketFillsHistory"),
    _each(ROWS, "publicMixGetV2MixMarketFills publicMixGetV2MixMarketFillsHistory"),
    _each(ROWS, "publicMixGetV2MixMarketCurrentFundRate publicMixGetV2MixMarketFundingTime"),
    _each(ROWS, "publicUtaGetV3MarketCurrentFundRate"),
    _each(BOOK, "publicSpotGetV2SpotMarketOrderbook publicMixGetV2MixMarketMergeDepth"),
    _each({"b": [[]], "a": [[]]}, "publicUtaGetV3MarketOrderbook"),
    _each(TUPLES, "publicSpotGetV2SpotMarketCandles publicSpotGetV2SpotMarketHistoryCandles"),
    _each(TUPLES, "publicMixGetV2MixMarketCandles publicMixGetV2MixMarketHistoryCandles"),
    _each(TUPLES, "publicUtaGetV3MarketCandles publicUtaGetV3MarketHistoryCandles"),
    _each({"serverTime": object}, "publicCommonGetV2PublicTime"),
)

_HTX_SPOT = _within(
    lambda data: {"status": object, "data": data},
    _each(ROWS, "spotPublicGetV1CommonSymbols spotPublicGetMarketTickers"),
    _each([{"data": ROWS}], "spotPublicGetMarketHistoryTrade"),
    _each(ROWS, "spotPublicGetMarketHistoryCandles spotPublicGetMarketHistoryKline"),
    _each(int, "spotPublicGetV1CommonTimestamp"),
    _each(ROWS, "spotPrivateGetV1AccountAccounts spotPrivateGetV1MarginAccountsBalance"),
    _each({"list": ROWS}, "spotPrivateGetV1AccountAccountsAccountIdBalance"),
    _each(ROWS, "spotPrivateGetV1OrderOpenOrders spotPrivateGetV1OrderOrders"),
    _each(ROWS, "spotPrivateGetV1OrderHistory spotPrivateGetV1OrderMatchresults"),
    _each({"id": object}, "spotPrivateGetV1OrderOrdersOrderId"),
    _each(ROWS, "contractPublicGetLinearSwapApiV1SwapContractInfo"),
    _each(ROWS, "contractPublicGetSwapApiV1SwapContractInfo"),
    _each(ROWS, "contractPublicGetApiV1ContractContractInfo"),
    _each(ROWS, "contractPublicGetLinearSwapExMarketHistoryKline"),
    _each(ROWS, "contractPublicGetSwapExMarketHistoryKline"),
    _each([{"data": ROWS}], "contractPublicGetLinearSwapExMarketHistoryTrade"),
    _each([{"data": ROWS}], "contractPublicGetSwapExMarketHistoryTrade"),
    _each({}, "contractPublicGetSwapApiV1SwapFundingRate"),
    _each(ROWS, "contractPublicGetSwapApiV1SwapBatchFundingRate"),
    _each(ROWS, "contractPrivatePostSwapApiV1SwapAccountInfo"),
    _each(ROWS, "contractPrivatePostSwapApiV1SwapPositionInfo"),
    _each({"orders": ROWS}, "contractPrivatePostSwapApiV1SwapOpenorders"),
    _each(ROWS, "contractPrivatePostSwapApiV1SwapOrderInfo"),
    _each(MAYBE_ROWS, "contractPrivatePostSwapApiV3SwapHisorders"),
    _each(MAYBE_ROWS, "contractPrivatePostSwapApiV3SwapMatchresultsExact"),
)
_HTX_TICK = _within(
    lambda tick: {"status": object, "tick": tick},
    _each({}, "spotPublicGetMarketDetailMerged contractPublicGetLinearSwapExMarketDetailMerged"),
    _each({}, "contractPublicGetSwapExMarketDetailMerged"),
    _each(BOOK, "spotPublicGetMarketDepth"),
    # A contract that does not trade has no sides, which CCXT reports.
    _each({"bids?": [[]], "asks?": [[]]}, "contractPublicGetLinearSwapExMarketDepth"),
    _each({"bids?": [[]], "asks?": [[]]}, "contractPublicGetSwapExMarketDepth"),
)
_HTX_V5 = _within(
    lambda data: {"code": object, "data": data},
    _each({"details": ROWS}, "contractPrivateGetV5AccountBalance"),
    _each(MAYBE_ROWS, "contractPrivateGetV5TradeOrderOpens contractPrivateGetV5TradeOrderHistory"),
    _each(MAYBE_ROWS, "contractPrivateGetV5TradeOrderDetails"),
    _each((None, {}, [{}]), "contractPrivateGetV5TradeOrder"),
    _each(MAYBE_ROWS, "contractPrivateGetV5TradePositionOpens"),
    _each(ROWS, "spotPublicGetV2ReferenceCurrencies contractPublicGetV5MarketFundingRate"),
)
_HTX = {
    **_HTX_SPOT,
    **_HTX_TICK,
    **_HTX_V5,
    **_each(
        {"status": object, "ticks": ROWS},
        "contractPublicGetLinearSwapExMarketDetailBatchMerged"
        " contractPublicGetSwapExMarketDetailBatchMerged",
    ),
}

_UNIVERSE: Shape = {"universe": ROWS}
# The universe, then what is the matter with each market of it.
_WITH_CONTEXTS: Shape = [(_UNIVERSE, [{}]), ...]
# One endpoint; what is asked for is in the request.
_HYPERLIQUID = {
    f"publicPostInfo type={asked}": shape
    for asked, shape in {
        "meta": _UNIVERSE,
        "metaAndAssetCtxs": _WITH_CONTEXTS,
        "spotMeta": {**_UNIVERSE, "tokens": ROWS},
        "spotMetaAndAssetCtxs": _WITH_CONTEXTS,
        "perpDexs": [object, ...],
        "clearinghouseState": {"marginSummary": {}, "assetPositions": ROWS},
        "spotClearinghouseState": {"balances": ROWS},
        "openOrders": ROWS,
        "frontendOpenOrders": ROWS,
        "historicalOrders": ROWS,
        "orderStatus": {"status": str},
        "userFills": ROWS,
        "userFillsByTime": ROWS,
        "l2Book": {"levels": [[{}], ...]},
        "candleSnapshot": ROWS,
        "recentTrades": ROWS,
        "exchangeStatus": {"time": object},
    }.items()
}

SHAPES: Mapping[str, Mapping[str, Shape]] = {
    "binance": _BINANCE,
    "bitget": _BITGET,
    "bybit": _BYBIT,
    "coinbase": _COINBASE,
    "gate": _GATE,
    "htx": _HTX,
    "hyperliquid": _HYPERLIQUID,
    "kraken": _KRAKEN,
    "kucoin": _KUCOIN,
    "okx": _OKX,
}
"""CCXT's class of an exchange → endpoint → shape."""

TEXTS: Mapping[str, frozenset[str]] = {
    # Pages that CCXT reads prices and currencies out of.
    "gemini": frozenset({"webExchangeGet", "webGetRestApi"}),
    # A number, and a word.
    "backpack": frozenset({"publicGetApiV1Time", "publicGetApiV1Ping"}),
    # White space before the JSON, which CCXT strips itself.
    "btcbox": frozenset({"*"}),
}
"""CCXT's class of an exchange → endpoints whose successful answer need not be JSON; ``*`` for all.
Found by reading CCXT: methods that work on text."""

EMPTY: Mapping[str, frozenset[str]] = {
    # No candles yet: a market that has just been listed.
    "bitget": _names(
        "publicSpotGetV2SpotMarketCandles publicSpotGetV2SpotMarketHistoryCandles"
        " publicMixGetV2MixMarketCandles publicMixGetV2MixMarketHistoryCandles"
        " publicMixGetV2MixMarketHistoryIndexCandles publicMixGetV2MixMarketHistoryMarkCandles"
        " publicUtaGetV3MarketCandles publicUtaGetV3MarketHistoryCandles"
    ),
    "bitflyer": _names("privatePostCancelchildorder privatePostCancelallchildorders"),
    "extended": _names("v1PrivatePostUserDeadmanswitch"),
    "gate": _names("privateWalletPostTransfers privateMarginPostUniLoans"),
    "onetrading": _names("privateDeleteAccountOrdersClientClientId"),
    "paradex": _names(
        "privateDeleteOrders privateDeleteOrdersOrderId privateDeleteOrdersByClientIdClientId"
    ),
    "weex": _names("publicGetApiV3Ping"),
}
"""The same for endpoints whose successful answer may have no body; if it has one, it is JSON. Found
where CCXT asks whether an answer is empty, or calls it so in a comment."""

ECHOES = frozenset(("binance",))
"""Classes whose answers to a question with `symbol` say that symbol in every row that has one."""
