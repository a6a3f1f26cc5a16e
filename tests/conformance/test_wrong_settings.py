"""A wrong setting behind a real server: requests are answered, and each worker says once what to change."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import certificates
from tests.conformance.driving import drive
from tests.conformance.rows import ROWS
from tests.conformance.serving import serve

from otelfork.receiver import ALWAYS, GRPC, HTTP, Receiver

SERVERS = ("gunicorn sync --preload", "uvicorn --workers")
SECURE = ("plain to tls, http", "plain to tls, grpc", "authority")
ADVICE = "telemetry cannot be delivered"


def wrong(name: str, receiver: Receiver) -> tuple[dict[str, str], str]:
    """Return the environment of a mistake, and what has to be said about it."""
    http, grpc = receiver.http_endpoint, receiver.grpc_endpoint
    mistakes = {
        "grpc to http": ({"ENDPOINT": http, "PROTOCOL": GRPC}, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        "http to grpc": ({"ENDPOINT": grpc, "PROTOCOL": HTTP}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        "tls": ({"ENDPOINT": http.replace("http:", "https:"), "PROTOCOL": HTTP}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        "plain to tls, http": (
            {"ENDPOINT": http.replace("https:", "http:"), "PROTOCOL": HTTP},
            "write https:// in OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        "plain to tls, grpc": (
            {"ENDPOINT": grpc.replace("https:", "http:"), "PROTOCOL": GRPC},
            "write https:// in OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        "authority": ({"ENDPOINT": http, "PROTOCOL": HTTP}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        "token": ({"ENDPOINT": http, "PROTOCOL": HTTP}, "OTEL_EXPORTER_OTLP_HEADERS"),
        "host": ({"ENDPOINT": "http://nowhere.invalid:4318", "PROTOCOL": HTTP}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    }
    variables, told = mistakes[name]
    environment = {f"OTEL_EXPORTER_OTLP_{variable}": value for variable, value in variables.items()}
    return {**receiver.environment(HTTP), **environment}, told


@pytest.mark.timeout(120)
@pytest.mark.parametrize("server", [SERVERS[0], pytest.param(SERVERS[1], marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [
        "grpc to http",
        *(pytest.param(one, marks=pytest.mark.slow) for one in (*SECURE, "http to grpc", "tls", "token", "host")),
    ],
)
def test_each_worker_says_once_what_to_change(name: str, server: str, tmp_path: Path):
    """Whatever the number of requests, batches and signals."""
    (row,) = (row for row in ROWS if row.name == server)
    faults = {"refuse": ALWAYS, "status": 401} if name == "token" else {}
    tls = certificates.make(tmp_path).tls() if name in SECURE else None
    with Receiver(**faults, tls=tls) as receiver:
        environment, told = wrong(name, receiver)
        with serve(row, {**environment, "OTEL_BSP_SCHEDULE_DELAY": "100"}, tmp_path, 60) as running:
            running.wait_until_ready()
            sent = drive(running, 60)
            running.stop()
            lines = [line for line in running.output.splitlines() if ADVICE in line]
    workers = {one.pid for one in sent}
    assert (60, [line for line in lines if told not in line]) == (len(sent), [])
    assert 1 <= len(lines) <= len(workers), running.output[-3000:]
