"""CCXT's unified reading methods: which may be called, with what, and where they need keys.

Owns: the reviewed decisions (``MARKET``, ``ACCOUNT``, ``REFUSED``) and the facts of each allowed
method, read from ``methods.json``, which ``python -m ccxt_mcp.exchanges.methods`` writes from
CCXT's source; a test holds the file current. A method that nobody has decided about is in neither
table and cannot be called. Refuses: guessing from a name, and calling anything.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections import Counter
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
    "generate",
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


_KINDS = {
    **dict.fromkeys(("symbols", "codes"), "strings"),
    "since": "time",
    "limit": "integer",
    "amount": "number",
}
"""Argument → kind; the annotations of CCXT's exchanges agree, where they have any. Others: text."""
_FEATURES = ("limit", "daysBack", "symbolRequired")


def generate() -> dict[str, Any]:
    """The table as JSON values. Imports every exchange and reads its source (15 s)."""
    import ccxt.async_support as ccxt

    from ccxt_mcp.exchanges.reach import Endpoint, endpoints, is_signed

    facts = catalog().exchanges
    classes = {exchange: getattr(ccxt, exchange) for exchange in facts}
    signatures: dict[str, list[tuple[inspect.Parameter, ...]]] = {}
    reached: dict[tuple[str, str], frozenset[Endpoint]] = {}
    for name in sorted(MARKET | ACCOUNT):
        for exchange, cls in classes.items():
            function = getattr(cls, snake_case(name), None)
            if facts[exchange].has.get(name) and function is not None:
                own = tuple(inspect.signature(function).parameters.values())[1:]
                signatures.setdefault(name, []).append(own)
                reached[name, exchange] = endpoints(cls, snake_case(name))
    made = {exchange: cls() for exchange, cls in classes.items()}
    keyed: dict[str, list[str]] = {}
    writes: dict[str, list[str]] = {}
    posts: set[str] = set()
    for (name, exchange), asked in reached.items():
        alone = bool(asked) and all(is_signed(made[exchange], each) for each in asked)
        if alone and name in MARKET:
            keyed.setdefault(name, []).append(exchange)
        private = name in ACCOUNT or alone
        if private and any(each.path in WRITES.get(exchange, ()) for each in asked):
            writes.setdefault(name, []).append(exchange)
        if private:
            posts |= {f"{exchange} {each}" for each in asked if each.method != "GET"}
    limits = {exchange: _features(each.features) for exchange, each in made.items()}
    return {
        "ccxtVersion": ccxt.__version__,
        "methods": {
            name: {
                "arguments": _arguments(each),
                "keyed": keyed.get(name, []),
                "writes": writes.get(name, []),
            }
            for name, each in signatures.items()
        },
        "limits": {exchange: each for exchange, each in limits.items() if each},
        # For whoever reviews a new CCXT: a line that is new here has to be looked at.
        "posts": sorted(posts),
    }


def _arguments(signatures: list[tuple[inspect.Parameter, ...]]) -> list[dict[str, Any]]:
    """The arguments that all exchanges have in common, which are the ones that each has."""
    names = [each.name for each in signatures[0]]
    if any([each.name for each in own] != names for own in signatures) or names[-1] != "params":
        raise ValueError(f"exchanges disagree about {names}")
    out = []
    for place, name in enumerate(names[:-1]):
        same = [own[place] for own in signatures]
        # Most of them say what the rest is given too, where a later argument follows.
        defaults = Counter(each.default for each in same)
        row: dict[str, Any] = {
            "name": name,
            "kind": _KINDS.get(name, "string"),
            "required": any(each.default is inspect.Parameter.empty for each in same),
        }
        common = defaults.most_common(1)[0][0]
        if not row["required"] and common is not None:
            row["default"] = common
        out.append(row)
    return out


def _features(features: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for kind, rows in (features or {}).items():
        parts = rows.values() if isinstance(rows, dict) and kind != "spot" else [rows]
        for part in parts:
            for method, told in part.items() if isinstance(part, dict) else ():
                if method in MARKET | ACCOUNT and isinstance(told, dict):
                    known = {key: told[key] for key in _FEATURES if told.get(key)}
                    if known:
                        out.setdefault(method, {}).setdefault(kind, known)
    return out


def _main() -> None:
    made = generate()
    # One method, one exchange per line: a new CCXT build shows up as a readable difference.
    parts = [f' "ccxtVersion": {json.dumps(made["ccxtVersion"])}']
    for key in ("methods", "limits"):
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in made[key].items())
        parts.append(f' "{key}": {{\n{lines}\n }}')
    posts = ",\n".join(f"  {json.dumps(each)}" for each in made["posts"])
    parts.append(f' "posts": [\n{posts}\n ]')
    sys.stdout.write("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    _main()
