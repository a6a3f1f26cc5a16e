"""The embedded receiver, spoken to by the official exporters over both protocols."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.unit.posting import DEADLINE, call, export_one, post, request_of, span_exporter

from otelfork.receiver import ALWAYS, GRPC, HTTP, PROTOCOLS, Faults, Receiver

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_span_keeps_everything(receiver: Receiver, protocol: str) -> None:
    """Every field of a span arrives as it was exported."""
    provider = TracerProvider(resource=Resource({"service.name": "shop", "process.pid": 7}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(span_exporter(receiver, protocol)))
    linked = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(1))
    carrier = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "tracestate": "a=b"}
    span = provider.get_tracer("scope", "1.2", "https://schema", {"s": 1}).start_span(
        "GET /",
        TraceContextTextMapPropagator().extract(carrier),
        SpanKind.SERVER,
        {"text": "é", "flag": True, "whole": 3, "real": 0.5, "list": ["a", "b"]},
        [Link(linked, {"l": 1})],
        start_time=1000,
    )
    span.add_event("happened", {"e": 1}, timestamp=1500)
    span.set_status(Status(StatusCode.ERROR, "bad"))
    span.end(2000)
    provider.shutdown()
    [got] = receiver.spans
    [event], [link] = got.events, got.links
    expected = {
        "ids": ("1" * 32, f"{span.get_span_context().span_id:016x}", "2" * 16),
        "what": ("GET /", "SERVER", 1000, 2000, "ERROR", "bad", "a=b"),
        "attributes": {"text": "é", "flag": True, "whole": 3, "real": 0.5, "list": ["a", "b"]},
        "event": ("happened", 1500, {"e": 1}),
        "link": (f"{0xA:032x}", f"{0xB:016x}", {"l": 1}),
        "resource": {"service.name": "shop", "process.pid": 7},
        "scope": ("scope", "1.2", "https://schema", {"s": 1}),
        "batch": 1,
    }
    assert expected == {
        "ids": (got.trace_id, got.span_id, got.parent_span_id),
        "what": (got.name, got.kind, got.start_time, got.end_time, got.status, got.status_message, got.trace_state),
        "attributes": got.attributes,
        "event": (event.name, event.time, event.attributes),
        "link": (link.trace_id, link.span_id, link.attributes),
        "resource": got.resource,
        "scope": (got.scope.name, got.scope.version, got.scope.schema_url, got.scope.attributes),
        "batch": got.batch,
    }


def test_metric_points_keep_their_numbers(receiver: Receiver, protocol: str) -> None:
    """Sums, gauges and histograms arrive with type, temporality, numbers and resource."""
    exporter = (
        grpc_metrics.OTLPMetricExporter(receiver.grpc_endpoint)
        if protocol == GRPC
        else http_metrics.OTLPMetricExporter(f"{receiver.http_endpoint}/v1/metrics")
    )
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], Resource({"r": 1}), shutdown_on_exit=False)
    meter = provider.get_meter("scope")
    meter.create_counter("count").add(3, {"a": "b"})
    meter.create_gauge("level").set(0.25)
    histogram = meter.create_histogram("seconds", "s", explicit_bucket_boundaries_advisory=[1.0, 2.0])
    for value in (0.5, 1.5, 9.0):
        histogram.record(value)
    provider.shutdown()
    points = {point.name: point for point in receiver.points}
    count, level, seconds = (points[name] for name in ("count", "level", "seconds"))
    expected = [
        ("sum", "CUMULATIVE", True, 3, {"a": "b"}, {"r": 1}),
        ("gauge", "", 0.25),
        ("histogram", "CUMULATIVE", "s", 3, 11.0, 0.5, 9.0, (1.0, 2.0), (1, 1, 1), True),
    ]
    assert expected == [
        (count.type, count.temporality, count.monotonic, count.value, count.attributes, count.resource),
        (level.type, level.temporality, level.value),
        (
            seconds.type,
            seconds.temporality,
            seconds.unit,
            seconds.count,
            seconds.sum,
            seconds.minimum,
            seconds.maximum,
            seconds.bounds,
            seconds.bucket_counts,
            0 < seconds.start_time <= seconds.time,
        ),
    ]


def test_exponential_histograms_are_read(receiver: Receiver) -> None:
    """An exponential histogram keeps its count and all its buckets."""
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

    exporter = http_metrics.OTLPMetricExporter(f"{receiver.http_endpoint}/v1/metrics")
    view = View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], views=[view], shutdown_on_exit=False)
    for value in (0, 1, 4):
        provider.get_meter("scope").create_histogram("sizes").record(value)
    provider.shutdown()
    [point] = receiver.points
    assert (point.type, point.count, sum(point.bucket_counts)) == ("exponential_histogram", 3, 3)


def test_log_records_keep_body_and_trace(receiver: Receiver, protocol: str) -> None:
    """A log record arrives with body, severity, attributes and the ids of its trace."""
    exporter = (
        grpc_logs.OTLPLogExporter(receiver.grpc_endpoint)
        if protocol == GRPC
        else http_logs.OTLPLogExporter(f"{receiver.http_endpoint}/v1/logs")
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    span = TracerProvider(shutdown_on_exit=False).get_tracer("scope").start_span("one")
    provider.get_logger("scope").emit(
        body={"text": "hello"},
        severity_number=SeverityNumber.WARN,
        severity_text="WARN",
        attributes={"a": 1},
        context=set_span_in_context(span),
    )
    provider.shutdown()
    [log] = receiver.logs
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert ({"text": "hello"}, 13, "WARN", {"a": 1}, trace_id) == (
        log.body,
        log.severity,
        log.severity_text,
        log.attributes,
        log.trace_id,
    )


def test_gzip_is_understood_over_http(receiver: Receiver) -> None:
    """A gzipped HTTP body is stored like a plain one, and the request tells that it was gzipped."""
    export_one(receiver, HTTP, compression=Compression.Gzip)
    assert (
        [span.name for span in receiver.spans],
        receiver.requests[0].headers["content-encoding"],
    ) == (["one"], "gzip")


def test_gzip_is_understood_over_grpc(receiver: Receiver) -> None:
    """A gzipped gRPC message is stored like a plain one."""
    export_one(receiver, GRPC, compression=grpc.Compression.Gzip)
    assert [span.name for span in receiver.spans] == ["one"]


def test_headers_are_kept(receiver: Receiver, protocol: str) -> None:
    """The headers that an exporter was told to send can be read from its requests."""
    export_one(receiver, protocol, headers={"x-tenant": "blue"})
    assert [request.headers["x-tenant"] for request in receiver.requests] == ["blue"]


def test_requests_are_counted_by_protocol_and_signal(receiver: Receiver) -> None:
    """Export requests can be counted by protocol, by signal and in all."""
    post(receiver)
    post(receiver, path="/v1/logs")
    call(receiver, signal="logs")
    assert (
        receiver.count_requests(),
        receiver.count_requests(protocol=GRPC),
        receiver.count_requests(signal="logs"),
        receiver.count_requests(protocol=HTTP, signal="logs"),
    ) == (3, 1, 2, 1)


def test_one_connection_carries_many_requests(receiver: Receiver) -> None:
    """HTTP connections are kept alive, after a refusal too."""
    connection = http.client.HTTPConnection(receiver.http_endpoint.removeprefix("http://"), timeout=DEADLINE)
    statuses, sockets = [], set()
    for path in ("/v1/traces", "/elsewhere", "/v1/traces"):
        connection.request("POST", path, request_of(1), {"content-type": "application/x-protobuf"})
        sockets.add(connection.sock)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert (statuses, len(sockets), len(receiver.spans)) == ([200, 404, 200], 1, 2)


@pytest.mark.parametrize(
    ("status", "path", "body", "headers"),
    [
        (404, "/v1/other", b"", {}),
        (400, "/v1/traces", b"\xff\xff", {}),
        (415, "/v1/traces", b"{}", {"content_type": "application/json"}),
        (415, "/v1/traces", b"", {"content_encoding": "br"}),
        (400, "/v1/traces", b"not gzip", {"content_encoding": "gzip"}),
        (400, "/v1/traces", gzip.compress(request_of(1))[:-9], {"content_encoding": "gzip"}),
        (411, "/v1/traces", b"", {"content_length": "many"}),
        (413, "/v1/traces", b"", {"content_length": "99999999999"}),
    ],
    ids=["path", "protobuf", "json", "brotli", "no gzip", "half a gzip", "no length", "too long"],
)
def test_what_is_no_export_request_is_refused(
    receiver: Receiver, status: int, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """A request that OTLP/HTTP does not allow is refused with the status that says why, and nothing is stored."""
    assert (status, []) == (post(receiver, body, path, **headers).status, receiver.spans)


def test_malformed_messages_are_refused_over_grpc(receiver: Receiver) -> None:
    """Bytes that are no export request are INVALID_ARGUMENT, and noted as malformed."""
    error = call(receiver, b"\xff\xff")
    assert (
        error.code(),
        [request.outcome for request in receiver.requests],
    ) == (grpc.StatusCode.INVALID_ARGUMENT, ["malformed"])


def test_waiting_ends_when_the_awaited_arrives(receiver: Receiver) -> None:
    """`wait_for` returns true once its predicate holds, though asked before the arrival."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receiver.wait_for, lambda now: len(now.spans) == 3, DEADLINE)
        post(receiver, request_of(1))
        post(receiver, request_of(2))
        assert waiting.result(DEADLINE) is True


