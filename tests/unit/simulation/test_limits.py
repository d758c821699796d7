"""Request weights, refusals and bans."""

from __future__ import annotations

import aiohttp
import ccxt
import pytest

from ccxt_mcp.simulation import DemoAccount, SimulatedExchange, SimulationConfig, demo_venue
from ccxt_mcp.simulation.limits import WeightLimit
from tests.unit.simulation.conftest import NOW, Connect, binance


async def test_too_much_weight_in_a_minute_is_refused_with_the_time_to_wait() -> None:
    venue, _ = demo_venue(7, clock=lambda: NOW)
    async with (
        SimulatedExchange(SimulationConfig(rate_limit=12), venue=venue) as sim,
        aiohttp.ClientSession(sim.base_url) as session,
    ):
        for expected in (5, 10):
            async with session.get("/api/v3/depth", params={"symbol": "BTCUSDT"}) as answer:
                assert answer.status == 200
                assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(expected)
                assert answer.headers["X-MBX-USED-WEIGHT"] == str(expected)
        async with session.get("/api/v3/depth", params={"symbol": "BTCUSDT"}) as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == str(60 - NOW // 1000 % 60)
            assert (await answer.json())["code"] == -1003
        venue.set_clock_offset(60_000)
        async with session.get("/api/v3/depth", params={"symbol": "BTCUSDT"}) as answer:
            assert answer.status == 200


async def test_ccxt_sees_the_rate_limit_as_ddos_protection() -> None:
    async with SimulatedExchange(SimulationConfig(rate_limit=30)) as sim:
        exchange = binance(sim.base_url)
        try:
            await exchange.load_markets()
            with pytest.raises(ccxt.DDoSProtection, match="429"):
                await exchange.fetch_tickers()
        finally:
            await exchange.close()


async def test_families_of_paths_have_limits_of_their_own() -> None:
    async with (
        SimulatedExchange(SimulationConfig(rate_limit=1)) as sim,
        aiohttp.ClientSession(sim.base_url) as session,
    ):
        for path, status in (("api/v3", 200), ("api/v3", 429), ("fapi/v1", 200)):
            async with session.get(f"/{path}/ping") as answer:
                assert answer.status == status


def test_those_who_do_not_stop_are_banned_and_longer_each_time() -> None:
    limit = WeightLimit(1, ban_after=2, ban_ms=120_000)
    now = 6_000_000
    waits = [limit.spend("a", 1, now) for _ in range(4)]
    assert [v.banned_until for v in waits] == [None, None, None, now + 120_000]
    assert limit.spend("a", 1, now + 60_000).wait == 60
    assert limit.spend("b", 1, now).wait == 0
    later = now + 120_000
    again = [limit.spend("a", 1, later).banned_until for _ in range(4)]
    assert again == [None, None, None, later + 240_000]
    limit.forget()
    assert limit.spend("a", 1, later).wait == 0


async def test_a_banned_address_gets_418_until_the_ban_ends() -> None:
    venue, _ = demo_venue(7, clock=lambda: NOW)
    async with (
        SimulatedExchange(SimulationConfig(rate_limit=1), venue=venue) as sim,
        aiohttp.ClientSession(sim.base_url) as session,
    ):
        statuses = []
        for _ in range(23):
            async with session.get("/api/v3/ping") as answer:
                statuses.append(answer.status)
        assert statuses == [200, *[429] * 20, 418, 418]
        assert answer.headers["Retry-After"] == "120"
        venue.set_clock_offset(120_000)
        async with session.get("/api/v3/ping") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("call", "params", "weight"),
    [
        ("publicGetPing", {}, 1),
        ("publicGetDepth", {"symbol": "BTCUSDT", "limit": 100}, 5),
        ("publicGetDepth", {"symbol": "BTCUSDT", "limit": 101}, 25),
        ("publicGetDepth", {"symbol": "BTCUSDT", "limit": 1_000}, 50),
        ("publicGetDepth", {"symbol": "BTCUSDT", "limit": 5_000}, 250),
        ("publicGetTicker24hr", {"symbol": "BTCUSDT"}, 2),
        ("publicGetTicker24hr", {}, 80),
        ("privateGetAccount", {}, 20),
        ("privateGetOpenOrders", {"symbol": "BTCUSDT"}, 6),
        ("privateGetOpenOrders", {}, 80),
        ("privateGetMyTrades", {"symbol": "BTCUSDT"}, 20),
    ],
)
async def test_a_request_weighs_what_binance_documents(
    connect: Connect,
    accounts: tuple[DemoAccount, ...],
    call: str,
    params: dict[str, object],
    weight: int,
) -> None:
    exchange = connect(accounts[0])
    await getattr(exchange, call)(params)
    headers = {k.upper(): v for k, v in exchange.last_response_headers.items()}
    assert headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
