"""The main rows through a real collector: rotel takes OTLP, parses it, batches anew and passes it on."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.conformance.rows import PROTOCOLS, ROWS, Row
from tests.conformance.serving import free_port, serve
from tests.conformance.statement import account, expected
from tests.conformance.test_servers import run

from otelfork.receiver import GRPC, HTTP, Receiver

MAIN = [row for row in ROWS if not row.slow]
START_SECONDS = 20.0


@pytest.fixture
def collector(receiver: Receiver, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run rotel in front of the receiver; return its endpoint by protocol."""
    place = find_spec("rotel")
    if place is None or place.origin is None:
        pytest.skip("rotel is not installed")
    ports = {protocol: free_port() for protocol in PROTOCOLS}
    command = [str(Path(place.origin).with_name("rotel-agent")), "start"]
    command += ["--otlp-grpc-endpoint", f"127.0.0.1:{ports[GRPC]}"]
    command += ["--otlp-http-endpoint", f"127.0.0.1:{ports[HTTP]}"]
    command += ["--exporter", "otlp", "--otlp-exporter-protocol", "grpc"]
    command += ["--otlp-exporter-endpoint", receiver.grpc_endpoint]
    command += ["--pid-file", str(tmp_path / "rotel.pid"), "--log-file", str(tmp_path / "rotel.log")]
    with (tmp_path / "rotel.txt").open("wb") as log:
        agent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        for port in ports.values():
            _wait_for(port)
        yield {protocol: f"http://127.0.0.1:{port}" for protocol, port in ports.items()}
    finally:
        agent.terminate()
        agent.wait(20)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("row", MAIN, ids=lambda row: row.name)
def test_a_collector_passes_on_all_that_was_sent(
    row: Row, protocol: str, receiver: Receiver, collector: dict[str, str], requests: int, tmp_path: Path
):
    """What a main row sends is OTLP that a collector of another make understands whole."""
    environment = {**receiver.environment(protocol), "OTEL_EXPORTER_OTLP_ENDPOINT": collector[protocol]}
    with serve(row, environment, tmp_path, requests) as server:
        sent = run(server, row, requests)
    # The processes have ended, but rotel holds what it got for up to 200 ms.
    receiver.wait_for(lambda it: sum(span.kind == "SERVER" for span in it.spans) >= len(sent) and it.points, 10)
    receiver.wait_until_quiet(quiet=1.0)
    actual = account(
        sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter
    ).as_dict()
    assert expected(sent) == actual, server.output[-5000:] + (tmp_path / "rotel.txt").read_text()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _listens(port):
        assert time.monotonic() < deadline, f"rotel does not listen on port {port}"
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
