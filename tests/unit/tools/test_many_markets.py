"""Tickers and funding rates of many markets: which requests they cost, and what is said of those
that fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ccxt_mcp.simulation import Fault
from ccxt_mcp.tools.many import MAX_SINGLE
from tests.unit.tools.test_tools import check_success
from tests.unit.tools.world import World, make_world

SPOT = "GET /api/v3/ticker/24hr"
LINEAR = "GET /fapi/v1/ticker/24hr"
PREMIUM = "GET /fapi/v1/premiumIndex"
FEW = ["BTC/USDT", "ETH/USDT", "XRP/USDT"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    listed = {"extra_symbols": 150, "linear_symbols": 30}
    async with make_world(tmp_path, listed=listed) as made:
        await made.call("get_markets", {"limit": 1})
        made.sim.counters.reset()
        yield made


def requests(world: World) -> dict[str, int]:
    return {route: count for route, count in world.sim.counters.by_route.items() if count}


async def test_named_symbols_are_one_request_as_users_write_them(world: World) -> None:
    asked = {"symbols": ["btcusdt", "eth-usdt", "XRP/USDT", "BTC/USDT"]}
    outcome = await world.call("batch_get_tickers", asked)
    check_success("batch_get_tickers", outcome)
    assert [row["symbol"] for row in outcome.data["tickers"]] == FEW
    assert requests(world) == {SPOT: 1}
    alone = (await world.call("get_ticker", {"symbol": "BTC/USDT"})).data["ticker"]
    assert outcome.data["tickers"][0].keys() <= alone.keys()


@pytest.mark.parametrize(
    ("tool", "rows", "symbols"),
    [
        ("batch_get_tickers", "tickers", ["BTC/USDT", "ETH/USDT"]),
        ("get_funding_rates", "fundingRates", ["BTC/USDT:USDT", "ETH/USDT:USDT"]),
    ],
)
async def test_symbols_may_come_as_a_text(
    world: World, tool: str, rows: str, symbols: list[str]
) -> None:
    one = await world.call(tool, {"symbols": symbols[0]})
    assert [row["symbol"] for row in one.data[rows]] == symbols[:1]
    two = await world.call(tool, {"symbols": ",".join(symbols)})
    assert [row["symbol"] for row in two.data[rows]] == symbols


async def test_one_symbol_shares_the_answer_of_get_ticker(world: World) -> None:
    one = await world.call("get_ticker", {"symbol": "BTC/USDT"})
    many = await world.call("batch_get_tickers", {"symbols": ["BTC/USDT"]})
    assert many.data["cached"] is True
    assert many.data["fetchedAt"] == one.data["fetchedAt"]
    assert requests(world) == {SPOT: 1}


async def test_kinds_of_markets_are_asked_apart(world: World) -> None:
    """CCXT refuses a list of several kinds outright; few contracts at Binance are cheaper alone."""
    asked = [*FEW, "BTC/USDT:USDT", "ETH/USDT:USDT"]
    outcome = await world.call("batch_get_tickers", {"symbols": asked})
    assert [row["symbol"] for row in outcome.data["tickers"]] == sorted(asked)
    assert requests(world) == {SPOT: 1, LINEAR: 2}
    contracts = [
        symbol
        for symbol in world.gateway.listing("paper").markets  # type: ignore[union-attr]
        if ":" in symbol
    ]
    world.sim.counters.reset()
    outcome = await world.call("batch_get_tickers", {"symbols": contracts})
    assert outcome.data["total"] == 30
    assert requests(world) == {LINEAR: 1}


async def test_an_unknown_symbol_spoils_only_itself(world: World) -> None:
    asked = [*FEW, "NO/PE", "abc" * 20]
    outcome = await world.call("batch_get_tickers", {"symbols": asked})
    check_success("batch_get_tickers", outcome)
    assert len(outcome.data["tickers"]) == 3
    failed = outcome.data["failed"]
    assert [row["symbol"] for row in failed] == asked[3:]
    assert {row["code"] for row in failed} == {"unknown_symbol"}
    assert "NO/PE" in failed[0]["message"]
    none = await world.call("batch_get_tickers", {"symbols": ["NO/PE", "NO/PE2"]})
    assert none.failure["code"] == "unknown_symbol"


async def test_two_hundred_unknown_symbols_leave_room_for_what_is_known(world: World) -> None:
    """Named one by one with their neighbours they would be larger than a result may be."""
    asked = ["BTC/USDT", *(f"{'NOPE' * 12}{number}/€€€" for number in range(199))]
    outcome = await world.call("batch_get_tickers", {"symbols": asked})
    check_success("batch_get_tickers", outcome)
    assert [row["symbol"] for row in outcome.data["tickers"]] == ["BTC/USDT"]
    assert "more" in outcome.data["failed"][-1]["message"]


async def test_a_key_among_the_symbols_is_not_repeated(world: World) -> None:
    key = world.demo[0].secret
    outcome = await world.call("batch_get_tickers", {"symbols": ["BTC/USDT", key]})
    assert key[:16] not in outcome.text
    assert outcome.data["failed"][0]["code"] == "unknown_symbol"


async def test_many_spot_symbols_are_asked_for_as_all(world: World) -> None:
    """Binance weighs 101 named ones like all of them; those not named stay out."""
    spot = sorted(
        symbol
        for symbol in world.gateway.listing("paper").markets  # type: ignore[union-attr]
        if ":" not in symbol
    )[:120]
    outcome = await world.call("batch_get_tickers", {"symbols": spot, "limit": 500})
    assert [row["symbol"] for row in outcome.data["tickers"]] == spot
    world.sim.counters.reset()
    again = await world.call("batch_get_tickers", {"type": "spot"})
    assert again.data["cached"] is True


async def test_fields_are_those_asked_for_and_wrong_ones_are_refused(world: World) -> None:
    asked = {"symbols": FEW, "fields": ["vwap", "open"]}
    outcome = await world.call("batch_get_tickers", asked)
    assert all(set(row) == {"symbol", "vwap", "open"} for row in outcome.data["tickers"])
    wrong = await world.call("batch_get_tickers", {"symbols": FEW, "fields": ["vwop"]})
    assert wrong.failure["code"] == "invalid_argument"
    assert "`vwap`" in wrong.text


async def test_kind_and_quote_narrow_what_is_shown(world: World) -> None:
    swaps = await world.call("batch_get_tickers", {"type": "swap", "limit": 500})
    assert swaps.data["total"] == 30
    assert all(":" in row["symbol"] for row in swaps.data["tickers"])
    euros = await world.call("batch_get_tickers", {"quote": "eur", "limit": 500})
    assert euros.data["total"] > 2
    assert all(row["symbol"].endswith("/EUR") for row in euros.data["tickers"])


async def test_pages_go_on_where_they_stopped(world: World) -> None:
    seen: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = await world.call("batch_get_tickers", {"limit": 37, **more})
        seen += [row["symbol"] for row in page.data["tickers"]]
        if "nextCursor" not in page.data:
            break
        more = {"cursor": page.data["nextCursor"]}
    assert seen == sorted(set(seen))
    assert len(seen) == page.data["total"] == 164
    foreign = await world.call("batch_get_tickers", {"quote": "EUR", **more})
    assert foreign.failure["code"] == "invalid_argument"


async def test_an_exchange_without_lists_is_asked_one_by_one_and_not_too_often(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails of them is said beside what does not."""
    monkeypatch.setattr("ccxt_mcp.tools.tickers._offers_many", lambda *_: False)
    world.sim.faults.add(
        Fault(kind="status", route=SPOT, status=400, body={"code": -1100, "msg": "no"}, times=1)
    )
    outcome = await world.call("batch_get_tickers", {"symbols": FEW})
    assert len(outcome.data["tickers"]) == 2
    assert [row["code"] for row in outcome.data["failed"]] == ["invalid_argument"]
    assert requests(world) == {SPOT: 3}
    names = sorted(world.gateway.listing("paper").markets)  # type: ignore[union-attr]
    many = await world.call("batch_get_tickers", {"symbols": names[: MAX_SINGLE + 1]})
    assert many.failure["code"] == "invalid_argument"
    every = await world.call("batch_get_tickers")
    assert every.failure["code"] == "not_supported"
    assert "`symbols`" in every.text
    assert requests(world) == {SPOT: 3}


