"""The default endpoint of the reference follows the protocol."""

from __future__ import annotations

import pytest

from otelfork import exporters
from otelfork.settings import Environment, Settings

pytest.importorskip("opentelemetry.exporter.otlp")


@pytest.mark.parametrize("signal", ["traces", "metrics"])
@pytest.mark.parametrize(
    ("protocol", "port"),
    [("", 4317), ("grpc", 4317), ("http/protobuf", 4318)],
)
def test_the_default_endpoint_follows_the_protocol(signal, protocol, port, monkeypatch):
    """4317 speaks gRPC, which is the default protocol, and 4318 HTTP: the reference's own pair would not meet."""
    monkeypatch.setenv(f"OTEL_{signal.upper()}_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    (make,) = exporters.factories(Settings.read(Environment()))[signal]
    exporter = make()
    endpoint = exporter._endpoint
    exporter.shutdown()
    assert f"localhost:{port}" == endpoint.removeprefix("http://").partition("/")[0]
