"""A small server that traces with the plain SDK by hand: the known quantity that `verify` itself is tested with.

    python traced_server.py PORT [MODE]

It knows nothing of otelfork. One process, one thread per connection; every request has one SERVER span and one
duration. MODE makes it go wrong on purpose: `untraced` (no telemetry), `nested` (a second server span below the
first), `stubborn` (ignores SIGTERM), `resets` (closes each fifth connection instead of answering), `dies` (ends
with status 3 at the first request), `orphan` (leaves a child behind).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import propagate
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

PORT, MODE = int(sys.argv[1]), (sys.argv[2:] or ["plain"])[0]
if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

resource = Resource({"service.instance.id": str(uuid.uuid4()), "process.pid": os.getpid()})
tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource, shutdown_on_exit=False)
tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=100))
tracer = tracers.get_tracer("by hand")
duration = meters.get_meter("by hand").create_histogram("http.server.request.duration", unit="s")
served = 0
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        global served
        with lock:
            served += 1
            number = served
        if MODE == "dies":
            os._exit(3)
        if MODE == "resets" and number % 5 == 0:
            self.close_connection = True
        elif MODE == "untraced":
            self.answer()
        else:
            self.trace()

    def trace(self) -> None:
        parent = propagate.extract({"traceparent": self.headers.get("traceparent", "")})
        begin = time.perf_counter()
        attributes = {"url.path": self.path}
        with tracer.start_as_current_span(f"GET {self.path}", parent, SpanKind.SERVER, attributes):
            if MODE == "nested":
                tracer.start_span(f"GET {self.path}", kind=SpanKind.SERVER, attributes=attributes).end()
            # Recorded before the answer: whoever has the answer may rely on the telemetry.
            duration.record(time.perf_counter() - begin, {"url.path": self.path})
        self.answer()

    def answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
if MODE == "orphan":
    subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
stop = signal.SIG_IGN if MODE == "stubborn" else lambda *_: threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, stop)
print("serving", PORT, flush=True)
server.serve_forever(0.02)
tracers.shutdown()
meters.shutdown()
