"""Exporting OpenTelemetry traces from a server of our own (``ccxt-mcp serve``).

Owns: the provider and its exporter, if the standard variables ask for one and the extra ``otel``
is installed. Refuses: being a reason not to start; settings of its own, since OpenTelemetry's
variables say everything; and programs that embed the application, which configure OpenTelemetry
themselves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from ccxt_mcp.telemetry import traced

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["ENDPOINTS", "FLUSH", "export_traces"]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Either of them switches the export on."""

FLUSH = 5.0
"""Seconds at shutdown for what has not been exported yet; then it is lost."""

_LONGEST = 256
"""Characters of an attribute's value: a caller chooses its request's id."""


def export_traces(
    *,
    version: str,
    redact: Callable[[str], str],
    warn: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
) -> Callable[[], None]:
    """Export spans as the environment asks, if it does.

    Args:
        version: of this product, for the spans' resource.
        redact: takes the secrets out of a text; applied to every text that leaves.
        warn: told in one line when traces are asked for and cannot be had.
        environ: the process's by default. OpenTelemetry itself always reads the process's.

    Returns what flushes and stops the export, in at most ``FLUSH`` seconds.
    """
    environ = os.environ if environ is None else environ
    wanted = next((name for name in ENDPOINTS if environ.get(name)), None)
    if wanted is None or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return _nothing
    if traced():
        # Somebody has configured OpenTelemetry already, for instance `opentelemetry-instrument`.
        return _nothing
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        warn(f"{wanted} is set, but traces need an extra: pip install 'ccxt-mcp[otel]'")
        return _nothing
    named = Resource({"service.name": "ccxt-mcp", "service.version": version})
    try:
        provider = TracerProvider(
            # The environment's resource goes first, its service name included.
            resource=Resource.create().merge(named).merge(OTELResourceDetector().detect()),
            span_limits=SpanLimits(max_span_attribute_length=_LONGEST),
            # Its own way to stop at exit has no bound.
            shutdown_on_exit=False,
        )
        provider.add_span_processor(BatchSpanProcessor(_redacting(OTLPSpanExporter(), redact)))
    except Exception as error:
        warn(f"traces are not exported: OpenTelemetry's variables are wrong ({redact(str(error))})")
        return _nothing
    trace.set_tracer_provider(provider)

    def stop() -> None:
        # A thread that may be left behind: an exporter whose collector is away keeps trying.
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH)

    return stop


def _nothing() -> None:
    pass


def _redacting(exporter: SpanExporter, redact: Callable[[str], str]) -> SpanExporter:
    """An exporter that sends what ``redact`` leaves of every text.

    No span of ours holds a text from outside. The SDK's hold a caller's (its request's id) and, if
    the kernel fails, an exception's.
    """
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    def clean(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            name: redact(value) if isinstance(value, str) else value
            for name, value in (attributes or {}).items()
        }

    def cleaned(span: ReadableSpan) -> ReadableSpan:
        words = span.status.description
        return ReadableSpan(
            name=redact(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=clean(span.attributes),
            events=[
                Event(each.name, clean(each.attributes), each.timestamp) for each in span.events
            ],
            links=span.links,
            kind=span.kind,
            status=trace.Status(span.status.status_code, redact(words) if words else None),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    class Redacting(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return exporter.export([cleaned(span) for span in spans])

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return exporter.force_flush(timeout_millis)

    return Redacting()
