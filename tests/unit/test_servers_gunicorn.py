"""gunicorn's classes: wrapped where nothing else would tell of a worker, and put back exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from wsgiref.util import setup_testing_defaults

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from otelfork import OtelMiddleware, workers
from otelfork.servers import gunicorn
from otelfork.servers.seams import Seams
from otelfork.testing import capture
from otelfork.workers import life

pytest.importorskip("gunicorn")
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker
from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor


@pytest.fixture(autouse=True)
def detached(monkeypatch):
    """Whatever a test attaches is taken off after it; this process is no worker yet."""
    monkeypatch.setattr(life, "_worker", None)
    yield
    gunicorn.detach()


def contents(*classes):
    """Return what the classes hold, in their order."""
    return [list(vars(each).items()) for each in classes]


def test_detach_leaves_the_classes_as_they_were():
    """After attach and detach every class holds the same objects under the same names in the same order."""
    before = contents(Worker, Arbiter)
    gunicorn.attach()
    gunicorn.detach()
    assert before == contents(Worker, Arbiter)


def test_attach_twice_wraps_once():
    """A second attach changes nothing more."""
    gunicorn.attach()
    once = contents(Worker, Arbiter)
    gunicorn.attach()
    assert once == contents(Worker, Arbiter)


def test_who_wraps_our_wrapper_keeps_theirs():
    """A method that somebody wrapped after us stays theirs when ours goes, and ours does nothing any more."""

    class Server:
        def serve(self):
            return ["served"]

    seams = Seams()
    seams.wrap(Server, "serve", lambda original, self: ["ours", *original(self)])
    ours = Server.serve
    Server.serve = lambda self: ["theirs", *ours(self)]
    seams.restore()
    assert ["theirs", "served"] == Server().serve()


def test_an_inherited_method_is_inherited_again():
    """Where a class had no method of its own it has none afterwards."""

    class Parent:
        def serve(self):
            return "served"

    class Child(Parent):
        pass

    before = dict(vars(Child))
    seams = Seams()
    seams.wrap(Child, "serve", lambda original, self: original(self))
    seams.restore()
    assert before == dict(vars(Child))


class Reaped:
    """An arbiter with one worker; reaping forgets those that are dead."""

    def __init__(self, pid, *, aborted):
        self.WORKERS = {pid: type("FakeWorker", (), {"aborted": aborted})()}

    def reap(self):
        pid, _ = os.waitpid(-1, os.WNOHANG)
        self.WORKERS.pop(pid, None)


def ended(code):
    """Return the pid of a child that has ended by this Python code and has not been reaped."""
    child = subprocess.Popen([sys.executable, "-c", code])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.returncode = 0  # for Popen's own book-keeping
    return child.pid


@pytest.mark.parametrize(
    ("code", "aborted", "expected"),
    [
        ("import os; os._exit(3)", False, {"status": 3 << 8, "timed_out": False}),
        ("import os; os.kill(os.getpid(), 9)", True, {"status": signal.SIGKILL, "timed_out": True}),
    ],
)
def test_the_arbiter_tells_how_a_worker_ended(monkeypatch, code, aborted, expected):
    """The status is that of `os.waitpid`, and whether the arbiter itself had given the worker up is told."""
    told = []
    monkeypatch.setattr(workers, "departed", lambda pid, **how: told.append((pid, how)))
    pid = ended(code)
    gunicorn._reap_workers("WORKERS", Reaped.reap, Reaped(pid, aborted=aborted))
    assert [(pid, expected)] == told


def test_a_living_worker_is_not_told_of(monkeypatch):
    """Reaping without a death says nothing."""
    told = []
    monkeypatch.setattr(workers, "departed", lambda pid, **how: told.append((pid, how)))
    gunicorn._reap_workers("WORKERS", lambda arbiter: None, Reaped(os.getpid(), aborted=False))
    assert [] == told


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        ({"nr": 20, "max_requests": 20, "alive": False}, "recycled"),
        ({"nr": 3, "max_requests": 20, "alive": False}, "stopped"),
        ({"nr": 3, "max_requests": sys.maxsize, "alive": False}, "stopped"),
        ({"nr": 0, "max_requests": 20, "alive": True}, "recycled"),
        ({"nr": 0, "max_requests": sys.maxsize, "alive": True}, None),
    ],
)
def test_why_a_worker_ends_is_told_by_what_it_counts(worker, reason):
    """A worker at its limit is recycled, one that was told to end has stopped; uvicorn's class counts by itself."""
    assert reason == gunicorn._reason(type("FakeWorker", (), worker))


