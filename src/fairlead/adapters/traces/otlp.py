"""Traces by OTLP over HTTP, to an OpenTelemetry collector or whatever speaks its protocol."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from fairlead.adapters.traces.names import LATEST, attributes, title
from fairlead.contracts.answered import Answered
from fairlead.contracts.secrets import Secret

WAITING: Final = 4096
"""Spans that wait to be sent; more are dropped."""
SECONDS: Final = 5.0
"""For one request, and for what is left at the end."""

_PARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""Source: W3C Trace Context, version 00."""

logging.getLogger("opentelemetry").addHandler(logging.NullHandler())


class OtlpTracer:
    """``headers``: ``name=value`` pairs with commas between them, as OTEL_EXPORTER_OTLP_HEADERS has them."""

    def __init__(self, url: str, service: str, headers: Secret | None = None, names: str = LATEST) -> None:
        self._names = names
        self._sending = _Told(OTLPSpanExporter(url, headers=_headers(headers), timeout=SECONDS))
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}), shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(self._sending, max_queue_size=WAITING, schedule_delay_millis=1000)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("fairlead")

    def put(self, one: Answered) -> None:
        ended = one.at_ms * 1_000_000
        began = ended - round(one.seconds * 1e9)
        span = self._tracer.start_span(
            title(one),
            context=_context(one.parent),
            kind=SpanKind.SERVER,
            attributes=attributes(one, self._names),
            start_time=began,
        )
        if one.first:
            span.add_event("gen_ai.first_chunk", timestamp=began + round((one.first - one.arrived) * 1e9))
        if one.failed:
            span.set_status(Status(StatusCode.ERROR, one.error))
        span.end(end_time=ended)

    def troubles(self) -> list[str]:
        return [self._sending.trouble] if self._sending.trouble else []

    def close(self) -> None:
        self._processor.force_flush(round(SECONDS * 1000))
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # theirs


class _Told(SpanExporter):
    """Remembers whether the last request went well."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.trouble = ""

    def export(self, spans: Any) -> SpanExportResult:
        done = self._inner.export(spans)
        self.trouble = "" if done is SpanExportResult.SUCCESS else "traces: the collector does not take them"
        return done

    def shutdown(self) -> None:
        self._inner.shutdown()


def _headers(secret: Secret | None) -> dict[str, str] | None:
    if secret is None:
        return None
    pairs = (one.partition("=") for one in secret.reveal().split(",") if "=" in one)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _context(parent: str) -> Any:
    """The caller's span, where they named one; else none."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    context = SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16))
    )
    return trace.set_span_in_context(NonRecordingSpan(context)) if context.is_valid else None
