"""The environment blocks of a well-read guide to FastAPI and OpenTelemetry, run by a shell as they are printed.

Only the collector's port and, where there is one, its host name are this test's.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests import certificates
from tests.conformance.driving import drive
from tests.conformance.rows import FASTAPI, PROGRAMS, Row
from tests.conformance.serving import Server, serve
from tests.conformance.statement import account, expected

from otelfork.receiver import Receiver

CORE = """\
# Service Identity
OTEL_SERVICE_NAME="my-fastapi-service"
# The service name that appears in all observability platforms.
OTEL_SERVICE_NAMESPACE="production"
OTEL_SERVICE_VERSION="1.0.0"
# OTLP Exporter Configuration
OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4317"
OTEL_EXPORTER_OTLP_PROTOCOL="grpc"
OTEL_EXPORTER_OTLP_INSECURE="true"
# Export Target Selection
OTEL_TRACES_EXPORTER="otlp"
OTEL_METRICS_EXPORTER="otlp"
OTEL_LOGS_EXPORTER="otlp"
# Python-Specific Auto-Instrumentation
OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED="true"
OTEL_PYTHON_LOG_LEVEL="INFO"
# Instrumentation Control
OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="click,grpc"
OTEL_INSTRUMENTATION_HTTP_EXCLUDED_URLS="/health,/metrics,/ready"
# Sampling Configuration
OTEL_TRACES_SAMPLER="parentbased_always_on"
OTEL_TRACES_SAMPLER_ARG="1.0"
# Pyroscope Configuration (Optional)
PYROSCOPE_SERVER_ADDRESS="http://localhost:4040"
PYROSCOPE_AUTH_TOKEN=""
"""
HTTP_BLOCK = """\
OTEL_EXPORTER_OTLP_ENDPOINT="http://otel-collector:4318"
OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"
OTEL_EXPORTER_OTLP_INSECURE="true"
"""
GRPC_BLOCK = """\
OTEL_EXPORTER_OTLP_ENDPOINT="http://otel-collector:4317"
OTEL_EXPORTER_OTLP_PROTOCOL="grpc"
OTEL_EXPORTER_OTLP_INSECURE="true"
"""
HTTPS_BLOCK = """\
OTEL_EXPORTER_OTLP_ENDPOINT="https://otel-collector.example.com:4317"
OTEL_EXPORTER_OTLP_PROTOCOL="grpc"
OTEL_EXPORTER_OTLP_INSECURE="false"
"""
HTTPS_OVER_HTTP_BLOCK = """\
OTEL_EXPORTER_OTLP_ENDPOINT="https://otel-collector.example.com:4318"
OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"
OTEL_EXPORTER_OTLP_INSECURE="false"
"""
RESOURCE = """\
export OTEL_RESOURCE_ATTRIBUTES="\\
service.namespace=production,\\
service.environment=production,\\
service.version=1.0.0,\\
service.build.git_hash=abc123def456,\\
service.build.git_branch=main,\\
service.owner.name=backend-team,\\
service.owner.contact=backend @ company.com"
"""
DEPLOYMENT = """\
# Example for GitHub Actions
export OTEL_SERVICE_NAMESPACE="production"
export OTEL_SERVICE_VERSION="1.0.0"
export SERVICE_BUILD_GIT_HASH="abc123def456" # Set from CI: ${{ github.sha }}
export SERVICE_BUILD_GIT_BRANCH="main" # Set from CI: ${{ github.ref_name }}
export SERVICE_BUILD_DEPLOYMENT_USER="ci-bot" # Set from CI: ${{ github.actor }}
export SERVICE_BUILD_DEPLOYMENT_TRIGGER="github-actions"
export SERVICE_OWNER_NAME="backend-team"
"""
SAMPLER = """\
OTEL_TRACES_SAMPLER="parentbased_trace_id_ratio"
OTEL_TRACES_SAMPLER_ARG="1.0"
"""
SERVICE = {"service.namespace": "production", "service.version": "1.0.0"}
BUILD = {
    "service.build.git_hash": "abc123def456",
    "service.build.git_branch": "main",
    "service.owner.name": "backend-team",
}
DEPLOYED = {"service.build.deployment.user": "ci-bot", "service.build.deployment.trigger": "github-actions"}
BLOCKS: dict[str, tuple[str, dict[str, str]]] = {
    "core": (CORE, {**SERVICE, "service.name": "my-fastapi-service"}),
    "http": (HTTP_BLOCK, {}),
    "grpc": (GRPC_BLOCK, {}),
    "resource": (
        GRPC_BLOCK + RESOURCE,
        {**SERVICE, **BUILD, "service.environment": "production", "service.owner.contact": "backend @ company.com"},
    ),
    "deployment": (HTTP_BLOCK + DEPLOYMENT, {**SERVICE, **BUILD, **DEPLOYED}),
    "sampler": (HTTP_BLOCK + SAMPLER, {}),
}
GUNICORN = "exec {python} -m gunicorn --workers 4 --preload --bind 127.0.0.1:{port}"
WAYS = {
    "gunicorn --preload": (f"{GUNICORN} wsgi_app:app", PROGRAMS),
    "gunicorn + UvicornWorker": (f"{GUNICORN} --worker-class uvicorn_worker.UvicornWorker app:app", FASTAPI),
}
SH = "set -a; . ./guide.sh; set +a; "


SECURE = {"https": HTTPS_BLOCK, "https over http": HTTPS_OVER_HTTP_BLOCK}


def shell(block: str, receiver: Receiver) -> str:
    """Return the block with the receiver's address in the place of the collector's."""
    for port, endpoint in (("4317", receiver.grpc_endpoint), ("4318", receiver.http_endpoint)):
        for host in ("localhost", "otel-collector", "otel-collector.example.com"):
            block = block.replace(f"://{host}:{port}", f"://127.0.0.1:{urlsplit(endpoint).port}")
    return block


def told(block: str, environment: dict[str, str], receiver: Receiver, way: str, requests: int, folder: Path) -> Server:
    """Run a server with a block, and check that every request arrived once."""
    (folder / "guide.sh").write_text(shell(block, receiver), encoding="utf-8")
    script, application = WAYS[way]
    row = Row(name=way, command=("sh", "-c", SH + script), application=application)
    with serve(row, environment, folder, requests) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter)
    assert expected(sent) == found.as_dict(), server.output[-5000:]
    return server


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "core")) for name in BLOCKS])
def test_a_block_of_the_guide_works_as_printed(name: str, way: str, receiver: Receiver, requests: int, tmp_path: Path):
    """Every request arrives once, with the resource that the block describes."""
    block, attributes = BLOCKS[name]
    told(block, {}, receiver, way, requests, tmp_path)
    resources = [{key: span.resource.get(key) for key in attributes} for span in receiver.spans]
    assert [one for one in resources if one != attributes] == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", [next(iter(WAYS)), *(pytest.param(way, marks=pytest.mark.slow) for way in [*WAYS][1:])])
@pytest.mark.parametrize("name", ["https", pytest.param("https over http", marks=pytest.mark.slow)])
@pytest.mark.parametrize("whose", ["machine", pytest.param("ours", marks=pytest.mark.slow)])
def test_the_block_for_production_works_as_printed(name: str, way: str, whose: str, requests: int, tmp_path: Path):
    """With TLS: the machine knows the collector's authority, or variables name it and what a client has to show."""
    made = certificates.make(tmp_path)
    environment = made.client_variables()
    if whose == "machine":
        environment = dict.fromkeys(("REQUESTS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"), str(made.authority))
    with Receiver(tls=made.tls(mutual=whose == "ours")) as receiver:
        told(SECURE[name], environment, receiver, way, requests, tmp_path)
