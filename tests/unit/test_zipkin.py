"""Zipkin through the kept exporter: by its name, alone or in a list, whatever the spans hold."""

from __future__ import annotations

import json

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from tests.collecting import collecting

from otelfork import exporters
from otelfork.settings import Environment, Settings, SettingsError


@pytest.fixture(autouse=True)
def named_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter asks the provider in the global seat for the service's name, and another test may have left one there."""
    provider = TracerProvider(resource=Resource({"service.name": "seated"}), shutdown_on_exit=False)
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)


def test_zipkin_may_stand_in_a_list():
    """Each name gives its exporter, in order."""
    settings = Settings.read(Environment({"OTEL_TRACES_EXPORTER": "zipkin,console", "OTEL_METRICS_EXPORTER": "none"}))
    made = [make() for make in exporters.factories(settings)["traces"]]
    assert ["ZipkinExporter", "ConsoleSpanExporter"] == [type(exporter).__name__ for exporter in made]


def test_zipkin_takes_no_logs():
    """OTEL_LOGS_EXPORTER=zipkin is a wrong setting."""
    settings = Settings.read(Environment({"OTEL_LOGS_EXPORTER": "zipkin"}))
    with pytest.raises(SettingsError, match="OTEL_LOGS_EXPORTER"):
        exporters.factories(settings)


def test_a_span_with_any_attribute_arrives(monkeypatch: pytest.MonkeyPatch):
    """Bytes, nothing, lists, maps and big integers do not stop a batch."""
    attributes = {"bytes": b"\xff", "none": None, "list": ["a", 1], "map": {"a": 1}, "big": 1 << 80, "text": "x"}
    settings = Settings.read(Environment({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_METRICS_EXPORTER": "none"}))
    with collecting(202) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_ZIPKIN_ENDPOINT", collector.url("/api/v2/spans"))
        (make,) = exporters.factories(settings)["traces"]
        provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(make()))
        with provider.get_tracer("test").start_as_current_span("work", attributes=attributes):
            pass
        provider.shutdown()
    ((span,),) = [json.loads(body) for body in collector.accepted]
    assert ("work", "shop", "x") == (span["name"], span["localEndpoint"]["serviceName"], span["tags"]["text"])
