"""What stands around a request when it begins: a wish for silence, another instrumentation, a span to be the child of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind

from otelfork import semconv
from otelfork.request import propagation

RECORDED = "otelfork.recorded"
"""Context key inside a request that is recorded here: what another instrumentation measures of it would count it twice."""
_BASE = Context({RECORDED: True})
_SUPPRESSED = ("suppress_instrumentation", "suppress_http_instrumentation")


def suppressed() -> bool:
    """Tell whether the current context asks for silence (`suppress_instrumentation`, `suppress_http_instrumentation`).

    The API gives these keys no public name, but their text begins with the plain name (`create_key` adds a random end),
    and a context at the beginning of a request is nearly always empty.
    """
    current = contexts.get_current()
    return bool(current) and any(key.startswith(_SUPPRESSED) and value for key, value in current.items())


def traced_outside(method: str, path: str) -> bool:
    """Tell whether another instrumentation around this one already has a SERVER span for this very request.

    Its span is the current one, is recording, and names the same method and path: the server span of another request
    that calls this application in-process does not.
    """
    span = trace.get_current_span()
    if not span.is_recording() or getattr(span, "kind", None) is not SpanKind.SERVER:
        return False
    seen = getattr(span, "attributes", None) or {}
    target = str(seen.get(semconv.URL_PATH) or seen.get("http.target") or seen.get("http.url") or "")
    named = seen.get(semconv.HTTP_REQUEST_METHOD) or seen.get("http.method")
    return named in {method, semconv.OTHER_METHOD} and (not target or target.partition("?")[0].endswith(path))


def parent_context(carrier: Mapping[str, Any], getter: Getter[Any]) -> Context:
    """Return the context to start in: what was sent, or a span of this process that runs around the request."""
    current = contexts.get_current()
    around = trace.get_current_span(current) if current else None
    if around is None or not _is_running(around):
        return propagation.received(carrier, _BASE, getter)
    found = propagate.extract(carrier, contexts.set_value(RECORDED, True, current), getter)
    if trace.get_current_span(found).get_span_context().trace_id == around.get_span_context().trace_id:
        # The span around this request came of the same headers: it is the nearer parent.
        return trace.set_span_in_context(around, found)
    return found


def _is_running(span: trace.Span) -> bool:
    """Tell a span that runs around this request from one that another request left on this thread, ended long ago."""
    if span.is_recording():
        return True
    seen = span.get_span_context()
    return isinstance(span, trace.NonRecordingSpan) and seen.is_valid and not seen.is_remote
