"""How long a start takes: imports, and the way from a fork to the first exported span. Each in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks.processes import ROOT, Sink
from benchmarks.variants import environment

_IMPORTS = {
    "import opentelemetry.trace": "import opentelemetry.trace, opentelemetry.metrics",
    "import otelfork": "import otelfork",
    "otelfork configured": "import otelfork; otelfork.configure()",
    "the SDK configured": (
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import BatchSpanProcessor\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader\n"
        "from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter\n"
        "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter\n"
        "TracerProvider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))\n"
        "MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])"
    ),
}
_TIMED = """
import json, os, resource, time
wall, cpu = time.perf_counter(), time.process_time()
{code}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({{"cpu": cpu * 1e3, "wall": wall * 1e3, "rss": rss / 2**20}}), flush=True)
os._exit(0)
"""
_FORKED = """
import json, os, time
from benchmarks import applications, driving
from otelfork import OtelMiddleware, flush
app = OtelMiddleware(applications.wsgi)
reading, writing = os.pipe()
forked = time.perf_counter()
if os.fork() == 0:
    before = time.perf_counter()
    driving.drive_wsgi(app, "traceparent", 1)
    first = time.perf_counter() - before
    flush(10)
    exported = time.perf_counter() - forked
    before = time.perf_counter()
    driving.drive_wsgi(app, "traceparent", 1)
    second = time.perf_counter() - before
    result = {"first": (first - second) * 1e3, "exported": exported * 1e3}
    os.write(writing, json.dumps(result).encode())
    os._exit(0)
os.close(writing)
print(os.read(reading, 1000).decode())
"""


def measure(rounds: int, sink: Sink) -> dict[str, list[float]]:
    """Return samples by name; milliseconds, and MiB for what is called memory."""
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, code in _IMPORTS.items():
            taken = _run(_TIMED.format(code=code), sink)
            samples.setdefault(f"{name}, CPU ms", []).append(taken["cpu"])
            samples.setdefault(f"{name}, memory MiB", []).append(taken["rss"])
        taken = _run(_FORKED, sink)
        samples.setdefault("first request over the second, ms", []).append(taken["first"])
        samples.setdefault("fork to first exported span, ms", []).append(taken["exported"])
    sink.take()
    return samples


def _run(code: str, sink: Sink) -> dict[str, float]:
    env = {**os.environ, **environment(sink.endpoint)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    taken: dict[str, float] = json.loads(done.stdout)
    return taken
