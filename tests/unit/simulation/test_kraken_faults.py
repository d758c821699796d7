"""Every kind of fault, once, on a private POST of CCXT's kraken class."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import aiohttp
import ccxt
import pytest

from ccxt_mcp.simulation import DemoAccount, Fault, FaultKind, SimulatedExchange
from tests.unit.simulation.conftest import Connect
from tests.unit.simulation.krakens import BALANCE, INVALID_NONCE, calling

ROUTE = "POST /0/private/Balance"

Accounts = tuple[DemoAccount, ...]


def half(said: Any) -> bool:
    return isinstance(said, str) and said.startswith('{"error":[]') and not said.endswith("}")


# kind: what CCXT raises, or whether what it returns is right
EXPECTED: dict[str, type[Exception] | Callable[[Any], bool]] = {
    "hang": ccxt.RequestTimeout,
    "drip": ccxt.RequestTimeout,
    "status": ccxt.ExchangeNotAvailable,
    "malformed": lambda said: said == {},
    "truncated": half,
    "html": lambda said: said.startswith("<!DOCTYPE"),
    "empty": lambda said: not said,
    "reset": ccxt.ExchangeNotAvailable,
    "reply_lost": ccxt.ExchangeNotAvailable,
    "latency": lambda said: "XXBT" in said["result"],
}


def test_no_kind_of_fault_is_left_out() -> None:
    assert set(EXPECTED) == set(get_args(FaultKind))


@pytest.mark.parametrize("kind", EXPECTED)
async def test_a_fault_strikes_one_private_request_and_the_next_is_well(
    sim: SimulatedExchange, connect_kraken: Connect, kraken_accounts: Accounts, kind: FaultKind
) -> None:
    exchange = connect_kraken(kraken_accounts[0])
    if kind in ("hang", "drip"):
        exchange.timeout = 200
    sim.faults.add(Fault(kind=kind, route=ROUTE, times=1, status=503, milliseconds=20))
    expected = EXPECTED[kind]
    if isinstance(expected, type):
        with pytest.raises(expected):
            await exchange.privatePostBalance()
    else:
        assert expected(await exchange.privatePostBalance())
    exchange.timeout = 3_000
    assert "XXBT" in (await exchange.privatePostBalance())["result"]
    seen = sim.counters.snapshot()
    assert seen.faults == {kind: 1}
    assert seen.by_key == {kraken_accounts[0].api_key: {ROUTE: 2}}
    async with asyncio.timeout(5):
        while sim.counters.in_flight:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (418, ccxt.DDoSProtection),
        (429, ccxt.DDoSProtection),
        (500, ccxt.ExchangeNotAvailable),
        (502, ccxt.ExchangeNotAvailable),
        (503, ccxt.ExchangeNotAvailable),
        (504, ccxt.RequestTimeout),
        (520, ccxt.ExchangeNotAvailable),
    ],
)
async def test_a_status_is_worded_as_kraken_or_what_stands_before_it_would(
    sim: SimulatedExchange,
    connect_kraken: Connect,
    kraken_accounts: Accounts,
    status: int,
    error: type[Exception],
) -> None:
    sim.faults.add(Fault(kind="status", status=status))
    with pytest.raises(error):
        await connect_kraken(kraken_accounts[0]).privatePostBalance()
    assert sim.counters.snapshot().answers == {str(status): 1}


async def test_a_long_truncation_closes_early(
    sim: SimulatedExchange, connect_kraken: Connect, kraken_accounts: Accounts
) -> None:
    sim.faults.add(Fault(kind="truncated", variant="long"))
    with pytest.raises(ccxt.BaseError) as caught:
        await connect_kraken(kraken_accounts[0]).privatePostBalance()
    assert isinstance(caught.value.__cause__, aiohttp.ClientPayloadError)


async def test_a_fault_does_not_give_the_nonce_back(
    sim: SimulatedExchange, kraken_accounts: Accounts
) -> None:
    sim.faults.add(Fault(kind="html", route=ROUTE, times=1))
    async with calling(sim, kraken_accounts[0]) as [main]:
        with pytest.raises(aiohttp.ContentTypeError):
            await main.post(BALANCE, 7)
        assert await main.post(BALANCE, 7) == INVALID_NONCE
