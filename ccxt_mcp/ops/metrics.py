"""What is counted and timed while the server works, in Prometheus' terms.

Owns: one application's counters and histograms, and the bounds on their labels. Refuses: state
that can be read when somebody asks (``exposition.py``), and labels that a caller could make up: a
tool is a known one or ``unknown``, an exchange one of the configured or of a bounded number of
others, an outcome a code of ``errors``. There is no label for sessions, callers, accounts or
symbols.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.process_collector import ProcessCollector

from ccxt_mcp.errors import Code
from ccxt_mcp.telemetry import OK, Step

__all__ = ["MOST_OTHERS", "MOST_SERIES", "NONE", "OTHER", "UNKNOWN", "Metrics", "Names"]

MOST_OTHERS = 64
"""Exchanges besides the configured ones that get a label of their own."""

MOST_SERIES = 1024
"""Combinations of tool, exchange and outcome that are counted apart; those of further ones that
differ in the exchange alone are added up."""

NONE, OTHER, UNKNOWN = "none", "other", "unknown"
"""An exchange that was not chosen (yet), one beyond the bound; a tool that does not exist."""

_OUTCOMES = frozenset((OK, *Code))
_CALLS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
"""Up to the default of ``tool_timeout``: what takes longer was configured to be allowed to."""
_WAITS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Up to the default of ``lane_wait_max``."""
_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1)


class Names:
    """At most so many names; whatever comes later is ``other``. Mutable: ``_known``, only grows."""

    __slots__ = ("_known", "_most")

    def __init__(self, configured: Iterable[str], others: int = MOST_OTHERS) -> None:
        self._known = set(configured)
        self._most = len(self._known) + others

    def __call__(self, name: str | None) -> str:
        if name is None:
            return NONE
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name


class Metrics:
    """A ``telemetry.Recorder``.

    Args:
        tools: the names of all tools.
        exchanges: the names of the configured profiles.

    Each application has its own, with a registry of its own: several may live in one process.
    Mutable: the values, ``_cache`` (registered when first used: what nothing feeds is not shown),
    and the children found so far, at most one for each combination of bounded labels.
    """

    def __init__(self, tools: Iterable[str] = (), exchanges: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self.exchange = Names(exchanges)
        self._tools = frozenset(tools)
        ProcessCollector(registry=self.registry)
        self._calls = Counter(
            "ccxt_mcp_calls",
            "Tool calls that ended.",
            ("tool", "exchange", "outcome"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "ccxt_mcp_call_duration_seconds",
            "Time of tool calls after their session's lane.",
            ("tool",),
            buckets=_CALLS,
            registry=self.registry,
        )
        self._waits = Histogram(
            "ccxt_mcp_wait_seconds",
            "Waits inside the server; what need not wait is not counted.",
            ("step", "exchange"),
            buckets=_WAITS,
            registry=self.registry,
        )
        self._requests = Counter(
            "ccxt_mcp_upstream_requests",
            "HTTP requests to exchanges that ended.",
            ("exchange", "outcome"),
            registry=self.registry,
        )
        self._request_durations = Histogram(
            "ccxt_mcp_upstream_request_duration_seconds",
            "Time of HTTP requests to exchanges, signing and reading included.",
            ("exchange",),
            buckets=_CALLS,
            registry=self.registry,
        )
        self._refusals = Counter(
            "ccxt_mcp_http_refused",
            "HTTP requests that were refused before they reached MCP.",
            ("status",),
            registry=self.registry,
        )
        self._lags = Histogram(
            "ccxt_mcp_loop_lag_seconds",
            "How late the event loop runs a timer, sampled.",
            buckets=_LAGS,
            registry=self.registry,
        )
        self._cache: Counter | None = None
        self._cache_children: dict[tuple[str, str], Counter] = {}
        self._call_children: dict[tuple[str, str, str], Counter] = {}
        self._duration_children: dict[str, Histogram] = {}
        self._wait_children: dict[tuple[str, str], Histogram] = {}
        self._request_children: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def call(self, tool: str, exchange: str | None, outcome: str, seconds: float | None) -> None:
        """See ``Recorder.call``."""
        tool = tool if tool in self._tools else UNKNOWN
        key = (tool, self.exchange(exchange), _bounded(outcome))
        count = self._call_children.get(key)
        if count is None:
            if len(self._call_children) >= MOST_SERIES:
                key = (tool, OTHER, key[2])
            count = self._call_children[key] = self._calls.labels(*key)
        count.inc()
        if seconds is None:
            return
        duration = self._duration_children.get(tool)
        if duration is None:
            duration = self._duration_children[tool] = self._durations.labels(tool)
        duration.observe(seconds)

    def step(self, step: Step, exchange: str | None, seconds: float, outcome: str) -> None:
        """See ``Recorder.step``."""
        name = self.exchange(exchange)
        if step is Step.REQUEST:
            count, duration = self._request(name, _bounded(outcome))
            count.inc()
            duration.observe(seconds)
            return
        wait = self._wait_children.get((step, name))
        if wait is None:
            wait = self._wait_children[step, name] = self._waits.labels(step.value, name)
        wait.observe(seconds)

    def cache(self, method: str, outcome: str) -> None:
        """See ``Recorder.cache``."""
        if self._cache is None:
            self._cache = Counter(
                "ccxt_mcp_cache_requests",
                "Reads that asked a cache.",
                ("method", "outcome"),
                registry=self.registry,
            )
        count = self._cache_children.get((method, outcome))
        if count is None:
            count = self._cache_children[method, outcome] = self._cache.labels(method, outcome)
        count.inc()

    def refused(self, status: int) -> None:
        """See ``Recorder.refused``."""
        self._refusals.labels(str(status)).inc()

    def lag(self, seconds: float) -> None:
        """The event loop ran a timer so late."""
        self._lags.observe(seconds)

    def _request(self, exchange: str, outcome: str) -> tuple[Counter, Histogram]:
        found = self._request_children.get((exchange, outcome))
        if found is None:
            found = self._request_children[exchange, outcome] = (
                self._requests.labels(exchange, outcome),
                self._request_durations.labels(exchange),
            )
        return found


def _bounded(outcome: str) -> str:
    return outcome if outcome in _OUTCOMES else Code.INTERNAL.value
