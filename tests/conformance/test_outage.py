"""Outages and kills on a real server: what the collector could not take arrives later, once; a killed worker's records too."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.conformance.driving import Sent, drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import serve

from otelfork.delivery.segment import Segment
from otelfork.receiver import ALWAYS, GRPC, HTTP, PROTOCOLS, Faults, Receiver

GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2")
ROW = Row("gunicorn gthread", (*GUNICORN, "--worker-class", "gthread", "--threads", "4", "wsgi_app:app"), PROGRAMS)
REQUESTS = 100
PATIENCE = 40.0
"""Seconds until everything has to have arrived: the longest pause between two tries of so short an outage is a part of it."""
PACE = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "60000"}
SPANS = 2
"""Of each request: its own, and the one that the application makes."""


class Door:
    """A port in front of a receiver that can be shut, so that connections are refused as by a collector that is down."""

    def __init__(self, target: str) -> None:
        self._target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._links: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._serve()

    def shut(self) -> None:
        """Refuse connections from now on, and end those that there are."""
        for link in (self._listener, *self._links):
            with suppress(OSError):  # the other side was faster
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        self._links.clear()

    def open(self) -> None:
        """Take connections again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # it was shut
            while True:
                inside, _ = listener.accept()
                outside = socket.create_connection(self._target)
                self._links += [inside, outside]
                for one, other in ((inside, outside), (outside, inside)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):  # either side has ended
        while piece := one.recv(65536):
            other.sendall(piece)
        other.shutdown(socket.SHUT_WR)


def spooled(tmp_path: Path, *, on: bool) -> dict[str, str]:
    """Return the variables of a run with a spool, or without."""
    return {**PACE, **({"OTELFORK_SPOOL_DIR": str(tmp_path / "spool")} if on else {})}


def arrivals(receiver: Receiver, sent: list[Sent]) -> Counter[tuple[str, str]]:
    """Count the server spans of these requests."""
    wanted = {(one.trace_id, one.span_id) for one in sent}
    keys = [(span.trace_id, span.parent_span_id) for span in receiver.spans if span.kind == "SERVER"]
    return Counter(key for key in keys if key in wanted)


def each_once(sent: list[Sent]) -> Counter[tuple[str, str]]:
    """Return what `arrivals` has to be."""
    return Counter((one.trace_id, one.span_id) for one in sent)


