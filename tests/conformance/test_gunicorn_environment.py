"""The environment variables of GunicornInstrumentor's reference, each with its default, on a real server."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.collecting import collecting
from tests.conformance.driving import drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import serve
from tests.conformance.statement import total
from tests.jaegeroracle import decode, tags

from otelfork.receiver import GRPC, HTTP, Receiver

REQUESTS = 30
COMMAND = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "reference.basic:app")
NO_NAME = {"OTEL_SERVICE_NAME": ""}
DOCUMENTED = {"http.method": "GET", "http.target": "/items/7", "http.status_code": 200}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def output(environment: dict[str, str], folder: Path) -> tuple[str, set[int]]:
    """Serve some requests under an environment; return what was printed, and the pids that answered."""
    with serve(Row("environment", COMMAND, PROGRAMS), environment, folder, REQUESTS) as server:
        server.wait_until_ready()
        pids = {one.pid for one in drive(server, REQUESTS)}
        server.stop()
        return server.output, pids


def test_nothing_set_is_the_console_and_an_unknown_service(tmp_path: Path):
    """OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER are console by default, OTEL_SERVICE_NAME is unknown_service."""
    printed, _ = output(NO_NAME, tmp_path)
    names = ("gunicorn.request", "gunicorn.worker", "gunicorn.requests", "gunicorn.request.duration")
    found = [printed.count(f'"name": "{name}"') for name in names]
    assert [REQUESTS, 2, 2, 2] == found, printed[-3000:]
    assert '"service.name": "unknown_service' in printed


def test_a_service_name_is_in_every_resource(receiver: Receiver, tmp_path: Path):
    """OTEL_SERVICE_NAME, of spans and metrics."""
    output({**receiver.environment(HTTP), "OTEL_SERVICE_NAME": "shop"}, tmp_path)
    receiver.wait_until_quiet()
    assert {"shop"} == {each.resource["service.name"] for each in (*receiver.spans, *receiver.points)}


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_both_protocols_carry_all(protocol: str, receiver: Receiver, tmp_path: Path):
    """OTEL_EXPORTER_OTLP_PROTOCOL and OTEL_EXPORTER_OTLP_ENDPOINT; an endpoint alone would choose OTLP, too."""
    environment = receiver.environment(protocol)
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"):
        del environment[name]
    output(environment, tmp_path)
    receiver.wait_until_quiet()
    spans = sum(span.name == "gunicorn.request" for span in receiver.spans)
    assert (REQUESTS, REQUESTS) == (spans, total(receiver.points, "gunicorn.requests"))
    assert {protocol} == {request.protocol for request in receiver.requests}


def test_metrics_may_have_an_endpoint_of_their_own(receiver: Receiver, tmp_path: Path):
    """OTEL_EXPORTER_OTLP_METRICS_ENDPOINT takes the metrics, OTEL_EXPORTER_OTLP_ENDPOINT the rest."""
    with Receiver() as other:
        own = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{other.http_endpoint}/v1/metrics"}
        output({**receiver.environment(HTTP), **own}, tmp_path)
        for each in (receiver, other):
            each.wait_until_quiet()
        assert (REQUESTS, []) == (total(other.points, "gunicorn.requests"), receiver.points)
        assert (True, []) == (len(receiver.spans) >= REQUESTS, other.spans)


def test_jaeger_gets_the_documented_tags_with_its_user(tmp_path: Path):
    """OTEL_TRACES_EXPORTER=jaeger, OTEL_EXPORTER_JAEGER_ENDPOINT, _USER, _PASSWORD."""
    with collecting() as jaeger:
        environment = {
            "OTEL_TRACES_EXPORTER": "jaeger",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_EXPORTER_JAEGER_ENDPOINT": jaeger.url("/api/traces"),
            "OTEL_EXPORTER_JAEGER_USER": "user",
            "OTEL_EXPORTER_JAEGER_PASSWORD": "secret",
        }
        output(environment, tmp_path)
        spans = [span for body in jaeger.accepted for span in decode(body).spans]
        authorized = {posted.headers["authorization"] for posted in jaeger.posted}
    found = [tags(span.tags) for span in spans if span.operationName == "gunicorn.request"]
    assert (REQUESTS, [DOCUMENTED]) == (
        len(found),
        [dict(kinds) for kinds in {tuple((name, one[name]) for name in DOCUMENTED) for one in found}],
    )
    assert {f"Basic {base64.b64encode(b'user:secret').decode()}"} == authorized


@pytest.mark.parametrize("wish", ["true", ""])
def test_gauges_of_each_worker_on_wish(wish: str, receiver: Receiver, tmp_path: Path):
    """OTEL_GUNICORN_TRACE_WORKERS: processor and memory by pid and id, each worker its own; not unless it is asked for."""
    settings = {"OTEL_GUNICORN_TRACE_WORKERS": wish, "OTEL_METRIC_EXPORT_INTERVAL": "700"}
    names = {"gunicorn.worker.cpu.percent": "%", "gunicorn.worker.memory.rss": "By"}
    with serve(Row("gauges", COMMAND, PROGRAMS), {**receiver.environment(HTTP), **settings}, tmp_path, 30) as server:
        server.wait_until_ready()
        sent = drive(server, REQUESTS)
        pids = {one.pid for one in sent}
        wanted = {(name, pid) for name in (names if wish else ["gunicorn.requests"]) for pid in pids}
        assert receiver.wait_for(
            lambda found: {(point.name, point.resource.get("process.pid")) for point in found.points} >= wanted, 20
        )
        server.stop()
    gauges = [point for point in receiver.points if point.name in names]
    kinds = {(point.name, point.unit, point.type, *sorted(point.attributes)) for point in gauges}
    expected = {(name, unit, "gauge", "worker.id", "worker.pid") for name, unit in names.items()} if wish else set()
    assert expected == kinds
    assert all(point.attributes["worker.pid"] == point.resource["process.pid"] for point in gauges)