def test_waiting_has_a_deadline(receiver: Receiver) -> None:
    """`wait_for` returns false after its timeout."""
    assert receiver.wait_for(lambda now: now.spans, 0.01) is False


def test_a_request_in_work_is_not_quiet() -> None:
    """While a request is being handled the receiver does not count as quiet; afterwards it does."""
    with Receiver(delay=60) as receiver, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, receiver)
        deadline = time.monotonic() + DEADLINE
        while receiver.wait_until_quiet(quiet=0, timeout=0.01) and time.monotonic() < deadline:
            time.sleep(0.01)  # until the request has reached the receiver
        busy = receiver.wait_until_quiet(quiet=0.01, timeout=0.1)
        receiver.faults = Faults()
        waiting.result(DEADLINE)
        assert (busy, receiver.wait_until_quiet(quiet=0.01, timeout=DEADLINE)) == (False, True)


def test_clear_forgets(receiver: Receiver) -> None:
    """After `clear` only what comes later is there."""
    post(receiver, request_of(3))
    receiver.clear()
    post(receiver, request_of(1))
    assert (len(receiver.spans), len(receiver.requests)) == (1, 1)


def test_many_senders_lose_nothing(receiver: Receiver) -> None:
    """20,000 spans from 8 threads over both protocols at once are all stored, and every batch has its own number."""
    body = request_of(100)
    senders: list[Callable[[Receiver, bytes], Any]] = [post, call] * 100
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda send: send(receiver, body), senders))
    assert (len(receiver.spans), len({span.batch for span in receiver.spans})) == (20_000, 200)


