"""What the receiver keeps: one plain frozen record per span, metric point, log record and request.

It must not know protobuf, servers or locks; `decode` fills these from OTLP messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Attributes = Mapping[str, object]
"""Decoded attributes: str, bool, int, float, bytes, None, and lists and dicts of these."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The instrumentation scope that a record was made with."""

    name: str
    version: str
    schema_url: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One event of a span; `time` in nanoseconds since the epoch."""

    name: str
    time: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class ReceivedLink:
    """One link of a span; the ids are lower-case hex."""

    trace_id: str
    span_id: str
    trace_state: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span as it came over the wire; ids are lower-case hex, times nanoseconds since the epoch.

    `kind` is UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER; `status` is UNSET, OK or ERROR;
    an absent parent is "". `batch` numbers the export request that carried the span; a doubled batch is
    stored twice with two numbers.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start_time: int
    end_time: int
    attributes: Attributes
    events: tuple[ReceivedEvent, ...]
    links: tuple[ReceivedLink, ...]
    status: str
    status_message: str
    trace_state: str
    flags: int
    dropped_attributes: int
    dropped_events: int
    dropped_links: int
    resource: Attributes
    scope: Scope
    batch: int


@dataclass(frozen=True, slots=True)
class ReceivedExemplar:
    """One exemplar of a metric point; ids are lower-case hex or ""."""

    value: float
    time: int
    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class ReceivedPoint:
    """One data point of one metric; times in nanoseconds since the epoch.

    `type` is sum, gauge, histogram, exponential_histogram or summary; `temporality` is CUMULATIVE, DELTA or
    "". `value` belongs to sums and gauges; `count`, `sum`, `minimum`, `maximum` and the buckets to the
    other types.
    """

    name: str
    unit: str
    description: str
    type: str
    temporality: str
    monotonic: bool
    start_time: int
    time: int
    attributes: Attributes
    value: float
    count: int
    sum: float
    minimum: float | None
    maximum: float | None
    bounds: Sequence[float]
    bucket_counts: Sequence[int]
    exemplars: tuple[ReceivedExemplar, ...]
    resource: Attributes
    scope: Scope
    batch: int


@dataclass(frozen=True, slots=True)
class ReceivedLog:
    """One log record; times in nanoseconds since the epoch, ids lower-case hex or ""."""

    time: int
    observed_time: int
    severity: int
    severity_text: str
    event_name: str
    body: object
    attributes: Attributes
    trace_id: str
    span_id: str
    flags: int
    resource: Attributes
    scope: Scope
    batch: int


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One export request, answered well or not.

    `protocol` is http/protobuf or grpc, `signal` is traces, metrics or logs, `headers` have lower-case
    names (gRPC: the invocation metadata), `size` counts the bytes on the wire (gRPC: after its own
    decompression), and `outcome` is the fault that it met: stored, dropped, doubled, refused or hung, or
    `malformed`.
    """

    protocol: str
    signal: str
    headers: Mapping[str, str]
    size: int
    outcome: str
