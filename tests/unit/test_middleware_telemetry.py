"""`app = OtelMiddleware(app)`: whose telemetry a request has, and when that is made."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.fresh import run
from tests.unit.test_middleware import ask_wsgi, wsgi

from otelfork import OtelMiddleware, forks
from otelfork.testing import capture


def test_providers_that_are_given_are_used_alone():
    """Neither the global seats nor our generation have a part in it."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    with capture() as telemetry:
        ask_wsgi(OtelMiddleware(wsgi, tracer_provider=tracers, meter_provider=meters))
        assert (1, (), ()) == (
            len(exporter.get_finished_spans()),
            telemetry.spans,
            telemetry.points("http.server.request.duration"),
        )


def test_one_provider_that_is_given_leaves_the_other_ours(captured):
    """Spans the user's way, metrics ours."""
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    ask_wsgi(OtelMiddleware(wsgi, tracer_provider=tracers))
    assert (1, (), 1) == (
        len(exporter.get_finished_spans()),
        captured.spans,
        len(captured.points("http.server.request.duration")),
    )


def test_constructing_makes_nothing():
    """The first request does."""
    from otelfork import bootstrap

    with bootstrap.replaced():
        OtelMiddleware(wsgi)
        assert forks.current() is None


def test_the_middleware_follows_the_process():
    """One object, made in the parent, serves requests in parent and child, each with its own telemetry."""
    lines = run("""
        from wsgiref.util import setup_testing_defaults
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"answered"]
        configure()
        traced = otelfork.OtelMiddleware(application)
        def request():
            environ = {}
            setup_testing_defaults(environ)
            b"".join(traced(environ, lambda status, headers: None))
        def three():
            for _ in range(3): request()
        request()
        reaped([forked(three), forked(three, c_fork)])
        otelfork.flush(5)
        os._exit(0)
    """)
    durations = sorted(line for line in lines if "http.server.request.duration" in line)
    expected = [f"point http.server.request.duration {count}" for count in ("1 parent", "3 child", "3 child")]
    assert (expected, 7) == (durations, sum(line.startswith("span GET") for line in lines))


def test_after_a_shutdown_requests_pass_untraced():
    """The application answers as ever."""
    with capture() as telemetry:
        application = OtelMiddleware(wsgi)
        ask_wsgi(application)
        forks.shutdown(5)
        assert (b"answered", 1) == (ask_wsgi(application), len(telemetry.spans))