@pytest.fixture
def door(receiver: Receiver, request: pytest.FixtureRequest) -> Iterator[Door]:
    """A door to the receiver's endpoint of the protocol that the test is run with."""
    protocol = request.node.callspec.params["protocol"]
    made = Door(receiver.grpc_endpoint if protocol == GRPC else receiver.http_endpoint)
    yield made
    made.shut()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("spool", [False, True], ids=["memory", "spool"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_was_down_gets_everything_once(
    receiver: Receiver, door: Door, protocol: str, spool: bool, tmp_path: Path
):
    """Connections are refused while requests go on; when they are taken again, every request's span arrives, once."""
    environment = {
        **receiver.environment(protocol),
        **spooled(tmp_path, on=spool),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{door.port}",
    }
    with serve(ROW, environment, tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        sent = drive(server, REQUESTS)
        receiver.wait_for(lambda _: len(arrivals(receiver, sent)) == len(sent), PATIENCE)
        # Nothing is under way: a batch whose answer is cut off with its connection would rightly come twice.
        receiver.wait_until_quiet()
        door.shut()
        sent += drive(server, REQUESTS)
        door.open()
        sent += drive(server, REQUESTS)
        receiver.wait_for(lambda _: len(arrivals(receiver, sent)) == len(sent), PATIENCE)
        server.stop()
    assert each_once(sent) == arrivals(receiver, sent), server.output[-3000:]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("fault", [{"refuse": ALWAYS}, {"refuse": ALWAYS, "status": 429, "retry_after": 1.0}], ids=str)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_asks_to_wait_gets_everything_once(
    receiver: Receiver, protocol: str, fault: dict[str, float], tmp_path: Path
):
    """503 and 429 with Retry-After: nothing is lost, nothing comes twice."""
    with serve(ROW, {**receiver.environment(protocol), **PACE}, tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        receiver.faults = Faults(**fault)
        sent = drive(server, REQUESTS)
        receiver.wait_for(lambda it: sum(one.outcome == "refused" for one in it.requests) >= 2, PATIENCE)
        receiver.faults = Faults()
        receiver.wait_for(lambda _: len(arrivals(receiver, sent)) == len(sent), PATIENCE)
        server.stop()
    assert each_once(sent) == arrivals(receiver, sent), server.output[-3000:]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("fault", [{"refuse": ALWAYS}, {"hang": ALWAYS}], ids=["refuses", "hangs"])
def test_what_a_stop_could_not_deliver_is_sent_by_the_next_start(
    receiver: Receiver, fault: dict[str, int], tmp_path: Path
):
    """The server leaves within its deadline, and the spool keeps what the collector did not take until then."""
    environment = {**receiver.environment(HTTP), **spooled(tmp_path, on=True), "OTELFORK_EXIT_TIMEOUT": "1"}
    receiver.faults = Faults(**fault)
    with serve(ROW, environment, tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        sent = drive(server, REQUESTS)
        server.stop()
    receiver.faults = Faults()
    with serve(ROW, environment, tmp_path, 1) as server:
        server.wait_until_ready()
        after = drive(server, 10)
        receiver.wait_for(lambda _: len(arrivals(receiver, sent + after)) == len(sent + after), PATIENCE)
        server.stop()
    left = [path.name for path in (tmp_path / "spool").glob("*.spool") if path.stat().st_size > 8]
    assert (each_once(sent + after), []) == (arrivals(receiver, sent + after), left), server.output[-3000:]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("collector", ["answers", "hangs"])
def test_a_killed_worker_loses_at_most_its_last_moment(receiver: Receiver, collector: str, tmp_path: Path):
    """With the spool, what was finished is on disk soon, and what was on disk before a SIGKILL is sent by the siblings."""
    environment = {**receiver.environment(HTTP), **spooled(tmp_path, on=True), "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    if collector == "hangs":
        receiver.faults = Faults(hang=ALWAYS)
    with serve(ROW, environment, tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        sent = drive(server, 10 * REQUESTS)
        written = within(PATIENCE, lambda: len(on_disk(tmp_path) | received(receiver)) >= SPANS * len(sent))
        os.kill(sent[-1].pid, signal.SIGKILL)
        receiver.faults = Faults()
        sent += drive(server, 20)
        server.stop()
    receiver.wait_for(lambda _: len(arrivals(receiver, sent)) == len(sent), PATIENCE)
    found = arrivals(receiver, sent)
    gone = Counter((i // 100, one.pid) for i, one in enumerate(sent) if (one.trace_id, one.span_id) not in found)
    lost = f"{len(sent) - len(found)} of {len(sent)} lost {gone}\n{server.output[-3000:]}"
    assert (True, set(each_once(sent))) == (written, set(found)), lost


def on_disk(folder: Path) -> set[bytes]:
    """Return the ids of the spans that wait in the spool's files."""
    found: set[bytes] = set()
    for path in (folder / "spool").glob("*.spool"):
        with suppress(OSError):  # it was sent meanwhile
            segment = Segment(path, own=False)
            batches = [segment.read(entry) for entry in segment.entries()]
            segment.close()
            for resource in ExportTraceServiceRequest.FromString(
                b"".join(each or b"" for each in batches)
            ).resource_spans:
                found |= {span.span_id for scope in resource.scope_spans for span in scope.spans}
    return found


def received(receiver: Receiver) -> set[bytes]:
    """Return the ids of the spans that arrived."""
    return {bytes.fromhex(span.span_id) for span in receiver.spans}


def within(seconds: float, true: Callable[[], bool]) -> bool:
    """Wait until something is true; tell whether it is."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()
