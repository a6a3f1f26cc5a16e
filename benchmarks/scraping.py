"""How long a scrape takes: workers with 200 series each (110 of counters, 90 lines of histograms), asked by one client."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from benchmarks.processes import ERRORS, ROOT

WORKERS = (4, 64)
SERIES = 200
_SCRAPES = 10
_START_SECONDS = 60.0
_FORMATS = {"text": "", "OpenMetrics": "application/openmetrics-text;version=1.0.0"}
_WORKERS = """
import os, signal, sys, time
import otelfork
from opentelemetry import metrics
otelfork.configure(service_name="scraped")
meter = metrics.get_meter("app", "1.0")
counter = meter.create_counter("app.work", unit="{item}", description="Work done.")
histogram = meter.create_histogram("app.time", unit="s", description="How long it took.")
signal.signal(signal.SIGTERM, signal.SIG_DFL)
pids = []
for worker in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        for number in range(110):
            counter.add(1, {"http.route": f"/items/{number}", "http.request.method": "GET", "http.response.status_code": 200})
        for number in range(5):
            histogram.record(0.1 * number, {"http.route": f"/items/{number}"})
        signal.pause()
    pids.append(pid)
def end(*_):
    for pid in pids: os.kill(pid, signal.SIGKILL)
    for pid in pids: os.waitpid(pid, 0)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
signal.pause()
"""


def measure(rounds: int) -> dict[str, list[float]]:
    """Return samples by name, in milliseconds."""
    samples: dict[str, list[float]] = {}
    for workers in WORKERS:
        for accept, name in ((accept, name) for name, accept in _FORMATS.items()):
            key = f"scrape of {workers} workers with {SERIES} series each, {name}, ms"
            samples[key] = _scrapes(workers, accept, rounds * _SCRAPES)
    return samples


def _scrapes(workers: int, accept: str, count: int) -> list[float]:
    with tempfile.TemporaryDirectory() as directory:
        port = _free_port()
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTELFORK_"))},
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
            "OTELFORK_RUN_DIR": directory,
        }
        server = subprocess.Popen([sys.executable, "-c", _WORKERS, str(workers)], cwd=ROOT, env=env, stderr=ERRORS)
        try:
            _wait_for(port, workers)
            return [_timed(port, accept) for _ in range(count)]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(10)


def _timed(port: int, accept: str) -> float:
    started = time.perf_counter()
    _scrape(port, accept)
    taken = (time.perf_counter() - started) * 1e3
    time.sleep(0.05)  # as rare as scrapes are: not on top of the last one
    return taken


def _wait_for(port: int, workers: int) -> None:
    """Wait until all workers are on the page."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if re.search(rf'^app_work_total{{.*/items/0".*}} {workers}\.0$', _scrape(port, ""), re.MULTILINE):
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"not all of {workers} workers are on the page")


def _scrape(port: int, accept: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
