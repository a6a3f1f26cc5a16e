"""Figures of processes and of the host behind real servers: every worker its own, the host's from one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import ROWS
from tests.conformance.serving import serve

from otelfork.receiver import HTTP, Receiver

SERVERS = ("gunicorn sync --preload", "uvicorn --workers", "uwsgi default")
ON = {"OTELFORK_SYSTEM_METRICS": "true", "OTELFORK_SYSTEM_ATTRIBUTES": "true", "OTEL_METRIC_EXPORT_INTERVAL": "300"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != SERVERS[0])) for name in SERVERS]
)
def test_workers_report_themselves_and_one_of_them_the_host(name: str, receiver: Receiver, tmp_path: Path):
    """While all of them live; each request's span has the figures of its moment."""
    (row,) = (row for row in ROWS if row.name == name)
    with serve(row, {**receiver.environment(HTTP), **ON}, tmp_path, 60) as server:
        server.wait_until_ready()
        sent = drive(server, 60)
        workers = {one.pid for one in sent}
        assert receiver.wait_for(
            lambda received: {point.resource["process.pid"] for point in received.points} >= workers, 20
        )
        receiver.clear()
        assert receiver.wait_for(
            lambda received: (
                {point.resource["process.pid"] for point in received.points if point.name == "process.memory.usage"}
                >= workers
            ),
            20,
        )
        points = receiver.points
        spans = [span for span in receiver.spans if span.kind == "SERVER"]
        drive(server, 3)
        if row.stop_idle:
            server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    host = {point.resource["process.pid"] for point in points if point.name == "system.cpu.time"}
    own = {point.resource["process.pid"] for point in points if point.name == "process.memory.usage"}
    spans += [span for span in receiver.spans if span.kind == "SERVER"]
    bare = [span for span in spans if "system.memory.usage" not in span.attributes]
    assert (1, workers, []) == (len(host), own, bare), server.output[-3000:]
