"""The session: one try while a stream watches, the transport's own ways otherwise, and ears for the answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
from tests.fresh import run
from tests.unit.exporting import PATIENCE, soon, stream

from otelfork.delivery import outcome
from otelfork.delivery.complaints import Complaints
from otelfork.exporters import otlp, session
from otelfork.exporters.session import new_session
from otelfork.receiver import ALWAYS, HTTP, Receiver
from otelfork.settings import Settings


@pytest.fixture
def exporter(monkeypatch):
    """Make the exporter of spans to a receiver."""

    def make(receiver):
        for name, value in receiver.environment(HTTP).items():
            monkeypatch.setenv(name, value)
        return otlp.factory("traces", Settings.read())()

    return make


def a_span():
    """Return a span that can be encoded."""
    return ReadableSpan("s", SpanContext(1, 2, is_remote=False), resource=Resource.get_empty())


@pytest.mark.parametrize(
    ("status", "waits"), [(429, True), (502, True), (503, True), (504, True), (400, False), (401, False), (500, False)]
)
def test_each_status_is_what_the_specification_says(exporter, status, waits):
    """A passing one puts the span back and asks once, a lasting one drops and counts it."""
    complaints = Complaints()
    with Receiver(refuse=ALWAYS, status=status) as receiver:
        tried = stream(exporter(receiver), complaints=complaints)
        tried.put(a_span())
        delivered = tried.drain(soon(), everything=True)
        tries = receiver.count_requests()
    lost = complaints.totals().get(("spans", "export_failed"), 0)
    assert (False, 1, int(waits), int(not waits)) == (delivered, tries, len(tried.queue), lost)


def test_retry_after_beyond_every_timeout_is_kept(exporter):
    """The collector asks for a minute: so long nothing is sent."""
    with Receiver(refuse=ALWAYS, retry_after=60) as receiver:
        tried = stream(exporter(receiver))
        tried.put(a_span())
        tried.drain(soon(), everything=True)
    assert tried.backoff.again > soon(50)


@pytest.mark.parametrize("fault", ["closed", "hangs"])
def test_no_answer_is_a_reason_that_passes(exporter, fault):
    """Nobody listens, or nobody answers before the deadline of the drain."""
    with Receiver(hang=ALWAYS) as receiver:
        made = exporter(receiver)
        if fault == "closed":
            receiver.close()
        tried = stream(made)
        tried.put(a_span())
        delivered = tried.drain(soon(0.5), everything=True)
    assert (False, 1) == (delivered, len(tried.queue))


@contextlib.contextmanager
def answering(body, media_type="application/x-protobuf"):
    """Serve one answer to every POST; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_partial_success_is_heard_on_the_wire(monkeypatch):
    """What the collector rejects of an accepted batch is counted, and not sent again."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 1
    response.partial_success.error_message = "too old"
    complaints = Complaints()
    with answering(response.SerializeToString()) as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", HTTP)
        made = otlp.factory("traces", Settings.read())()
        tried = stream(made, complaints=complaints)
        for _ in range(3):
            tried.put(a_span())
        delivered = tried.drain(soon(), everything=True)
        made.shutdown()
    assert (True, {("spans", "rejected"): 1}, 0) == (delivered, complaints.totals(), len(tried.queue))


def test_nobody_watching_means_requests_as_it_is():
    """Whoever uses the session by himself gets requests' own errors and headers."""
    with answering(b"") as address, new_session() as session:
        unwatched = session.post(address, data=b"x", timeout=5)
        with outcome.watching(soon(), outcome.Tries()) as result:
            session.post(address, data=b"x", timeout=5)
    assert (200, False) == (unwatched.status_code, result.passing)


def test_the_exit_of_a_child_closes_nothing_by_an_inherited_number(tmp_path):
    """urllib3 closes its pools at exit, in each process that has them: what got the numbers of the parent's sockets stays open."""
    with Receiver() as receiver:
        lines = run(
            """
            import atexit
            taken = []
            def look():
                '''Registered before urllib3's own: it runs after that.'''
                for number in taken:
                    os.fstat(number)
                out(len(taken) > 3, "files are open")
            atexit.register(look)
            otelfork.configure()
            span("of the parent")
            otelfork.flush(10)
            pid = os.fork()
            if pid == 0:
                taken += [os.open("/dev/null", os.O_RDONLY) for _ in range(16)]
                sys.exit(0)
            reaped([pid])
            os._exit(0)
            """,
            environment={**receiver.environment(HTTP), "OTELFORK_RUN_DIR": str(tmp_path / "run")},
        )
    assert ["True files are open"] == lines


def test_what_holds_a_descriptor_is_found_below_tls_within_tls():
    """urllib3's transport for a TLS proxy is no socket: the one inside is detached, and of anything else nothing is asked."""
    with socket.socket() as plain:
        found = [session._holder(each) for each in (plain, SimpleNamespace(socket=plain), SimpleNamespace())]
    assert [plain, plain, None] == found


def test_a_request_that_hangs_is_ended_from_another_thread(exporter):
    """The flush that waits for it gets its turn, and the batch is kept: it is nobody's failure."""
    with Receiver(hang=ALWAYS) as receiver:
        tried = stream(exporter(receiver))
        tried.put(a_span())
        sending = threading.Thread(target=tried.drain, args=(soon(),), kwargs={"everything": True})
        sending.start()
        receiver.wait_for(lambda it: it.requests, PATIENCE)
        tried._tries.break_off()
        sending.join(PATIENCE)
    assert (False, 1, 1) == (sending.is_alive(), len(tried.queue), tried._tries.repeated)
