"""A sink on loopback that counts what arrives, in a process of its own: OTLP over HTTP, and what two peers send.

`GET /counts` answers with the counts since the last `GET /counts`, as JSON.
"""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_SERVER = 2  # SPAN_KIND_SERVER
_DELTA = 1  # AGGREGATION_TEMPORALITY_DELTA


class Counts:
    """What arrived. Of a cumulative series the last value counts; deltas are added up and never cleared, to look like one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: Counter[str] = Counter()
        self._series: dict[Any, int] = {}
        self._delta = 0

    def spans(self, body: bytes) -> None:
        """Count the spans of an OTLP request, and those that are requests."""
        scopes = [
            scope for group in ExportTraceServiceRequest.FromString(body).resource_spans for scope in group.scope_spans
        ]
        with self._lock:
            for scope in scopes:
                self._spans["spans"] += len(scope.spans)
                self._spans["requests"] += sum(span.kind == _SERVER for span in scope.spans)

    def traces(self, number: int) -> None:
        """Count requests that another protocol brought."""
        with self._lock:
            self._spans["spans"] += number
            self._spans["requests"] += number

    def points(self, body: bytes) -> None:
        """Remember the last count of each series of the duration histogram."""
        for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            who = group.resource.SerializeToString(deterministic=True)
            for metric in (metric for scope in group.scope_metrics for metric in scope.metrics):
                if metric.name != "http.server.request.duration":
                    continue
                histogram = getattr(metric, metric.WhichOneof("data"))
                with self._lock:
                    for point in histogram.data_points:
                        what = tuple(sorted(attribute.SerializeToString() for attribute in point.attributes))
                        delta = histogram.aggregation_temporality == _DELTA
                        self._delta += point.count if delta else 0
                        self._series[who, what, point.start_time_unix_nano] = 0 if delta else point.count

    def take(self) -> dict[str, int]:
        """Return the counts and begin anew."""
        with self._lock:
            counts = {"spans": self._spans["spans"], "requests": self._spans["requests"]}
            counts["measured"] = sum(self._series.values()) + self._delta
            self._spans.clear()
            self._series.clear()
        return counts

    def peek(self) -> int:
        """Return the spans so far."""
        with self._lock:
            return self._spans["spans"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    counts = Counts()

    def do_GET(self) -> None:
        if self.path == "/counts":
            self._answer(json.dumps(self.counts.take()).encode())
        elif self.path == "/peek":
            self._answer(str(self.counts.peek()).encode())
        else:
            self._answer(b"{}")

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/v1/traces":
            self.counts.spans(body)
        elif self.path == "/v1/metrics":
            self.counts.points(body)
        elif self.path.endswith("/envelope/"):  # sentry
            self.counts.traces(body.count(b'{"type":"transaction"') // 2)  # the item's head and the item
        elif self.path.endswith("/traces"):  # ddtrace's agent
            self.counts.traces(int(self.headers.get("X-Datadog-Trace-Count", 0)))
            self._answer(b'{"rate_by_service": {}}')
            return
        self._answer(b"")

    do_PUT = do_POST  # noqa: N815

    def _body(self) -> bytes:
        if hasattr(
            socket, "TCP_QUICKACK"
        ):  # a client that sends head and body apart would wait 40 ms for our delayed ACK
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json" if body else "application/x-protobuf")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


def main() -> None:
    """Serve until standard input closes; the first line printed is the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
