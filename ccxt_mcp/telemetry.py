"""What a call spends its time on, told to whoever listens: the one seam of metrics and traces.

Owns: the names of the steps of a call, the form of what is told, and ``timed``, which tells.
Refuses: metrics (``ops/metrics.py`` listens) and exporters (``ops/traces.py``, or an embedding
program).

A step is timed where something really waits or travels: a lane that is free, a slot that is free
and a limiter that grants at once are told to nobody, so they cost nothing. Nothing that is told may
name a session, a caller, an account, a symbol or an address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from enum import StrEnum
from time import perf_counter
from types import TracebackType
from typing import Any, Protocol

from opentelemetry import context as otel
from opentelemetry import propagate, trace

from ccxt_mcp.errors import Code, code_of

__all__ = [
    "OK",
    "RECORDER",
    "Recorder",
    "Silence",
    "Step",
    "apart",
    "called",
    "name_span",
    "timed",
    "traced",
]

OK = "ok"
"""The outcome of what succeeded. All other outcomes are values of ``errors.Code``."""


class Step(StrEnum):
    """Where the time of a call goes."""

    LANE = "lane"
    """Waiting for earlier calls of the same session."""
    ADMISSION = "admission"
    """Waiting for a slot among the calls under way."""
    MARKETS = "markets"
    """Waiting for an exchange to come to life: its class, its market tables."""
    KEY = "key"
    """Waiting for the API key's turn, where an exchange wants nonces in order."""
    LIMIT = "limit"
    """Waiting for a rate limit."""
    REQUEST = "request"
    """One HTTP request to an exchange, from its signature to its answer."""


class Recorder(Protocol):
    """Who is told. Every method is called on the event loop, must not wait and must not raise."""

    def step(self, step: Step, exchange: str | None, seconds: float, outcome: str) -> None:
        """A step has ended. ``exchange`` is a profile's name; ``outcome`` is ``OK`` or a code."""

    def call(self, tool: str, exchange: str | None, outcome: str, seconds: float | None) -> None:
        """A tool call has ended; ``tool`` is as the caller named it, whatever that is.

        ``seconds`` are those after the lane; ``None`` if the call was not started.
        """

    def cache(self, method: str, outcome: str) -> None:
        """A read asked a cache: ``method`` is the unified name, ``outcome`` a word of a few."""

    def refused(self, status: int) -> None:
        """An HTTP request was refused before it reached MCP."""


class Silence:
    """The recorder that nobody listens to."""

    def step(self, step: Step, exchange: str | None, seconds: float, outcome: str) -> None: ...
    def call(
        self, tool: str, exchange: str | None, outcome: str, seconds: float | None
    ) -> None: ...
    def cache(self, method: str, outcome: str) -> None: ...
    def refused(self, status: int) -> None: ...


RECORDER: ContextVar[Recorder] = ContextVar("ccxt_mcp_recorder", default=Silence())  # noqa: B039
"""Who is told of the request at hand: the application that serves it."""

_TRACER = trace.get_tracer("ccxt_mcp")
"""Of whatever provider is configured by the time of its first span; of none, it does nothing."""


def traced() -> bool:
    """Whether a provider of traces is configured. If not, a span is work that nobody sees."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


class timed:
    """``with`` around one step: tells the recorder, and opens a span if the caller's is recorded.

    Args:
        step: which.
        exchange: the profile's name, where there is one.
    """

    __slots__ = ("_began", "_exchange", "_failed", "_span", "_step", "_token")

    def __init__(self, step: Step, exchange: str | None = None) -> None:
        self._step = step
        self._exchange = exchange
        self._span: trace.Span | None = None
        self._failed: Code | None = None

    def __enter__(self) -> timed:
        # Never the beginning of a trace: work of the server's own is in none.
        if trace.get_current_span().is_recording():
            self._open()
        self._began = perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._began
        outcome = OK if error is None else (self._failed or code_of(error)).value
        RECORDER.get().step(self._step, self._exchange, seconds, outcome)
        if self._span is not None:
            self._close(self._span, outcome)

    def failed(self, code: Code) -> None:
        """What the error is called that is about to end the step, if it is not a ``Failure``."""
        self._failed = code

    def note(self, **attributes: str | int) -> None:
        """Add ``ccxt_mcp.…`` attributes to the span, if there is one; of small sets only."""
        if self._span is not None:
            for name, value in attributes.items():
                self._span.set_attribute(f"ccxt_mcp.{name}", value)

    def _open(self) -> None:
        kind = trace.SpanKind.CLIENT if self._step is Step.REQUEST else trace.SpanKind.INTERNAL
        attributes = {} if self._exchange is None else {"ccxt_mcp.exchange": self._exchange}
        self._span = _TRACER.start_span(self._step.value, kind=kind, attributes=attributes)
        self._token: Any = otel.attach(trace.set_span_in_context(self._span))

    def _close(self, span: trace.Span, outcome: str) -> None:
        otel.detach(self._token)
        if outcome != OK:
            # The code alone: an error's own words may quote anything.
            span.set_attribute("error.type", outcome)
            span.set_status(trace.StatusCode.ERROR)
        span.end()


def apart() -> Context:
    """A context for work that is nobody's call: without its deadline, its caller and its span.

    Who is told stays the same.
    """
    context = Context()
    context.run(RECORDER.set, RECORDER.get())
    return context


@contextmanager
def called(tool: str, trace_headers: Mapping[str, str]) -> Iterator[None]:
    """Around a call that the MCP SDK, which opens a span for each of its own, knows nothing of.

    Args:
        tool: its name, never what a caller invented.
        trace_headers: ``traceparent`` and ``tracestate`` as the caller sent them.
    """
    with _TRACER.start_as_current_span(
        f"tools/call {tool}",
        context=propagate.extract(trace_headers),
        kind=trace.SpanKind.SERVER,
        attributes={"gen_ai.tool.name": tool},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", code_of(error).value)
            span.set_status(trace.StatusCode.ERROR)
            raise


def name_span(name: str, what: str = "tool") -> None:
    """Rename the span of the request at hand: the SDK puts there what a caller sent.

    ``what`` is ``tool`` or ``prompt``.
    """
    span = trace.get_current_span()
    if span.is_recording():
        span.update_name(f"{'tools/call' if what == 'tool' else 'prompts/get'} {name}")
        span.set_attribute(f"gen_ai.{what}.name", name)
