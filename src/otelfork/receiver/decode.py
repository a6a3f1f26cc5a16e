"""Turns OTLP export requests (protobuf bytes) into records.

It parses and copies; it must not know servers, faults or the store. Layout: opentelemetry-proto 1.x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otelfork.receiver.records import (
    Attributes,
    ReceivedEvent,
    ReceivedExemplar,
    ReceivedLink,
    ReceivedLog,
    ReceivedPoint,
    ReceivedSpan,
    Scope,
)

Record = ReceivedSpan | ReceivedPoint | ReceivedLog

_KINDS = {number: name.removeprefix("SPAN_KIND_") for name, number in Span.SpanKind.items()}
_STATUSES = {number: name.removeprefix("STATUS_CODE_") for name, number in Status.StatusCode.items()}
_TEMPORALITIES = {
    number: name.removeprefix("AGGREGATION_TEMPORALITY_").replace("UNSPECIFIED", "")
    for name, number in AggregationTemporality.items()
}


def spans(body: bytes, batch: int) -> list[ReceivedSpan]:
    """Decode an ExportTraceServiceRequest; raises protobuf's DecodeError."""
    message = ExportTraceServiceRequest.FromString(body)
    return [
        _span(span, resource, scope, batch)
        for group in message.resource_spans
        for resource, scope, inner in _scoped(group, group.scope_spans)
        for span in inner.spans
    ]


def points(body: bytes, batch: int) -> list[ReceivedPoint]:
    """Decode an ExportMetricsServiceRequest into its data points; raises DecodeError."""
    message = ExportMetricsServiceRequest.FromString(body)
    return [
        _point(metric, point, resource, scope, batch)
        for group in message.resource_metrics
        for resource, scope, inner in _scoped(group, group.scope_metrics)
        for metric in inner.metrics
        for point in getattr(metric, metric.WhichOneof("data") or "gauge").data_points
    ]


def logs(body: bytes, batch: int) -> list[ReceivedLog]:
    """Decode an ExportLogsServiceRequest; raises DecodeError."""
    message = ExportLogsServiceRequest.FromString(body)
    return [
        _log(record, resource, scope, batch)
        for group in message.resource_logs
        for resource, scope, inner in _scoped(group, group.scope_logs)
        for record in inner.log_records
    ]


DECODERS: Mapping[str, Callable[[bytes, int], list[Any]]] = MappingProxyType(
    {"traces": spans, "metrics": points, "logs": logs}
)
"""The decoder of each signal."""


def _scoped(group: Any, inners: Iterable[Any]) -> Iterator[tuple[Attributes, Scope, Any]]:
    resource = _attributes(group.resource.attributes)
    for inner in inners:
        scope = inner.scope
        schema_url = inner.schema_url or group.schema_url
        yield resource, Scope(scope.name, scope.version, schema_url, _attributes(scope.attributes)), inner


def _attributes(pairs: Iterable[Any]) -> dict[str, object]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> object:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    content = getattr(value, kind)
    if kind == "array_value":
        return [_value(item) for item in content.values]
    if kind == "kvlist_value":
        return _attributes(content.values)
    plain: object = content
    return plain


def _span(span: Any, resource: Attributes, scope: Scope, batch: int) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=_KINDS.get(span.kind, str(span.kind)),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(
            ReceivedEvent(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events
        ),
        links=tuple(
            ReceivedLink(link.trace_id.hex(), link.span_id.hex(), link.trace_state, _attributes(link.attributes))
            for link in span.links
        ),
        status=_STATUSES.get(span.status.code, str(span.status.code)),
        status_message=span.status.message,
        trace_state=span.trace_state,
        flags=span.flags,
        dropped_attributes=span.dropped_attributes_count,
        dropped_events=span.dropped_events_count,
        dropped_links=span.dropped_links_count,
        resource=resource,
        scope=scope,
        batch=batch,
    )


def _point(metric: Any, point: Any, resource: Attributes, scope: Scope, batch: int) -> ReceivedPoint:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    number = kind in {"sum", "gauge"}
    distribution = kind in {"histogram", "exponential_histogram"}
    return ReceivedPoint(
        name=metric.name,
        unit=metric.unit,
        description=metric.description,
        type=kind,
        temporality=_TEMPORALITIES.get(getattr(data, "aggregation_temporality", 0), ""),
        monotonic=getattr(data, "is_monotonic", False),
        start_time=point.start_time_unix_nano,
        time=point.time_unix_nano,
        attributes=_attributes(point.attributes),
        value=_number(point) if number else 0,
        count=0 if number else point.count,
        sum=0.0 if number else point.sum,
        minimum=point.min if distribution and point.HasField("min") else None,
        maximum=point.max if distribution and point.HasField("max") else None,
        bounds=tuple(point.explicit_bounds) if kind == "histogram" else (),
        bucket_counts=_bucket_counts(kind, point),
        exemplars=() if kind == "summary" else tuple(map(_exemplar, point.exemplars)),
        resource=resource,
        scope=scope,
        batch=batch,
    )


def _number(carrier: Any) -> float:
    """Return the number of a data point or an exemplar, whichever of its two fields is set."""
    value: float = carrier.as_int if carrier.WhichOneof("value") == "as_int" else carrier.as_double
    return value


def _bucket_counts(kind: str, point: Any) -> tuple[int, ...]:
    """Return the buckets in ascending order; exponential ones: negative, zero, positive."""
    if kind == "histogram":
        return tuple(point.bucket_counts)
    if kind == "exponential_histogram":
        negative, positive = point.negative.bucket_counts, point.positive.bucket_counts
        return (*reversed(negative), point.zero_count, *positive)
    return ()


def _exemplar(exemplar: Any) -> ReceivedExemplar:
    return ReceivedExemplar(
        value=_number(exemplar),
        time=exemplar.time_unix_nano,
        trace_id=exemplar.trace_id.hex(),
        span_id=exemplar.span_id.hex(),
        attributes=_attributes(exemplar.filtered_attributes),
    )


def _log(record: Any, resource: Attributes, scope: Scope, batch: int) -> ReceivedLog:
    return ReceivedLog(
        time=record.time_unix_nano,
        observed_time=record.observed_time_unix_nano,
        severity=record.severity_number,
        severity_text=record.severity_text,
        event_name=record.event_name,
        body=_value(record.body),
        attributes=_attributes(record.attributes),
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        flags=record.flags,
        resource=resource,
        scope=scope,
        batch=batch,
    )
