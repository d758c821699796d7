"""The gateway against the simulated exchange: what a call costs, sees, and leaves behind."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.settings import ExchangeProfile
from ccxt_mcp.simulation import Fault
from tests.unit.exchanges.conftest import Bench, TestAccount, paper, until

MARKETS = "GET /api/v3/exchangeInfo"
ORDERS = "GET /api/v3/openOrders"
ACCOUNT = "GET /api/v3/account"


async def open_orders(bench: Bench, account: TestAccount) -> Any:
    async with asyncio.timeout(10), bench.gateway.private(account) as lease:
        return await lease.call("fetch_open_orders")


async def warm(bench: Bench) -> None:
    async with bench.gateway.public("paper"):
        pass
    bench.sim.counters.reset()


@asynccontextmanager
async def failing(code: Code) -> AsyncIterator[pytest.ExceptionInfo[Failure]]:
    with pytest.raises(Failure) as caught:
        async with asyncio.timeout(10):
            yield caught
    assert caught.value.code is code, caught.value
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_a_warm_credentialed_read_is_one_request_on_a_kept_connection(bench: Bench) -> None:
    """Before: eight requests, a TLS context and a market load per fresh instance."""
    await warm(bench)
    opened = bench.gateway.snapshot()["paper"]["connectionsOpened"]
    assert len(await open_orders(bench, bench.main)) == 7
    assert bench.requests() == 1
    state = bench.gateway.snapshot()["paper"]
    assert (state["connectionsOpened"], state["tlsHandshakes"], state["leases"]) == (opened, 0, 0)


async def test_two_accounts_interleaved_see_only_their_own(bench: Bench) -> None:
    """Before, with keys swapped on a shared instance: all requests with the last key."""
    await warm(bench)
    bench.sim.set_latency(1, 5)
    accounts = [bench.main, bench.second] * 50
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(open_orders(bench, each) for each in accounts))
    for account, orders in zip(accounts, answers, strict=True):
        owners = {order["clientOrderId"].rpartition("-")[0] for order in orders}
        assert owners == {account.name}
    by_key = bench.sim.counters.snapshot().by_key
    assert [by_key[a.credentials["apiKey"]][ORDERS] for a in accounts[:2]] == [50, 50]
    assert bench.requests() == 100


async def test_a_hundred_first_callers_load_the_markets_once(bench: Bench) -> None:
    async def first() -> str:
        async with asyncio.timeout(20), bench.gateway.public("paper") as lease:
            return str(lease.market("BTC/USDT")["id"])

    assert set(await asyncio.gather(*(first() for _ in range(100)))) == {"BTCUSDT"}
    assert bench.count(MARKETS) == 1
    assert bench.progress[0] == "paper: loading market tables"
    assert bench.progress[1].startswith("paper: 14 markets in ")
    assert len(bench.progress) == 2


async def test_a_cancelled_waiter_cancels_nobody(bench: Bench) -> None:
    """Before: one waiter's timeout cancelled the load of all (CCXT issue 29926)."""
    bench.sim.faults.add(Fault(kind="latency", milliseconds=100, route=MARKETS))
    first = asyncio.create_task(open_orders(bench, bench.main))
    others = [asyncio.create_task(open_orders(bench, bench.second)) for _ in range(3)]
    await until(lambda: bench.count(MARKETS) == 1)
    first.cancel()
    async with asyncio.timeout(10):
        assert [len(orders) for orders in await asyncio.gather(*others)] == [4, 4, 4]
    assert first.cancelled()
    assert bench.count(MARKETS) == 1


async def test_a_failed_load_poisons_nothing(bench: Bench) -> None:
    """All waiters get the failure, each its own; the next caller's load succeeds."""
    bench.sim.faults.add(Fault(kind="status", status=503, route=MARKETS, times=1))
    outcomes = await asyncio.gather(
        *(open_orders(bench, bench.main) for _ in range(3)), return_exceptions=True
    )
    assert [getattr(each, "code", each) for each in outcomes] == [Code.EXCHANGE_UNAVAILABLE] * 3
    assert len({id(each) for each in outcomes}) == 3
    assert getattr(outcomes[0], "operation", None) == "loadMarkets"
    assert len(await open_orders(bench, bench.main)) == 7
    assert bench.count(MARKETS) == 2


