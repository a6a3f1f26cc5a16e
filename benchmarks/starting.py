"""How long a start takes: imports, and the way from a fork to the first exported span. Each in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from benchmarks.processes import ROOT, Sink
from benchmarks.variants import environment

_IMPORTS = {
    "bare interpreter": "",
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
import json, os, time
wall, cpu = time.perf_counter(), time.process_time()
{code}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
from benchmarks.memory import peak_memory
print(json.dumps({{"cpu": cpu * 1e3, "wall": wall * 1e3, "peak": peak_memory() / 2**20}}), flush=True)
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
    with tempfile.TemporaryDirectory() as compiled:
        for number in range(rounds + 1):
            for name, value in _starts(sink, compiled):
                if number:  # the first round compiles, as an installation does
                    samples.setdefault(name, []).append(value)
    sink.take()
    return samples


def _starts(sink: Sink, compiled: str) -> Iterator[tuple[str, float]]:
    for name, code in _IMPORTS.items():
        taken = _run(_TIMED.format(code=code), sink, compiled)
        yield f"{name}, CPU ms", taken["cpu"]
        yield f"{name}, memory MiB", taken["peak"]
    taken = _run(_FORKED, sink, compiled)
    yield "first request over the second, ms", taken["first"]
    yield "fork to first exported span, ms", taken["exported"]


def _run(code: str, sink: Sink, compiled: str) -> dict[str, float]:
    env = {**os.environ, **environment(sink.endpoint), "PYTHONPYCACHEPREFIX": compiled}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    taken: dict[str, float] = json.loads(done.stdout)
    return taken
