"""What exchanges say about their rate limits, as data.

Owns: the published rules of the exchanges that matter, each with its source and with what it leaves
out, and how CCXT's costs are read in their units. Refuses: counting (``limits``).

Where no row matches a request, CCXT's own pace holds: its cost per endpoint, at its ``rateLimit``,
per address, with the small burst that ``default_pool`` gives.

A rule is taken a little below what is published: 99 % as the hard window where that is a whole
request or more, 98 % as the steady pace. What the exchange counts and we do not (its own clock's
window, a cost that CCXT has wrong by one) fits into the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ccxt_mcp.mechanisms.rate_limit import Rules, Window

__all__ = [
    "BUDGETS",
    "VENUES",
    "Ban",
    "Budget",
    "Pool",
    "budget_of",
    "default_pool",
    "is_public",
    "joined",
]

Per = Literal["address", "key"]
Side = Literal["any", "public", "signed"]

_PACE = 0.98
_HARD = 0.99
_LEAST_MARGIN = 100.0


@dataclass(frozen=True, slots=True)
class Pool:
    """One limit of one exchange.

    Attributes:
        name: what is limited, for people (``request weight``).
        per: whether the exchange counts by network address or by API key (or its user).
        limit: units in ``seconds``.
        source: the public page that says so.
        apis: beginnings of the API names (CCXT's, joined by dots: ``public``, ``v3.private``) that
            the pool is for; empty for all.
        side: whether it is for public requests, signed ones, or both.
        unit: units per unit of CCXT's cost.
        each: units per request, instead of CCXT's cost.
        costs: units by CCXT's path, before all else; 0 takes a request out of the pool.
        methods: HTTP methods that it is for; empty for all.
        paths: CCXT's paths that it is for; empty for all.
        per_path: whether every path has the limit for itself.
        used: lower-case names of answer headers that tell the units used.
        burst: units that pass at once when nothing was sent for a while; by default a fraction of
            the limit.
        drains: whether the exchange counts by a counter that falls by ``limit / seconds`` all the
            time and may not exceed ``burst``, instead of by windows.
    """

    name: str
    per: Per
    limit: float
    seconds: float
    source: str
    apis: tuple[str, ...] = ()
    side: Side = "any"
    unit: float = 1.0
    each: float | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    per_path: bool = False
    used: tuple[str, ...] = ()
    burst: float | None = None
    drains: bool = False

    def matches(self, api: str, method: str, path: str, *, signed: bool) -> bool:
        """Whether a request counts in this pool."""
        if self.side != "any" and signed != (self.side == "signed"):
            return False
        if self.per == "key" and not signed:
            return False
        if self.apis and not api.startswith(self.apis):
            return False
        if self.methods and method not in self.methods:
            return False
        return not self.paths or path in self.paths

    def cost(self, path: str, cost: float) -> float:
        """A request's units, from CCXT's cost."""
        found = self.costs.get(path)
        if found is not None:
            return found
        return cost * self.unit if self.each is None else self.each

    def rules(self) -> Rules:
        """The pool for a limiter."""
        rate = self.limit / self.seconds
        if self.drains:
            return Rules(rate * _PACE, self.burst or self.limit)
        hard = self.limit * _HARD if self.limit >= _LEAST_MARGIN else self.limit
        # Small windows are let through in larger parts: their pauses are short.
        burst = self.burst or max(1.0, self.limit * (0.25 if self.seconds > 10 else 0.5))
        return Rules(rate * _PACE, burst, (Window(hard, self.seconds),))


@dataclass(frozen=True, slots=True)
class Ban:
    """An answer that means "stay away": its status, words that its text has, seconds without."""

    status: int
    words: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Budget:
    """All limits of one exchange.

    Attributes:
        pools: in this order; of the pools with the same ``per``, the first that matches counts,
            besides those with ``paths``, which count in addition.
        without: what is published and not covered, or covered more strictly than published.
        waits: answer headers that say how long to wait after a refusal: lower-case name → unit
            (``s``, ``ms``, or ``epoch-s``, ``epoch-ms`` for a point in time).
        bans: besides 429 and 418.
    """

    pools: tuple[Pool, ...]
    without: str = ""
    waits: Mapping[str, str] = field(default_factory=dict)
    bans: tuple[Ban, ...] = ()


def is_public(api: str) -> bool:
    """Whether CCXT's name of an API is that of unsigned requests."""
    return "public" in api.lower()


def default_pool(rate_limit: float) -> Pool | None:
    """CCXT's own pace: cost 1 every ``rate_limit`` milliseconds. ``None`` for no limit at all."""
    if rate_limit <= 0:
        return None
    rate = 1000.0 / rate_limit
    return Pool(
        "request budget",
        "address",
        limit=rate,
        seconds=1.0,
        source="CCXT, `rateLimit` and cost per endpoint",
        # CCXT lets one or two requests pass at once. What a second holds is no more than what
        # any exchange that counts by the second or longer does.
        burst=max(3.0, rate),
        drains=True,
    )


_MBX = ("x-mbx-used-weight-1m",)
_BINANCE_SPOT = Pool(
    "request weight",
    "address",
    limit=6_000,
    seconds=60,
    source="Binance spot API documentation, LIMITS (IP Limits) and exchangeInfo",
    apis=("public", "private"),
    # CCXT counts cost 1 as 50 ms of 1,200 a minute; the weights it was made from are five times.
    unit=5.0,
    used=_MBX,
)
_BINANCE_ORDERS = Pool(
    "order count",
    "key",
    limit=100,
    seconds=10,
    source="Binance spot API documentation, exchangeInfo (ORDERS)",
    apis=("private",),
    methods=("POST",),
    paths=("order", "order/oco", "orderList/oco", "orderList/oto", "orderList/otoco", "sor/order"),
    each=1.0,
    used=("x-mbx-order-count-10s",),
)
_BINANCE_SAPI = Pool(
    "wallet and margin weight",
    "address",
    limit=12_000,
    seconds=60,
    source="Binance spot API documentation, LIMITS of /sapi (each endpoint by IP or UID)",
    apis=("sapi",),
    unit=10.0,
    used=("x-sapi-used-ip-weight-1m",),
)
_BINANCE_USDM = Pool(
    "USD-M futures weight",
    "address",
    limit=2_400,
    seconds=60,
    source="Binance USD-M futures API documentation, General Info (LIMITS)",
    apis=("fapi",),
    used=_MBX,
)
_BINANCE_COINM = Pool(
    "COIN-M futures weight",
    "address",
    limit=2_400,
    seconds=60,
    source="Binance COIN-M futures API documentation, General Info (LIMITS)",
    apis=("dapi",),
    used=_MBX,
)
_BINANCE = Budget(
    (_BINANCE_SPOT, _BINANCE_SAPI, _BINANCE_USDM, _BINANCE_COINM, _BINANCE_ORDERS),
    without="Options (eapi) and portfolio margin (papi) keep CCXT's pace. All of /sapi shares one"
    " window, though each endpoint has its own. Orders per day, futures orders and raw requests"
    " are not counted.",
)

_KRAKEN = Budget(
    (
        Pool(
            "call counter",
            "key",
            limit=0.33,
            seconds=1,
            source="Kraken API documentation, Spot REST Rate Limits (tier Starter)",
            side="signed",
            each=1.0,
            costs={
                **dict.fromkeys(("Ledgers", "QueryLedgers", "TradesHistory"), 2.0),
                **dict.fromkeys(("AddOrder", "AddOrderBatch", "EditOrder", "AmendOrder"), 0.0),
                **dict.fromkeys(("CancelOrder", "CancelOrderBatch"), 0.0),
            },
            # 15 is the most; the counter falls in steps "every couple of seconds".
            burst=14,
            drains=True,
        ),
    ),
    without="Higher tiers (20, falling by 0.5 or 1 a second). The matching engine's limits per"
    " pair, in which orders and cancellations count. Public requests keep CCXT's pace.",
    # Source: Kraken support, "API error messages".
    bans=(Ban(200, "temporary lockout", 900.0),),
)

_BYBIT = Budget(
    (
        Pool(
            "requests per address",
            "address",
            limit=600,
            seconds=5,
            source="Bybit API v5 documentation, Rate Limit Rules (HTTP IP limit)",
            each=1.0,
        ),
        Pool(
            "requests of",
            "key",
            limit=50,
            seconds=1,
            source="Bybit API v5 documentation, Rate Limit Rules (API rate limit table)",
            side="signed",
            per_path=True,
        ),
    ),
    without="The table per endpoint, user and second is taken in CCXT's costs (cost 1 is 50 a"
    " second); higher tiers are not used.",
    waits={"x-bapi-limit-reset-timestamp": "epoch-ms"},
    bans=(Ban(403, "access too frequent", 600.0),),
)

_SIDES: tuple[tuple[Per, Side], ...] = (("address", "public"), ("key", "signed"))

_OKX = Budget(
    tuple(
        Pool(
            "requests of",
            per,
            limit=20,
            seconds=2,
            source="OKX API guide v5, Rate limits (stated with each endpoint; IP or User ID)",
            side=side,
            per_path=True,
        )
        for per, side in _SIDES
    ),
    without="Every endpoint has a limit of its own, taken in CCXT's costs (cost 1 is 20 in 2 s)."
    " Limits per instrument are counted over all instruments; the sub-account's 1,000 orders in 2 s"
    " are not.",
)

_COINBASE = Budget(
    (
        Pool(
            "private requests",
            "key",
            limit=30,
            seconds=1,
            source="Coinbase Advanced Trade documentation, REST API Rate Limits",
            apis=("v3",),
            side="signed",
            each=1.0,
        ),
        Pool(
            "public requests",
            "address",
            limit=10,
            seconds=1,
            source="Coinbase Advanced Trade documentation, REST API Rate Limits",
            apis=("v3",),
            side="public",
            each=1.0,
        ),
        Pool(
            "requests",
            "key",
            limit=10_000,
            seconds=3600,
            source="Coinbase App documentation, Rate limiting",
            apis=("v2",),
            side="signed",
            each=1.0,
            burst=100,
        ),
    ),
    without="Public requests of API v2 keep CCXT's pace.",
)

_KUCOIN_SOURCE = "KuCoin API documentation, Rate Limit (resource pools, VIP0)"
_KUCOIN = Budget(
    (
        # CCXT doubles the weights of all pools but spot's, so that one scale serves them all.
        Pool("public pool", "address", 4_000, 30, _KUCOIN_SOURCE, side="public"),
        Pool("futures pool", "key", 4_000, 30, _KUCOIN_SOURCE, apis=("futuresPrivate",)),
        Pool("spot pool", "key", 4_000, 30, _KUCOIN_SOURCE, apis=("private",)),
    ),
    without="Higher VIP levels. Spot and management requests share one pool here. Earn, broker and"
    " unified account keep CCXT's pace.",
    waits={"gw-ratelimit-reset": "ms"},
)

_GATE = Budget(
    tuple(
        Pool(
            "requests of",
            per,
            limit=200,
            seconds=10,
            source="Gate API v4 documentation, Frequency limit rule (per endpoint; IP or UID)",
            side=side,
            per_path=True,
        )
        for per, side in _SIDES
    ),
    without="Limits other than 200 in 10 s are taken in CCXT's costs. The futures' fill ratio rule"
    " is not counted.",
    waits={"x-gate-ratelimit-reset-timestamp": "epoch-s"},
)

_BITGET_SOURCE = "Bitget API documentation, Quick start (Access Restriction)"
_BITGET = Budget(
    (
        Pool("requests of", "key", 20, 1, _BITGET_SOURCE, side="signed", per_path=True),
        Pool("requests per address", "address", 6_000, 60, _BITGET_SOURCE, each=1.0),
    ),
    without="Limits per endpoint are taken in CCXT's costs (cost 1 is 20 a second); those of public"
    " endpoints are counted for the address as a whole.",
)

BUDGETS: Mapping[str, Budget] = {
    **dict.fromkeys(("binance", "binanceusdm", "binancecoinm"), _BINANCE),
    "kraken": _KRAKEN,
    "bybit": _BYBIT,
    **dict.fromkeys(("okx", "myokx", "okxus"), _OKX),
    "coinbase": _COINBASE,
    **dict.fromkeys(("kucoin", "kucoinfutures"), _KUCOIN),
    "gate": _GATE,
    "bitget": _BITGET,
}
"""CCXT id → budget. Ids with the same budget share what is counted if they share the venue."""

VENUES: Mapping[str, str] = {
    "binanceusdm": "binance",
    "binancecoinm": "binance",
    "kucoinfutures": "kucoin",
}
"""CCXT ids that are other views of the same exchange, at the same addresses."""

_NONE = Budget(())


def budget_of(exchange: str) -> Budget:
    """The budget of a CCXT id; one without pools where nothing is known."""
    return BUDGETS.get(exchange, _NONE)


def joined(api: Any) -> str:
    """CCXT's API name as one text: ``['v3', 'private']`` is ``v3.private``."""
    return api if isinstance(api, str) else ".".join(map(str, api))