async def test_a_failure_of_the_one_request_is_the_answer(world: World) -> None:
    world.sim.faults.add(Fault(kind="status", route=SPOT, status=429))
    for asked in ({"symbols": FEW}, {}):
        outcome = await world.call("batch_get_tickers", asked)
        assert outcome.failure["code"] == "rate_limited"


async def test_funding_rates_of_all_swaps_and_of_one(world: World) -> None:
    every = await world.call("get_funding_rates", {"limit": 500})
    check_success("get_funding_rates", every)
    assert every.data["total"] == 30
    assert requests(world) == {PREMIUM: 1}
    one = await world.call("get_funding_rates", {"symbols": ["BTC/USDT:USDT"]})
    row = one.data["fundingRates"][0]
    assert isinstance(row["fundingRate"], float)
    assert row["fundingTimestamp"] > one.data["fetchedAt"] - 1_000
    assert row["markPrice"] > 0
    assert row["indexPrice"] > 0
    two = await world.call(
        "get_funding_rates", {"symbols": ["ETH/USDT:USDT", "BTC/USDT:USDT"], "limit": 1}
    )
    assert [row["symbol"] for row in two.data["fundingRates"]] == ["BTC/USDT:USDT"]
    assert two.data["total"] == 2
    assert "nextCursor" in two.data


