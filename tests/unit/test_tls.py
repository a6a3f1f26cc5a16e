"""OTLP over TLS: certificates and OTEL_EXPORTER_OTLP_INSECURE as the SDK defines them, and what a mismatch says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from tests import certificates
from tests.certificates import Certificates
from tests.unit.test_diagnosis import said, spans

from otelfork import exporters
from otelfork.delivery.complaints import Complaints
from otelfork.receiver import GRPC, HTTP, Receiver
from otelfork.settings import Environment, Settings, SettingsError

__all__ = ["spans"]
BOTH = pytest.mark.parametrize("protocol", [GRPC, HTTP])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make certificates, once."""
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def receiver(made: Certificates) -> Iterator[Receiver]:
    """Run a receiver whose ports speak TLS."""
    with Receiver(tls=made.tls()) as running:
        yield running


def address(receiver: Receiver, protocol: str) -> str:
    return receiver.grpc_endpoint if protocol == GRPC else receiver.http_endpoint


def deliver(
    receiver: Receiver,
    protocol: str,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    **variables: str,
) -> bool:
    """Export once by the environment; tell whether the receiver has it."""
    receiver.clear()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    variables = {"ENDPOINT": address(receiver, protocol), "PROTOCOL": protocol, "TIMEOUT": "2", **variables}
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    (make,) = exporters.factories(Settings.read())["traces"]
    exporter = make()
    with Complaints().listening(exporter):
        result = exporter.export(spans).name
        exporter.shutdown()
    assert (result == "SUCCESS") == bool(receiver.spans)
    return result == "SUCCESS"


@BOTH
def test_a_known_authority_is_trusted(
    protocol: str,
    made: Certificates,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    """OTEL_EXPORTER_OTLP_CERTIFICATE names its file."""
    assert deliver(receiver, protocol, spans, monkeypatch, CERTIFICATE=str(made.authority))


@BOTH
@pytest.mark.parametrize("shown", [True, False])
def test_a_clients_certificate_is_shown_where_there_is_one(
    shown: bool, protocol: str, made: Certificates, spans: tuple[ReadableSpan, ...], monkeypatch: pytest.MonkeyPatch
):
    """OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY; without them a server that asks for it takes nothing."""
    variables = {name.removeprefix("OTEL_EXPORTER_OTLP_"): value for name, value in made.client_variables().items()}
    if not shown:
        variables = {"CERTIFICATE": variables["CERTIFICATE"]}
    with Receiver(tls=made.tls(mutual=True)) as asking:
        assert shown == deliver(asking, protocol, spans, monkeypatch, **variables)


@pytest.mark.parametrize(
    ("endpoint", "insecure", "delivered"),
    [
        ("https://{host}", "", True),
        ("https://{host}", "true", True),
        ("https://{host}", "false", True),
        ("{host}", "", True),
        ("{host}", "false", True),
        ("{host}", "true", False),
        ("http://{host}", "", False),
        ("http://{host}", "false", True),
    ],
)
def test_insecure_is_what_the_sdk_says(
    endpoint: str,
    insecure: str,
    delivered: bool,
    made: Certificates,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    """To a gRPC port with TLS: it decides unless the endpoint says https; unset, http is plain and no scheme is TLS."""
    host = receiver.grpc_endpoint.removeprefix("https://")
    variables = {"CERTIFICATE": str(made.authority), "ENDPOINT": endpoint.format(host=host)}
    if insecure:
        variables["INSECURE"] = insecure
    assert delivered == deliver(receiver, GRPC, spans, monkeypatch, **variables)


@BOTH
def test_plain_to_a_port_with_tls_is_told(
    protocol: str,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """http:// in front of a port with TLS."""
    plain = address(receiver, protocol).replace("https://", "http://")
    (line,) = said(spans, monkeypatch, caplog, EXPORTER_OTLP_ENDPOINT=plain, EXPORTER_OTLP_PROTOCOL=protocol)
    assert "https:// in OTEL_EXPORTER_OTLP_ENDPOINT" in line


@pytest.mark.parametrize(
    ("endpoint", "protocol", "advice"),
    [
        ("http_endpoint", GRPC, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        ("grpc_endpoint", HTTP, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
    ],
)
def test_the_wrong_protocol_is_told(
    endpoint: str,
    protocol: str,
    advice: str,
    made: Certificates,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """gRPC against an HTTPS port, and the reverse."""
    variables = {"EXPORTER_OTLP_ENDPOINT": getattr(receiver, endpoint), "EXPORTER_OTLP_PROTOCOL": protocol}
    (line,) = said(spans, monkeypatch, caplog, EXPORTER_OTLP_CERTIFICATE=str(made.authority), **variables)
    assert advice in line


@BOTH
def test_an_unknown_authority_is_told(
    protocol: str,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """With the variable that names its file."""
    variables = {"EXPORTER_OTLP_ENDPOINT": address(receiver, protocol), "EXPORTER_OTLP_PROTOCOL": protocol}
    (line,) = said(spans, monkeypatch, caplog, **variables)
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in line


@BOTH
def test_a_missing_client_certificate_is_told(
    protocol: str,
    made: Certificates,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """With the variables that name it."""
    with Receiver(tls=made.tls(mutual=True)) as asking:
        variables = {"EXPORTER_OTLP_ENDPOINT": address(asking, protocol), "EXPORTER_OTLP_PROTOCOL": protocol}
        lines = said(spans, monkeypatch, caplog, EXPORTER_OTLP_CERTIFICATE=str(made.authority), **variables)
    # A client that still writes when the server has closed does not always see the server's alert.
    assert (True, []) == (
        bool(lines),
        [line for line in lines if "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" not in line],
    )


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_machines_authorities_do_not_stand_over_ours(
    variable: str,
    made: Certificates,
    receiver: Receiver,
    spans: tuple[ReadableSpan, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    """Containers set it for everybody; who sets OTEL_EXPORTER_OTLP_CERTIFICATE means this connection."""
    monkeypatch.setenv(variable, str(made.client))
    assert deliver(receiver, HTTP, spans, monkeypatch, CERTIFICATE=str(made.authority))


@pytest.mark.parametrize("name", ["CERTIFICATE", "TRACES_CLIENT_CERTIFICATE", "LOGS_CLIENT_KEY"])
def test_a_file_that_cannot_be_read_is_an_error(name: str, tmp_path: Path):
    """Before anything is sent; it names the variable."""
    with pytest.raises(SettingsError, match=f"OTEL_EXPORTER_OTLP_{name}="):
        Settings.read(Environment({f"OTEL_EXPORTER_OTLP_{name}": str(tmp_path / "none.pem")}))