async def test_closing_ends_a_load_and_its_waiters(bench: Bench) -> None:
    bench.sim.faults.add(Fault(kind="hang", route=MARKETS))
    waiter = asyncio.create_task(open_orders(bench, bench.main))
    await until(lambda: bench.count(MARKETS) == 1)
    async with asyncio.timeout(5):
        await bench.gateway.close()
        async with failing(Code.INTERNAL) as caught:
            await waiter
    assert "shutting down" in caught.value.message
    async with failing(Code.INTERNAL):
        bench.gateway.public("paper")


async def test_one_account_may_be_leased_many_times_at_once_each_with_its_own(
    bench: Bench,
) -> None:
    async with bench.gateway.private(bench.main) as a, bench.gateway.private(bench.main) as b:
        assert a._instance is not b._instance
        assert bench.gateway.snapshot()["paper"]["leases"] == 2
    async with bench.gateway.public("paper") as a, bench.gateway.public("paper") as b:
        assert a._instance is not b._instance
        assert a._instance.apiKey is None


async def test_a_lease_is_dead_after_its_block(bench: Bench) -> None:
    async with bench.gateway.private(bench.main) as lease:
        assert repr(lease) == "<Lease paper private held>"
    assert repr(lease) == "<Lease paper private released>"
    for use in (lease.markets, lambda: lease.market("BTC/USDT"), lambda: lease.has("fetchTicker")):
        with pytest.raises(RuntimeError, match="used after its release"):
            use()
    with pytest.raises(RuntimeError, match="used after its release"):
        await lease.call("fetch_balance")


async def test_an_instance_is_freed_at_once_after_success_failure_and_cancellation(
    bench: Bench,
) -> None:
    """Before: a failed call's traceback kept the instance, and the secret, until a collection."""
    await warm(bench)
    bench.sim.faults.add(Fault(kind="malformed", route=ACCOUNT))
    bench.sim.faults.add(Fault(kind="hang", route="GET /api/v3/order"))
    gone: list[weakref.ref[Any]] = []
    kept: list[BaseException] = []

    async def use(method: str, *args: Any) -> None:
        try:
            async with bench.gateway.private(bench.main) as lease:
                gone.append(weakref.ref(lease._instance))
                await lease.call(method, *args)
        except Failure as failure:
            kept.append(failure)

    gc.disable()
    try:
        async with asyncio.timeout(5):
            await use("fetch_open_orders")
            await use("fetch_balance")
            hanging = asyncio.create_task(use("fetch_order", "1", "BTC/USDT"))
            await until(lambda: bench.count("GET /api/v3/order") == 1)
            hanging.cancel()
            kept += [e for e in await asyncio.gather(hanging, return_exceptions=True) if e]
        assert [type(each) for each in kept] == [Failure, asyncio.CancelledError]
        assert [each() for each in gone] == [None, None, None]
    finally:
        gc.enable()


