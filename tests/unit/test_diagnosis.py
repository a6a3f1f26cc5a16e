"""A wrong setting is recognised from the first failed export, against real endpoints, and said once."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.collecting import collecting

from otelfork import exporters
from otelfork.delivery.complaints import Complaints
from otelfork.receiver import ALWAYS, GRPC, HTTP, Receiver
from otelfork.settings import Settings

PROGRAM = Path(__file__).parents[1] / "programs/os_fork.py"


@pytest.fixture(scope="module")
def spans() -> tuple[ReadableSpan, ...]:
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.get_tracer("test").start_span("one").end()
    return kept.get_finished_spans()


@pytest.fixture(autouse=True)
def no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def said(
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    **variables: str,
) -> list[str]:
    """Export twice, and return the advice."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    complaints = Complaints()
    (make,) = exporters.factories(Settings.read())["traces"]
    exporter = make()
    with caplog.at_level(logging.ERROR, "otelfork"):
        for _ in range(2):
            with complaints.listening(exporter) as heard:
                try:
                    failed = exporter.export(spans).name != "SUCCESS"
                except Exception as error:
                    failed = True
                    heard.append(f"{type(error).__name__}: {error}")
            assert failed
            complaints.failed("spans", exporter, 1, heard)
        with complaints.listening(exporter):
            exporter.shutdown()
    return [record.getMessage() for record in caplog.records if "cannot be delivered" in record.getMessage()]


@pytest.mark.parametrize(
    ("endpoint", "protocol", "advice"),
    [
        ("http_endpoint", GRPC, "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        ("grpc_endpoint", HTTP, "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
    ],
)
def test_the_wrong_protocol_is_told(
    endpoint: str,
    protocol: str,
    advice: str,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """gRPC against an HTTP port, and the reverse."""
    variables = {"EXPORTER_OTLP_ENDPOINT": getattr(receiver, endpoint), "EXPORTER_OTLP_PROTOCOL": protocol}
    (line,) = said(spans, monkeypatch, caplog, **variables)
    assert advice in line


@pytest.mark.parametrize(("endpoint", "protocol"), [("grpc_endpoint", GRPC), ("http_endpoint", HTTP)])
def test_tls_to_a_plain_port_is_told(
    endpoint: str,
    protocol: str,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """https:// in front of a port without TLS."""
    address = getattr(receiver, endpoint).replace("http://", "https://")
    (line,) = said(spans, monkeypatch, caplog, EXPORTER_OTLP_ENDPOINT=address, EXPORTER_OTLP_PROTOCOL=protocol)
    assert "write http:// in OTEL_EXPORTER_OTLP_ENDPOINT" in line


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_refused_token_is_told(
    status: int,
    protocol: str,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """401 and 403, UNAUTHENTICATED and PERMISSION_DENIED."""
    with Receiver(refuse=ALWAYS, status=status) as refusing:
        address = refusing.grpc_endpoint if protocol == GRPC else refusing.http_endpoint
        (line,) = said(spans, monkeypatch, caplog, EXPORTER_OTLP_ENDPOINT=address, EXPORTER_OTLP_PROTOCOL=protocol)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in line


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
@pytest.mark.parametrize(
    ("address", "advice"),
    [("http://127.0.0.1:9", "nothing listens"), ("http://nowhere.invalid:4317", "has no address here")],
)
def test_an_unreachable_host_is_told(
    protocol: str,
    address: str,
    advice: str,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """A port that nobody listens on, and a name that nobody has."""
    (line,) = said(spans, monkeypatch, caplog, EXPORTER_OTLP_ENDPOINT=address, EXPORTER_OTLP_PROTOCOL=protocol)
    assert (True, True) == (advice in line, "OTEL_EXPORTER_OTLP_ENDPOINT" in line)


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_host_that_does_not_answer_is_told(
    protocol: str,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """It takes the connection and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        (line,) = said(spans, monkeypatch, caplog, EXPORTER_OTLP_ENDPOINT=address, EXPORTER_OTLP_PROTOCOL=protocol)
    assert "does not answer" in line


@pytest.mark.parametrize(("name", "advice"), [("jaeger", "JAEGER_USER"), ("zipkin", "ZIPKIN_ENDPOINT")])
def test_other_backends_are_told_by_their_own_settings(
    name: str,
    advice: str,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """The advice names the variables of the exporter that failed."""
    seated = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    monkeypatch.setattr(
        "opentelemetry.trace.get_tracer_provider", lambda: seated
    )  # Zipkin asks it for the service's name
    with collecting(401) as collector:
        address = collector.url("/api")
        (line,) = said(
            spans, monkeypatch, caplog, TRACES_EXPORTER=name, **{f"EXPORTER_{name.upper()}_ENDPOINT": address}
        )
    assert f"OTEL_EXPORTER_{advice}" in line


@pytest.mark.parametrize(
    ("endpoint", "insecure", "delivered"),
    [
        ("{host}", "true", True),
        ("{host}", "", False),
        ("http://{host}", "", True),
        ("http://{host}", "false", False),
        ("https://{host}", "true", False),
    ],
)
def test_insecure_is_what_the_sdk_says(
    endpoint: str,
    insecure: str,
    delivered: bool,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    """It decides for gRPC unless the endpoint says https; unset, http is plain and no scheme is TLS."""
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.format(host=receiver.grpc_endpoint.removeprefix("http://"))
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", GRPC)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    if insecure:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", insecure)
    (make,) = exporters.factories(Settings.read())["traces"]
    exporter = make()
    with Complaints().listening(exporter):
        result = exporter.export(spans).name
        exporter.shutdown()
    assert delivered == (result == "SUCCESS")


def test_a_process_says_it_once_also_when_it_leaves_early():
    """Two failing signals and many batches are one line, heard before the exit's deadline is over."""
    with Receiver() as receiver:
        own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
        done = subprocess.run(
            [sys.executable, str(PROGRAM), "0", "20"],
            env={**own, **receiver.environment(GRPC), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    lines = [line for line in done.stderr.splitlines() if "cannot be delivered" in line]
    assert (1, True) == (len(lines), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in lines[0]), done.stderr
