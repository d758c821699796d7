"""Account facts: asked for once, kept for their account alone, and nothing else kept at all."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.account_facts import FACTS, LIMIT, TTL, AccountFacts, Fact
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.cloning import Mould, release
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.exchanges.wiring import wired_class
from ccxt_mcp.settings import ExchangeProfile
from tests.unit.exchanges.conftest import TestAccount
from tests.unit.exchanges.source import calls, lineage, methods, written

QUESTIONS = ("/v5/user/query-api", "/v5/account/info")
BALANCE = "/v5/account/wallet-balance"
INSTRUMENT = {
    "symbol": "BTCUSDT",
    "baseCoin": "BTC",
    "quoteCoin": "USDT",
    "status": "Trading",
    "marginTrading": "utaOnly",
    "lotSizeFilter": {"basePrecision": "0.000001", "minOrderQty": "0.00001", "maxOrderQty": "9"},
    "priceFilter": {"tickSize": "0.01"},
}


class Bybit:
    """As much of bybit as answers these tests: `unified` keys, and what was asked by whom."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.unified: set[str] = set()
        self.refuse: set[str] = set()
        self.break_down: set[str] = set()

    def count(self, key: str, *paths: str) -> list[int]:
        return [self.asked[path, key] for path in paths]

    async def answer(self, request: web.Request) -> web.Response:
        key = request.headers.get("X-BAPI-API-KEY", "")
        self.asked[request.path, key] += 1
        if request.path in self.break_down:
            return web.Response(text="busy", status=503)
        if request.path in self.refuse:
            return web.json_response({"retCode": 10001, "retMsg": "not for this kind of account"})
        result: dict[str, Any] = {"list": []}
        match request.path:
            case "/v5/market/time":
                result = {"timeSecond": str(int(time.time())), "timeNano": str(time.time_ns())}
            case "/v5/market/instruments-info":
                result = {"list": [INSTRUMENT], "category": "spot", "nextPageCursor": ""}
            case "/v5/user/query-api":
                result = {"apiKey": key, "unified": 0, "uta": int(key in self.unified)}
            case "/v5/account/info":
                result = {"unifiedMarginStatus": 6 if key in self.unified else 1}
            case "/v5/account/wallet-balance":
                result = {"list": [{"accountType": "UNIFIED", "coin": []}]}
        return web.json_response({"retCode": 0, "result": result, "time": time.time_ns() // 10**6})


@asynccontextmanager
async def serving(venue: Bybit) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", venue.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Stage:
    def __init__(self, venue: Bybit, gateway: Gateway) -> None:
        self.venue = venue
        self.gateway = gateway

    async def balance(self, key: str, **params: Any) -> Any:
        account = TestAccount(key, "bybit", {"apiKey": key, "secret": "s" * 20})
        async with asyncio.timeout(30), self.gateway.private(account) as lease:
            return await lease.call("fetch_balance", params=params or None)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    venue = Bybit()
    async with serving(venue) as address:
        profile = ExchangeProfile(
            name="bybit",
            exchange="bybit",
            base_url=address,
            options={"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"},
        )
        gateway = Gateway({"bybit": profile}, load_apart=False)
        try:
            yield Stage(venue, gateway)
        finally:
            await gateway.close()


async def test_what_an_account_is_is_asked_once(stage: Stage) -> None:
    """Before: two more requests for every call, three instead of one."""
    for _ in range(3):
        await stage.balance("alice")
    assert stage.venue.count("alice", *QUESTIONS, BALANCE) == [1, 1, 3]


async def test_facts_never_cross_accounts(stage: Stage) -> None:
    stage.venue.unified = {"alice"}
    for key in ("alice", "bob", "alice", "bob"):
        await stage.balance(key)
    assert stage.venue.count("alice", *QUESTIONS) == [1, 1]
    assert stage.venue.count("bob", *QUESTIONS) == [1, 1]
    account = TestAccount("bob", "bybit", {"apiKey": "bob", "secret": "s" * 20})
    async with asyncio.timeout(30), stage.gateway.private(account) as lease:
        options = lease._instance.options
        assert (options["enableUnifiedAccount"], options["unifiedMarginStatus"]) == (False, 1)
    async with asyncio.timeout(30), stage.gateway.public("bybit") as lease:
        options = lease._instance.options
        assert options["enableUnifiedAccount"] is None
        assert options["unifiedMarginStatus"] is None


async def test_a_refusal_casts_doubt_on_what_was_believed(stage: Stage) -> None:
    """Before: an account that was upgraded meanwhile was taken for what it had been."""
    await stage.balance("alice")
    stage.venue.refuse = {BALANCE}
    with pytest.raises(Failure):
        await stage.balance("alice")
    stage.venue.refuse = set()
    await stage.balance("alice")
    assert stage.venue.count("alice", *QUESTIONS) == [2, 2]


async def test_a_breakdown_of_the_exchange_casts_none(stage: Stage) -> None:
    await stage.balance("alice")
    stage.venue.break_down = {BALANCE}
    with pytest.raises(Failure) as caught:
        await stage.balance("alice")
    assert caught.value.code is Code.EXCHANGE_UNAVAILABLE
    stage.venue.break_down = set()
    await stage.balance("alice")
    assert stage.venue.count("alice", *QUESTIONS) == [1, 1]


class Ended:
    """A lease that ended in a certain way."""

    def __init__(self, key: str, given: frozenset[Fact] = frozenset(), **changes: Any) -> None:
        self.key_id = key
        self.given = given
        self.with_params: bool = changes.get("with_params", False)
        self.succeeded: bool = changes.get("succeeded", True)
        self.failed: Code | None = changes.get("failed")


def mould(exchange: str, **options: Any) -> Mould:
    profile = ExchangeProfile(name=exchange, exchange=exchange, options=options)
    return Mould(build_prototype(profile, 10_000))


def test_a_no_that_may_be_a_breakdown_is_not_kept() -> None:
    """bitget and gate take every failure of the question for "not unified". Before: a timeout of
    that question would have been an account's answer for ten minutes."""
    made = mould("bitget")
    facts = AccountFacts(wired_class("bitget"))
    instance = made.clone()
    instance.options["uta"] = False
    instance.doubtful = True
    facts.settle(Ended("a"), instance)
    assert len(facts) == 0
    instance.doubtful = False
    facts.settle(Ended("a"), instance)
    again = made.clone()
    assert {fact.name for fact in facts.restore("a", again)} == {"uta"}
    assert again.options["uta"] is False


def test_a_fact_found_with_parameters_of_ones_own_is_not_kept() -> None:
    """hyperliquid would keep what it found out about another user's address."""
    made = mould("hyperliquid")
    facts = AccountFacts(wired_class("hyperliquid"))
    instance = made.clone()
    instance.options["enableUnifiedMargin"] = True
    facts.settle(Ended("a", with_params=True), instance)
    assert len(facts) == 0
    facts.settle(Ended("a"), instance)
    assert len(facts) == 1


def test_a_failed_call_teaches_nothing() -> None:
    made = mould("gate")
    facts = AccountFacts(wired_class("gate"))
    instance = made.clone()
    instance.options["unifiedAccount"] = True
    facts.settle(Ended("a", failed=Code.TIMEOUT), instance)
    facts.settle(Ended("a", succeeded=False), instance)
    assert len(facts) == 0


def test_a_profiles_own_options_win() -> None:
    facts = AccountFacts(wired_class("gate"))
    learned = mould("gate").clone()
    learned.options["unifiedAccount"] = True
    facts.settle(Ended("a"), learned)
    configured = mould("gate", unifiedAccount=False).clone()
    facts.restore("a", configured)
    assert configured.options["unifiedAccount"] is False


def test_facts_age_from_when_they_were_learned_and_are_few() -> None:
    now = [0.0]
    facts = AccountFacts(wired_class("gate"), now=lambda: now[0])
    made = mould("gate")
    for number in range(LIMIT + 10):
        instance = made.clone()
        instance.options["unifiedAccount"] = True
        facts.settle(Ended(str(number)), instance)
    assert len(facts) == LIMIT
    now[0] = TTL - 1
    given = facts.restore("20", fresh := made.clone())
    assert given
    facts.settle(Ended("20", given), fresh)
    now[0] = TTL
    assert facts.restore("20", made.clone()) == frozenset()
    assert len(facts) == LIMIT - 1


def test_accounts_are_kept_without_their_balances_and_as_copies() -> None:
    facts = AccountFacts(wired_class("coinbase"))
    made = mould("coinbase")
    instance = made.clone()
    instance.accounts = [{"id": "1", "code": "BTC", "info": {"available_balance": "7"}}]
    instance.accountsById = {"1": instance.accounts[0]}
    facts.settle(Ended("a"), instance)
    first, second = made.clone(), made.clone()
    facts.restore("a", first)
    facts.restore("a", second)
    assert first.accounts == [{"id": "1", "code": "BTC"}]
    assert first.accountsById == {"1": {"id": "1", "code": "BTC"}}
    first.accounts[0]["code"] = "ETH"
    assert second.accounts[0]["code"] == "BTC"
    assert "accounts" not in made.clone().__dict__ or made.clone().accounts is None


@pytest.mark.parametrize("exchange", sorted(FACTS))
def test_every_fact_is_one_that_ccxt_learns_while_it_works(exchange: str) -> None:
    code = methods(exchange)
    options = {key for name, node in code.items() for key in written(node, "options")}
    for fact in FACTS[exchange]:
        if fact.attribute:
            assert any(calls(node, "load_accounts") for node in code.values())
        else:
            assert fact.name in options
            # Else it would pass for configured, and never be learned nor restored.
            assert mould(exchange).prototype.options.get(fact.name) is None


SECRETS = {
    "aster": ("privateKeyHashForCachedWalletAddress",),
    "bullish": ("authorizer", "tokenExpires"),
    "coinbaseinternational": ("v2AccessToken", "v2TokenExpires"),
    "dydx": ("dydxCredentials",),
    "grvt": ("AuthCookieValue", "AuthAccountId"),
    "lbank": ("pem",),
    "lighter": ("auths",),
    "ndax": ("sessionToken", "pending2faToken"),
    "paradex": ("authToken", "paradexAccount", "expires"),
    "polymarket": ("proxyCredentials",),
}
"""Where exchanges keep what grants access."""


@pytest.mark.parametrize("exchange", sorted(SECRETS))
def test_what_grants_access_is_where_this_test_believes_it_is(exchange: str) -> None:
    found = {key for node in methods(exchange).values() for key in written(node, "options")}
    assert set(SECRETS[exchange]) <= found
    assert not {fact.name for fact in FACTS.get(exchange, ())} & set(SECRETS[exchange])


def test_nothing_that_a_call_leaves_in_its_instance_reaches_the_next_but_facts() -> None:
    """Every option that CCXT's source writes gets a secret; so do tokens and nested places.

    Before, on an instance that is kept: paradex's token, grvt's cookie, lbank's key are the next
    caller's.
    """
    for exchange in catalog().exchanges:
        secret = "S3CRET"
        made = mould(exchange)
        facts = AccountFacts(wired_class(exchange))
        names = {
            key
            for each in lineage(exchange)
            for node in methods(each).values()
            for key in written(node, "options")
        }
        instance = made.clone(credentials={"apiKey": "k", "secret": secret})
        for name in names:
            instance.options[name] = secret
        for value in [v for v in instance.options.values() if isinstance(v, dict)]:
            value["added"] = secret
        instance.token = instance.uid = secret
        facts.settle(Ended("a"), instance)
        release(instance)
        assert secret not in repr(vars(instance)), exchange
        after = made.clone()
        given = {fact.name for fact in facts.restore("a", after)}
        kept = {name for name, value in after.options.items() if secret in repr(value)}
        assert kept <= given <= {fact.name for each in FACTS.values() for fact in each}, exchange
        assert kept.isdisjoint(name for each in SECRETS.values() for name in each), exchange
        assert secret not in repr([after.token, after.uid, after.apiKey, after.secret]), exchange
        other = made.clone()
        assert facts.restore("b", other) <= set(FACTS.get(exchange, ())), exchange
        assert secret not in repr(other.options), exchange
        assert secret not in repr(made.prototype.options), exchange