class FakeWorker(Worker):
    """A worker that was made without a server."""

    def __init__(self, app):
        self.pid, self.booted, self.alive = os.getpid(), False, True
        self.wsgi, self.ran = app, []

    def run(self):
        """Note which application would be served."""
        self.ran.append(self.wsgi)


def plain(environ, start_response):
    """An application."""
    start_response("200 OK", [])
    return [b""]


def contents_of(worker):
    """Return what a worker object holds, but for what its run has noted."""
    return {name: value for name, value in vars(worker).items() if name != "ran"}


def test_a_worker_that_is_initialised_serves_the_traced_application():
    """`init_process` of any class leads to the base class's; the application is wrapped before `run`."""
    gunicorn.attach()
    worker = FakeWorker(plain)
    gunicorn._take_over(worker)
    with capture() as telemetry:
        worker.run()
        gunicorn.detach()
    assert ([True], ["gunicorn.worker"]) == (
        [isinstance(app, OtelMiddleware) for app in worker.ran],
        [span.name for span in telemetry.spans],
    )


def test_detach_leaves_the_worker_as_it_was():
    """Application and methods of the worker object are its own again, while it runs too."""
    worker = FakeWorker(plain)
    worker.booted = True
    before = contents_of(worker)
    gunicorn.attach()
    with capture():
        gunicorn._take_over(worker)
        during = worker.wsgi
        gunicorn.detach()
    assert (True, before) == (isinstance(during, OtelMiddleware), contents_of(worker))


def test_a_wrapped_application_that_somebody_kept_passes_requests_on():
    """After detach a middleware that a server still holds records nothing."""
    worker = FakeWorker(plain)
    worker.booted = True
    gunicorn.attach()
    with capture() as telemetry:
        gunicorn._take_over(worker)
        kept = worker.wsgi
        gunicorn.detach()
        environ = {}
        setup_testing_defaults(environ)
        answer = b"".join(kept(environ, lambda status, headers: None))
    assert (b"", []) == (answer, [span.name for span in telemetry.spans if span.kind is SpanKind.SERVER])


def test_a_failing_start_of_ours_leaves_the_server_alone(monkeypatch, caplog):
    """What goes wrong in our code is logged, and the worker runs."""
    monkeypatch.setattr(workers, "begin", lambda *_, **__: 1 / 0)
    worker = FakeWorker(plain)
    gunicorn.attach()
    gunicorn._take_over(worker)
    with capture():
        worker.run()
    assert (1, True) == (len(worker.ran), "the server goes on" in caplog.text)


def test_an_application_of_the_users_own_middleware_is_not_wrapped_again():
    """`app = OtelMiddleware(app)` keeps its own options."""
    worker = FakeWorker(OtelMiddleware(plain))
    mine = worker.wsgi
    gunicorn.attach()
    gunicorn._take_over(worker)
    with capture():
        worker.run()
    assert [mine] == worker.ran


def test_detach_ends_the_life_of_the_worker_it_told_of():
    """A worker that goes on without us has its span now, with the reason."""
    worker = FakeWorker(plain)
    worker.booted = True
    gunicorn.attach()
    with capture() as telemetry:
        gunicorn._take_over(worker)
        gunicorn.detach()
        span = telemetry.span("gunicorn.worker")
    assert "uninstrumented" == span.attributes["worker.exit.reason"]


def test_requests_go_to_the_providers_that_were_given():
    """`instrument(tracer_provider=, meter_provider=)`: spans and both kinds of metrics, nothing to the global ones."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    worker = FakeWorker(plain)
    worker.booted = True
    with capture() as telemetry:
        instrumentor = GunicornInstrumentor()
        instrumentor.instrument(tracer_provider=tracers, meter_provider=meters)
        gunicorn._take_over(worker)
        environ = {}
        setup_testing_defaults(environ)
        b"".join(worker.wsgi(environ, lambda status, headers: None))
        instrumentor.uninstrument()
        ours = {span.name for span in telemetry.spans}, set(telemetry.metrics())
    scopes = reader.get_metrics_data().resource_metrics[0].scope_metrics
    theirs = {metric.name for scope in scopes for metric in scope.metrics}
    assert ["gunicorn.request"] == [span.name for span in spans.get_finished_spans()]
    assert {"gunicorn.requests", "gunicorn.request.duration", "http.server.request.duration"} <= theirs
    assert ({"gunicorn.worker"}, set()) == (ours[0], ours[1] & theirs)
