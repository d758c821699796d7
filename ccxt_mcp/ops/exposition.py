"""``GET /metrics``: the server's counters and its state, as Prometheus reads them.

Owns: the route, who may read it, and how a snapshot of the state becomes metrics. Refuses: to hold
state. Gauges are made from what the rooms say of themselves when asked, so that nothing is counted
twice.

The snapshot is taken on the event loop, in one go; the text is made in a thread, since with many
series that takes longer than a loop should stand still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ccxt_mcp.ops.metrics import Metrics

__all__ = ["State", "metrics_route"]

_NO_STORE = {"cache-control": "no-store"}
_READING = 2
"""Scrapes that may be made into text at once; one for the server in charge, one for a person."""


@dataclass(frozen=True, slots=True)
class State:
    """The server as it is now.

    ``sessions`` are counted by kind. ``calls`` is (under way, waiting for a slot), ``None`` where
    the tools are not ours. ``exchanges`` is the gateway's snapshot. ``connections`` are counts by
    name: ``open`` is a gauge, every other name a reason for which connections have been refused.
    ``store`` is what is known of the store that replicas share (``store.measured``), ``None``
    without one.
    """

    draining: bool
    sessions: Mapping[str, int]
    streams: int
    lanes_busy: int
    lane_waiting: int
    requests: int
    tasks: int
    calls: tuple[int, int] | None = None
    exchanges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    connections: Mapping[str, int] | None = None
    store: Mapping[str, Any] | None = None


def metrics_route(
    metrics: Metrics,
    state: Callable[[], State],
    *,
    build: Mapping[str, str],
    may_see_all: Callable[[Request], bool],
) -> Route:
    """The route.

    Args:
        metrics: what is counted.
        state: tells the rest; called on the event loop.
        build: versions, by name.
        may_see_all: whether this caller may read it: as for the sessions in ``/health``.
    """
    reading = asyncio.Semaphore(_READING)

    async def read(request: Request) -> Response:
        if not may_see_all(request):
            words = "Metrics are for tokens with the scope `ops`, or, without tokens, for loopback"
            return JSONResponse({"error": words}, status_code=403, headers=_NO_STORE)
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except Exception:
            # The library stumbles over versions that are none, in more than one way.
            encode, content_type = choose_encoder("")
        async with reading:
            now = _families(state(), build, metrics.exchange)
            text = await asyncio.to_thread(encode, _Page(now, metrics.registry))
        return Response(text, media_type=content_type, headers=_NO_STORE)

    return Route("/metrics", read, methods=["GET"])


class _Page:
    """All metrics of one scrape, without the time at which each series began, which the library
    adds to every one of them."""

    def __init__(self, now: Iterable[Metric], counted: Collector) -> None:
        self._now = now
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        yield from self._now
        for family in self._counted.collect():
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
            yield family


def _families(
    state: State, build: Mapping[str, str], exchange: Callable[[str], str]
) -> list[Metric]:
    found: list[Metric] = [
        InfoMetricFamily("ccxt_mcp_build", "Versions.", dict(build)),
        _gauge("draining", "1 while the server takes no more work.", int(state.draining)),
        _gauge("streams_open", "Sessions whose own stream is open.", state.streams),
        _gauge("lanes_busy", "Sessions in which a call runs.", state.lanes_busy),
        _gauge("lane_waiting", "Calls that wait for one of their session.", state.lane_waiting),
        _gauge("requests_in_progress", "MCP requests that are owed an answer.", state.requests),
        _gauge("tasks", "Tasks of the event loop.", state.tasks),
    ]
    sessions = GaugeMetricFamily("ccxt_mcp_sessions", "Live sessions.", labels=("kind",))
    for kind, number in state.sessions.items():
        sessions.add_metric((kind,), number)
    found.append(sessions)
    if state.calls is not None:
        running, waiting = state.calls
        found.append(_gauge("calls_running", "Calls that use an exchange.", running))
        found.append(_gauge("calls_waiting", "Calls that wait for a slot.", waiting))
    if state.connections is not None:
        found += _connections(state.connections)
    if state.store is not None:
        found += _store(state.store)
    return found + _exchanges(state.exchanges, exchange)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"ccxt_mcp_{name}", words, value)


def _connections(counts: Mapping[str, int]) -> list[Metric]:
    refused = CounterMetricFamily(
        "ccxt_mcp_connections_refused", "Connections that were hung up on.", labels=("reason",)
    )
    for reason, number in counts.items():
        if reason != "open":
            refused.add_metric((reason,), number)
    opened = _gauge("connections_open", "Connections of clients.", counts.get("open", 0))
    return [opened, refused]


def _store(store: Mapping[str, Any]) -> list[Metric]:
    durations = HistogramMetricFamily(
        "ccxt_mcp_store_round_trip_seconds",
        "Round trips to the store that replicas share.",
        labels=("operation",),
    )
    for operation, counts in store["counts"].items():
        bounds = (*map(str, store["buckets"]), "+Inf")
        cumulated = zip(bounds, accumulate(counts), strict=True)
        durations.add_metric((operation,), list(cumulated), store["seconds"][operation])
    failed = CounterMetricFamily(
        "ccxt_mcp_store_failures",
        "Round trips to the store that were not answered.",
        labels=("operation",),
    )
    for operation, number in store["failed"].items():
        failed.add_metric((operation,), number)
    found = [
        _gauge("store_up", "1 while the store that replicas share answers.", int(store["up"])),
        durations,
        failed,
    ]
    if store.get("nodes") is not None:
        found.append(_gauge("nodes", "Replicas that live, as this one last heard.", store["nodes"]))
    return found


def _exchanges(
    snapshots: Mapping[str, Mapping[str, Any]], exchange: Callable[[str], str]
) -> list[Metric]:
    """Of every profile in use; those beyond the bound of the label are one."""
    rows: dict[str, dict[str, float]] = {}
    for name, snapshot in snapshots.items():
        row = rows.setdefault(exchange(name), {})
        for key, value in _row(snapshot).items():
            merge = sum if key in _ADDED else max
            row[key] = merge((row[key], value)) if key in row else value
    families: list[Metric] = []
    for key, words in _OF_EXCHANGES.items():
        family = GaugeMetricFamily(f"ccxt_mcp_{key}", words, labels=("exchange",))
        for name, row in rows.items():
            if key in row:
                family.add_metric((name,), row[key])
        families.append(family)
    return families


_OF_EXCHANGES = {
    "leases": "Instances that calls are using.",
    "upstream_connections_open": "Connections to the exchange, in use or kept alive.",
    "limiter_waiting": "Requests that wait for a rate limit.",
    "limiter_used_ratio": "How much of the fullest rate limit is used.",
    "limiter_blocked_seconds": "For how long the exchange has asked for a pause.",
    "markets_age_seconds": "Age of the market tables in use.",
    "clock_offset_seconds": "How far the exchange's clock is from ours, either way.",
}
_ADDED = frozenset(("leases", "upstream_connections_open", "limiter_waiting"))
"""What is added up where several profiles share a label; of the rest the greatest counts."""


def _row(snapshot: Mapping[str, Any]) -> dict[str, float]:
    limits = list(snapshot["limits"].values())
    row: dict[str, float] = {
        "leases": snapshot["leases"],
        "upstream_connections_open": snapshot["openConnections"],
        "limiter_waiting": sum(each["waiting"] for each in limits),
        "limiter_used_ratio": max(
            (each["used"] / each["limit"] for each in limits if each["limit"]), default=0.0
        ),
        "limiter_blocked_seconds": max((each["blockedMs"] for each in limits), default=0) / 1000,
    }
    if snapshot["marketsAgeSeconds"] is not None:
        row["markets_age_seconds"] = snapshot["marketsAgeSeconds"]
    if snapshot["clock"] is not None:
        row["clock_offset_seconds"] = abs(snapshot["clock"]["offsetMs"]) / 1000
    return row