def test_close_leaves_nothing_running() -> None:
    """After `close`, with one client connected and two requests hanging, every thread of the receiver has ended."""
    before = set(threading.enumerate())
    with ThreadPoolExecutor(2) as pool, Receiver(hang=ALWAYS) as receiver:
        idle = socket.create_connection(("127.0.0.1", int(receiver.http_endpoint.rpartition(":")[2])))
        calls = [pool.submit(call, receiver), pool.submit(post, receiver)]
        receiver.wait_for(lambda now: now.count_requests() == 2, DEADLINE)
        receiver.close()
        left = [
            thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("otelfork-receiver")
        ]
        idle.close()
        for hung in calls:
            hung.exception(DEADLINE)
    assert left == []


def test_close_frees_the_ports() -> None:
    """After `close` nothing listens on either port, and closing again is harmless."""
    with Receiver() as receiver:
        ports = [int(url.rpartition(":")[2]) for url in (receiver.http_endpoint, receiver.grpc_endpoint)]
    receiver.close()
    refused = []
    for port in ports:
        with socket.socket() as probe:
            refused.append(probe.connect_ex(("127.0.0.1", port)) != 0)
    assert refused == [True, True]


def test_the_environment_names_the_endpoint(receiver: Receiver, protocol: str) -> None:
    """`environment` has the standard variables for all signals and the endpoint of the protocol asked for."""
    endpoint = receiver.grpc_endpoint if protocol == GRPC else receiver.http_endpoint
    expected = {f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("TRACES", "METRICS", "LOGS")} | {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }
    assert expected == receiver.environment(protocol)


def test_an_unknown_protocol_is_refused(receiver: Receiver) -> None:
    """A protocol that the receiver does not speak is a ValueError that names the ones it does."""
    with pytest.raises(ValueError, match="http/protobuf, grpc"):
        receiver.environment("http/json")