async def test_a_silent_exchange_is_a_timeout_of_ccxts(bench: Bench) -> None:
    gateway = Gateway({"paper": paper(bench.sim.base_url)}, ccxt_timeout=0.2, load_apart=False)
    async with gateway.public("paper") as lease:
        bench.sim.faults.add(Fault(kind="hang", times=1))
        async with failing(Code.TIMEOUT) as caught:
            await lease.call("fetch_ticker", "BTC/USDT")
        assert caught.value.message == "paper: the exchange did not answer within 200ms"
        assert caught.value.operation == "fetchTicker"
        assert (await lease.call("fetch_ticker", "BTC/USDT"))["symbol"] == "BTC/USDT"
    await gateway.close()


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (Fault(kind="malformed"), Code.BAD_RESPONSE, "is an object where a list is due"),
        (Fault(kind="truncated"), Code.BAD_RESPONSE, "not JSON"),
        (Fault(kind="truncated", variant="long"), Code.BAD_RESPONSE, "broke off"),
        (Fault(kind="html"), Code.BAD_RESPONSE, "a web page"),
        (Fault(kind="empty"), Code.BAD_RESPONSE, "the answer is empty"),
        (Fault(kind="reset"), Code.EXCHANGE_UNAVAILABLE, "dropped the connection"),
        (Fault(kind="status", status=302), Code.BAD_RESPONSE, "redirects elsewhere"),
        (Fault(kind="status", status=500), Code.EXCHANGE_UNAVAILABLE, "paper says"),
        (Fault(kind="status", status=504), Code.TIMEOUT, "paper says"),
        (Fault(kind="status", status=507, body={}), Code.EXCHANGE_UNAVAILABLE, "507"),
        (Fault(kind="status", status=402, body=[]), Code.EXCHANGE_ERROR, "402"),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
)
async def test_each_fault_is_told_and_the_next_call_is_fine(
    bench: Bench, fault: Fault, code: Code, words: str
) -> None:
    """Before, for the first five: an empty list of orders, without an exception."""
    await warm(bench)
    fault_id = bench.sim.faults.add(fault)
    async with failing(code) as caught:
        await open_orders(bench, bench.main)
    assert words in caught.value.message
    assert bench.requests() == 1
    for secret in (*bench.main.credentials.values(), "signature", "http://", "https://"):
        assert secret not in json.dumps(caught.value.as_dict())
    bench.sim.faults.clear(fault_id)
    assert len(await open_orders(bench, bench.main)) == 7


async def test_the_exchange_speaks_for_itself(bench: Bench) -> None:
    stranger = TestAccount("x", "paper", {"apiKey": "A" * 64, "secret": "B" * 64})
    async with failing(Code.AUTHENTICATION_FAILED) as caught:
        await open_orders(bench, stranger)
    assert caught.value.message.startswith("paper says: ")


async def test_half_a_credential_is_refused_before_any_request(bench: Bench) -> None:
    half = TestAccount("half", "paper", {"apiKey": "A" * 64, "secret": ""})
    async with failing(Code.AUTHENTICATION_FAILED) as caught:
        await open_orders(bench, half)
    assert caught.value.message == "account 'half' lacks secret, which binance requires"
    assert bench.requests() == 0


async def test_what_is_yours_is_exact_and_what_is_the_markets_is_a_number(bench: Bench) -> None:
    async with bench.gateway.private(bench.main) as lease:
        balance = await lease.call("fetch_balance")
        orders = await lease.call("fetch_open_orders")
    assert all(type(amount) is str for amount in balance["total"].values())
    assert all(type(orders[0][key]) is str for key in ("price", "amount", "filled", "remaining"))
    async with bench.gateway.public("paper") as lease:
        ticker = await lease.call("fetch_ticker", "BTC/USDT")
        assert type(lease.market("BTC/USDT")["precision"]["price"]) is float
    assert type(ticker["last"]) is float


async def test_an_unknown_symbol_names_the_likely_ones(bench: Bench) -> None:
    async with bench.gateway.public("paper") as lease:
        for wrong in ("BTCUSDT", "btc/usdt", "BTC-USDT", "BTC/USTD"):
            with pytest.raises(Failure) as caught:
                lease.market(wrong)
            assert caught.value.code is Code.UNKNOWN_SYMBOL
            assert "did you mean BTC/USDT" in caught.value.message
        with pytest.raises(Failure, match=r"does not list ''$"):
            lease.market("")
        async with failing(Code.UNKNOWN_SYMBOL):
            await lease.call("fetch_ticker", "NO/SUCH")


async def test_a_call_cannot_leave_parameters_behind(bench: Bench) -> None:
    params = {"limit": 5}
    async with bench.gateway.public("paper") as lease:
        book = await lease.call("fetch_order_book", "BTC/USDT", params=params)
        assert len(book["bids"]) == 5
        assert params == {"limit": 5}
        assert len((await lease.call("fetch_order_book", "BTC/USDT"))["bids"]) > 5
        for name in ("__class__", "sign", "set_sandbox_mode", "publicGetTime", "fetchTicker"):
            with pytest.raises(ValueError, match="not a unified method"):
                await lease.call(name)


