"""The names that GunicornInstrumentor documents: a mapping of finished requests, beside the conventions' names."""

from __future__ import annotations

import json
from contextlib import contextmanager
from wsgiref.util import setup_testing_defaults

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import otelfork
from otelfork import OtelMiddleware, bootstrap, forks
from otelfork.encoding import wire
from otelfork.encoding.encoder import Encoder
from otelfork.lane import RequestSpan, noting
from otelfork.middleware import use_names
from otelfork.request import naming
from otelfork.servers.gunicorn_names import Figures, GunicornNames
from otelfork.settings import SettingsError
from otelfork.testing import capture


@pytest.fixture
def names():
    """The mapping is on for one test."""
    use_names(GunicornNames())
    yield
    use_names(None)


def hello(environ, start_response):
    """Answer as a framework with routes does."""
    environ["otelfork.test"] = True
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def get(app, path="/items/7", query="page=2"):
    """Send one request through a middleware."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query}
    setup_testing_defaults(environ)
    body = app(environ, lambda status, headers, exc_info=None: lambda data: None)
    list(body)
    body.close()


def flask():
    """Return a Flask application with one route."""
    from flask import Flask

    app = Flask(__name__)
    app.add_url_rule("/items/<int:number>", view_func=lambda number: str(number), endpoint="item")
    return app


def documented(attributes):
    """Return those of the attributes that the reference names."""
    return {name: attributes.get(name) for name in ("http.method", "http.target", "http.status_code")}


EXPECTED = {"http.method": "GET", "http.target": "/items/7", "http.status_code": 200}


def test_the_span_has_the_documented_name_and_attributes(names):
    """`gunicorn.request` with method, path and status."""
    with capture() as telemetry:
        get(OtelMiddleware(hello))
    assert EXPECTED == documented(telemetry.span("gunicorn.request").attributes)


def test_the_stable_names_are_there_too(names):
    """The mapping takes nothing away: route, stable attributes, status."""
    with capture() as telemetry:
        get(OtelMiddleware(flask()))
    found = telemetry.span("gunicorn.request").attributes
    assert ("/items/<int:number>", "GET", "/items/7", "page=2", 200) == tuple(
        found[name]
        for name in ("http.route", "http.request.method", "url.path", "url.query", "http.response.status_code")
    )


def test_the_span_is_named_by_its_route_on_wish(monkeypatch):
    """`OTELFORK_GUNICORN_SPAN_NAME=route` keeps the conventions' name, with the documented attributes."""
    monkeypatch.setenv("OTELFORK_GUNICORN_SPAN_NAME", "route")
    monkeypatch.setattr(naming, "current", GunicornNames())
    with capture() as telemetry:
        get(OtelMiddleware(flask()))
    assert EXPECTED == documented(telemetry.span("GET /items/<int:number>").attributes)


def test_another_wish_is_refused(monkeypatch):
    """The variable takes two values."""
    monkeypatch.setenv("OTELFORK_GUNICORN_SPAN_NAME", "path")
    with pytest.raises(SettingsError) as raised:
        GunicornNames()
    assert ("OTELFORK_GUNICORN_SPAN_NAME", "path") == (raised.value.name, raised.value.value)


def test_a_name_that_the_application_gave_is_kept(names):
    """Who names the span in a request means it."""

    def app(environ, start_response):
        trace.get_current_span().update_name("checkout")
        return hello(environ, start_response)

    with capture() as telemetry:
        get(OtelMiddleware(app))
    assert ["checkout"] == [span.name for span in telemetry.spans]


def test_start_and_completion_are_events_at_the_spans_own_times(names):
    """The two events say nothing else than the span's own two times."""
    with capture() as telemetry:
        get(OtelMiddleware(hello))
    span = telemetry.span("gunicorn.request")
    assert [("request.start", span.start_time), ("request.completion", span.end_time)] == [
        (event.name, event.timestamp) for event in span.events
    ]


