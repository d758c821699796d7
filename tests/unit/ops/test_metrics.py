"""Counters with bounded labels."""

from __future__ import annotations

from prometheus_client import generate_latest

from ccxt_mcp.errors import Code
from ccxt_mcp.ops.metrics import MOST_OTHERS, MOST_SERIES, Metrics, Names
from ccxt_mcp.telemetry import Step


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Label values (in the order of the labels' names) → value, of one sample's name."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_a_flood_of_names_makes_a_bounded_number_of_series() -> None:
    """Without the bounds a caller fills the server's memory, and the scraper's, by inventing
    names."""
    metrics = Metrics(("get_ticker",), ("paper", "live"))
    for number in range(5_000):
        metrics.call(f"tool-{number}", f"exchange-{number}", f"outcome-{number}", 0.1)
        metrics.step(Step.LIMIT, f"exchange-{number}", 0.1, "ok")
        metrics.step(Step.REQUEST, f"exchange-{number}", 0.1, f"outcome-{number}")
    metrics.call("get_ticker", "paper", "ok", 0.1)
    metrics.call("get_ticker", None, "timeout", 0.1)
    calls = series(metrics, "ccxt_mcp_calls_total")
    assert calls["paper", "ok", "get_ticker"] == 1
    assert calls["none", "timeout", "get_ticker"] == 1
    assert calls["exchange-0", "internal", "unknown"] == 1
    assert calls["other", "internal", "unknown"] == 5_000 - MOST_OTHERS
    assert len(calls) == MOST_OTHERS + 3
    for name in ("wait_seconds_count", "upstream_requests_total"):
        assert len(series(metrics, f"ccxt_mcp_{name}")) == MOST_OTHERS + 1, name


def test_calls_have_no_more_series_than_can_be_read_at_once() -> None:
    """All combinations of the bounded labels would be 25,000: more than a megabyte at each scrape.
    Nothing is lost: what comes too late is added up over the exchanges."""
    tools = [f"tool-{number}" for number in range(20)]
    metrics = Metrics(tools)
    for exchange in range(MOST_OTHERS):
        for tool in tools:
            for code in Code:
                metrics.call(tool, f"exchange-{exchange}", code.value, None)
    calls = series(metrics, "ccxt_mcp_calls_total")
    assert MOST_SERIES <= len(calls) <= MOST_SERIES + len(tools) * len(Code)
    assert sum(calls.values()) == MOST_OTHERS * len(tools) * len(Code)


def test_configured_exchanges_keep_their_name_after_a_flood() -> None:
    name = Names(["paper"], others=2)
    assert [name(each) for each in ("a", "b", "c", "a", "paper", None)] == [
        *("a", "b", "other", "a", "paper", "none")
    ]


def test_a_call_that_was_not_started_is_counted_and_has_no_duration() -> None:
    metrics = Metrics(("get_ticker",))
    metrics.call("get_ticker", None, "overloaded", None)
    assert series(metrics, "ccxt_mcp_calls_total") == {("none", "overloaded", "get_ticker"): 1}
    assert series(metrics, "ccxt_mcp_call_duration_seconds_count") == {}


def test_a_cache_is_shown_once_one_is_asked() -> None:
    metrics = Metrics()
    assert b"cache" not in generate_latest(metrics.registry)
    metrics.cache("fetchTicker", "hit")
    metrics.cache("fetchTicker", "hit")
    assert series(metrics, "ccxt_mcp_cache_requests_total") == {("fetchTicker", "hit"): 2}


def test_two_applications_of_one_process_count_apart() -> None:
    one, other = Metrics(("a",)), Metrics(("a",))
    one.call("a", None, "ok", 0.1)
    assert series(one, "ccxt_mcp_calls_total")
    assert not series(other, "ccxt_mcp_calls_total")
