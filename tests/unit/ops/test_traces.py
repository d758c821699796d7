"""Asking for traces, and getting them or a word why not."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ccxt_mcp.ops.traces import ENDPOINTS, _redacting, export_traces
from tests.tracing import Spans

OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def asked(environ: dict[str, str]) -> list[str]:
    said: list[str] = []
    export_traces(version="1", redact=str, warn=said.append, environ=environ)()
    return said


@pytest.mark.parametrize("environ", [{}, {ENDPOINTS[0]: "x", "OTEL_TRACES_EXPORTER": "none"}])
def test_nothing_is_exported_unless_asked_for(environ: dict[str, str]) -> None:
    before = trace.get_tracer_provider()
    assert asked(environ) == []
    assert trace.get_tracer_provider() is before


@pytest.mark.parametrize("variable", ENDPOINTS)
def test_the_missing_extra_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Whoever sets the variable alone would otherwise wait for traces that never come."""
    monkeypatch.setitem(sys.modules, OTLP, None)
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    (line,) = asked({variable: "http://127.0.0.1:4318"})
    assert variable in line
    assert "ccxt-mcp[otel]" in line
    assert "\n" not in line


def test_a_provider_of_somebody_elses_is_left_alone(spans: Spans) -> None:
    before = trace.get_tracer_provider()
    assert asked({ENDPOINTS[0]: "http://127.0.0.1:4318"}) == []
    assert trace.get_tracer_provider() is before


class Kept(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def test_what_leaves_is_redacted_wherever_it_stands(spans: Spans) -> None:
    """The SDK puts a caller's request id and a failing kernel's exception into its spans."""
    with (
        contextlib.suppress(RuntimeError),
        trace.get_tracer("test").start_as_current_span("about hunter2") as span,
    ):
        span.set_attributes({"id": "hunter2", "number": 7})
        raise RuntimeError("signed with hunter2")
    kept = Kept()
    clean = _redacting(kept, lambda text: text.replace("hunter2", "***"))
    assert clean.export(spans.all()) is SpanExportResult.SUCCESS
    (before,), (after,) = spans.all(), kept.spans
    assert "hunter2" in before.to_json()
    assert "hunter2" not in after.to_json()
    assert after.context == before.context
    assert after.attributes == {"id": "***", "number": 7}
    assert after.name == "about ***"