async def test_a_spot_market_has_no_funding_and_its_swap_is_named(world: World) -> None:
    """Left to CCXT, it is an error that names neither."""
    outcome = await world.call("get_funding_rates", {"symbols": ["BTC/USDT"]})
    assert outcome.failure["code"] == "invalid_argument"
    assert "BTC/USDT:USDT" in outcome.failure["hint"]
    mixed = await world.call("get_funding_rates", {"symbols": ["BTC/USDT", "ETH/USDT:USDT"]})
    assert [row["symbol"] for row in mixed.data["fundingRates"]] == ["ETH/USDT:USDT"]
    assert "BTC/USDT:USDT" in mixed.data["failed"][0]["message"]
    assert requests(world) == {PREMIUM: 1}


async def test_all_tickers_are_those_of_one_kind_and_say_so(world: World) -> None:
    """Without the notice 30 swaps are missing, and nothing tells that they are."""
    every = await world.call("batch_get_tickers", {"limit": 500})
    assert not any(":" in row["symbol"] for row in every.data["tickers"])
    assert "spot markets" in every.data["notice"]
    assert "(swap) may be missing" in every.data["notice"]
    for narrowed in ({"type": "spot"}, {"symbols": FEW}):
        outcome = await world.call("batch_get_tickers", {"limit": 500, **narrowed})
        assert "notice" not in outcome.data


async def test_an_exchange_of_one_kind_has_nothing_to_say_about_others(tmp_path: Path) -> None:
    async with make_world(tmp_path) as spot_only:
        for tool in ("batch_get_tickers", "get_open_orders"):
            outcome = await spot_only.call(tool, {"limit": 500})
            assert "other kinds" not in outcome.data.get("notice", "")


async def test_a_kind_that_the_exchange_does_not_list_is_refused_before_it_is_asked(
    tmp_path: Path,
) -> None:
    """It was asked, and its empty answer told as one that cannot be read and to be tried again."""
    async with make_world(tmp_path) as spot_only:
        rates = await spot_only.call("get_funding_rates", {})
        assert rates.failure["code"] == "not_supported"
        prices = await spot_only.call("batch_get_tickers", {"type": "swap"})
        assert prices.failure["code"] == "invalid_argument"
        for outcome in (rates, prices):
            assert "lists no swap markets here (only: spot)" in outcome.failure["message"]
        assert not [each for each in requests(spot_only) if "ticker" in each or "premium" in each]


async def test_a_named_symbol_of_another_kind_or_quote_is_said_to_be_left_out(
    world: World,
) -> None:
    """Before, it was missing from the answer without a word, though it had been asked for."""
    asked = {"symbols": ["BTC/USDT", "BTC/USDT:USDT", "BTC/EUR"]}
    spot = await world.call("batch_get_tickers", {**asked, "type": "spot"})
    assert [row["symbol"] for row in spot.data["tickers"]] == ["BTC/EUR", "BTC/USDT"]
    assert [row["symbol"] for row in spot.data["failed"]] == ["BTC/USDT:USDT"]
    assert "swap market, not of `type` spot" in spot.data["failed"][0]["message"]
    euro = await world.call("batch_get_tickers", {**asked, "quote": "eur"})
    assert [row["symbol"] for row in euro.data["tickers"]] == ["BTC/EUR"]
    assert [row["symbol"] for row in euro.data["failed"]] == ["BTC/USDT", "BTC/USDT:USDT"]
    assert {row["code"] for row in euro.data["failed"]} == {"invalid_argument"}
    # Nothing is asked of what is left out.
    assert requests(world) == {SPOT: 2}
    none = await world.call("batch_get_tickers", {"symbols": ["BTC/USDT"], "type": "swap"})
    assert none.failure["code"] == "invalid_argument"


async def test_a_quote_that_no_market_has_is_refused(world: World) -> None:
    """An empty list would say that there are such markets, and that nothing trades."""
    for asked in ({}, {"symbols": FEW}):
        outcome = await world.call("batch_get_tickers", {"quote": "USDTT", **asked})
        assert outcome.failure["code"] == "invalid_argument"
        assert "did you mean `USDT`?" in outcome.failure["message"]
    assert requests(world) == {}
