"""CCXT's unified reading methods: which may be called, with what, and where they need keys.

Owns: the reviewed decisions (``MARKET``, ``ACCOUNT``, ``REFUSED``) and the facts of each allowed
method, read from ``methods.json``, which ``method_source.py`` writes from
CCXT's source; a test holds the file current. A method that nobody has decided about is in neither
table and cannot be called. Refuses: guessing from a name, and calling anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from ccxt_mcp.exchanges.catalog import catalog, snake_case

__all__ = [
    "ACCOUNT",
    "MARKET",
    "QUIETED",
    "REFUSED",
    "WRITES",
    "Argument",
    "Method",
    "methods",
    "undecided",
    "upstream_limits",
]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MARKET = frozenset(
    _names(
        """
    fetchADLRank fetchAllGreeks fetchBidsAsks fetchBorrowRateHistories fetchBorrowRateHistory
    fetchCrossBorrowRate fetchCrossBorrowRates fetchCurrencies fetchDepositWithdrawFee
    fetchDepositWithdrawFees fetchFundingInterval fetchFundingIntervals fetchFundingLimits
    fetchFundingRate fetchFundingRateHistory fetchFundingRates fetchGreeks fetchIndexOHLCV
    fetchIsolatedBorrowRate fetchIsolatedBorrowRates fetchL2OrderBook fetchL3OrderBook
    fetchLastPrices fetchLeverageTiers fetchLiquidations fetchLongShortRatioHistory
    fetchMarkOHLCV fetchMarkPrice fetchMarkPrices fetchMarketLeverageTiers fetchOHLCV
    fetchOpenInterest fetchOpenInterestHistory fetchOpenInterests fetchOption fetchOptionChain
    fetchOrderBook fetchOrderBooks fetchPremiumIndexOHLCV fetchSettlementHistory fetchStatus
    fetchTicker fetchTickers fetchTime fetchTrades fetchTradingLimits fetchTransactionFee
    fetchTransactionFees fetchUnderlyingAssets fetchVolatilityHistory
    """
    )
)
"""What is the same for everybody. Asked without keys, but on the exchanges that answer it to a key
only (``Method.keyed``)."""

ACCOUNT = frozenset(
    _names(
        """
    fetchAccounts fetchBalance fetchBorrowInterest fetchCanceledAndClosedOrders
    fetchCanceledOrders fetchClosedOrder fetchClosedOrders fetchConvertCurrencies
    fetchConvertTrade fetchConvertTradeHistory fetchDeposit fetchDepositMethodId
    fetchDepositMethodIds fetchDeposits fetchDepositsWithdrawals fetchFundingHistory
    fetchLedger fetchLedgerEntry fetchLeverage fetchLeverages fetchMarginAdjustmentHistory
    fetchMarginMode fetchMarginModes fetchMyBuys fetchMyLiquidations fetchMySells
    fetchMySettlementHistory fetchMyTrades fetchOpenOrder fetchOpenOrders fetchOrder
    fetchOrderTrades fetchOrderWithClientOrderId fetchOrders fetchOrdersByStatus fetchPosition
    fetchPositionADLRank fetchPositionHistory fetchPositionMode fetchPositions
    fetchPositionsADLRank fetchPositionsForSymbol fetchPositionsHistory fetchPositionsRisk
    fetchTradingFee fetchTradingFees fetchTransactions fetchTransfer fetchTransfers
    fetchWithdrawAddresses fetchWithdrawal fetchWithdrawalWhitelist fetchWithdrawals
    """
    )
)
"""What is an account's: always with its keys, on an instance of the call's own."""

_ADDRESS = (
    "at some exchanges asking makes an address (bit2c, bitfinex, blockchaincom, whitebit; others"
    " make the first one), and an address is where money is sent to"
)
_SOCKET = "over a WebSocket, which this server does not open"
_NOWHERE = "no exchange of this CCXT offers it"
REFUSED: Mapping[str, str] = {
    "fetchConvertQuote": "it asks the exchange to make a quote (POST at binance, bybit, okx,"
    " coinbase), which holds for a moment and counts",
    **dict.fromkeys(
        (
            *("fetchDepositAddress", "fetchDepositAddresses", "fetchDepositAddressesByNetwork"),
            "fetchNetworkDepositAddress",
        ),
        _ADDRESS,
    ),
    "fetchMarkets": "market tables are loaded once for everybody: get_markets",
    **dict.fromkeys(("fetchBorrowRate", "fetchLongShortRatio"), _NOWHERE),
    **dict.fromkeys(
        _names(
            """
            fetchBalanceWs fetchClosedOrdersWs fetchDepositsWs fetchMyTradesWs
            fetchOHLCVWs fetchOpenOrdersWs fetchOrderBookWs fetchOrderWs fetchOrdersWs
            fetchPositionWs fetchPositionsForSymbolWs fetchPositionsWs fetchTickerWs
            fetchTickersWs fetchTradesWs fetchTradingFeesWs fetchWithdrawalsWs
            """
        ),
        _SOCKET,
    ),
}
"""Reading methods by name that are not called, and why."""


WRITES: Mapping[str, frozenset[str]] = {
    "aster": frozenset({"v3/approveBuilder"}),
    "grvt": frozenset({"full/v1/authorize_builder"}),
    "hyperliquid": frozenset({"exchange"}),
    "lighter": frozenset({"sendTx"}),
}
"""CCXT id → paths that change something and that CCXT's reading methods can come to: approving a
broker's fee, registering an API key. (Signing in, which some do too, changes nothing.)"""
QUIETED = frozenset({"aster", "grvt"})
"""Of these, those that leave it with the option that ``prototypes.py`` gives them."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a method, in CCXT's order.

    ``kind`` is a JSON type, or ``time`` (milliseconds) or ``strings`` (a list of texts).
    ``default`` is CCXT's at most exchanges.
    """

    name: str
    kind: str
    required: bool
    default: Any = None


@dataclass(frozen=True, slots=True)
class Method:
    """One allowed reading method.

    ``keyed`` are the CCXT ids at which even what is the market's is answered to a key only;
    ``writes`` those at which CCXT, given keys, may change something on its way.
    """

    name: str
    python: str
    private: bool
    arguments: tuple[Argument, ...]
    keyed: frozenset[str]
    writes: frozenset[str]

    def private_on(self, exchange: str) -> bool:
        """Whether it needs an account's keys at this CCXT id."""
        return self.private or exchange in self.keyed


@cache
def _raw() -> dict[str, Any]:
    source = resources.files(__package__).joinpath("methods.json")
    made: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return made


@cache
def methods() -> Mapping[str, Method]:
    """The allowed methods by CCXT's name. Read once per process."""
    return MappingProxyType(
        {
            name: Method(
                name,
                snake_case(name),
                name in ACCOUNT,
                tuple(Argument(**each) for each in row["arguments"]),
                frozenset(row["keyed"]),
                frozenset(row["writes"]),
            )
            for name, row in _raw()["methods"].items()
        }
    )


def upstream_limits(exchange: str, method: str) -> Mapping[str, Any]:
    """What CCXT knows of a method's limits at a CCXT id: kind of market → ``limit`` (rows of one
    request), ``daysBack``, ``symbolRequired``; empty where it says nothing."""
    found: Mapping[str, Any] = _raw()["limits"].get(exchange, {}).get(method, {})
    return MappingProxyType(found)


def undecided() -> list[str]:
    """CCXT's fetch methods that wait for a decision."""
    names = {name for name in catalog().methods if name.startswith("fetch")}
    return sorted(names - MARKET - ACCOUNT - REFUSED.keys())
