"""OTEL_CONFIG_FILE under real servers: the same statement as for the environment's variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import ROWS
from tests.conformance.serving import serve
from tests.conformance.statement import account, expected

from otelfork.receiver import Receiver

SERVERS = ("gunicorn sync --preload", "gunicorn sync --preload, warmed up", "uvicorn --workers", "uwsgi default")
FILE = """\
file_format: "1.0"
propagator: {composite: [{tracecontext: {}}, {baggage: {}}]}
tracer_provider:
  processors: [{batch: {exporter: {otlp_http: {endpoint: "ENDPOINT/v1/traces"}}}}]
meter_provider:
  readers: [{periodic: {interval: 500, exporter: {otlp_http: {endpoint: "ENDPOINT/v1/metrics"}}}}]
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != SERVERS[0])) for name in SERVERS]
)
def test_a_configuration_file_holds_in_every_process(name: str, receiver: Receiver, requests: int, tmp_path: Path):
    """Every request arrives once, with its children and counts, from who answered it."""
    (row,) = (row for row in ROWS if row.name == name)
    path = tmp_path / "otel.yaml"
    path.write_text(FILE.replace("ENDPOINT", receiver.http_endpoint), encoding="utf-8")
    with serve(row, {"OTEL_CONFIG_FILE": str(path)}, tmp_path, requests) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        if row.stop_idle:
            server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    actual = account(
        sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter
    ).as_dict()
    assert expected(sent) == actual, server.output[-5000:]