async def test_what_an_exchange_cannot_do_is_refused_by_name(bench: Bench) -> None:
    async with bench.gateway.public("paper") as lease:
        assert lease.has("fetchTicker")
        assert not lease.has("fetchNothing")
        assert lease.listing.timeframes["1h"] == "1h"
        async with failing(Code.NOT_SUPPORTED):
            await lease.call("fetch_l3_order_book", "BTC/USDT")


async def test_ccxts_own_log_is_mute(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Before: at debug level CCXT logged every signed address and every header."""
    caplog.set_level(logging.DEBUG)
    await open_orders(bench, bench.main)
    assert bench.main.credentials["apiKey"] not in caplog.text
    assert "signature" not in caplog.text


def test_names_are_answered_without_an_event_loop() -> None:
    gateway = Gateway({"paper": paper("http://127.0.0.1:1")})
    assert len(gateway.exchange_ids()) == 104
    assert gateway.profile("kraken").exchange == "kraken"
    assert gateway.facts("paper").name == "Binance"
    assert gateway.snapshot() == {}


@pytest.mark.parametrize(
    ("name", "meant"), [("binanse", "binance"), ("papers", "paper"), ("KRAKEN2", "kraken")]
)
def test_a_misspelt_exchange_is_answered_with_the_likely_one(name: str, meant: str) -> None:
    gateway = Gateway({"paper": paper("http://127.0.0.1:1")})
    with pytest.raises(Failure, match=f"did you mean {meant}") as caught:
        gateway.profile(name)
    assert caught.value.code is Code.UNKNOWN_EXCHANGE


def test_an_exchange_is_found_in_any_case_unless_several_have_the_name() -> None:
    paper_url = "http://127.0.0.1:1"
    profiles = {name: paper(paper_url, name=name) for name in ("Paper", "okx2", "OKX2", "Kraken")}
    gateway = Gateway(profiles)
    assert gateway.profile("PAPER") is gateway.profile("Paper") is gateway.profile("paper")
    assert gateway.profile("BINANCE").name == "binance"
    assert gateway.profile("OKX2").name == "OKX2"
    # A profile and CCXT's id differ in case only: each is meant by its own name.
    assert gateway.profile("Kraken").exchange == "binance"
    assert gateway.profile("kraken").exchange == "kraken"
    for several, both in (("Okx2", "OKX2, okx2"), ("KRAKEN", "Kraken, kraken")):
        with pytest.raises(Failure, match=f"in another case: {both}") as caught:
            gateway.profile(several)
        assert caught.value.code is Code.UNKNOWN_EXCHANGE


def test_a_profile_of_no_exchange_is_named() -> None:
    profile = ExchangeProfile(name="mine", exchange="krakn")
    with pytest.raises(Failure, match=r"profile 'mine' names the exchange 'krakn'.*kraken"):
        Gateway({"mine": profile}).profile("mine")


async def test_a_refused_connection_is_told(bench: Bench) -> None:
    port = bench.sim.base_url
    await bench.sim.stop()
    gateway = Gateway({"paper": paper(port)})
    async with failing(Code.EXCHANGE_UNAVAILABLE) as caught:
        await gateway.public("paper").__aenter__()
    assert caught.value.message == "paper: no connection to the exchange"
    await gateway.close()


async def test_an_empty_market_table_is_a_bad_response(bench: Bench) -> None:
    """Before: it counted as loaded, and CCXT loaded it again inside every call."""
    bench.sim.faults.add(Fault(kind="malformed", body={"symbols": []}, route=MARKETS, times=1))
    async with failing(Code.BAD_RESPONSE) as caught:
        await open_orders(bench, bench.main)
    assert caught.value.message == "paper: no markets listed"
    assert bench.progress[-1] == "market tables not loaded: paper: no markets listed"
    assert len(await open_orders(bench, bench.main)) == 7
