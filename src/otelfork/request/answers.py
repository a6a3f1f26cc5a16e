"""What is added to responses, where the user wants it: headers that name the request's trace."""

from __future__ import annotations

from opentelemetry import trace

from otelfork.settings.http import HttpSettings


def added(span: trace.Span, settings: HttpSettings) -> list[tuple[str, str]]:
    """Return the headers to add to the response of a span's request."""
    seen = span.get_span_context()
    trace_id = trace.format_trace_id(seen.trace_id)
    parent = f"00-{trace_id}-{trace.format_span_id(seen.span_id)}-{seen.trace_flags:02x}"
    found: list[tuple[str, str]] = []
    if settings.traceresponse:
        found.append(("traceresponse", parent))
    if settings.server_timing:
        found.append(("server-timing", f'traceparent;desc="{parent}"'))
    if settings.trace_id_header:
        found.append((settings.trace_id_header, trace_id))
    return found