def test_a_middleware_inside_adds_no_second_span_and_no_other_name(names):
    """One request, one SERVER span, whatever is wrapped once more inside."""
    app = flask()
    app.wsgi_app = OtelMiddleware(app.wsgi_app)
    with capture() as telemetry:
        get(OtelMiddleware(app))
    assert [("gunicorn.request", "/items/<int:number>")] == [
        (span.name, span.attributes["http.route"]) for span in telemetry.spans
    ]


@pytest.mark.parametrize("metric", ["gunicorn.requests", "gunicorn.request.duration"])
def test_the_metrics_have_the_documented_attributes_and_no_other(names, metric):
    """The path stands for the target where the application has no routes."""
    with capture() as telemetry:
        get(OtelMiddleware(hello))
        (point,) = telemetry.points(metric)
    assert EXPECTED == dict(point.attributes)


def test_the_target_of_a_metric_is_the_route_where_there_is_one(names):
    """Paths with numbers in them are one series."""
    with capture() as telemetry:
        for number in range(3):
            get(OtelMiddleware(flask()), f"/items/{number}")
        (point,) = telemetry.points("gunicorn.requests")
    assert ("/items/<int:number>", 3) == (point.attributes["http.target"], point.value)


def test_the_duration_is_that_of_the_stable_histogram(names):
    """A mapping measures nothing itself."""
    with capture() as telemetry:
        get(OtelMiddleware(hello))
        (ours,) = telemetry.points("gunicorn.request.duration")
        (stable,) = telemetry.points("http.server.request.duration")
    assert (stable.sum, stable.count, stable.explicit_bounds) == (ours.sum, ours.count, ours.explicit_bounds)


def test_the_units_are_seconds_and_requests(names):
    """As the reference says: seconds."""
    with capture() as telemetry:
        get(OtelMiddleware(hello))
        metrics = telemetry.metrics()
    assert ("{request}", "s") == (metrics["gunicorn.requests"].unit, metrics["gunicorn.request.duration"].unit)


def test_what_http_dup_says_more_precisely_stands(names, monkeypatch):
    """With the old names on wish, `http.target` is theirs: with the query."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup")
    with capture() as telemetry:
        get(OtelMiddleware(hello))
    attributes = telemetry.span("gunicorn.request").attributes
    assert {**EXPECTED, "http.target": "/items/7?page=2"} == documented(attributes)


def test_an_unsampled_request_is_measured(names):
    """Sampling is of spans."""
    with capture(sampler=ALWAYS_OFF) as telemetry:
        get(OtelMiddleware(hello))
        (point,) = telemetry.points("gunicorn.requests")
    assert (1, 0) == (point.value, len(telemetry.spans))


def test_without_the_instrumentor_there_is_nothing_of_it():
    """Off means off."""
    with capture() as telemetry:
        get(OtelMiddleware(hello))
        metrics = set(telemetry.metrics())
    (span,) = telemetry.spans
    assert ("GET", (), set()) == (span.name, span.events, {name for name in metrics if name.startswith("gunicorn")})


def targets(figures, *sinks):
    """Return the targets of the series that these sinks lead to, True for the overflow set."""
    for sink in sinks:
        sink(noting.Figures(0.1, None, None, 1, b"", b"", 0), Context())
    return figures.recorded


class Recorded(Figures):
    """Figures whose measurements are kept here."""

    def __init__(self, limit):
        self.recorded = set()
        super().__init__(None, limit)

    def _record(self, seconds, attributes, context):
        self.recorded.add(attributes.get("http.target", attributes.get("otel.metric.overflow")))


def test_paths_over_the_limit_are_one_series():
    """A scanner's thousand paths are a handful of series and the overflow set."""
    figures = Recorded(10)
    found = targets(figures, *(figures.sink("GET", f"/{number}", 404, a_path=True) for number in range(1000)))
    assert {True, *(f"/{number}" for number in range(5))} == found


