"""What sends to a receiver: the official exporters, and requests made by hand."""

from __future__ import annotations

import http.client
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otelfork.receiver import GRPC, Receiver

DEADLINE = 10.0
"""Seconds for one request."""
SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}


def span_exporter(receiver: Receiver, protocol: str, **options: Any) -> SpanExporter:
    if protocol == GRPC:
        return grpc_traces.OTLPSpanExporter(receiver.grpc_endpoint, **options)
    return http_traces.OTLPSpanExporter(f"{receiver.http_endpoint}/v1/traces", **options)


def export_one(receiver: Receiver, protocol: str, name: str = "one", **options: Any) -> SpanExportResult:
    """Export one span with the official exporter and return what the exporter says."""
    exporter = span_exporter(receiver, protocol, **options)
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    span = provider.get_tracer("scope").start_span(name)
    span.end()
    try:
        return exporter.export([span])
    finally:
        exporter.shutdown()


def post(receiver: Receiver, body: bytes = b"", path: str = "/v1/traces", **headers: str) -> http.client.HTTPResponse:
    """Make one export request by hand and return the answer, read."""
    connection = http.client.HTTPConnection(receiver.http_endpoint.removeprefix("http://"), timeout=DEADLINE)
    sent = {"content-type": "application/x-protobuf"} | {key.replace("_", "-"): value for key, value in headers.items()}
    try:
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def call(receiver: Receiver, body: bytes = b"", signal: str = "traces", timeout: float = DEADLINE) -> Any:
    """Make one export call by hand; return None or the grpc.RpcError."""
    with grpc.insecure_channel(receiver.grpc_endpoint.removeprefix("http://")) as channel:
        try:
            channel.unary_unary(f"/{SERVICES[signal]}/Export")(body, timeout=timeout)
        except grpc.RpcError as error:
            return error
    return None


def request_of(count: int) -> bytes:
    """Return an ExportTraceServiceRequest with that many spans."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(count):
        spans.add(name=f"span {number}")
    return request.SerializeToString()
