"""Jaeger and Zipkin behind real servers: every request is one server span, from the process that answered it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from tests.collecting import collecting
from tests.conformance.driving import drive
from tests.conformance.rows import ROWS
from tests.conformance.serving import serve
from tests.jaegeroracle import decode, ids, tags

SERVERS = ("gunicorn sync --preload", "gunicorn sync --preload --max-requests 40", "uwsgi default", "uvicorn --workers")
Seen = tuple[str, str, int]


def of_jaeger(body: bytes) -> list[Seen]:
    """Return (trace id, parent span id, pid) of the server spans in a batch."""
    batch = decode(body)
    pid = tags(batch.process.tags)["process.pid"]
    spans = [span for span in batch.spans if tags(span.tags).get("span.kind") == "server"]
    return [(ids(span)[0], f"{span.parentSpanId & (1 << 64) - 1:016x}", pid) for span in spans]


def of_zipkin(body: bytes) -> list[Seen]:
    """Return (trace id, parent span id, pid) of the server spans in a request."""
    spans = [span for span in json.loads(body) if span.get("kind") == "SERVER"]
    return [(span["traceId"], span["parentId"], int(span["tags"]["process.pid"])) for span in spans]


BACKENDS: dict[str, tuple[str, Callable[[bytes], Sequence[Seen]]]] = {
    "jaeger": ("/api/traces", of_jaeger),
    "zipkin": ("/api/v2/spans", of_zipkin),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != SERVERS[0])) for name in SERVERS]
)
def test_each_request_is_one_server_span_of_who_answered(name: str, backend: str, requests: int, tmp_path: Path):
    """Nothing is lost, nothing doubled, and each batch is of the process that it names."""
    (row,) = (row for row in ROWS if row.name == name)
    path, read = BACKENDS[backend]
    with collecting(202) as collector:
        environment = {
            "OTEL_TRACES_EXPORTER": backend,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            f"OTEL_EXPORTER_{backend.upper()}_ENDPOINT": collector.url(path),
        }
        with serve(row, environment, tmp_path, requests) as server:
            server.wait_until_ready()
            sent = drive(server, requests)
            if row.stop_idle:
                server.wait_until_idle()
            server.stop()
        seen = [span for posted in collector.posted for span in read(posted.body)]
    assert sorted((one.trace_id, one.span_id, one.pid) for one in sent) == sorted(seen), server.output[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [SERVERS[0], *SERVERS[2:]])
def test_a_killed_worker_takes_nothing_exported_with_it(name: str, backend: str, tmp_path: Path):
    """SIGKILL to a worker that has exported: its successor sends its own spans, nothing is lost or doubled."""
    (row,) = (row for row in ROWS if row.name == name)
    path, read = BACKENDS[backend]
    with collecting(202) as collector:
        environment = {
            "OTEL_TRACES_EXPORTER": backend,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            f"OTEL_EXPORTER_{backend.upper()}_ENDPOINT": collector.url(path),
        }
        with serve(row, environment, tmp_path, 60) as server:
            server.wait_until_ready()
            sent = drive(server, 30)
            deadline = time.monotonic() + 20
            while sum(len(read(one.body)) for one in list(collector.posted)) < 30 and time.monotonic() < deadline:
                time.sleep(0.05)
            psutil.Process(sent[0].pid).kill()
            server.wait_until_idle()
            sent += drive(server, 30)
            if row.stop_idle:
                server.wait_until_idle()
            server.stop()
        seen = [span for posted in collector.posted for span in read(posted.body)]
    assert sorted((one.trace_id, one.span_id, one.pid) for one in sent) == sorted(seen), server.output[-3000:]
