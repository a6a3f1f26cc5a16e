"""Turns finished spans into Jaeger's, so that nothing of them is lost.

Sources: OpenTelemetry specification, "OpenTelemetry to Jaeger Transformation" and "Mapping arbitrary data to non-OTLP formats".
"""

from __future__ import annotations

import base64
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode

from otelfork.exporters.jaeger import structs
from otelfork.exporters.jaeger.structs import Batch, Log, Process, Span, SpanRef, Tag

_logger = logging.getLogger(__name__)
_I64 = 1 << 63
_LOW = (1 << 64) - 1
_KINDS = {
    SpanKind.SERVER: "server",
    SpanKind.CLIENT: "client",
    SpanKind.PRODUCER: "producer",
    SpanKind.CONSUMER: "consumer",
}


def batches(spans: Iterable[ReadableSpan]) -> list[Batch]:
    """Return a batch for each resource. A span that cannot be translated is logged and costs no other."""
    by_resource: dict[int, tuple[Resource, list[Span]]] = {}
    for span in spans:
        _, translated = by_resource.setdefault(id(span.resource), (span.resource, []))
        try:
            translated.append(_span(span))
        except Exception:
            _logger.exception("the span %r cannot be told to Jaeger; it is left out", span.name)
    return [Batch(process=_process(resource), spans=made) for resource, made in by_resource.values() if made]


def _process(resource: Resource) -> Process:
    attributes = dict(resource.attributes)
    name = attributes.pop(SERVICE_NAME, "unknown_service")
    return Process(serviceName=_clean(str(name)), tags=_tags(attributes))


def _span(span: ReadableSpan) -> Span:
    context = span.context
    if context is None:
        raise ValueError("a span without a context")
    begun, ended = span.start_time or 0, span.end_time or span.start_time or 0
    return Span(
        traceIdLow=_signed(context.trace_id & _LOW),
        traceIdHigh=_signed(context.trace_id >> 64),
        spanId=_signed(context.span_id),
        parentSpanId=_signed(span.parent.span_id) if span.parent else 0,
        operationName=_clean(str(span.name)),
        references=[_reference(link) for link in span.links] or None,
        # W3C's other bits mean something else here: 2 is "debug", which makes Jaeger keep everything.
        flags=int(context.trace_flags) & 1,
        startTime=_microseconds(begun),
        duration=_microseconds(ended - begun),
        tags=_tags(span.attributes) + _facts(span, context),
        logs=[_event(event) for event in span.events] + [_link(link, begun) for link in span.links if link.attributes]
        or None,
    )


def _facts(span: ReadableSpan, context: SpanContext) -> list[Tag]:
    """Return what Jaeger has no field for: kind, status, scope, trace state, what the limits dropped."""
    facts: dict[str, Any] = {}
    if span.kind in _KINDS:
        facts["span.kind"] = _KINDS[span.kind]
    if span.status.status_code is not StatusCode.UNSET:
        facts["otel.status_code"] = span.status.status_code.name
        if span.status.description:
            facts["otel.status_description"] = span.status.description
    if span.status.status_code is StatusCode.ERROR:
        facts["error"] = True
    if span.instrumentation_scope is not None:
        scope = span.instrumentation_scope
        facts.update({"otel.scope.name": scope.name, "otel.library.name": scope.name})
        if scope.version:
            facts.update({"otel.scope.version": scope.version, "otel.library.version": scope.version})
    if context.trace_state:
        facts["w3c.tracestate"] = context.trace_state.to_header()
    dropped = {"attributes": span.dropped_attributes, "events": span.dropped_events, "links": span.dropped_links}
    facts.update({f"otel.dropped_{name}_count": count for name, count in dropped.items() if count})
    return _tags(facts)


def _reference(link: Link) -> SpanRef:
    return SpanRef(
        refType=structs.FOLLOWS_FROM,
        traceIdLow=_signed(link.context.trace_id & _LOW),
        traceIdHigh=_signed(link.context.trace_id >> 64),
        spanId=_signed(link.context.span_id),
    )


def _event(event: Event) -> Log:
    fields = {"event": event.name, **(event.attributes or {})}
    dropped = getattr(event.attributes, "dropped", 0)
    if dropped:
        fields["otel.dropped_attributes_count"] = dropped
    return Log(timestamp=_microseconds(event.timestamp), fields=_tags(fields))


def _link(link: Link, begun: int) -> Log:
    """Return a link's attributes as a log at the span's start: a reference has no place for them."""
    fields = {
        **(link.attributes or {}),
        "event": "link",
        "trace_id": f"{link.context.trace_id:032x}",
        "span_id": f"{link.context.span_id:016x}",
    }
    return Log(timestamp=_microseconds(begun), fields=_tags(fields))


def _tags(attributes: Mapping[str, Any] | None) -> list[Tag]:
    return [_tag(_clean(str(key)), value) for key, value in (attributes or {}).items()]


def _tag(key: str, value: Any) -> Tag:
    if isinstance(value, bool):
        return Tag(key=key, vType=structs.BOOL, vBool=value)
    if isinstance(value, int) and -_I64 <= value < _I64:
        return Tag(key=key, vType=structs.LONG, vLong=value)
    if isinstance(value, float):
        return Tag(key=key, vType=structs.DOUBLE, vDouble=value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Tag(key=key, vType=structs.BINARY, vBinary=bytes(value))
    return Tag(key=key, vType=structs.STRING, vStr=_clean(_string(value)))


def _string(value: Any) -> str:
    """Return what has no type in Jaeger as text: nothing as the empty string, lists and maps as JSON, big integers whole."""
    if value is None:
        return ""
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str):
        return json.dumps(_json(value), ensure_ascii=False)
    return str(value)


def _json(value: Any) -> Any:
    """Return a value as JSON has it: bytes in base64, infinities and NaN by name, integers whole whatever their size."""
    if isinstance(value, Mapping):
        return {str(key): _json(member) for key, member in value.items()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Sequence):
        return [_json(member) for member in value]
    return str(value)


def _clean(text: str) -> str:
    """Replace what UTF-8 cannot say (lone surrogates): one such character would cost the whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _signed(number: int) -> int:
    """Return 64 bits as Thrift's signed integer."""
    number &= _LOW
    return number - (1 << 64) if number >= _I64 else number


def _microseconds(nanoseconds: int) -> int:
    return (nanoseconds + 500) // 1000