def test_paths_do_not_push_routes_out():
    """After a scan the routes still have their series."""
    figures = Recorded(10)
    for number in range(1000):
        figures.sink("GET", f"/{number}", 404, a_path=True)
    assert {"/items/<id>"} == targets(figures, figures.sink("GET", "/items/<id>", 200, a_path=False))


def test_routes_are_bounded_too():
    """Whatever a framework calls a route: the sum of sets stays below the limit."""
    figures = Recorded(10)
    found = targets(figures, *(figures.sink("GET", f"/{number}", 200, a_path=False) for number in range(1000)))
    assert 10 == len(found)


def test_a_recovered_request_has_the_names_too(names):
    """A request whose worker was killed is found under the same name as the others."""
    attributes = {"http.request.method": "GET", "url.path": "/slow"}
    assert ("gunicorn.request", {**attributes, "http.method": "GET", "http.target": "/slow"}) == (
        naming.current.recovered("GET", attributes)
    )


@contextmanager
def exporting(**configuration):
    """Have spans and metrics of this process exported into memory by our own outbox."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    with bootstrap.replaced():
        exporters = {"traces": [lambda: spans], "metrics": [], "logs": []}
        bootstrap.configure(exporters=exporters, metric_readers=[lambda: reader], **configuration)
        forks.ensure()
        yield spans, reader


def collected(reader):
    """Collect; return the points by metric."""
    data = reader.get_metrics_data()
    return {
        metric.name: metric.data.data_points
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


@pytest.mark.private_names
@pytest.mark.private_names
def test_the_lean_span_is_the_same_to_every_exporter(names):
    """What the lane packs by itself is what the encoder makes of the span's public fields, and the SDK's JSON has all of it."""
    with exporting() as (exporter, _):
        get(OtelMiddleware(flask()))
        otelfork.flush(5)
        (span,) = exporter.get_finished_spans()
    packed: list[bytes] = []
    span.otlp([span], Encoder(), packed)
    expected = wire.message(wire.SCOPE_SPANS_SPANS, Encoder().span(span))
    told = json.loads(span.to_json())
    assert (True, expected) == (isinstance(span, RequestSpan), b"".join(packed))
    assert ("gunicorn.request", ["request.start", "request.completion"], EXPECTED) == (
        told["name"],
        [event["name"] for event in told["events"]],
        documented(told["attributes"]),
    )


def test_a_span_that_somebody_touched_has_its_events_too(names):
    """An attribute or event of the application's takes the span off the shortest way, and changes nothing else."""

    def app(environ, start_response):
        trace.get_current_span().add_event("in between")
        return hello(environ, start_response)

    with exporting() as (exporter, _):
        get(OtelMiddleware(app))
        otelfork.flush(5)
        (span,) = exporter.get_finished_spans()
    assert {"request.start", "in between", "request.completion"} == {event.name for event in span.events}


def test_figures_are_folded_before_each_collection(names):
    """What was noted on the request path is there when a reader asks, each time, and exemplars point at the requests."""
    app = OtelMiddleware(hello)
    with exporting() as (_, reader):
        seen = []
        for number in (1, 2):
            for _ in range(number):
                get(app)
            found = collected(reader)
            (count,), (duration,) = found["gunicorn.requests"], found["gunicorn.request.duration"]
            seen.append((count.value, duration.count, len(duration.exemplars) > 0))
    assert [(1, 1, True), (3, 3, True)] == seen


def test_names_that_change_are_those_of_the_next_request():
    """A middleware that has served goes over to other names, and back."""
    app = OtelMiddleware(hello)
    with exporting() as (exporter, _):
        for wanted in (None, GunicornNames(), None):
            use_names(wanted)
            get(app)
        otelfork.flush(5)
    assert ["GET", "gunicorn.request", "GET"] == [span.name for span in exporter.get_finished_spans()]
